//! Operators that move or repeat elements without changing them.

use super::arithmetic::expanded;
use super::{TensorInputs, TensorOperation, missing};
use crate::error::{Error, Result};
use crate::graph::{DepthOrder, geometry};
use crate::kernels::tensors::strided::{self, Axis};
use crate::simd::Isa;
use crate::tensor::{DType, Tensor, strides};

/// A movement of elements. The inputs are those of the operator of the same name.
#[derive(Clone, Debug)]
pub enum Movement {
    /// Joins tensors.
    Concat {
        /// The axis along which they are joined.
        axis: i64,
    },
    /// Cuts a tensor into parts.
    Split {
        /// The axis that is cut.
        axis: i64,
    },
    /// Takes some entries of axes.
    Slice,
    /// Takes the entries with given indices.
    Gather {
        /// The axis from which they are taken.
        axis: i64,
    },
    /// Repeats entries of axes of size 1.
    Expand,
    /// Repeats a tensor.
    Tile,
    /// Permutes the axes.
    Transpose {
        /// Output axis `i` is input axis `perm[i]`; empty reverses all.
        perm: Vec<usize>,
    },
    /// Rearranges channels into space.
    DepthToSpace {
        /// The factor by which height and width grow.
        block: usize,
        /// How channels are ordered.
        order: DepthOrder,
    },
    /// Adds a constant at the borders.
    Pad,
}

impl TensorOperation for Movement {
    fn name(&self) -> &'static str {
        "move"
    }

    fn run(&self, isa: Isa, inputs: TensorInputs, outputs: usize) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let sizes_of = |i: usize| sizes(&inputs.required(i)?.to_i64s()?);
        let y = match self {
            Movement::Concat { axis } => concat(&inputs, *axis),
            Movement::Split { axis } => return split(isa, x, *axis, &inputs, outputs),
            Movement::Slice => slice(isa, x, &inputs),
            Movement::Gather { axis } => gather(isa, x, inputs.required(1)?, *axis),
            Movement::Expand => {
                let shape = geometry::broadcast(&[x.shape(), &sizes_of(1)?])?;
                geometry::element_count(&shape, DType::F32)?;
                expanded(isa, x, &shape)
            }
            Movement::Tile => tile(isa, x, &sizes_of(1)?),
            Movement::Transpose { perm } => transpose(isa, x, perm),
            Movement::DepthToSpace { block, order } => depth_to_space(isa, x, *block, *order),
            Movement::Pad => pad(x, &inputs),
        };
        Ok(vec![y?])
    }
}

fn sizes(numbers: &[i64]) -> Result<Vec<usize>> {
    let size = |&size: &i64| {
        usize::try_from(size)
            .map_err(|_| Error::shape(format!("sizes must not be negative, found {numbers:?}")))
    };
    numbers.iter().map(size).collect()
}

/// Returns the elements of `x` that `axes` see from `start` on, as a tensor of `shape`. They are shared
/// if they lie side by side.
fn seen(isa: Isa, x: &Tensor, start: usize, axes: &[Axis], shape: &[usize]) -> Result<Tensor> {
    if strided::are_contiguous(axes) {
        return x.part(start, shape);
    }
    let mut y = Vec::new();
    strided::copy(isa, x.as_f32()?, start, axes, &mut y);
    Tensor::new(shape, y)
}

/// Returns the axes of a tensor of `shape`.
fn own_axes(shape: &[usize]) -> Vec<Axis> {
    let axis = |(&size, stride)| Axis { size, stride: stride as isize };
    shape.iter().zip(strides(shape)).map(axis).collect()
}

fn shape_of(axes: &[Axis]) -> Vec<usize> {
    axes.iter().map(|axis| axis.size).collect()
}

fn concat(inputs: &TensorInputs, axis: i64) -> Result<Tensor> {
    let parts: Vec<&Tensor> = inputs.0.iter().flatten().collect();
    let first = *parts.first().ok_or_else(|| missing(0))?;
    let axis = geometry::axis(axis, first.shape().len())?;
    let mut shape = first.shape().to_vec();
    shape[axis] = 0;
    for part in &parts {
        let fits = part.shape().len() == shape.len()
            && (0..shape.len()).all(|i| i == axis || part.shape()[i] == shape[i]);
        if !fits {
            let message = format!("{part:?} cannot be joined to {first:?} along axis {axis}");
            return Err(Error::shape(message));
        }
        shape[axis] += part.shape()[axis];
    }
    let outer: usize = shape[..axis].iter().product();
    let mut y = Vec::with_capacity(geometry::element_count(&shape, DType::F32)?);
    let elements = parts.iter().map(|part| part.as_f32()).collect::<Result<Vec<_>>>()?;
    for i in 0..outer {
        for part in &elements {
            let run = part.len() / outer;
            y.extend_from_slice(&part[i * run..][..run]);
        }
    }
    Tensor::new(&shape, y)
}

