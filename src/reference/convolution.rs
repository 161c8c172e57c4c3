//! Convolution and transposed convolution over any number of spatial axes.

use super::numbers::{Numbers, floats};
use crate::error::{Error, Result};
use crate::graph::geometry::{self, WindowAxis, WindowSpec};
use crate::graph::{Conv, ConvTranspose, DynamicConv};
use crate::tensor::{DType, Tensor, strides};

/// Checks that `x [N,C,..]` and `weight [A,B,..]` have as many axes, and that their channels form
/// `groups` groups.
pub(super) fn check_ranks(x: &Tensor, weight: &Tensor, groups: usize) -> Result<()> {
    let (x, weight) = (x.shape(), weight.shape());
    if x.len() < 3 || weight.len() != x.len() {
        return Err(Error::shape(format!(
            "expected an input [N,C,..] and a weight with as many axes, found {x:?} and {weight:?}"
        )));
    }
    if groups == 0 || x[1] % groups != 0 || weight[0] % groups != 0 {
        return Err(Error::shape(format!(
            "{} input channels and {} filters do not form {groups} groups",
            x[1], weight[0]
        )));
    }
    Ok(())
}

pub(super) fn bias_or_zeros(bias: Option<&Tensor>, filters: usize) -> Result<Vec<f64>> {
    let bias = bias.map_or_else(|| Ok(vec![0.0; filters]), floats)?;
    if bias.len() != filters {
        return Err(Error::shape(format!("expected a bias of {filters}, found {}", bias.len())));
    }
    Ok(bias)
}

/// Returns the taps of a window, each as its index along every axis.
pub(super) fn taps(kernel: &[usize]) -> Vec<Vec<usize>> {
    let mut taps = vec![Vec::new()];
    for &size in kernel {
        let extended = taps.iter().flat_map(|tap: &Vec<usize>| {
            (0..size).map(move |i| tap.iter().copied().chain([i]).collect())
        });
        taps = extended.collect();
    }
    taps
}

/// Calls `visit` for every run of positions along the last axis that a tap connects, with the place
/// where the run starts in the strided plane, the place where it starts in the dense plane, and its
/// length.
///
/// The strided plane is the input of a convolution and the output of a transposed one. The tap of
/// dense position `i` is at strided position `i * stride + tap * dilation - before`.
fn for_runs(
    axes: &[WindowAxis],
    tap: &[usize],
    strided: &[usize],
    dense: &[usize],
    visit: &mut dyn FnMut(usize, usize, usize),
) {
    let (strided_steps, dense_steps) = (strides(strided), strides(dense));
    // Along each axis: the dense positions whose strided position lies in the plane.
    let ranges: Vec<(usize, usize, i64)> = (0..axes.len())
        .map(|i| {
            let axis = &axes[i];
            let offset = (tap[i] * axis.dilation) as i64 - axis.before;
            let stride = axis.stride as i64;
            let first = (-offset).max(0).div_euclid(stride)
                + i64::from((-offset).max(0).rem_euclid(stride) != 0);
            let end = (strided[i] as i64 - offset).max(0);
            let end = end.div_euclid(stride) + i64::from(end.rem_euclid(stride) != 0);
            let end = end.clamp(first, (dense[i] as i64).max(first));
            (first as usize, end as usize, offset)
        })
        .collect();
    let last = axes.len() - 1;
    let mut starts = vec![(0usize, 0usize)];
    for i in 0..last {
        let (first, end, offset) = ranges[i];
        let (strided_step, dense_step) = (strided_steps[i], dense_steps[i]);
        let extended = starts.iter().flat_map(|&(s, d)| {
            (first..end).map(move |at| {
                let place = (at as i64 * axes[i].stride as i64 + offset) as usize;
                (s + place * strided_step, d + at * dense_step)
            })
        });
        starts = extended.collect();
    }
    let (first, end, offset) = ranges[last];
    if end > first {
        let place = (first as i64 * axes[last].stride as i64 + offset) as usize;
        for (s, d) in starts {
            visit(s + place, d + first, end - first);
        }
    }
}

/// Computes `y[n,o] = bias[o] + sum over c and taps of weight[o,c,tap] * x[n,c]`, with `x` taken at
/// the position of the tap.
pub(super) fn conv(
    op: &Conv,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    check_ranks(x, weight, op.groups)?;
    let (images, channels, filters) = (x.shape()[0], x.shape()[1], weight.shape()[0]);
    let depth = channels / op.groups;
    if weight.shape()[1] != depth {
        return Err(Error::shape(format!(
            "the weight {:?} takes {} channels per group, the input {:?} has {depth}",
            weight.shape(),
            weight.shape()[1],
            x.shape()
        )));
    }
    let (input, kernel) = (&x.shape()[2..], &weight.shape()[2..]);
    let axes = geometry::windows(input, WindowSpec::from_conv(op, kernel), false)?;
    let output: Vec<usize> = axes.iter().map(|a| a.output).collect();
    let shape = [&[images, filters], output.as_slice()].concat();
    let (count, dtype) = (geometry::element_count(&shape, DType::F64)?, x.dtype());
    let (x, weight, bias) = (floats(x)?, floats(weight)?, bias_or_zeros(bias, filters)?);
    let (source, plane) = (input.iter().product::<usize>(), output.iter().product::<usize>());
    let taps = taps(kernel);
    let step = axes[axes.len() - 1].stride;

    let mut y = Vec::with_capacity(count);
    for image in 0..images {
        for filter in 0..filters {
            let mut sums = vec![bias[filter]; plane];
            let group = filter / (filters / op.groups);
            for c in 0..depth {
                let channel = image * channels + group * depth + c;
                let x = &x[channel * source..][..source];
                for (t, tap) in taps.iter().enumerate() {
                    let weight = weight[(filter * depth + c) * taps.len() + t];
                    for_runs(&axes, tap, input, &output, &mut |from, to, len| {
                        let run = x[from..].iter().step_by(step);
                        for (sum, x) in sums[to..to + len].iter_mut().zip(run) {
                            *sum += weight * x;
                        }
                    });
                }
            }
            y.extend(sums);
        }
    }
    Numbers::Float(y).into_tensor(&shape, dtype)
}

