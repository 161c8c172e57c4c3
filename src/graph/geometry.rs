//! The arithmetic of sizes that shape inference and every executor share, on sizes that are known.
//!
//! All of it is checked: attributes and contents come from files that may be hostile.

use super::{AspectRatioPolicy, ConvTranspose, CoordinateTransform, Padding, Resize};
use crate::error::{Error, Result};
use crate::tensor::{DType, num_elements};

/// The largest tensor that is made, in bytes: far above any feature map, far below what would
/// bring the process down by its mere allocation.
const MAX_TENSOR_BYTES: usize = 1 << 33;

/// The number of elements of a tensor that is about to be made.
///
/// # Errors
/// `Shape` where it would be too large to make. An axis of size 0 is no excuse for others of any
/// size: whoever goes through them one by one would not come to an end.
pub(crate) fn element_count(shape: &[usize], dtype: DType) -> Result<usize> {
    let filled: Vec<usize> = shape.iter().map(|&size| size.max(1)).collect();
    num_elements(&filled)
        .filter(|n| n.checked_mul(dtype.size()).is_some_and(|bytes| bytes <= MAX_TENSOR_BYTES))
        .map(|n| if shape.contains(&0) { 0 } else { n })
        .ok_or_else(|| {
            Error::shape(format!(
                "a {dtype} tensor of shape {shape:?} is larger than the {} GiB that are allowed",
                MAX_TENSOR_BYTES >> 30
            ))
        })
}

/// Whether all elements of `shape` lie along its last axis: whether a bias that is broadcast to a
/// matrix is the same for every row.
pub(crate) fn is_row(shape: &[usize]) -> bool {
    shape.iter().rev().skip(1).all(|&size| size == 1)
}

/// The axis that `axis` names among `rank` axes; negative ones count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let from_start = if axis < 0 { axis.saturating_add_unsigned(rank as u64) } else { axis };
    usize::try_from(from_start).ok().filter(|&a| a < rank).ok_or_else(|| {
        Error::shape(format!("axis {axis} does not exist: the tensor has {rank} axes"))
    })
}

/// The axes that `axes` names among `rank`, in the order given.
///
/// # Errors
/// `Shape` where one does not exist or is named twice.
pub(crate) fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut seen = vec![false; rank];
    let mut found = Vec::new();
    for &name in axes {
        let a = axis(name, rank)?;
        if std::mem::replace(&mut seen[a], true) {
            return Err(Error::shape(format!("axis {a} is named twice in {axes:?}")));
        }
        found.push(a);
    }
    Ok(found)
}

/// The shape to which all `shapes` broadcast by ONNX's (numpy's) rules.
pub(crate) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        let offset = rank - shape.len();
        for (size, &other) in result[offset..].iter_mut().zip(*shape) {
            match (*size, other) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *size = b,
                (a, b) => {
                    return Err(Error::shape(format!(
                        "shapes {shapes:?} do not broadcast: sizes {a} and {b} meet, and neither \
                         is 1"
                    )));
                }
            }
        }
    }
    Ok(result)
}

/// How a window moves along one axis, with its padding resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowAxis {
    /// The number of taps.
    pub kernel: usize,
    /// The step from one output to the next.
    pub stride: usize,
    /// The distance of the taps.
    pub dilation: usize,
    /// Elements added before the axis; negative crops. For a transposed convolution: elements cut
    /// from the start of the full output.
    pub before: i64,
    /// Elements added after the axis, or cut from the end of the full output.
    pub after: i64,
    /// The number of outputs.
    pub output: usize,
}

/// Kernel, stride and dilation of every spatial axis, as written: empty vectors mean ones.
#[derive(Clone, Copy)]
pub(crate) struct WindowSpec<'a> {
    pub kernel: &'a [usize],
    pub strides: &'a [usize],
    pub dilations: &'a [usize],
    pub padding: &'a Padding,
}

/// The largest kernel, stride, dilation and padding: more than any image has pixels in a row.
const LARGEST_STEP: usize = 1 << 24;

