//! Operators that read a feature map between its elements.

use super::convolution::{bias_or_zeros, check_ranks, taps};
use super::inputs::Inputs;
use super::numbers::{Numbers, floats};
use crate::error::{Error, Result};
use crate::graph::geometry::{self, AxisTaps, WindowAxis, WindowSpec, linear_taps};
use crate::graph::{DeformConv, DeformedWindows, GridSample, PoolKind, RoiAlign};
use crate::tensor::{DType, Tensor, strides};

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
            let taps = |a: usize| geometry::grid_taps(op, at[axes - 1 - a], input[a]);
            let taps: Vec<AxisTaps> = (0..axes).map(taps).collect();
            for c in image * channels..(image + 1) * channels {
                y[c * positions + p] = sample(&values[c * plane..][..plane], &steps, &taps);
            }
        }
    }
    Numbers::Float(y).into_tensor(&shape, dtype)
}

/// The windows of a deformable convolution (Zhu et al., *Deformable ConvNets v2*): the tap of each window is
/// read at its own position plus an offset, by linear interpolation with zeros outside, and times its mask.
struct Deformation<'a> {
    /// The sizes of the map.
    input: &'a [usize],
    windows: Vec<WindowAxis>,
    output: Vec<usize>,
    channels: usize,
    offset_groups: usize,
    taps: Vec<Vec<usize>>,
    values: Vec<f64>,
    offset: Vec<f64>,
    mask: Option<Vec<f64>>,
}

impl<'a> Deformation<'a> {
    fn new(
        op: &DeformConv,
        kernel: &[usize],
        x: &'a Tensor,
        offset: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Self> {
        let (images, channels, input) = (x.shape()[0], x.shape()[1], &x.shape()[2..]);
        if op.offset_groups == 0 || channels % op.offset_groups != 0 {
            return Err(Error::shape(format!(
                "{channels} channels do not form {} groups for offsets",
                op.offset_groups
            )));
        }
        let windows = geometry::windows(input, WindowSpec::from_conv(&op.conv, kernel), false)?;
        let output: Vec<usize> = windows.iter().map(|a| a.output).collect();
        let tap_count = kernel.iter().product::<usize>();
        let masks = op.offset_groups.checked_mul(tap_count);
        let masks = masks.filter(|n| n.checked_mul(kernel.len()).is_some());
        let masks =
            masks.ok_or_else(|| Error::shape("there are too many offsets to be counted"))?;
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
        let offset = expect(offset, "the offset", masks * kernel.len())?;
        let mask = mask.map(|mask| expect(mask, "the mask", masks)).transpose()?;
        let (values, taps, offset_groups) = (floats(x)?, taps(kernel), op.offset_groups);
        Ok(Deformation {
            input,
            windows,
            output,
            channels,
            offset_groups,
            taps,
            values,
            offset,
            mask,
        })
    }

    /// Returns the number of positions of the output.
    fn positions(&self) -> usize {
        self.output.iter().product()
    }

    /// Returns what tap `t` of each window reads of a channel of an image.
    fn read(&self, image: usize, channel: usize, t: usize) -> Vec<f64> {
        let (axes, positions) = (self.input.len(), self.positions());
        let (plane, steps) = (self.input.iter().product::<usize>(), strides(self.input));
        let group = channel / (self.channels / self.offset_groups);
        let x = &self.values[(image * self.channels + channel) * plane..][..plane];
        let mask_plane = (image * self.offset_groups + group) * self.taps.len() + t;
        let output_steps = strides(&self.output);
        let at = |p: usize| {
            let position = |a: usize| {
                let w = &self.windows[a];
                let index = p / output_steps[a] % self.output[a];
                let start = (index * w.stride + self.taps[t][a] * w.dilation) as f64;
                start - w.before as f64 + self.offset[(mask_plane * axes + a) * positions + p]
            };
            let taps: Vec<AxisTaps> =
                (0..axes).map(|a| linear_taps(position(a), self.input[a])).collect();
            let strength = self.mask.as_ref().map_or(1.0, |m| m[mask_plane * positions + p]);
            strength * sample(x, &steps, &taps)
        };
        (0..positions).map(at).collect()
    }
}

/// Computes a deformable convolution.
pub(super) fn deform_conv(op: &DeformConv, inputs: &Inputs) -> Result<Tensor> {
    let (x, weight, offset) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
    let groups = op.conv.groups;
    check_ranks(x, weight, groups)?;
    let (images, channels, filters) = (x.shape()[0], x.shape()[1], weight.shape()[0]);
    let (depth, kernel) = (channels / groups, &weight.shape()[2..]);
    if weight.shape()[1] != depth {
        return Err(Error::shape(format!(
            "{channels} channels do not form {groups} groups for the weight {:?}",
            weight.shape(),
        )));
    }
    let deformation = Deformation::new(op, kernel, x, offset, inputs.optional(4))?;
    let (positions, tap_count) = (deformation.positions(), deformation.taps.len());
    let shape = [&[images, filters], deformation.output.as_slice()].concat();
    let count = geometry::element_count(&shape, DType::F64)?;
    let (bias, weight) = (bias_or_zeros(inputs.optional(3), filters)?, floats(weight)?);

    let mut y = Vec::with_capacity(count);
    for image in 0..images {
        let mut sums: Vec<f64> = bias.iter().flat_map(|&b| vec![b; positions]).collect();
        for channel in 0..channels {
            let (group, within) = (channel / depth, channel % depth);
            for t in 0..tap_count {
                let values = deformation.read(image, channel, t);
                for filter in group * (filters / groups)..(group + 1) * (filters / groups) {
                    let weight = weight[(filter * depth + within) * tap_count + t];
                    let sums = &mut sums[filter * positions..][..positions];
                    sums.iter_mut().zip(&values).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
        y.extend(sums);
    }
    Numbers::Float(y).into_tensor(&shape, x.dtype())
}

/// Computes what the windows of a deformable convolution read.
pub(super) fn deformed_windows(op: &DeformedWindows, inputs: &Inputs) -> Result<Tensor> {
    let (x, offset) = (inputs.required(0)?, inputs.required(1)?);
    if x.shape().len() != 4 {
        return Err(Error::shape(format!("expected a map [N, C, H, W], found {x:?}")));
    }
    let (images, channels) = (x.shape()[0], x.shape()[1]);
    let deformation = Deformation::new(&op.deform, &op.kernel, x, offset, inputs.optional(2))?;
    let tap_count = deformation.taps.len();
    let depth = channels.checked_mul(tap_count);
    let depth = depth.ok_or_else(|| Error::shape("there are too many taps to be counted"))?;
    let shape = [&[images, depth], deformation.output.as_slice()].concat();
    geometry::element_count(&shape, DType::F64)?;
    let mut y = Vec::new();
    for image in 0..images {
        for t in 0..tap_count {
            (0..channels).for_each(|channel| y.extend(deformation.read(image, channel, t)));
        }
    }
    Numbers::Float(y).into_tensor(&shape, x.dtype())
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
        return AxisTaps::default();
    }
    linear_taps(position.clamp(0.0, size as f64 - 1.0), size)
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
            let sum: f64 = samples.map(|(&r, &c)| sample(plane, &steps, &[r, c])).sum();
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