/// Computes a convolution with weights per image: one of all images in groups of their own.
pub(super) fn dynamic_conv(
    op: &DynamicConv,
    x: &Tensor,
    weights: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (&[images, channels, height, width], &[sets, len]) = (x.shape(), weights.shape()) else {
        return Err(Error::shape(format!(
            "expected an input [N,C,H,W] and weights [N,elements], found {:?} and {:?}",
            x.shape(),
            weights.shape()
        )));
    };
    let (groups, [rows, columns]) = (op.conv.groups, op.kernel);
    let depth = channels.checked_div(groups).unwrap_or(0);
    let fits = geometry::element_count(&[op.outputs, depth, rows, columns], DType::F64)? == len;
    if sets != images || !fits {
        return Err(Error::shape(format!(
            "weights {:?} do not fit an input {:?} and {} outputs in {groups} groups",
            weights.shape(),
            x.shape(),
            op.outputs
        )));
    }
    if images == 0 {
        let kernel = Numbers::Float(vec![0.0; len]);
        let kernel = kernel.into_tensor(&[op.outputs, depth, rows, columns], x.dtype())?;
        return conv(&op.conv, x, &kernel, None);
    }
    let bias = match bias {
        Some(bias) if bias.shape() == [images, op.outputs] => floats(bias)?,
        _ => bias_or_zeros(bias, op.outputs)?.repeat(images),
    };
    let bias = Numbers::Float(bias).into_tensor(&[images * op.outputs], x.dtype())?;
    let x = x.reshape(&[1, images * channels, height, width])?;
    let weights = weights.reshape(&[images * op.outputs, depth, rows, columns])?;
    let y = conv(&Conv { groups: images * groups, ..op.conv.clone() }, &x, &weights, Some(&bias))?;
    let positions = &y.shape()[2..];
    y.reshape(&[&[images, op.outputs], positions].concat())
}

/// Computes a transposed convolution: every input element adds `weight * x` to the output elements
/// under its window.
pub(super) fn conv_transpose(
    op: &ConvTranspose,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    check_ranks(x, weight, op.groups)?;
    let (images, channels, per_group) = (x.shape()[0], x.shape()[1], weight.shape()[1]);
    if weight.shape()[0] != channels {
        return Err(Error::shape(format!(
            "the weight {:?} takes {} channels, the input {:?} has {channels}",
            weight.shape(),
            weight.shape()[0],
            x.shape()
        )));
    }
    let filters = per_group
        .checked_mul(op.groups)
        .ok_or_else(|| Error::shape("the number of filters is too large"))?;
    let (input, kernel) = (&x.shape()[2..], &weight.shape()[2..]);
    let axes = geometry::transposed_windows(input, kernel, op)?;
    let output: Vec<usize> = axes.iter().map(|a| a.output).collect();
    let shape = [&[images, filters], output.as_slice()].concat();
    let (count, dtype) = (geometry::element_count(&shape, DType::F64)?, x.dtype());
    let (x, weight, bias) = (floats(x)?, floats(weight)?, bias_or_zeros(bias, filters)?);
    let (source, plane) = (input.iter().product::<usize>(), output.iter().product::<usize>());
    let taps = taps(kernel);
    let step = axes[axes.len() - 1].stride;
    let depth = channels / op.groups;

    let mut y = Vec::with_capacity(count);
    for image in 0..images {
        for (filter, &bias) in bias.iter().enumerate() {
            let mut sums = vec![bias; plane];
            let (group, within) = (filter / per_group, filter % per_group);
            for channel in group * depth..(group + 1) * depth {
                let x = &x[(image * channels + channel) * source..][..source];
                for (t, tap) in taps.iter().enumerate() {
                    let weight = weight[(channel * per_group + within) * taps.len() + t];
                    for_runs(&axes, tap, &output, input, &mut |to, from, len| {
                        let run = sums[to..].iter_mut().step_by(step);
                        for (sum, x) in run.zip(&x[from..from + len]) {
                            *sum += weight * x;
                        }
                    });
                }
            }
            y.extend(sums);
        }
    }
    Numbers::Float(y).into_tensor(&shape, dtype)
}