impl WindowSpec<'_> {
    /// Checks that every vector has `rank` entries (or none, where that has a meaning) and that
    /// none of them is zero, or so large that products with sizes could overflow.
    pub fn check(&self, rank: usize) -> Result<()> {
        let vectors =
            [("kernel", self.kernel), ("strides", self.strides), ("dilations", self.dilations)];
        for (name, values) in vectors {
            if values.len() != rank && (name == "kernel" || !values.is_empty()) {
                return Err(Error::shape(format!(
                    "{name} {values:?} must have one entry for each of the {rank} spatial axes"
                )));
            }
            if values.contains(&0) {
                return Err(Error::shape(format!("{name} {values:?} must be positive")));
            }
            if values.iter().any(|&value| value > LARGEST_STEP) {
                return Err(Error::shape(format!("{name} {values:?} must not exceed 2^24")));
            }
        }
        match self.padding {
            Padding::Explicit(pads)
                if !pads.is_empty() && Some(pads.len()) != rank.checked_mul(2) =>
            {
                Err(Error::shape(format!(
                    "pads {pads:?} must have two entries for each of the {rank} spatial axes"
                )))
            }
            Padding::Explicit(pads)
                if pads.iter().any(|pad| pad.unsigned_abs() > LARGEST_STEP as u64) =>
            {
                Err(Error::shape(format!("pads {pads:?} must not exceed 2^24")))
            }
            _ => Ok(()),
        }
    }

    /// Kernel, stride and dilation of spatial axis `i`.
    pub fn axis(&self, i: usize) -> (usize, usize, usize) {
        let or_one = |values: &[usize]| values.get(i).copied().unwrap_or(1);
        (self.kernel[i], or_one(self.strides), or_one(self.dilations))
    }

    /// The padding before and after spatial axis `i`, where the network states it.
    pub fn explicit(&self, i: usize) -> Option<(i64, i64)> {
        match self.padding {
            Padding::Explicit(pads) if pads.is_empty() => Some((0, 0)),
            Padding::Explicit(pads) => Some((pads[i], pads[pads.len() / 2 + i])),
            Padding::SameUpper | Padding::SameLower => None,
        }
    }

    /// The number of input elements that the window of axis `i` spans.
    pub fn extent(&self, i: usize) -> Result<i64> {
        let (kernel, _, dilation) = self.axis(i);
        (kernel - 1)
            .checked_mul(dilation)
            .and_then(|n| i64::try_from(n).ok()?.checked_add(1))
            .ok_or_else(|| too_large("the window"))
    }

    /// `total` elements of padding as (before, after).
    fn distribute(&self, total: i64) -> (i64, i64) {
        match self.padding {
            Padding::SameLower => (total - total / 2, total / 2),
            _ => (total / 2, total - total / 2),
        }
    }
}

fn too_large(what: &str) -> Error {
    Error::shape(format!("{what} is too large to be counted"))
}

fn signed(size: usize) -> Result<i64> {
    i64::try_from(size).map_err(|_| too_large("the size"))
}

/// The windows of a convolution or a pool over spatial axes of sizes `input`.
///
/// With `ceil_mode` a last window may reach past the padded input, but must begin inside the
/// input or the padding before it.
///
/// # Errors
/// `Shape` where vectors have the wrong length, a stride or dilation is zero, or the window does
/// not fit.
pub(crate) fn windows(
    input: &[usize],
    spec: WindowSpec<'_>,
    ceil_mode: bool,
) -> Result<Vec<WindowAxis>> {
    spec.check(input.len())?;
    input.iter().enumerate().map(|(i, &size)| window(i, size, spec, ceil_mode)).collect()
}

/// The windows along spatial axis `i`, of size `size`, of a checked `spec`.
pub(crate) fn window(
    i: usize,
    size: usize,
    spec: WindowSpec<'_>,
    ceil_mode: bool,
) -> Result<WindowAxis> {
    let (kernel, stride, dilation) = spec.axis(i);
    let (extent, step, size) = (spec.extent(i)?, signed(stride)?, signed(size)?);
    let (before, after, output) = match spec.explicit(i) {
        Some((before, after)) => {
            let span = before
                .checked_add(after)
                .and_then(|pads| size.checked_add(pads)?.checked_sub(extent))
                .ok_or_else(|| too_large("the padded input"))?;
            let mut output = span.div_euclid(step) + 1;
            if ceil_mode {
                output += i64::from(span.rem_euclid(step) != 0);
                let last = (output - 1).saturating_mul(step);
                output -= i64::from(last >= size.saturating_add(before));
            }
            (before, after, output)
        }
        None => {
            let output = -(-size).div_euclid(step);
            let needed = (output - 1)
                .checked_mul(step)
                .and_then(|n| n.checked_add(extent)?.checked_sub(size))
                .ok_or_else(|| too_large("the padding"))?;
            let (before, after) = spec.distribute(needed.max(0));
            (before, after, output)
        }
    };
    match usize::try_from(output) {
        Ok(output) if output > 0 => {
            Ok(WindowAxis { kernel, stride, dilation, before, after, output })
        }
        _ => Err(Error::shape(format!(
            "a window of {extent} elements does not fit spatial axis {i}, which has {size} and \
             {before} + {after} of padding; the image is too small for this network"
        ))),
    }
}

