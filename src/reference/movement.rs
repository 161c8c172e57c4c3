//! Operators that move or repeat elements without changing them, and those that compute shapes.

use super::inputs::Inputs;
use super::numbers::floats;
use crate::error::{Error, Result};
use crate::graph::{DepthOrder, Interleave, PadMode, Scalar, geometry};
use crate::tensor::{DType, Element, Storage, Tensor, strides};

/// Returns a tensor of `shape` with the elements at `places` of the concatenated `sources`.
pub(super) fn pick(sources: &[&Tensor], shape: &[usize], places: &[usize]) -> Result<Tensor> {
    fn typed<T: Element>(sources: &[&Tensor], places: &[usize]) -> Result<Storage> {
        let slices = sources.iter().map(|s| Ok(bytemuck::cast_slice::<u8, T>(s.bytes())));
        let slices = slices.collect::<Result<Vec<&[T]>>>()?;
        let concatenated;
        let elements: &[T] = match slices.as_slice() {
            [only] => only,
            several => {
                concatenated = several.concat();
                &concatenated
            }
        };
        Ok(Storage::from_vec(places.iter().map(|&p| elements[p]).collect::<Vec<T>>()))
    }
    let dtype = sources[0].dtype();
    let storage = match dtype.size() {
        8 => typed::<i64>(sources, places),
        4 => typed::<i32>(sources, places),
        2 => typed::<half::f16>(sources, places),
        _ => typed::<u8>(sources, places),
    };
    Tensor::from_storage(dtype, shape, storage?)
}

pub(super) fn transpose(x: &Tensor, perm: &[usize]) -> Result<Tensor> {
    let rank = x.shape().len();
    let perm: Vec<usize> = if perm.is_empty() { (0..rank).rev().collect() } else { perm.to_vec() };
    let named: Vec<i64> = perm.iter().map(|&p| p as i64).collect();
    if geometry::axes(&named, rank)?.len() != rank {
        return Err(Error::shape(format!("permutation {perm:?} does not fit {rank} axes")));
    }
    let own = strides(x.shape());
    let shape: Vec<usize> = perm.iter().map(|&p| x.shape()[p]).collect();
    let strides: Vec<usize> = perm.iter().map(|&p| own[p]).collect();
    pick(&[x], &shape, &geometry::strided_places(&shape, &strides))
}

pub(super) fn expand(x: &Tensor, shape: &[i64]) -> Result<Tensor> {
    let wanted = sizes(shape)?;
    let shape = geometry::broadcast(&[x.shape(), &wanted])?;
    geometry::element_count(&shape, x.dtype())?;
    pick(&[x], &shape, &geometry::broadcast_places(x.shape(), &shape))
}

fn sizes(shape: &[i64]) -> Result<Vec<usize>> {
    let size = |&d: &i64| {
        usize::try_from(d)
            .map_err(|_| Error::shape(format!("sizes must not be negative, found {shape:?}")))
    };
    shape.iter().map(size).collect()
}

pub(super) fn tile(x: &Tensor, repeats: &[i64]) -> Result<Tensor> {
    let repeats = sizes(repeats)?;
    if repeats.len() != x.shape().len() {
        return Err(Error::shape(format!(
            "expected a repeat for each of {} axes, found {}",
            x.shape().len(),
            repeats.len()
        )));
    }
    let grown = x.shape().iter().zip(&repeats).map(|(&d, &r)| d.checked_mul(r));
    let shape: Vec<usize> =
        grown.collect::<Option<_>>().ok_or_else(|| Error::shape("the result is too large"))?;
    geometry::element_count(&shape, x.dtype())?;
    let own = strides(x.shape());
    // A repeated axis is two axes: the repetitions, with stride 0, and the original.
    let mut axes = Vec::new();
    let mut steps = Vec::new();
    for (i, &stride) in own.iter().enumerate() {
        axes.extend([repeats[i], x.shape()[i]]);
        steps.extend([0, stride]);
    }
    pick(&[x], &shape, &geometry::strided_places(&axes, &steps))
}

pub(super) fn reshape(x: &Tensor, wanted: &[i64], allow_zero: bool) -> Result<Tensor> {
    x.reshape(&geometry::reshape(x.shape(), wanted, allow_zero)?)
}

