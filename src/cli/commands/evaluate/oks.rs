//! How well key points fit annotations: the average precision of COCO, whose similarity of two sets of key
//! points is OKS (<https://cocodataset.org/#keypoints-eval>), in the steps of pycocotools.

/// The number of key points of a person in COCO.
pub const KEYPOINTS: usize = 17;

/// How far annotators deviate from each other, per key point, as a share of the size of the person.
const DEVIATIONS: [f64; KEYPOINTS] = [
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
];

/// The most persons found that count per photo.
const MOST_FOUND: usize = 20;

/// The numbers of thresholds of the similarity, from 0.5 in steps of 0.05, and of the recall, from 0 to 1.
const SIMILARITIES: usize = 10;
const RECALLS: usize = 101;

/// The areas of persons in pixels that count as medium and large.
const MEDIUM: [f64; 2] = [32.0 * 32.0, 96.0 * 96.0];
const LARGE: [f64; 2] = [96.0 * 96.0, 1e10];
const ANY: [f64; 2] = [0.0, 1e10];

/// An annotated person.
#[derive(Clone)]
pub struct True {
    /// Left, top, width and height.
    pub frame: [f64; 4],
    pub area: f64,
    /// The position of each key point, if it is labelled.
    pub keypoints: [Option<[f64; 2]>; KEYPOINTS],
    /// A crowd, in which any number of persons may be found.
    pub is_crowd: bool,
}

/// A person that was found.
#[derive(Clone)]
pub struct Found {
    pub keypoints: [[f64; 2]; KEYPOINTS],
    pub score: f64,
}

/// The persons of one photo.
#[derive(Default)]
pub struct Photo {
    pub truth: Vec<True>,
    pub found: Vec<Found>,
}

/// Average precisions and the average recall. `None` if there is no annotated person of that size.
#[derive(serde::Serialize)]
pub struct Scores {
    pub ap: Option<f64>,
    pub ap50: Option<f64>,
    pub ap75: Option<f64>,
    pub ap_medium: Option<f64>,
    pub ap_large: Option<f64>,
    pub ar: Option<f64>,
}

impl True {
    /// Whether it counts neither if it is found nor if it is missed.
    fn is_ignored(&self, areas: [f64; 2]) -> bool {
        let is_labelled = self.keypoints.iter().any(Option::is_some);
        self.is_crowd || !is_labelled || self.area < areas[0] || self.area > areas[1]
    }

    /// The similarity to the key points of a person that was found, from 0 to 1.
    fn similarity(&self, found: &Found) -> f64 {
        let [left, top, width, height] = self.frame;
        // Without labels, key points within a frame of three times the size fit.
        let beyond = |at: f64, start: f64, length: f64| {
            (start - length - at).max(0.0) + (at - start - 2.0 * length).max(0.0)
        };
        let is_labelled = self.keypoints.iter().any(Option::is_some);
        let mut sum = 0.0;
        let mut count = 0;
        for ((truth, [x, y]), deviation) in
            self.keypoints.iter().zip(found.keypoints).zip(DEVIATIONS)
        {
            let [dx, dy] = match truth {
                Some([to_x, to_y]) => [x - to_x, y - to_y],
                None if is_labelled => continue,
                None => [beyond(x, left, width), beyond(y, top, height)],
            };
            let variance = (2.0 * deviation).powi(2);
            sum += (-(dx * dx + dy * dy) / variance / (self.area + f64::EPSILON) / 2.0).exp();
            count += 1;
        }
        sum / f64::from(count)
    }
}

impl Found {
    fn area(&self) -> f64 {
        let side = |axis: usize| {
            let positions = self.keypoints.iter().map(|point| point[axis]);
            positions.clone().fold(f64::MIN, f64::max) - positions.fold(f64::MAX, f64::min)
        };
        side(0) * side(1)
    }
}

/// What became of a person that was found, at one threshold.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Right,
    Wrong,
    /// Neither, because the annotated person is ignored, or it has another size.
    Ignored,
}

/// The score of each person that was found in a photo, the best first, with its fate at each threshold.
fn judge(photo: &Photo, areas: [f64; 2]) -> Vec<(f64, [Fate; SIMILARITIES])> {
    // Those that are ignored come last.
    let mut truth: Vec<&True> = photo.truth.iter().collect();
    truth.sort_by_key(|person| person.is_ignored(areas));
    let mut found: Vec<&Found> = photo.found.iter().collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MOST_FOUND);
    let similarities: Vec<Vec<f64>> =
        found.iter().map(|f| truth.iter().map(|t| t.similarity(f)).collect()).collect();
    let mut judged: Vec<_> =
        found.iter().map(|found| (found.score, [Fate::Wrong; SIMILARITIES])).collect();
    for threshold in 0..SIMILARITIES {
        let mut is_taken = vec![false; truth.len()];
        let least = (0.5 + 0.05 * threshold as f64).min(1.0 - 1e-10);
        for ((found, similarities), (_, fates)) in found.iter().zip(&similarities).zip(&mut judged)
        {
            let mut best: Option<(usize, f64)> = None;
            for (at, person) in truth.iter().enumerate() {
                if is_taken[at] && !person.is_crowd {
                    continue;
                }
                let counts = |at: usize| !truth[at].is_ignored(areas);
                if best.is_some_and(|(best, _)| counts(best) && !counts(at)) {
                    break;
                }
                if similarities[at] >= best.map_or(least, |(_, similarity)| similarity) {
                    best = Some((at, similarities[at]));
                }
            }
            fates[threshold] = match best {
                Some((at, _)) => {
                    is_taken[at] = true;
                    if truth[at].is_ignored(areas) { Fate::Ignored } else { Fate::Right }
                }
                None if found.area() < areas[0] || found.area() > areas[1] => Fate::Ignored,
                None => Fate::Wrong,
            };
        }
    }
    judged
}