/// The windows of a transposed convolution over spatial axes of sizes `input`: tap `t` of input
/// `i` adds to output `i * stride + t * dilation - before`.
///
/// # Errors
/// As [`windows`]; also where nothing is left of the output.
pub(crate) fn transposed_windows(
    input: &[usize],
    kernel: &[usize],
    op: &ConvTranspose,
) -> Result<Vec<WindowAxis>> {
    let spec = transposed_spec(kernel, op, input.len())?;
    input.iter().enumerate().map(|(i, &size)| transposed_window(i, size, spec, op)).collect()
}

/// The windows along spatial axis `i`, of size `size`, of a checked `spec`.
pub(crate) fn transposed_window(
    i: usize,
    size: usize,
    spec: WindowSpec<'_>,
    op: &ConvTranspose,
) -> Result<WindowAxis> {
    let (kernel, stride, dilation) = spec.axis(i);
    let last = size
        .checked_sub(1)
        .ok_or_else(|| Error::shape(format!("spatial axis {i} of the input is empty")))?;
    let longer = op.output_padding.get(i).copied().unwrap_or(0);
    let full = signed(last)?
        .checked_mul(signed(stride)?)
        .and_then(|n| n.checked_add(spec.extent(i).ok()?)?.checked_add(signed(longer).ok()?))
        .ok_or_else(|| too_large("the output"))?;
    let wanted = match (op.output_shape.get(i), spec.explicit(i)) {
        (Some(&wanted), _) => Some(signed(wanted)?),
        (None, None) => {
            Some(signed(size.checked_mul(stride).ok_or_else(|| too_large("the output"))?)?)
        }
        (None, Some(_)) => None,
    };
    let (before, after) = match wanted.map(|wanted| full - wanted) {
        None => spec.explicit(i).unwrap_or((0, 0)),
        // What is missing rather than surplus goes to the end.
        Some(surplus) if surplus <= 0 => (0, surplus),
        Some(surplus) if *spec.padding == Padding::SameUpper => {
            (surplus / 2, surplus - surplus / 2)
        }
        Some(surplus) => (surplus - surplus / 2, surplus / 2),
    };
    let output = full.checked_sub(before).and_then(|n| n.checked_sub(after));
    match output.ok_or_else(|| too_large("the output"))?.try_into() {
        Ok(output) if output > 0 => {
            Ok(WindowAxis { kernel, stride, dilation, before, after, output })
        }
        _ => Err(Error::shape(format!(
            "nothing is left of spatial axis {i}: the full output has {full} elements, and \
             {before} + {after} are cut off"
        ))),
    }
}

/// The windows of a transposed convolution with `rank` spatial axes, checked.
pub(crate) fn transposed_spec<'a>(
    kernel: &'a [usize],
    op: &'a ConvTranspose,
    rank: usize,
) -> Result<WindowSpec<'a>> {
    let ConvTranspose { padding, strides, dilations, output_padding, output_shape, .. } = op;
    let spec = WindowSpec { kernel, strides, dilations, padding };
    spec.check(rank)?;
    for (name, values) in [("output_padding", output_padding), ("output_shape", output_shape)] {
        if !values.is_empty() && values.len() != rank {
            return Err(Error::shape(format!(
                "{name} {values:?} must have one entry for each of the {rank} spatial axes"
            )));
        }
    }
    Ok(spec)
}

/// The part of one axis that a slice takes: elements `start`, `start + step`, ... `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SliceAxis {
    /// The first element; meaningless where `len` is 0.
    pub start: usize,
    /// The distance, perhaps negative, never zero.
    pub step: i64,
    /// How many.
    pub len: usize,
}

