//! Operators that read a feature map between its elements.

use super::convolution::{bias_or_zeros, check_ranks, taps};
use super::inputs::Inputs;
use super::numbers::{Numbers, floats};
use crate::error::{Error, Result};
use crate::graph::geometry::{self, WindowSpec};
use crate::graph::{DeformConv, GridSample, PoolKind, RoiAlign, SampleMode, SamplePadding};
use crate::tensor::{DType, Tensor, strides};

/// The entries of one axis that a sample reads, with their weights.
type AxisTaps = Vec<(usize, f64)>;

/// Returns both neighbours of a position, with the weights of linear interpolation. Those outside of the
/// axis are left out.
fn linear(position: f64, size: usize) -> AxisTaps {
    let low = position.floor();
    let inside = |i: f64| i >= 0.0 && i < size as f64;
    [(low, low + 1.0 - position), (low + 1.0, position - low)]
        .into_iter()
        .filter(|&(i, _)| inside(i))
        .map(|(i, weight)| (i as usize, weight))
        .collect()
}

/// Returns the sum of the elements that the taps of all axes select, times their weights.
fn sample(plane: &[f64], steps: &[usize], axes: &[AxisTaps]) -> f64 {
    match (axes, steps) {
        ([taps, rest @ ..], [step, steps @ ..]) => {
            let read =
                |&(i, weight): &(usize, f64)| weight * sample(&plane[i * step..], steps, rest);
            taps.iter().map(read).sum()
        }
        _ => plane[0],
    }
}

/// Reflects a position at the borders of an axis until it is inside.
fn reflected(position: f64, size: usize, align_corners: bool) -> f64 {
    let (low, span) = match align_corners {
        true => (0.0, size as f64 - 1.0),
        false => (-0.5, size as f64),
    };
    if span <= 0.0 {
        return 0.0;
    }
    let distance = (position - low).abs();
    let (flips, rest) = ((distance / span).floor(), distance % span);
    if flips % 2.0 == 0.0 { low + rest } else { low + span - rest }
}

/// Moves a position into the axis, unless zeros are outside.
fn padded(op: &GridSample, position: f64, size: usize) -> f64 {
    let last = size as f64 - 1.0;
    match op.padding {
        SamplePadding::Zeros => position,
        SamplePadding::Border => position.clamp(0.0, last),
        SamplePadding::Reflection => reflected(position, size, op.align_corners).clamp(0.0, last),
    }
}

/// Returns what a sample at `position` reads of an axis.
fn grid_taps(op: &GridSample, position: f64, size: usize) -> AxisTaps {
    let inside = |i: f64| (i >= 0.0 && i < size as f64).then_some(i as usize);
    match op.mode {
        SampleMode::Linear => linear(padded(op, position, size), size),
        SampleMode::Nearest => {
            let nearest = padded(op, position, size).round_ties_even();
            inside(nearest).map(|i| (i, 1.0)).into_iter().collect()
        }
        SampleMode::Cubic => {
            let low = position.floor();
            let weights = cubic_weights(position - low);
            let tap = |(i, weight): (usize, f64)| {
                let at = padded(op, low - 1.0 + i as f64, size);
                Some((inside(at)?, weight))
            };
            weights.into_iter().enumerate().filter_map(tap).collect()
        }
    }
}

/// Returns the weights of cubic convolution for the four elements around a position that is `t` after the
/// second one (Keys, 1981, with `a = -0.75`).
fn cubic_weights(t: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |d: f64| ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0;
    let far = |d: f64| ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A;
    [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)]
}

