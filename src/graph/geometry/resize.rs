//! Sizes and scales of `Resize`.

use super::{Fraction, MAX_TENSOR_BYTES, axes, signed, too_large};
use crate::error::{Error, Result};
use crate::graph::{AspectRatioPolicy, CoordinateTransform, Resize};

/// How a resize changes one axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResizeAxis {
    /// The size of the input.
    pub input: usize,
    /// The size of the result.
    pub output: usize,
    /// Output size over input size. If the network states sizes, it is their exact quotient; if it
    /// states scales, it is the stated number, whose product with the input size need not be an
    /// integer.
    pub scale: Fraction,
    /// First and last coordinate of the region of interest; 0 and 1 for the whole axis.
    pub roi: (f32, f32),
}

impl ResizeAxis {
    /// Returns whether the axis stays as it is.
    pub fn is_identity(&self) -> bool {
        self.output == self.input && self.scale.is_one() && self.roi == (0.0, 1.0)
    }
}

/// Resolves the sizes and scales of all axes of a resize. Either `scales` or `sizes` is given, for
/// the axes that the operator names. `roi` is used for `tf_crop_and_resize` only.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if both or neither is given, if there is not one for every
/// axis, or if a resulting size is 0 or too large.
pub(crate) fn resize(
    shape: &[usize],
    op: &Resize,
    roi: Option<&[f32]>,
    scales: Option<&[f32]>,
    sizes: Option<&[i64]>,
) -> Result<Vec<ResizeAxis>> {
    let chosen = resized_axes(op, shape.len())?;
    let whole = |&size: &usize| ResizeAxis {
        input: size,
        output: size,
        scale: Fraction::ONE,
        roi: (0.0, 1.0),
    };
    let mut result: Vec<ResizeAxis> = shape.iter().map(whole).collect();
    let count = |what: &str, found: usize, expected: usize| match found == expected {
        true => Ok(()),
        false => Err(Error::shape(format!("expected {expected} {what}, found {found}"))),
    };

    if op.coordinates == CoordinateTransform::TfCropAndResize {
        let roi = roi.ok_or_else(|| Error::shape("tf_crop_and_resize needs a roi"))?;
        count("entries of roi, two for every axis", roi.len(), 2 * chosen.len())?;
        if let Some(&far) = roi.iter().find(|at| !(-FARTHEST..=FARTHEST).contains(*at)) {
            return Err(Error::shape(format!("a roi at {far} must lie between -2^20 and 2^20")));
        }
        for (i, &axis) in chosen.iter().enumerate() {
            result[axis].roi = (roi[i], roi[chosen.len() + i]);
        }
    }
    // Files of older opsets have an empty tensor for the one of the two that is not used.
    match (scales.filter(|s| !s.is_empty()), sizes.filter(|s| !s.is_empty())) {
        (Some(scales), None) => {
            count("scales, one for every axis", scales.len(), chosen.len())?;
            for (&axis, &scale) in chosen.iter().zip(scales) {
                let (from, to) = result[axis].roi;
                result[axis].output = scaled(shape[axis], scale, to - from)?;
                result[axis].scale = Fraction::from_f32(scale);
            }
        }
        (None, Some(sizes)) => {
            count("sizes, one for every axis", sizes.len(), chosen.len())?;
            if let Some(&size) = sizes.iter().find(|&&size| size <= 0) {
                return Err(Error::shape(format!("a size of {size} must be positive")));
            }
            let empty = || Error::shape(format!("an empty axis of {shape:?} cannot grow"));
            let ratio = |axis: usize, size: i64| -> Result<Fraction> {
                let (numerator, denominator) = (size.into(), signed(shape[axis])?.into());
                Ok(Fraction { numerator, denominator })
            };
            let ratios = chosen.iter().zip(sizes).map(|(&axis, &size)| ratio(axis, size));
            let ratios = ratios.collect::<Result<Vec<_>>>()?.into_iter();
            let common = match op.keep_aspect_ratio {
                AspectRatioPolicy::Stretch => None,
                AspectRatioPolicy::NotLarger => {
                    ratios.reduce(|a, b| if b.is_less(a) { b } else { a })
                }
                AspectRatioPolicy::NotSmaller => {
                    ratios.reduce(|a, b| if a.is_less(b) { b } else { a })
                }
            };
            if common.is_some_and(|scale| scale.denominator == 0) {
                return Err(empty());
            }
            for (&axis, &size) in chosen.iter().zip(sizes) {
                result[axis].scale = common.unwrap_or(ratio(axis, size)?);
                result[axis].output = match common {
                    // Halves are rounded up: adding one half and rounding down does that.
                    Some(Fraction { numerator, denominator }) => {
                        let numerator = numerator * i128::from(signed(shape[axis])?);
                        let size = Fraction { numerator, denominator }.plus_halves(1).floor();
                        usize::try_from(size).map_err(|_| too_large("the size"))?
                    }
                    None => usize::try_from(size).map_err(|_| too_large("the size"))?,
                };
            }
        }
        _ => return Err(Error::shape("a resize needs either scales or sizes")),
    }
    match shape.iter().zip(&result).find(|(before, after)| **before == 0 && after.output > 0) {
        Some(_) => Err(Error::shape(format!("an empty axis of {shape:?} cannot grow"))),
        None => Ok(result),
    }
}

/// Returns the axes that the scales or sizes of a resize are for.
pub(crate) fn resized_axes(op: &Resize, rank: usize) -> Result<Vec<usize>> {
    if op.axes.is_empty() { Ok((0..rank).collect()) } else { axes(&op.axes, rank) }
}

/// The largest scale, and the inverse of the smallest: more than the size of any axis.
const LARGEST_SCALE: f32 = (1u64 << 40) as f32;

/// The largest distance of a region of interest from the image, in sizes of the image.
const FARTHEST: f32 = (1u32 << 20) as f32;

/// Returns the size of an axis of which a share `part` is scaled, rounded down. The product is
/// computed in single precision, as exporters expect: 10 * 0.7 is 7.
pub(crate) fn scaled(size: usize, scale: f32, part: f32) -> Result<usize> {
    if !(1.0 / LARGEST_SCALE..=LARGEST_SCALE).contains(&scale) {
        let message = format!("a scale of {scale} must be positive, from 2^-40 to 2^40");
        return Err(Error::shape(message));
    }
    let size = (size as f32 * part * scale).floor();
    if (0.0..MAX_TENSOR_BYTES as f32).contains(&size) {
        return Ok(size as usize);
    }
    Err(Error::shape(format!("a size of {size} cannot be made")))
}