pub(super) fn flatten(x: &Tensor, axis: i64) -> Result<Tensor> {
    let rank = x.shape().len();
    let axis = if axis == rank as i64 { rank } else { geometry::axis(axis, rank)? };
    let (outer, inner) = x.shape().split_at(axis);
    x.reshape(&[outer.iter().product(), inner.iter().product()])
}

pub(super) fn squeeze(x: &Tensor, axes: Option<Vec<i64>>) -> Result<Tensor> {
    let drop = match axes {
        Some(axes) => geometry::axes(&axes, x.shape().len())?,
        None => (0..x.shape().len()).filter(|&i| x.shape()[i] == 1).collect(),
    };
    if let Some(&axis) = drop.iter().find(|&&a| x.shape()[a] != 1) {
        return Err(Error::shape(format!("axis {axis} of {:?} has not size 1", x.shape())));
    }
    let kept = (0..x.shape().len()).filter(|i| !drop.contains(i));
    x.reshape(&kept.map(|i| x.shape()[i]).collect::<Vec<_>>())
}

pub(super) fn unsqueeze(x: &Tensor, axes: &[i64]) -> Result<Tensor> {
    let rank = x.shape().len() + axes.len();
    let added = geometry::axes(axes, rank)?;
    let mut old = x.shape().iter();
    let size = |i| if added.contains(&i) { 1 } else { old.next().copied().unwrap_or(1) };
    x.reshape(&(0..rank).map(size).collect::<Vec<_>>())
}

pub(super) fn concat(inputs: &[Option<&Tensor>], axis: i64) -> Result<Tensor> {
    let parts: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
    let first = *parts.first().ok_or_else(|| Error::graph("it needs at least one input"))?;
    let axis = geometry::axis(axis, first.shape().len())?;
    let mut shape = first.shape().to_vec();
    shape[axis] = 0;
    let (mut starts, mut end) = (Vec::new(), 0);
    for part in &parts {
        let same = part.shape().len() == shape.len()
            && (0..shape.len()).all(|i| i == axis || part.shape()[i] == shape[i]);
        if !same || part.dtype() != first.dtype() {
            return Err(Error::shape(format!(
                "{part:?} cannot be joined to {first:?} along axis {axis}"
            )));
        }
        shape[axis] += part.shape()[axis];
        starts.push(end);
        end += part.len();
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut places = Vec::with_capacity(end);
    for i in 0..outer {
        for (part, start) in parts.iter().zip(&starts) {
            let run = part.shape()[axis] * inner;
            places.extend(start + i * run..start + (i + 1) * run);
        }
    }
    pick(&parts, &shape, &places)
}

/// Returns the entries `start..start + len` of one axis.
fn narrow(x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
    let mut shape = x.shape().to_vec();
    shape[axis] = len;
    let own = strides(x.shape());
    let places: Vec<usize> =
        geometry::strided_places(&shape, &own).into_iter().map(|p| p + start * own[axis]).collect();
    pick(&[x], &shape, &places)
}

pub(super) fn split(
    x: &Tensor,
    axis: i64,
    lengths: Option<Vec<i64>>,
    outputs: usize,
) -> Result<Vec<Tensor>> {
    let axis = geometry::axis(axis, x.shape().len())?;
    let size = x.shape()[axis];
    let lengths = match lengths {
        Some(lengths) => sizes(&lengths)?,
        None => geometry::equal_parts(size, outputs)?,
    };
    let total = lengths.iter().try_fold(0usize, |sum, &l| sum.checked_add(l));
    if lengths.len() != outputs || total != Some(size) {
        return Err(Error::shape(format!(
            "axis {axis} of size {size} cannot be split into {outputs} parts of sizes {lengths:?}"
        )));
    }
    let mut start = 0;
    let part = |len| {
        let part = narrow(x, axis, start, len);
        start += len;
        part
    };
    lengths.into_iter().map(part).collect()
}

pub(super) fn slice(inputs: &Inputs) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let (starts, ends) = (inputs.required(1)?.to_i64s()?, inputs.required(2)?.to_i64s()?);
    let count = starts.len();
    let axes = inputs.integers(3)?.unwrap_or_else(|| (0..count as i64).collect());
    let steps = inputs.integers(4)?.unwrap_or_else(|| vec![1; count]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != count) {
        return Err(Error::shape("starts, ends, axes and steps must be equally many"));
    }
    let axes = geometry::axes(&axes, x.shape().len())?;
    let own = strides(x.shape());
    let mut shape = x.shape().to_vec();
    // Steps may be negative: positions are computed in i64.
    let mut along: Vec<Vec<usize>> = shape.iter().map(|&d| (0..d).collect()).collect();
    for (i, &axis) in axes.iter().enumerate() {
        let taken = geometry::slice(x.shape()[axis], starts[i], ends[i], steps[i])?;
        along[axis] =
            (0..taken.len).map(|j| (taken.start as i64 + j as i64 * taken.step) as usize).collect();
        shape[axis] = taken.len;
    }
    let mut places = vec![0];
    for (indices, stride) in along.iter().zip(&own) {
        places =
            places.iter().flat_map(|&p| indices.iter().map(move |&i| p + i * stride)).collect();
    }
    pick(&[x], &shape, &places)
}