/// The elements of an axis of size `size` from `start` to before `end`.
///
/// # Errors
/// `Shape` where the step is zero.
pub(crate) fn slice(size: usize, start: i64, end: i64, step: i64) -> Result<SliceAxis> {
    if step == 0 {
        return Err(Error::shape("a slice needs a step that is not 0"));
    }
    let size = signed(size)?;
    if size == 0 {
        return Ok(SliceAxis { start: 0, step, len: 0 });
    }
    // Going backward, one before the first element is a possible end.
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let from_front = |bound: i64| if bound < 0 { bound + size } else { bound };
    let (start, end) = (from_front(start).clamp(0, high), from_front(end).clamp(low, high));
    let span = if step > 0 { end - start } else { start - end };
    let len = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) as usize };
    Ok(SliceAxis { start: start as usize, step, len })
}

/// The elements before and after every axis that `Pad` adds, or takes where negative, and the
/// padded shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Padded {
    /// (before, after) for every axis.
    pub pads: Vec<(i64, i64)>,
    /// The sizes of the result.
    pub shape: Vec<usize>,
}

/// Resolves the `pads` of `Pad`, which belong to `axes` or to all.
///
/// # Errors
/// `Shape` where there are not two for every axis, or more is taken than is there.
pub(crate) fn pad(shape: &[usize], pads: &[i64], names: Option<&[i64]>) -> Result<Padded> {
    let pads = pads_of_axes(shape.len(), pads, names)?;
    let sizes =
        shape.iter().zip(&pads).map(|(&size, &(before, after))| padded(size, before, after));
    Ok(Padded { shape: sizes.collect::<Result<_>>()?, pads })
}

/// The size of an axis after `before` and `after` are added, or taken where negative.
pub(crate) fn padded(size: usize, before: i64, after: i64) -> Result<usize> {
    let kept = signed(size)?.checked_add(before.min(0)).and_then(|n| n.checked_add(after.min(0)));
    let kept = kept.and_then(|n| usize::try_from(n).ok());
    let added = before.max(0).checked_add(after.max(0)).map(|n| n as usize);
    kept.zip(added).and_then(|(kept, added)| kept.checked_add(added)).ok_or_else(|| {
        Error::shape(format!("an axis of size {size} cannot take padding {before} + {after}"))
    })
}

