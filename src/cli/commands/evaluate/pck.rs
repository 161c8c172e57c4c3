//! The share of correct key points (PCK): those within a fifth of the length of the torso.

use super::oks::KEYPOINTS;
use crate::cli::support::coco::{Image, Person};
use dyrelu::vision::Pose;

/// The share of the length of the torso within which a key point counts as correct.
const CORRECT: f64 = 0.2;

/// The shoulders and the hips that are opposite to each other.
const TORSO: [[usize; 2]; 2] = [[5, 12], [6, 11]];

/// The quantile of the normal distribution for an interval of 95%.
const QUANTILE: f64 = 1.96;

/// How many of some key points are correct.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub correct: u64,
    pub labelled: u64,
}

impl Counts {
    pub fn share(self) -> Option<f64> {
        (self.labelled > 0).then(|| self.correct as f64 / self.labelled as f64)
    }

    fn add(&mut self, is_correct: bool) {
        self.labelled += 1;
        self.correct += u64::from(is_correct);
    }
}

/// The key points of the persons whose torso is labelled.
#[derive(Default)]
pub struct Pck {
    persons: Vec<Counts>,
    keypoints: [Counts; KEYPOINTS],
}

impl Pck {
    /// Adds the labelled persons of a photo, for each of whom there is one of `poses`.
    pub fn add(&mut self, image: &Image, poses: &[Pose]) {
        let labelled = image.persons.iter().filter(|person| person.is_labelled());
        for (person, pose) in labelled.zip(poses) {
            let Some(torso) = torso(person) else { continue };
            let mut of_person = Counts::default();
            for (k, of_keypoint) in self.keypoints.iter_mut().enumerate() {
                if let Some(truth) = label(person, k) {
                    let is_correct = distance(truth, position(pose, k)) <= CORRECT * torso;
                    of_person.add(is_correct);
                    of_keypoint.add(is_correct);
                }
            }
            self.persons.push(of_person);
        }
    }

    /// Returns the counts of key point `k` of all persons.
    pub fn keypoint(&self, k: usize) -> Counts {
        self.keypoints[k]
    }

    /// Returns the share of correct key points.
    pub fn share(&self) -> Option<f64> {
        let sum = |counts: Counts, other: &Counts| Counts {
            correct: counts.correct + other.correct,
            labelled: counts.labelled + other.labelled,
        };
        self.keypoints.iter().fold(Counts::default(), sum).share()
    }

    /// Returns the interval that holds the share of all persons like these with a probability of 95%, or
    /// `None` for fewer than two persons.
    ///
    /// The key points of a person are often right or wrong together, so persons are what is drawn: the
    /// variance is that of a ratio of two sums over persons, linearised (Cochran, *Sampling Techniques*,
    /// section 2.11).
    pub fn interval(&self) -> Option<[f64; 2]> {
        let share = self.share()?;
        let persons = self.persons.len() as f64;
        let labelled: f64 = self.persons.iter().map(|counts| counts.labelled as f64).sum();
        let square = |counts: &Counts| {
            let residual = counts.correct as f64 - share * counts.labelled as f64;
            residual * residual
        };
        let squares: f64 = self.persons.iter().map(square).sum();
        let deviation = (squares * persons / (persons - 1.0)).sqrt() / labelled;
        let bound = |sign: f64| (share + sign * QUANTILE * deviation).clamp(0.0, 1.0);
        (persons > 1.0).then(|| [bound(-1.0), bound(1.0)])
    }
}

/// Returns the mean length of the diagonals of the torso that are labelled.
fn torso(person: &Person) -> Option<f64> {
    let length = |&[shoulder, hip]: &[usize; 2]| {
        Some(distance(label(person, shoulder)?, label(person, hip)?))
    };
    let lengths: Vec<f64> = TORSO.iter().filter_map(length).collect();
    (!lengths.is_empty()).then(|| lengths.iter().sum::<f64>() / lengths.len() as f64)
}

/// Returns the labelled position of a key point.
pub fn label(person: &Person, k: usize) -> Option<[f64; 2]> {
    let &[x, y, visible] = person.keypoints.get(3 * k..3 * k + 3)? else { return None };
    (visible > 0.0).then_some([x, y])
}

/// Returns the position that was found for a key point.
pub fn position(pose: &Pose, k: usize) -> [f64; 2] {
    [f64::from(pose.keypoints[k].x), f64::from(pose.keypoints[k].y)]
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pck(persons: &[[u64; 2]]) -> Pck {
        let mut pck = Pck::default();
        for &[correct, labelled] in persons {
            let counts = Counts { correct, labelled };
            pck.persons.push(counts);
            pck.keypoints[0].correct += correct;
            pck.keypoints[0].labelled += labelled;
        }
        pck
    }

    #[test]
    fn the_interval_is_that_of_a_ratio_over_persons() {
        // Residuals 1, -1 and 0 of 10 labelled key points each: sqrt(2 * 3/2) / 30.
        let [low, high] = pck(&[[9, 10], [7, 10], [8, 10]]).interval().unwrap();
        let half = 1.96 * 3f64.sqrt() / 30.0;
        assert!((low - (0.8 - half)).abs() < 1e-12 && (high - (0.8 + half)).abs() < 1e-12);
        // As many key points of one kind, which are right or wrong together, tell less.
        let [low_together, _] = pck(&[[10, 10], [4, 10], [10, 10]]).interval().unwrap();
        assert!(low_together < low);
        assert_eq!(pck(&[[5, 5], [7, 7]]).interval(), Some([1.0, 1.0]));
        assert_eq!(pck(&[[5, 10]]).interval(), None);
        assert_eq!(pck(&[]).interval(), None);
    }
}