pub(super) fn gather(x: &Tensor, indices: &Tensor, axis: i64) -> Result<Tensor> {
    let axis = geometry::axis(axis, x.shape().len())?;
    let size = x.shape()[axis];
    let indices_flat = indices.to_i64s()?;
    let index = |&i: &i64| {
        let from_start = if i < 0 { i.saturating_add_unsigned(size as u64) } else { i };
        usize::try_from(from_start).ok().filter(|&i| i < size).ok_or_else(|| {
            Error::shape(format!("index {i} is outside axis {axis}, which has size {size}"))
        })
    };
    let entries: Vec<usize> = indices_flat.iter().map(index).collect::<Result<_>>()?;
    let shape = [&x.shape()[..axis], indices.shape(), &x.shape()[axis + 1..]].concat();
    geometry::element_count(&shape, x.dtype())?;
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let outer: usize = x.shape()[..axis].iter().product();
    let mut places = Vec::with_capacity(outer * entries.len() * inner);
    for i in 0..outer {
        for &entry in &entries {
            let start = (i * size + entry) * inner;
            places.extend(start..start + inner);
        }
    }
    pick(&[x], &shape, &places)
}

pub(super) fn pad(inputs: &Inputs, mode: PadMode) -> Result<Tensor> {
    let x = inputs.required(0)?;
    let names = inputs.integers(3)?;
    let padded = geometry::pad(x.shape(), &inputs.required(1)?.to_i64s()?, names.as_deref())?;
    geometry::element_count(&padded.shape, x.dtype())?;
    let value = match inputs.optional(2) {
        Some(value) if value.len() == 1 => value.reshape(&[1])?.cast(x.dtype())?,
        Some(value) => {
            return Err(Error::shape(format!("the padding value has shape {:?}", value.shape())));
        }
        None => Tensor::vector(vec![0f32]).cast(x.dtype())?,
    };
    let outside = x.len();
    let own = strides(x.shape());
    let mut places = vec![Some(0)];
    for (axis, &(before, _)) in padded.pads.iter().enumerate() {
        let size = x.shape()[axis];
        if size == 0 && mode != PadMode::Constant && padded.shape[axis] > 0 {
            return Err(Error::shape(format!(
                "axis {axis} is empty: only padding with a constant can extend it"
            )));
        }
        let source = |i: usize| border(mode, i as i64 - before, size);
        let along: Vec<Option<usize>> =
            (0..padded.shape[axis]).map(|i| source(i).map(|s| s * own[axis])).collect();
        places = places
            .iter()
            .flat_map(|&p: &Option<usize>| along.iter().map(move |&s| Some(p? + s?)))
            .collect();
    }
    let places: Vec<usize> = places.into_iter().map(|p| p.unwrap_or(outside)).collect();
    pick(&[x, &value], &padded.shape, &places)
}

/// Returns the entry of an axis of `size` entries that padding puts at position `i`, which may lie
/// outside of the axis; `None` for a constant.
fn border(mode: PadMode, i: i64, size: usize) -> Option<usize> {
    let size = size as i64;
    let inside = match mode {
        PadMode::Constant => return usize::try_from(i).ok().filter(|_| i < size),
        PadMode::Edge => i.clamp(0, size - 1),
        PadMode::Wrap => i.rem_euclid(size),
        PadMode::Reflect if size == 1 => 0,
        PadMode::Reflect => {
            let period = 2 * (size - 1);
            let i = i.rem_euclid(period);
            if i < size { i } else { period - i }
        }
    };
    usize::try_from(inside).ok()
}

