//! `y = max over k of (a_k x + b_k)`, the function behind every dynamic ReLU and its relatives.
//!
//! A NaN in any piece makes the result NaN, as in PyTorch's `torch.max`.

/// The larger of two, NaN where either is.
#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// Applies the activation to `x` with the same K slopes `a` and offsets `b` for all elements: one
/// plane of an NCHW map, or a whole image of form A.
///
/// # Panics
/// Where `x` and `y` differ in length, or `a` and `b` are empty or differ in length.
pub fn max_affine(x: &[f32], y: &mut [f32], a: &[f32], b: &[f32]) {
    assert_eq!(x.len(), y.len());
    assert!(!a.is_empty() && a.len() == b.len());
    match (a, b) {
        (&[a], &[b]) => each(x, y, |x| a * x + b),
        (&[a1, a2], &[b1, b2]) => each(x, y, |x| max(a1 * x + b1, a2 * x + b2)),
        (&[a1, a2, a3], &[b1, b2, b3]) => {
            each(x, y, |x| max(max(a1 * x + b1, a2 * x + b2), a3 * x + b3));
        }
        _ => each(x, y, |x| {
            let first = a[0] * x + b[0];
            a[1..].iter().zip(&b[1..]).fold(first, |m, (a, b)| max(m, a * x + b))
        }),
    }
}

/// Applies the activation to `x`, NHWC with `channels` channels; `a` and `b` are `[K][channels]`.
///
/// # Panics
/// Where the lengths do not fit together.
pub fn max_affine_nhwc(x: &[f32], y: &mut [f32], channels: usize, a: &[f32], b: &[f32]) {
    assert_eq!(x.len(), y.len());
    assert!(channels > 0 && x.len().is_multiple_of(channels));
    assert!(!a.is_empty() && a.len() == b.len() && a.len().is_multiple_of(channels));
    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        for (c, (x, y)) in x.iter().zip(y).enumerate() {
            let piece = |k: usize| a[k * channels + c] * x + b[k * channels + c];
            *y = (1..a.len() / channels).fold(piece(0), |m, k| max(m, piece(k)));
        }
    }
}

/// Multiplies the planes of `y`, one after another, by the attention `pi` of one plane.
///
/// # Panics
/// Where `y` is not a whole number of planes.
pub fn scale_by_position(y: &mut [f32], pi: &[f32]) {
    assert!(!pi.is_empty() && y.len().is_multiple_of(pi.len()));
    for plane in y.chunks_exact_mut(pi.len()) {
        plane.iter_mut().zip(pi).for_each(|(y, pi)| *y *= pi);
    }
}

#[inline(always)]
fn each(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (x, y) in x.iter().zip(y) {
        *y = f(*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(x: f32, a: &[f32], b: &[f32]) -> f32 {
        let pieces = || a.iter().zip(b).map(|(a, b)| a * x + b);
        if pieces().any(f32::is_nan) {
            f32::NAN
        } else {
            pieces().fold(f32::NEG_INFINITY, f32::max)
        }
    }

    #[test]
    fn every_k_and_both_layouts_agree_with_the_definition() {
        let a = [1.0, -0.5, 0.25, 2.0, 0.0, 1.5, -1.0, 0.75];
        let b = [0.0, 0.5, -0.25, -1.0, 0.1, 0.2, 0.3, -0.4];
        for k in 1..=8 {
            for len in [1, 3, 17, 64] {
                let x: Vec<f32> = (0..len).map(|i| i as f32 * 0.37 - 3.0).collect();
                let want: Vec<f32> = x.iter().map(|&x| naive(x, &a[..k], &b[..k])).collect();
                let mut y = vec![f32::NAN; len];
                max_affine(&x, &mut y, &a[..k], &b[..k]);
                assert_eq!(y, want, "K = {k}, {len} elements");
                let spread = |v: &[f32]| -> Vec<f32> {
                    v.iter().flat_map(|&v| std::iter::repeat_n(v, len)).collect()
                };
                max_affine_nhwc(&x, &mut y, len, &spread(&a[..k]), &spread(&b[..k]));
                assert_eq!(y, want, "NHWC, K = {k}, {len} channels");
            }
        }
    }

    #[test]
    fn a_nan_in_one_piece_is_a_nan() {
        for (a, b) in [([0.0, 1.0], [0.0, 0.0]), ([1.0, 0.0], [0.0, 0.0])] {
            let mut y = [0.0; 3];
            max_affine(&[f32::INFINITY, f32::NAN, 1.0], &mut y, &a, &b);
            assert!(y[0].is_nan() && y[1].is_nan());
            assert_eq!(y[2], 1.0);
        }
    }
}