/// The average precision and the recall at each threshold, for persons of these areas. `None` if there are
/// none.
fn curves(photos: &[Photo], areas: [f64; 2]) -> Option<[(f64, f64); SIMILARITIES]> {
    let truth = photos.iter().flat_map(|photo| &photo.truth);
    let persons = truth.filter(|person| !person.is_ignored(areas)).count();
    if persons == 0 {
        return None;
    }
    let mut judged: Vec<_> = photos.iter().flat_map(|photo| judge(photo, areas)).collect();
    judged.sort_by(|a, b| b.0.total_cmp(&a.0));
    Some(std::array::from_fn(|threshold| {
        let (mut right, mut wrong) = (0u32, 0u32);
        let mut recall = Vec::new();
        let mut precision = Vec::new();
        for (_, fates) in &judged {
            match fates[threshold] {
                Fate::Right => right += 1,
                Fate::Wrong => wrong += 1,
                Fate::Ignored => {}
            }
            recall.push(f64::from(right) / persons as f64);
            precision.push(f64::from(right) / f64::from((right + wrong).max(1)));
        }
        for i in (1..precision.len()).rev() {
            precision[i - 1] = precision[i - 1].max(precision[i]);
        }
        let at = |step: usize| {
            let least = step as f64 / (RECALLS - 1) as f64;
            precision.get(recall.partition_point(|&recall| recall < least)).copied().unwrap_or(0.0)
        };
        let average = (0..RECALLS).map(at).sum::<f64>() / RECALLS as f64;
        (average, recall.last().copied().unwrap_or(0.0))
    }))
}

/// The scores of COCO over photos, in the order of their numbers.
pub fn scores(photos: &[Photo]) -> Scores {
    let mean = |curves: Option<[(f64, f64); SIMILARITIES]>, of: fn((f64, f64)) -> f64| {
        curves.map(|curves| curves.map(of).iter().sum::<f64>() / SIMILARITIES as f64)
    };
    let all = curves(photos, ANY);
    Scores {
        ap: mean(all, |(precision, _)| precision),
        ap50: all.map(|all| all[0].0),
        ap75: all.map(|all| all[5].0),
        ap_medium: mean(curves(photos, MEDIUM), |(precision, _)| precision),
        ap_large: mean(curves(photos, LARGE), |(precision, _)| precision),
        ar: mean(all, |(_, recall)| recall),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    /// Random persons, crowds and persons without labels, small and large, and what pycocotools gives.
    #[test]
    fn scores_are_those_of_pycocotools() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keypoints/oks.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let photos = golden["photos"].as_array().unwrap().iter().map(|photo| {
            let truth = photo["truth"].as_array().unwrap().iter().map(|person| {
                let points = numbers(&person["keypoints"]);
                let point = |k: usize| {
                    (points[3 * k + 2] > 0.0).then(|| [points[3 * k], points[3 * k + 1]])
                };
                True {
                    frame: numbers(&person["bbox"]).try_into().unwrap(),
                    area: person["area"].as_f64().unwrap(),
                    keypoints: std::array::from_fn(point),
                    is_crowd: person["iscrowd"] == 1,
                }
            });
            let found = photo["found"].as_array().unwrap().iter().map(|person| {
                let points = numbers(&person["keypoints"]);
                Found {
                    keypoints: std::array::from_fn(|k| [points[3 * k], points[3 * k + 1]]),
                    score: person["score"].as_f64().unwrap(),
                }
            });
            Photo { truth: truth.collect(), found: found.collect() }
        });
        let photos: Vec<Photo> = photos.collect();
        let scores = serde_json::to_value(scores(&photos)).unwrap();
        for (name, expected) in golden["scores"].as_object().unwrap() {
            let (expected, found) = (expected.as_f64().unwrap(), scores[name].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-9, "{name}: {found}, expected {expected}");
        }
    }

    #[test]
    fn without_persons_there_are_no_scores() {
        let found = Found { keypoints: [[1.0, 2.0]; KEYPOINTS], score: 0.5 };
        let scores = scores(&[Photo { truth: vec![], found: vec![found] }]);
        assert!(scores.ap.is_none() && scores.ar.is_none());
    }
}
