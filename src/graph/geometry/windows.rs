//! Windows of convolutions and pools.

use super::{signed, too_large};
use crate::error::{Error, Result};
use crate::graph::{Conv, ConvTranspose, Padding};

/// How a window moves along one axis, with its padding resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowAxis {
    /// The number of taps.
    pub kernel: usize,
    /// The step of the window from one output to the next.
    pub stride: usize,
    /// The distance of the taps.
    pub dilation: usize,
    /// Elements added before the axis; a negative number crops. For a transposed convolution:
    /// elements cut off the start of the full output.
    pub before: i64,
    /// Elements added after the axis, or cut off the end of the full output.
    pub after: i64,
    /// The number of outputs.
    pub output: usize,
}

/// Kernel, strides, dilations and padding as the network states them. Empty strides and dilations
/// are ones.
#[derive(Clone, Copy)]
pub(crate) struct WindowSpec<'a> {
    pub kernel: &'a [usize],
    pub strides: &'a [usize],
    pub dilations: &'a [usize],
    pub padding: &'a Padding,
}

/// The largest kernel, stride, dilation and padding: more than the size of any image.
const LARGEST_STEP: usize = 1 << 24;

impl<'a> WindowSpec<'a> {
    /// Returns the windows of a convolution whose weights have the spatial sizes `kernel`.
    pub fn from_conv(conv: &'a Conv, kernel: &'a [usize]) -> Self {
        let Conv { padding, strides, dilations, .. } = conv;
        WindowSpec { kernel, strides, dilations, padding }
    }

    /// Checks that every vector has `rank` entries or, where that is allowed, none, and that no
    /// entry is 0 or so large that products with sizes could overflow.
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

    /// Returns whether every output position depends on the same position of the input only, and
    /// there are as many of one as of the other.
    pub fn is_pointwise(&self) -> bool {
        let all_ones = |values: &[usize]| values.iter().all(|&value| value == 1);
        let unpadded = match self.padding {
            Padding::Explicit(pads) => pads.iter().all(|&pad| pad == 0),
            // A window of one element with stride 1 needs no padding.
            Padding::SameUpper | Padding::SameLower => true,
        };
        all_ones(self.kernel) && all_ones(self.strides) && unpadded
    }

    /// Returns kernel, stride and dilation of spatial axis `i`.
    pub fn axis(&self, i: usize) -> (usize, usize, usize) {
        let or_one = |values: &[usize]| values.get(i).copied().unwrap_or(1);
        (self.kernel[i], or_one(self.strides), or_one(self.dilations))
    }

    /// Returns the padding before and after spatial axis `i`, if the network states it.
    pub fn explicit(&self, i: usize) -> Option<(i64, i64)> {
        match self.padding {
            Padding::Explicit(pads) if pads.is_empty() => Some((0, 0)),
            Padding::Explicit(pads) => Some((pads[i], pads[pads.len() / 2 + i])),
            Padding::SameUpper | Padding::SameLower => None,
        }
    }

    /// Returns the number of input elements that the window of axis `i` spans.
    pub fn extent(&self, i: usize) -> Result<i64> {
        let (kernel, _, dilation) = self.axis(i);
        (kernel - 1)
            .checked_mul(dilation)
            .and_then(|n| i64::try_from(n).ok()?.checked_add(1))
            .ok_or_else(|| too_large("the window"))
    }

    /// Splits `total` elements of padding into those before and those after the axis.
    fn distribute(&self, total: i64) -> (i64, i64) {
        match self.padding {
            Padding::SameLower => (total - total / 2, total / 2),
            _ => (total / 2, total - total / 2),
        }
    }
}

/// Returns whether a convolution whose weights have the spatial sizes `kernel` multiplies every
/// position by the same matrix, and does nothing else.
pub(crate) fn is_dense_pointwise(conv: &Conv, kernel: &[usize]) -> bool {
    conv.groups == 1 && WindowSpec::from_conv(conv, kernel).is_pointwise()
}

/// Resolves the windows of a convolution or a pool over spatial axes of sizes `input`.
///
/// With `ceil_mode`, the last window may extend beyond the padded input, but must begin in the
/// input or in the padding before it.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if vectors have the wrong length, if a stride or dilation is
/// 0, or if the window does not fit.
pub(crate) fn windows(
    input: &[usize],
    spec: WindowSpec<'_>,
    ceil_mode: bool,
) -> Result<Vec<WindowAxis>> {
    spec.check(input.len())?;
    input.iter().enumerate().map(|(i, &size)| window(i, size, spec, ceil_mode)).collect()
}

/// Resolves the windows along spatial axis `i` of size `size`. `spec` must have been checked.
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

/// Resolves the windows of a transposed convolution over spatial axes of sizes `input`. Tap `t` of
/// input `i` adds to output `i * stride + t * dilation - before`.
///
/// # Errors
/// Those of [`windows`], and [`Shape`](crate::ErrorKind::Shape) if nothing is left of the output.
pub(crate) fn transposed_windows(
    input: &[usize],
    kernel: &[usize],
    op: &ConvTranspose,
) -> Result<Vec<WindowAxis>> {
    let spec = transposed_spec(kernel, op, input.len())?;
    input.iter().enumerate().map(|(i, &size)| transposed_window(i, size, spec, op)).collect()
}

/// Resolves the windows along spatial axis `i` of size `size`. `spec` must have been checked.
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
        // An output that is too small, rather than too large, is extended at its end.
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

/// Returns the checked windows of a transposed convolution with `rank` spatial axes.
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
