//! Scores to named predictions.

use serde::Serialize;

/// The names of a classifier's classes, in the order of its outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// Reads one name per line. Empty lines at the end and a byte order mark are ignored.
    pub fn from_lines(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
        Labels(text.lines().map(|line| line.trim().to_string()).collect())
    }

    /// Returns the number of names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the name of a class, or its number if it has none.
    pub fn name(&self, class: usize) -> String {
        match self.0.get(class) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => class.to_string(),
        }
    }
}

/// One guess of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prediction {
    /// The number of the class, from 0.
    pub class: usize,
    /// The name of the class, or its number if it has none.
    pub label: String,
    /// The probability, from 0 to 1.
    pub score: f32,
}

/// Returns the softmax of `logits`.
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|&x| f64::from(x - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| (e / sum) as f32).collect()
}

/// Returns the `k` classes with the highest scores, the highest first. Among equal scores, the class with
/// the lower number is first.
pub fn top_k(scores: &[f32], k: usize, labels: &Labels) -> Vec<Prediction> {
    let best_first = |&a: &usize, &b: &usize| scores[b].total_cmp(&scores[a]).then(a.cmp(&b));
    let mut classes: Vec<usize> = (0..scores.len()).collect();
    if k < classes.len() {
        classes.select_nth_unstable_by(k, best_first);
        classes.truncate(k);
    }
    classes.sort_unstable_by(best_first);
    let predict = |class| Prediction { class, label: labels.name(class), score: scores[class] };
    classes.into_iter().map(predict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_keep_their_order() {
        let labels = Labels::from_lines("\u{feff}cat\r\ndog\n\n");
        assert_eq!((labels.len(), labels.name(0).as_str()), (2, "cat"));
        let best = top_k(&[0.2, 0.5, 0.2, 0.1], 3, &labels);
        assert_eq!(best.iter().map(|p| p.class).collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!(best[0].label, "dog");
        assert_eq!(best[2].label, "2");
        assert_eq!(top_k(&[1.0], 5, &labels).len(), 1);
    }

    #[test]
    fn the_best_few_are_those_of_a_full_sort() {
        let scores: Vec<f32> = (0..1000).map(|i: usize| ((i * 7919) % 97) as f32).collect();
        let all = top_k(&scores, scores.len(), &Labels::default());
        assert!(all.is_sorted_by(|a, b| (b.score, a.class) <= (a.score, b.class)));
        for k in [0, 1, 5, 11, 12, 999] {
            assert_eq!(top_k(&scores, k, &Labels::default()), all[..k]);
        }
    }

    #[test]
    fn probabilities_sum_to_one_however_large_the_logits() {
        let p = probabilities(&[1000.0, 1001.0, -1000.0]);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((p[1] - 0.731_058_6).abs() < 1e-6);
    }
}