fn split(
    isa: Isa,
    x: &Tensor,
    axis: i64,
    inputs: &TensorInputs,
    outputs: usize,
) -> Result<Vec<Tensor>> {
    let axis = geometry::axis(axis, x.shape().len())?;
    let size = x.shape()[axis];
    let lengths = match inputs.integers(1)? {
        Some(lengths) => sizes(&lengths)?,
        None => geometry::equal_parts(size, outputs)?,
    };
    let total = lengths.iter().try_fold(0usize, |sum, &length| sum.checked_add(length));
    if lengths.len() != outputs || total != Some(size) {
        return Err(Error::shape(format!(
            "axis {axis} of size {size} cannot be split into {outputs} parts of sizes {lengths:?}"
        )));
    }
    let mut axes = own_axes(x.shape());
    let stride = axes[axis].stride as usize;
    let mut start = 0;
    let part = |length| {
        axes[axis].size = length;
        let part = seen(isa, x, start * stride, &axes, &shape_of(&axes));
        start += length;
        part
    };
    lengths.into_iter().map(part).collect()
}

fn slice(isa: Isa, x: &Tensor, inputs: &TensorInputs) -> Result<Tensor> {
    let (starts, ends) = (inputs.required(1)?.to_i64s()?, inputs.required(2)?.to_i64s()?);
    let count = starts.len();
    let names = inputs.integers(3)?.unwrap_or_else(|| (0..count as i64).collect());
    let steps = inputs.integers(4)?.unwrap_or_else(|| vec![1; count]);
    if [ends.len(), names.len(), steps.len()].iter().any(|&n| n != count) {
        return Err(Error::shape("starts, ends, axes and steps must be equally many"));
    }
    let mut axes = own_axes(x.shape());
    let mut first = 0;
    for (i, axis) in geometry::axes(&names, x.shape().len())?.into_iter().enumerate() {
        let taken = geometry::slice(x.shape()[axis], starts[i], ends[i], steps[i])?;
        let axis = &mut axes[axis];
        if taken.len > 0 {
            first += taken.start * axis.stride as usize;
        }
        // The distance between entries matters only if there are several, which lie in the tensor.
        let step = if taken.len > 1 { taken.step as isize } else { 1 };
        *axis = Axis { size: taken.len, stride: axis.stride * step };
    }
    let shape = shape_of(&axes);
    if shape.contains(&0) {
        return Tensor::new(&shape, Vec::<f32>::new());
    }
    seen(isa, x, first, &axes, &shape)
}

fn gather(isa: Isa, x: &Tensor, indices: &Tensor, axis: i64) -> Result<Tensor> {
    let axis = geometry::axis(axis, x.shape().len())?;
    let (outer, rest) = x.shape().split_at(axis);
    let (size, inner) = (rest[0], &rest[1..]);
    let index = |i: i64| {
        let from_start = if i < 0 { i.saturating_add_unsigned(size as u64) } else { i };
        usize::try_from(from_start).ok().filter(|&i| i < size).ok_or_else(|| {
            Error::shape(format!("index {i} is outside axis {axis}, which has size {size}"))
        })
    };
    let entries: Vec<usize> = indices.to_i64s()?.into_iter().map(index).collect::<Result<_>>()?;
    let shape = [outer, indices.shape(), inner].concat();
    let count = geometry::element_count(&shape, DType::F32)?;
    let run: usize = inner.iter().product();
    if let &[entry] = entries.as_slice() {
        let mut axes = own_axes(x.shape());
        axes[axis].size = 1;
        return match count {
            0 => Tensor::new(&shape, Vec::<f32>::new()),
            _ => seen(isa, x, entry * run, &axes, &shape),
        };
    }
    let mut y = Vec::with_capacity(count);
    // Without elements there is nothing to cut into blocks.
    for block in x.as_f32()?.chunks_exact((size * run).max(1)) {
        for &entry in &entries {
            y.extend_from_slice(&block[entry * run..][..run]);
        }
    }
    Tensor::new(&shape, y)
}

