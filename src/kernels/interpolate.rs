//! Samples of a map at computed positions: every pixel of the result is a weighted sum of pixels that it
//! chooses itself, as in deformable convolutions.
#![allow(unsafe_code)]

use super::block::Block;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised};

/// The most pixels that a sample is a sum of.
pub const MOST_NEIGHBOURS: usize = 16;

/// The pixels that a sample is a weighted sum of.
#[derive(Clone, Copy, Debug)]
pub struct Neighbours {
    pixels: [usize; MOST_NEIGHBOURS],
    weights: [f32; MOST_NEIGHBOURS],
    count: usize,
    /// The sample if there are none.
    nothing: f32,
}

impl Neighbours {
    /// Returns a sample without pixels, which is `nothing`.
    pub fn none(nothing: f32) -> Self {
        Neighbours {
            pixels: [0; MOST_NEIGHBOURS],
            weights: [0.0; MOST_NEIGHBOURS],
            count: 0,
            nothing,
        }
    }

    /// Adds a pixel.
    ///
    /// # Panics
    /// Panics if there are [`MOST_NEIGHBOURS`] already.
    #[inline(always)]
    pub fn push(&mut self, pixel: usize, weight: f32) {
        self.pixels[self.count] = pixel;
        self.weights[self.count] = weight;
        self.count += 1;
    }
}

/// The samples that lie side by side in a pixel of the result.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// The number of samples.
    pub count: usize,
    /// The number of groups of channels: samples `i`, `i + groups` and so on are of group `i`.
    pub groups: usize,
    /// The channels of a group.
    pub channels: usize,
}

/// Samples an image `x [pixels][stride]`, NHWC, and writes the lines of the result that `block` covers. A
/// row of the block is a line of pixels of `width` elements. `neighbours` returns the pixels for a line, a
/// column and a part.
///
/// # Panics
/// Panics if the image has no such pixel, or if image, parts and block do not agree.
pub fn interpolate(
    isa: Isa,
    x: &[f32],
    stride: usize,
    parts: Parts,
    neighbours: impl Fn(usize, usize, usize) -> Neighbours,
    width: usize,
    block: &mut Block,
) {
    let Parts { count, groups, channels } = parts;
    assert!(groups > 0 && product_of([groups, channels]) <= stride, "{parts:?} of {stride}");
    assert!(product_of([count, channels]) <= width && block.width().is_multiple_of(width));
    isa.run_narrow(Interpolate { x, stride, parts, neighbours, width, block });
}

struct Interpolate<'a, 'b, 'c, F> {
    x: &'a [f32],
    stride: usize,
    parts: Parts,
    neighbours: F,
    width: usize,
    block: &'c mut Block<'b>,
}

impl<F: Fn(usize, usize, usize) -> Neighbours> Vectorised for Interpolate<'_, '_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Interpolate { x, stride, parts, neighbours, width, block } = self;
        let Parts { count, groups, channels } = parts;
        for line in block.rows() {
            for (column, pixel) in block.row(line).chunks_exact_mut(width).enumerate() {
                for part in 0..count {
                    let to = &mut pixel[part * channels..][..channels];
                    let mut sample = neighbours(line, column, part);
                    let first = part % groups * channels;
                    sample.pixels[..sample.count].iter_mut().for_each(|p| *p = *p * stride + first);
                    sum(s, x, &sample, to);
                }
            }
        }
    }
}

/// Writes weighted sums of elements of `x` to `to`. The pixels of the sample are given by the index of their
/// first element.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32], sample: &Neighbours, to: &mut [f32]) {
    let (places, weights) = (&sample.pixels[..sample.count], &sample.weights[..sample.count]);
    let (Some((&place, places)), Some((&weight, weights))) =
        (places.split_first(), weights.split_first())
    else {
        to.fill(sample.nothing);
        return;
    };
    let len = to.len();
    let is_inside = |&place: &usize| place.checked_add(len).is_some_and(|end| end <= x.len());
    assert!(is_inside(&place) && places.iter().all(is_inside), "a pixel of the map");
    assert!(S::WIDTH == LANES);
    let whole = len - len % LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `x` has `len` elements at every place and `to` has `len`, as asserted above, and
        // `at + LANES` is not above that.
        unsafe {
            let load = |place: usize| s.load(x.as_ptr().add(place + at));
            let mut sum = s.mul(s.splat(weight), load(place));
            for (&place, &weight) in places.iter().zip(weights) {
                sum = s.mul_add(s.splat(weight), load(place), sum);
            }
            s.store(to.as_mut_ptr().add(at), sum);
        }
    }
    for at in whole..len {
        let rest = places.iter().zip(weights).map(|(&place, &weight)| weight * x[place + at]);
        to[at] = rest.fold(weight * x[place + at], |sum, product| sum + product);
    }
}