pub(super) fn grid_sample(op: &GridSample, x: &Tensor, grid: &Tensor) -> Result<Tensor> {
    let axes = x.shape().len().saturating_sub(2);
    let fits = axes > 0
        && grid.shape().len() == axes + 2
        && grid.shape()[0] == x.shape()[0]
        && grid.shape()[axes + 1] == axes;
    if !fits {
        return Err(Error::shape(format!("a grid {grid:?} does not fit the input {x:?}")));
    }
    let (images, channels) = (x.shape()[0], x.shape()[1]);
    let (input, output) = (&x.shape()[2..], &grid.shape()[1..=axes]);
    let shape = [&x.shape()[..2], output].concat();
    let count = geometry::element_count(&shape, DType::F64)?;
    if count > 0 && input.contains(&0) {
        return Err(Error::shape(format!("the empty map {:?} cannot be sampled", x.shape())));
    }
    let (steps, plane) = (strides(input), input.iter().product::<usize>());
    let positions: usize = output.iter().product();
    let (values, grid, dtype) = (floats(x)?, floats(grid)?, x.dtype());
    let mut y = vec![0.0; count];
    for image in 0..if channels == 0 { 0 } else { images } {
        for p in 0..positions {
            let at = &grid[(image * positions + p) * axes..][..axes];
            // The grid names the last axis first.
            let taps: Vec<AxisTaps> = (0..axes)
                .map(|a| {
                    let (g, size) = (at[axes - 1 - a], input[a] as f64);
                    let position = match op.align_corners {
                        true => (g + 1.0) / 2.0 * (size - 1.0),
                        false => ((g + 1.0) * size - 1.0) / 2.0,
                    };
                    grid_taps(op, position, input[a])
                })
                .collect();
            for c in image * channels..(image + 1) * channels {
                y[c * positions + p] = sample(&values[c * plane..][..plane], &steps, &taps);
            }
        }
    }
    Numbers::Float(y).into_tensor(&shape, dtype)
}

/// Computes a deformable convolution (Zhu et al., *Deformable ConvNets v2*): the tap of each window is read
/// at its own position plus an offset, by linear interpolation with zeros outside, and times its mask.
pub(super) fn deform_conv(op: &DeformConv, inputs: &Inputs) -> Result<Tensor> {
    let (x, weight, offset) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
    let groups = op.conv.groups;
    check_ranks(x, weight, groups)?;
    let (images, channels, filters) = (x.shape()[0], x.shape()[1], weight.shape()[0]);
    let depth = channels / groups;
    let (input, kernel) = (&x.shape()[2..], &weight.shape()[2..]);
    if weight.shape()[1] != depth || op.offset_groups == 0 || channels % op.offset_groups != 0 {
        return Err(Error::shape(format!(
            "{channels} channels do not form {groups} groups for the weight {:?} and {} for offsets",
            weight.shape(),
            op.offset_groups
        )));
    }
    let windows = geometry::windows(input, WindowSpec::from_conv(&op.conv, kernel), false)?;
    let output: Vec<usize> = windows.iter().map(|a| a.output).collect();
    let shape = [&[images, filters], output.as_slice()].concat();
    let count = geometry::element_count(&shape, DType::F64)?;
    let (axes, tap_count) = (kernel.len(), kernel.iter().product::<usize>());
    let masks = op.offset_groups.checked_mul(tap_count).filter(|n| n.checked_mul(axes).is_some());
    let masks = masks.ok_or_else(|| Error::shape("there are too many offsets to be counted"))?;
    let expect = |tensor: &Tensor, what: &str, channels: usize| {
        let wanted = [&[images, channels], output.as_slice()].concat();
        match tensor.shape() == wanted {
            true => floats(tensor),
            false => Err(Error::shape(format!(
                "{what} must have shape {wanted:?}, found {:?}",
                tensor.shape()
            ))),
        }
    };
    let offset = expect(offset, "the offset", masks * axes)?;
    let mask = inputs.optional(4).map(|mask| expect(mask, "the mask", masks)).transpose()?;
    let bias = bias_or_zeros(inputs.optional(3), filters)?;
    let (values, weight, dtype) = (floats(x)?, floats(weight)?, x.dtype());
    let (steps, plane) = (strides(input), input.iter().product::<usize>());
    let (taps, positions) = (taps(kernel), output.iter().product::<usize>());
    let output_steps = strides(&output);

    let mut y = Vec::with_capacity(count);
    for image in 0..images {
        let mut sums: Vec<f64> = bias.iter().flat_map(|&b| vec![b; positions]).collect();
        for channel in 0..channels {
            let offset_group = channel / (channels / op.offset_groups);
            let x = &values[(image * channels + channel) * plane..][..plane];
            let (group, within) = (channel / depth, channel % depth);
            for (t, tap) in taps.iter().enumerate() {
                let mask_plane = image * masks + offset_group * tap_count + t;
                for p in 0..positions {
                    let position = |a: usize| {
                        let w = &windows[a];
                        let index = p / output_steps[a] % output[a];
                        let start = (index * w.stride + tap[a] * w.dilation) as f64;
                        start - w.before as f64 + offset[(mask_plane * axes + a) * positions + p]
                    };
                    let axis_taps: Vec<AxisTaps> =
                        (0..axes).map(|a| linear(position(a), input[a])).collect();
                    let strength = mask.as_ref().map_or(1.0, |m| m[mask_plane * positions + p]);
                    let value = strength * sample(x, &steps, &axis_taps);
                    for filter in group * (filters / groups)..(group + 1) * (filters / groups) {
                        let weight = weight[(filter * depth + within) * taps.len() + t];
                        sums[filter * positions + p] += weight * value;
                    }
                }
            }
        }
        y.extend(sums);
    }
    Numbers::Float(y).into_tensor(&shape, dtype)
}