/// The (before, after) of each of `rank` axes, from a list of all before and then all after.
pub(crate) fn pads_of_axes<T: Clone + From<i64>>(
    rank: usize,
    pads: &[T],
    names: Option<&[i64]>,
) -> Result<Vec<(T, T)>> {
    let chosen = match names {
        Some(names) => axes(names, rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * chosen.len() {
        return Err(Error::shape(format!(
            "expected {} pads, two for each of {} axes, found {}",
            2 * chosen.len(),
            chosen.len(),
            pads.len()
        )));
    }
    let mut result = vec![(T::from(0), T::from(0)); rank];
    for (i, &axis) in chosen.iter().enumerate() {
        result[axis] = (pads[i].clone(), pads[chosen.len() + i].clone());
    }
    Ok(result)
}

/// The sizes that `Reshape` gives a tensor of `shape`.
///
/// # Errors
/// `Shape` where the numbers of elements differ or the -1 cannot be resolved.
pub(crate) fn reshape(shape: &[usize], wanted: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    let misfit = || Error::shape(format!("shape {shape:?} cannot be viewed as {wanted:?}"));
    let mut sizes = Vec::new();
    let mut free = None;
    for (i, &size) in wanted.iter().enumerate() {
        match size {
            -1 if free.is_some() => {
                return Err(Error::shape(format!("the shape {wanted:?} has more than one -1")));
            }
            -1 => {
                free = Some(i);
                sizes.push(1);
            }
            0 if !allow_zero => sizes.push(*shape.get(i).ok_or_else(misfit)?),
            size => sizes.push(usize::try_from(size).map_err(|_| misfit())?),
        }
    }
    let (total, rest) = (num_elements(shape), num_elements(&sizes));
    let (total, rest) = (total.ok_or_else(misfit)?, rest.ok_or_else(misfit)?);
    match free {
        Some(i) if rest > 0 && total % rest == 0 => sizes[i] = total / rest,
        None if total == rest => {}
        _ => return Err(misfit()),
    }
    Ok(sizes)
}

/// The sizes of the `count` parts into which an axis of size `size` is cut when none are given:
/// equal, the last perhaps smaller.
///
/// # Errors
/// `Shape` where there are not enough elements for that many parts.
pub(crate) fn equal_parts(size: usize, count: usize) -> Result<Vec<usize>> {
    let part = size.div_ceil(count.max(1));
    match part.checked_mul(count.saturating_sub(1)).and_then(|n| size.checked_sub(n)) {
        Some(last) if count > 0 => {
            let mut parts = vec![part; count];
            parts[count - 1] = last;
            Ok(parts)
        }
        _ => Err(Error::shape(format!("an axis of size {size} cannot be cut into {count} parts"))),
    }
}

/// What a resize does to one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ResizeAxis {
    /// The size of the result.
    pub output: usize,
    /// Output size over input size, as the network states it or as the sizes give it. With
    /// `scales` the product need not be whole.
    pub scale: f32,
    /// First and last coordinate of the region of interest, 0 and 1 being the whole axis.
    pub roi: (f32, f32),
}

/// The sizes and scales of all axes of a resize; either `scales` or `sizes` is given, for the
/// axes that the operator names. `roi` counts for `tf_crop_and_resize` alone.
///
/// # Errors
/// `Shape` where both or neither is given, where there is not one for every axis, or where a size
/// comes out as nothing or too large.
pub(crate) fn resize(
    shape: &[usize],
    op: &Resize,
    roi: Option<&[f32]>,
    scales: Option<&[f32]>,
    sizes: Option<&[i64]>,
) -> Result<Vec<ResizeAxis>> {
    let chosen = resized_axes(op, shape.len())?;
    let whole = |&size: &usize| ResizeAxis { output: size, scale: 1.0, roi: (0.0, 1.0) };
    let mut result: Vec<ResizeAxis> = shape.iter().map(whole).collect();
    let count = |what: &str, found: usize, expected: usize| match found == expected {
        true => Ok(()),
        false => Err(Error::shape(format!("expected {expected} {what}, found {found}"))),
    };

    if op.coordinates == CoordinateTransform::TfCropAndResize {
        let roi = roi.ok_or_else(|| Error::shape("tf_crop_and_resize needs a roi"))?;
        count("entries of roi, two for every axis", roi.len(), 2 * chosen.len())?;
        for (i, &axis) in chosen.iter().enumerate() {
            result[axis].roi = (roi[i], roi[chosen.len() + i]);
        }
    }
    // Older files give an empty tensor for the one of the two that does not count.
    match (scales.filter(|s| !s.is_empty()), sizes.filter(|s| !s.is_empty())) {
        (Some(scales), None) => {
            count("scales, one for every axis", scales.len(), chosen.len())?;
            for (&axis, &scale) in chosen.iter().zip(scales) {
                let (from, to) = result[axis].roi;
                result[axis].output = scaled(shape[axis], scale, to - from)?;
                result[axis].scale = scale;
            }
        }
        (None, Some(sizes)) => {
            count("sizes, one for every axis", sizes.len(), chosen.len())?;
            if let Some(&size) = sizes.iter().find(|&&size| size <= 0) {
                return Err(Error::shape(format!("a size of {size} must be positive")));
            }
            let ratios = chosen.iter().zip(sizes).map(|(&a, &s)| s as f32 / shape[a] as f32);
            let common = match op.keep_aspect_ratio {
                AspectRatioPolicy::Stretch => None,
                AspectRatioPolicy::NotLarger => ratios.reduce(f32::min),
                AspectRatioPolicy::NotSmaller => ratios.reduce(f32::max),
            };
            for (&axis, &size) in chosen.iter().zip(sizes) {
                result[axis].scale = common.unwrap_or(size as f32 / shape[axis] as f32);
                result[axis].output = match common {
                    // Halves go up, so adding one half and rounding down is right.
                    Some(scale) => whole_size(scale * shape[axis] as f32 + 0.5)?,
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

/// The axes to which the scales or sizes of a resize belong.
pub(crate) fn resized_axes(op: &Resize, rank: usize) -> Result<Vec<usize>> {
    if op.axes.is_empty() { Ok((0..rank).collect()) } else { axes(&op.axes, rank) }
}

/// The size of an axis after scaling the `part` of it that is of interest, rounded down. In single
/// precision, as every exporter expects: 10 * 0.7 is 7.
pub(crate) fn scaled(size: usize, scale: f32, part: f32) -> Result<usize> {
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::shape(format!("a scale of {scale} must be positive")));
    }
    whole_size(size as f32 * part * scale)
}

fn whole_size(value: f32) -> Result<usize> {
    let size = value.floor();
    if (0.0..MAX_TENSOR_BYTES as f32).contains(&size) {
        return Ok(size as usize);
    }
    Err(Error::shape(format!("a size of {size} cannot be made")))
}

#[cfg(test)]
mod tests;