pub(super) fn depth_to_space(x: &Tensor, block: usize, order: DepthOrder) -> Result<Tensor> {
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
    transpose(&x.reshape(&view)?, &perm)?.reshape(&[n, depth, h * block, w * block])
}

pub(super) fn interleave(inputs: &[Option<&Tensor>], op: &Interleave) -> Result<Tensor> {
    geometry::check_interleave(op)?;
    let parts: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
    let phase = |at: usize| {
        let [input, first] = op.phases[at];
        let x = parts.get(input).filter(|x| x.dtype() == parts[0].dtype());
        match x.map(|x| x.shape()) {
            Some(&[n, c, h, w]) if first.checked_add(op.channels) <= Some(c) => {
                let start: usize = parts[..input].iter().map(|part| part.len()).sum();
                Ok((start, [n, c, h, w], first))
            }
            _ => Err(Error::shape(format!("phase {at} is no part of the inputs"))),
        }
    };
    let (_, [n, _, h, w], _) = phase(0)?;
    let size = |size: usize, axis: usize| {
        let full = size.checked_mul(op.steps[axis]);
        let cropped = full.and_then(|full| full.checked_sub(op.crop[axis]));
        cropped.ok_or_else(|| Error::shape(format!("maps of {h}x{w} cannot be interleaved")))
    };
    let shape = [n, op.channels, size(h, 0)?, size(w, 1)?];
    let mut places = Vec::with_capacity(geometry::element_count(&shape, DType::F64)?);
    let phases = (0..op.phases.len()).map(phase).collect::<Result<Vec<_>>>()?;
    for image in 0..n {
        for channel in 0..op.channels {
            for y in 0..shape[2] {
                for x in 0..shape[3] {
                    let [rows, columns] = op.steps;
                    let (start, [n, c, h, w], first) = phases[y % rows * columns + x % columns];
                    let (y, x) = (y / rows, x / columns);
                    if image >= n || y >= h || x >= w {
                        return Err(Error::shape("a phase is smaller than the others"));
                    }
                    places.push(start + ((image * c + first + channel) * h + y) * w + x);
                }
            }
        }
    }
    pick(&parts, &shape, &places)
}

pub(super) fn constant_of_shape(shape: &Tensor, value: Scalar) -> Result<Tensor> {
    let shape = sizes(&shape.to_i64s()?)?;
    geometry::element_count(&shape, DType::F64)?;
    value.fill(&shape)
}

pub(super) fn range(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Result<Tensor> {
    let single = |t: &Tensor| match t.len() {
        1 => Ok(()),
        _ => Err(Error::shape(format!("expected a single number, found shape {:?}", t.shape()))),
    };
    [start, limit, delta].into_iter().try_for_each(single)?;
    if start.dtype().is_float() {
        let [start_, limit, delta] = [start, limit, delta].map(floats);
        let (first, limit, delta) = (start_?[0], limit?[0], delta?[0]);
        let count = ((limit - first) / delta).ceil().max(0.0);
        if count.is_nan() || count >= (1u64 << 30) as f64 {
            return Err(Error::shape(format!("a range of {count} elements cannot be made")));
        }
        let values: Vec<f64> = (0..count as usize).map(|i| first + i as f64 * delta).collect();
        return Tensor::vector(values).cast(start.dtype());
    }
    let [first, limit, delta] = [start, limit, delta].map(|t| t.to_i64s().map(|v| v[0]));
    let (first, limit, delta) = (first?, limit?, delta?);
    if delta == 0 {
        return Err(Error::shape("a range needs a step that is not 0"));
    }
    let (from, to, by) = (i128::from(first), i128::from(limit), i128::from(delta));
    let count = ((to - from) + by - by.signum()) / by;
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    geometry::element_count(&[count], DType::I64)?;
    Tensor::vector((0..count as i64).map(|i| first + i * delta).collect::<Vec<i64>>())
        .cast(start.dtype())
}

pub(super) fn shape_of(x: &Tensor, start: i64, end: Option<i64>) -> Result<Tensor> {
    let rank = x.shape().len() as i64;
    let place = |i: i64| (if i < 0 { i.saturating_add(rank) } else { i }).clamp(0, rank) as usize;
    let (start, end) = (place(start), place(end.unwrap_or(rank)));
    let sizes = x.shape().get(start..end).unwrap_or(&[]);
    Ok(Tensor::vector(sizes.iter().map(|&d| d as i64).collect::<Vec<i64>>()))
}
