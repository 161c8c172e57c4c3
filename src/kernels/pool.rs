//! Pooling over all positions of a plane.

/// The mean of a plane. Sums in eight lanes, each in f32 over runs of 4096 elements and in f64
/// between runs, in an order that depends on the length alone.
pub fn mean(plane: &[f32]) -> f32 {
    const LANES: usize = 8;
    const RUN: usize = 4096;
    let mut total = 0f64;
    for run in plane.chunks(RUN) {
        let mut lanes = [0f32; LANES];
        let whole = run.chunks_exact(LANES);
        let rest = whole.remainder();
        for chunk in whole {
            lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
        }
        total += lanes.iter().chain(rest).map(|&x| f64::from(x)).sum::<f64>();
    }
    (total / plane.len() as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_awkward_lengths() {
        for len in [1, 7, 8, 9, 4095, 4096, 4097, 12544] {
            let plane: Vec<f32> = (0..len).map(|i| i as f32 / len as f32).collect();
            let want = (len - 1) as f32 / 2.0 / len as f32;
            assert!((mean(&plane) - want).abs() < 1e-6, "{len}: {} and {want}", mean(&plane));
        }
    }
}
