//! From scores to named predictions.

use serde::Serialize;

/// The names of a classifier's classes, in the order of its outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// One name a line. Empty lines at the end do not count.
    pub fn from_lines(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
        Labels(text.lines().map(|line| line.trim().to_string()).collect())
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a class; its number where it has none.
    pub fn name(&self, class: usize) -> String {
        match self.0.get(class) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => class.to_string(),
        }
    }
}

/// One guess of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The number of the class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Its probability.
    pub score: f32,
}

/// The softmax of `logits`.
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|&x| f64::from(x - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| (e / sum) as f32).collect()
}

/// The `k` most probable classes, the most probable first; of equal ones the lower number first.
pub fn top_k(scores: &[f32], k: usize, labels: &Labels) -> Vec<Prediction> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(k);
    let predict = |class| Prediction { class, label: labels.name(class), score: scores[class] };
    order.into_iter().map(predict).collect()
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
    fn probabilities_sum_to_one_however_large_the_logits() {
        let p = probabilities(&[1000.0, 1001.0, -1000.0]);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((p[1] - 0.731_058_6).abs() < 1e-6);
    }
}