fn tile(isa: Isa, x: &Tensor, repeats: &[usize]) -> Result<Tensor> {
    if repeats.len() != x.shape().len() {
        return Err(Error::shape(format!(
            "expected a repeat for each of {} axes, found {}",
            x.shape().len(),
            repeats.len()
        )));
    }
    let grown = x.shape().iter().zip(repeats).map(|(&size, &n)| size.checked_mul(n));
    let shape: Option<Vec<usize>> = grown.collect();
    let shape = shape.ok_or_else(|| Error::shape("the result is too large"))?;
    geometry::element_count(&shape, DType::F32)?;
    // A repeated axis is two axes: the repetitions, with stride 0, and the original.
    let pair = |(axis, &size): (Axis, &usize)| [Axis { size, stride: 0 }, axis];
    let axes: Vec<Axis> = own_axes(x.shape()).into_iter().zip(repeats).flat_map(pair).collect();
    seen(isa, x, 0, &axes, &shape)
}

fn transpose(isa: Isa, x: &Tensor, perm: &[usize]) -> Result<Tensor> {
    let rank = x.shape().len();
    let perm: Vec<usize> = if perm.is_empty() { (0..rank).rev().collect() } else { perm.to_vec() };
    let named: Vec<i64> = perm.iter().map(|&p| p as i64).collect();
    if geometry::axes(&named, rank)?.len() != rank {
        return Err(Error::shape(format!("permutation {perm:?} does not fit {rank} axes")));
    }
    let own = own_axes(x.shape());
    let axes: Vec<Axis> = perm.iter().map(|&p| own[p]).collect();
    seen(isa, x, 0, &axes, &shape_of(&axes))
}

fn depth_to_space(isa: Isa, x: &Tensor, block: usize, order: DepthOrder) -> Result<Tensor> {
    let &[n, channels, h, w] = x.shape() else {
        return Err(Error::shape(format!("expected four axes, found {:?}", x.shape())));
    };
    let area = block.checked_mul(block).filter(|&a| a > 0 && channels % a == 0);
    let depth = channels
        / area.ok_or_else(|| {
            Error::shape(format!("{channels} channels do not form blocks of {block} x {block}"))
        })?;
    let (view, perm) = match order {
        DepthOrder::Dcr => ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2]),
        DepthOrder::Crd => ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3]),
    };
    transpose(isa, &x.reshape(&view)?, &perm)?.reshape(&[n, depth, h * block, w * block])
}

fn pad(x: &Tensor, inputs: &TensorInputs) -> Result<Tensor> {
    let names = inputs.integers(3)?;
    let padded = geometry::pad(x.shape(), &inputs.required(1)?.to_i64s()?, names.as_deref())?;
    let value = match inputs.get(2) {
        Some(value) => match value.as_f32()? {
            &[value] => value,
            _ => {
                let shape = value.shape();
                return Err(Error::shape(format!("the padding value has shape {shape:?}")));
            }
        },
        None => 0.0,
    };
    let mut y = Vec::with_capacity(geometry::element_count(&padded.shape, DType::F32)?);
    pad_axes(x.as_f32()?, x.shape(), &padded.pads, &padded.shape, value, &mut y);
    Tensor::new(&padded.shape, y)
}

/// Appends to `y` the elements of `x`, a tensor of `sizes`, padded to `padded`.
fn pad_axes(
    x: &[f32],
    sizes: &[usize],
    pads: &[(i64, i64)],
    padded: &[usize],
    value: f32,
    y: &mut Vec<f32>,
) {
    if pads.iter().all(|&pads| pads == (0, 0)) {
        return y.extend_from_slice(x);
    }
    let inner: usize = sizes[1..].iter().product();
    let entry: usize = padded[1..].iter().product();
    let added = |pad: i64| pad.max(0) as usize * entry;
    let removed = |pad: i64| pad.min(0).unsigned_abs() as usize;
    let (before, after) = pads[0];
    y.extend(std::iter::repeat_n(value, added(before)));
    for i in removed(before)..sizes[0] - removed(after) {
        let x = &x[i * inner..][..inner];
        pad_axes(x, &sizes[1..], &pads[1..], &padded[1..], value, y);
    }
    y.extend(std::iter::repeat_n(value, added(after)));
}
