//! The decoder of SimCC: two classifications per key point, of its column and of its row.

use super::maps::{Maps, Point, largest};

/// Returns the most probable column and row of each key point, with the smaller of their scores.
pub(super) fn decode(columns: &Maps, rows: &Maps) -> Vec<Point> {
    let place = |scores: &[f32]| {
        let best = largest(scores.iter().copied());
        (best as f32 / scores.len() as f32, scores[best])
    };
    let point = |k: usize| {
        let ((x, of_column), (y, of_row)) = (place(columns.channel(k)), place(rows.channel(k)));
        Point { x, y, score: of_column.min(of_row) }
    };
    (0..columns.shape[0]).map(point).collect()
}

pub(super) fn mirrored(outputs: &[Maps], partners: &[usize]) -> Vec<Maps> {
    let [columns, rows] = outputs else { return Vec::new() };
    let exchanged = partners.iter().flat_map(|&k| rows.channel(k)).copied().collect();
    vec![columns.mirrored(partners), Maps { shape: rows.shape.clone(), values: exchanged }]
}