/// The most samples along a side of a region. Regions come from data.
const MAX_SAMPLES: f64 = 65_536.0;

/// Computes the mean or the maximum of samples on a regular grid in each cell of each region (He et al.,
/// *Mask R-CNN*). As in ONNX, a maximum is that of the weighted elements, not of the samples.
pub(super) fn roi_align(op: &RoiAlign, inputs: &Inputs) -> Result<Tensor> {
    let (x, regions, image_of) =
        (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?.to_i64s()?);
    let (&[images, channels, height, width], &[count, 4]) = (x.shape(), regions.shape()) else {
        return Err(Error::shape(format!("expected a map and regions, found {x:?}, {regions:?}")));
    };
    let shape = [count, channels, op.output[0], op.output[1]];
    geometry::element_count(&shape, DType::F64)?;
    if image_of.len() != count || height == 0 || width == 0 {
        return Err(Error::shape(format!(
            "expected an image for each of {count} regions of a map that is not empty"
        )));
    }
    let (values, regions) = (floats(x)?, floats(regions)?);
    let (sizes, shift) = ([height, width], if op.half_pixel { 0.5 } else { 0.0 });
    let mut y = Vec::new();
    for (region, &image) in regions.chunks_exact(4).zip(&image_of) {
        let image = usize::try_from(image).ok().filter(|&i| i < images).ok_or_else(|| {
            Error::shape(format!("a region is in image {image}, of {images} images"))
        })?;
        let bound = |i: usize| region[i] * f64::from(op.spatial_scale) - shift;
        // Regions are stated as x, y, x, y.
        let mut grids = Vec::new();
        for (axis, &size) in sizes.iter().enumerate() {
            let (start, end) = (bound(1 - axis), bound(3 - axis));
            let extent = if op.half_pixel { end - start } else { (end - start).max(1.0) };
            let cell = extent / op.output[axis] as f64;
            let samples = match op.sampling_ratio {
                0 => cell.ceil(),
                ratio => ratio as f64,
            };
            let along_side = samples * op.output[axis] as f64;
            if along_side.is_nan() || along_side > MAX_SAMPLES {
                return Err(Error::shape(format!(
                    "a region has {along_side} samples along one side; at most {MAX_SAMPLES} are \
                     allowed"
                )));
            }
            let step = cell / samples;
            let taps = |i: usize| {
                let at = |j: usize| start + i as f64 * cell + (j as f64 + 0.5) * step;
                (0..samples.max(0.0) as usize).map(|j| region_taps(at(j), size)).collect()
            };
            grids.push((0..op.output[axis]).map(taps).collect::<Vec<Vec<AxisTaps>>>());
        }
        for channel in 0..channels {
            let plane = &values[(image * channels + channel) * height * width..][..height * width];
            for rows in &grids[0] {
                y.extend(grids[1].iter().map(|columns| cell(op.kind, plane, width, rows, columns)));
            }
        }
    }
    Numbers::Float(y).into_tensor(&shape, x.dtype())
}

/// Returns what a sample reads of an axis: the border continues for one element, beyond which there is
/// nothing.
fn region_taps(position: f64, size: usize) -> AxisTaps {
    if position < -1.0 || position > size as f64 {
        return Vec::new();
    }
    linear(position.clamp(0.0, size as f64 - 1.0), size)
}

fn cell(
    kind: PoolKind,
    plane: &[f64],
    width: usize,
    rows: &[AxisTaps],
    columns: &[AxisTaps],
) -> f64 {
    let steps = [width, 1];
    let samples = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
    match kind {
        PoolKind::Average => {
            let sum: f64 =
                samples.map(|(r, c)| sample(plane, &steps, &[r.clone(), c.clone()])).sum();
            sum / (rows.len() * columns.len()).max(1) as f64
        }
        PoolKind::Max => {
            let elements = samples.flat_map(|(row, column)| {
                row.iter().flat_map(move |&(y, a)| {
                    column.iter().map(move |&(x, b)| a * b * plane[y * width + x])
                })
            });
            elements.reduce(|m, v| if v > m || v.is_nan() { v } else { m }).unwrap_or(0.0)
        }
    }
}

#[cfg(test)]
mod tests;
