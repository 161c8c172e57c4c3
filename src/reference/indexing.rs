//! Operators that read or write elements at positions that the data gives, and those that find
//! positions.

use std::cmp::Ordering;

use super::inputs::Inputs;
use super::movement::pick;
use super::numbers::{Numbers, floats};
use crate::error::{Error, Result};
use crate::graph::{CumSum, NonMaxSuppression, ScatterReduction, TopK, geometry};
use crate::tensor::{Tensor, strides};

/// Returns the entry that `index` names in an axis of `size` entries; a negative one counts from the
/// end.
fn entry(index: i64, size: usize) -> Result<usize> {
    let from_start = if index < 0 { index.saturating_add_unsigned(size as u64) } else { index };
    usize::try_from(from_start).ok().filter(|&i| i < size).ok_or_else(|| {
        Error::shape(format!("index {index} does not exist: the axis has {size} entries"))
    })
}

/// Returns the place in a tensor of `shape` of each of `indices`, which replace positions along
/// `axis`.
fn element_places(shape: &[usize], indices: &Tensor, axis: i64) -> Result<Vec<usize>> {
    let axis = geometry::axis(axis, shape.len())?;
    let fits = indices.shape().len() == shape.len()
        && (0..shape.len()).all(|i| i == axis || indices.shape()[i] <= shape[i]);
    if !fits {
        return Err(Error::shape(format!(
            "indices of shape {:?} do not lie within {shape:?}",
            indices.shape()
        )));
    }
    let mut steps = strides(shape);
    let along = std::mem::replace(&mut steps[axis], 0);
    let places = geometry::strided_places(indices.shape(), &steps);
    let indices = indices.to_i64s()?;
    let place = |(p, &i): (usize, &i64)| Ok(p + entry(i, shape[axis])? * along);
    places.into_iter().zip(&indices).map(place).collect()
}

/// What the indices of `GatherND` and `ScatterND` select.
struct Selection {
    /// The place of each selected element.
    places: Vec<usize>,
    /// The shape of what is selected.
    shape: Vec<usize>,
}

fn selection(x: &Tensor, indices: &Tensor, batch_dims: usize) -> Result<Selection> {
    let misfit = || {
        Error::shape(format!(
            "indices of shape {:?} select no positions of {:?}",
            indices.shape(),
            x.shape()
        ))
    };
    let (&depth, positions) = indices.shape().split_last().ok_or_else(misfit)?;
    let first = batch_dims.checked_add(depth).filter(|&n| depth > 0 && n <= x.shape().len());
    let (outer, inner) = x.shape().split_at(first.ok_or_else(misfit)?);
    if positions.get(..batch_dims) != Some(&outer[..batch_dims]) {
        return Err(misfit());
    }
    let shape = [positions, inner].concat();
    geometry::element_count(&shape, x.dtype())?;
    let own = strides(x.shape());
    let per_batch: usize = positions[batch_dims..].iter().product();
    let batch_step = if batch_dims == 0 { 0 } else { own[batch_dims - 1] };
    let run: usize = inner.iter().product();
    let mut places = Vec::new();
    for (i, index) in indices.to_i64s()?.chunks_exact(depth).enumerate() {
        let mut start = i / per_batch.max(1) * batch_step;
        for (axis, &index) in (batch_dims..).zip(index) {
            start += entry(index, x.shape()[axis])? * own[axis];
        }
        places.extend(start..start + run);
    }
    Ok(Selection { places, shape })
}

pub(super) fn gather_elements(x: &Tensor, indices: &Tensor, axis: i64) -> Result<Tensor> {
    pick(&[x], indices.shape(), &element_places(x.shape(), indices, axis)?)
}

pub(super) fn gather_nd(x: &Tensor, indices: &Tensor, batch_dims: usize) -> Result<Tensor> {
    let selected = selection(x, indices, batch_dims)?;
    pick(&[x], &selected.shape, &selected.places)
}

pub(super) fn scatter_elements(
    inputs: &Inputs,
    axis: i64,
    reduction: ScatterReduction,
) -> Result<Tensor> {
    let (x, indices) = (inputs.required(0)?, inputs.required(1)?);
    let places = element_places(x.shape(), indices, axis)?;
    scatter(x, inputs.required(2)?, indices.shape(), &places, reduction)
}

pub(super) fn scatter_nd(inputs: &Inputs, reduction: ScatterReduction) -> Result<Tensor> {
    let (x, indices) = (inputs.required(0)?, inputs.required(1)?);
    let Selection { places, shape } = selection(x, indices, 0)?;
    scatter(x, inputs.required(2)?, &shape, &places, reduction)
}

/// Combines the element of `x` at each of `places` with an update.
fn scatter(
    x: &Tensor,
    updates: &Tensor,
    shape: &[usize],
    places: &[usize],
    reduction: ScatterReduction,
) -> Result<Tensor> {
    if updates.shape() != shape || updates.dtype() != x.dtype() {
        return Err(Error::shape(format!(
            "expected updates of type {} and shape {shape:?}, found {updates:?}",
            x.dtype()
        )));
    }
    if reduction == ScatterReduction::None {
        let mut from: Vec<usize> = (0..x.len()).collect();
        for (i, &place) in places.iter().enumerate() {
            from[place] = x.len() + i;
        }
        return pick(&[x, updates], x.shape(), &from);
    }
    let numbers = match (Numbers::from_tensor(x)?, Numbers::from_tensor(updates)?) {
        (Numbers::Float(mut y), Numbers::Float(updates)) => {
            for (&place, u) in places.iter().zip(updates) {
                let old = y[place];
                y[place] = match reduction {
                    ScatterReduction::None => u,
                    ScatterReduction::Add => old + u,
                    ScatterReduction::Mul => old * u,
                    ScatterReduction::Max if u > old || u.is_nan() => u,
                    ScatterReduction::Min if u < old || u.is_nan() => u,
                    ScatterReduction::Max | ScatterReduction::Min => old,
                };
            }
            Numbers::Float(y)
        }
        (Numbers::Int(mut y), Numbers::Int(updates)) => {
            for (&place, u) in places.iter().zip(updates) {
                let old = y[place];
                y[place] = match reduction {
                    ScatterReduction::None => u,
                    ScatterReduction::Add => old.wrapping_add(u),
                    ScatterReduction::Mul => old.wrapping_mul(u),
                    ScatterReduction::Max => old.max(u),
                    ScatterReduction::Min => old.min(u),
                };
            }
            Numbers::Int(y)
        }
        _ => return Err(Error::shape("data and updates must be of one type")),
    };
    numbers.into_tensor(x.shape(), x.dtype())
}

/// The lines of a tensor along one axis.
struct Lines {
    size: usize,
    inner: usize,
    count: usize,
}

impl Lines {
    fn new(shape: &[usize], axis: usize) -> Self {
        let product = |sizes: &[usize]| sizes.iter().product::<usize>();
        let inner = product(&shape[axis + 1..]);
        Lines { size: shape[axis], inner, count: product(&shape[..axis]) * inner }
    }

    /// Returns the place of the first element of line `i`.
    fn start(&self, i: usize) -> usize {
        i / self.inner * self.size * self.inner + i % self.inner
    }
}

pub(super) fn cum_sum(op: &CumSum, x: &Tensor, axis: &Tensor) -> Result<Tensor> {
    let axis = geometry::axis(only(axis)?, x.shape().len())?;
    let lines = Lines::new(x.shape(), axis);
    match Numbers::from_tensor(x)? {
        Numbers::Float(values) => Numbers::Float(sums(op, &lines, values, |a, b| a + b)),
        Numbers::Int(values) => Numbers::Int(sums(op, &lines, values, i64::wrapping_add)),
    }
    .into_tensor(x.shape(), x.dtype())
}

fn sums<T: Copy + Default>(
    op: &CumSum,
    lines: &Lines,
    mut values: Vec<T>,
    add: impl Fn(T, T) -> T,
) -> Vec<T> {
    for line in 0..lines.count {
        let mut sum = T::default();
        for i in 0..lines.size {
            let i = if op.reverse { lines.size - 1 - i } else { i };
            let place = lines.start(line) + i * lines.inner;
            let with_own = add(sum, values[place]);
            values[place] = if op.exclusive { sum } else { with_own };
            sum = with_own;
        }
    }
    values
}

/// Returns the only element of an integer tensor.
fn only(tensor: &Tensor) -> Result<i64> {
    match tensor.to_i64s()?.as_slice() {
        &[number] => Ok(number),
        _ => Err(Error::shape(format!("expected one number, found shape {:?}", tensor.shape()))),
    }
}

pub(super) fn top_k(op: &TopK, x: &Tensor, k: &Tensor) -> Result<Vec<Tensor>> {
    let axis = geometry::axis(op.axis, x.shape().len())?;
    let lines = Lines::new(x.shape(), axis);
    let k = only(k)?;
    let k = usize::try_from(k).ok().filter(|&k| k <= lines.size).ok_or_else(|| {
        Error::shape(format!("{k} elements cannot be selected from {}", lines.size))
    })?;
    let mut shape = x.shape().to_vec();
    shape[axis] = k;
    let selected = match Numbers::from_tensor(x)? {
        // As in PyTorch, NaN counts as larger than every number.
        Numbers::Float(values) => largest(op, &lines, k, |a: usize, b: usize| {
            let (a, b) = (values[a], values[b]);
            a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        }),
        Numbers::Int(values) => {
            largest(op, &lines, k, |a: usize, b: usize| values[a].cmp(&values[b]))
        }
    };
    let mut places = vec![0; lines.count * k];
    let mut indices = vec![0; lines.count * k];
    let outputs = Lines::new(&shape, axis);
    for (line, selected) in selected.into_iter().enumerate() {
        for (rank, index) in selected.into_iter().enumerate() {
            let place = outputs.start(line) + rank * outputs.inner;
            places[place] = lines.start(line) + index * lines.inner;
            indices[place] = index as i64;
        }
    }
    Ok(vec![pick(&[x], &shape, &places)?, Tensor::new(&shape, indices)?])
}

/// Returns the indices of the `k` first elements of each line. `compare` compares the elements at two
/// places.
fn largest(
    op: &TopK,
    lines: &Lines,
    k: usize,
    compare: impl Fn(usize, usize) -> Ordering,
) -> Vec<Vec<usize>> {
    let select = |line: usize| {
        let place = |i: usize| lines.start(line) + i * lines.inner;
        let mut order: Vec<usize> = (0..lines.size).collect();
        // Of equal elements the first comes first.
        let in_order = |&a: &usize, &b: &usize| {
            let ascending = compare(place(a), place(b));
            let wanted = if op.largest { ascending.reverse() } else { ascending };
            wanted.then(a.cmp(&b))
        };
        // Detectors select a few hundred of many thousands.
        if (1..lines.size).contains(&k) {
            order.select_nth_unstable_by(k - 1, in_order);
        }
        order.truncate(k);
        order.sort_unstable_by(in_order);
        order
    };
    (0..lines.count).map(select).collect()
}

pub(super) fn non_zero(x: &Tensor) -> Result<Tensor> {
    let is_set: Vec<bool> = match Numbers::from_tensor(x)? {
        Numbers::Float(values) => values.into_iter().map(|v| v != 0.0).collect(),
        Numbers::Int(values) => values.into_iter().map(|v| v != 0).collect(),
    };
    let places: Vec<usize> = (0..is_set.len()).filter(|&p| is_set[p]).collect();
    let shape = if x.shape().is_empty() { &[1] } else { x.shape() };
    let mut positions = Vec::with_capacity(shape.len() * places.len());
    for (step, size) in strides(shape).into_iter().zip(shape) {
        positions.extend(places.iter().map(|p| (p / step.max(1) % size) as i64));
    }
    Tensor::new(&[shape.len(), places.len()], positions)
}

/// Lower bounds and upper bounds of a box along both axes.
fn corners(op: &NonMaxSuppression, b: &[f64]) -> [f64; 4] {
    if op.centre_point_box {
        let (half_width, half_height) = (b[2] / 2.0, b[3] / 2.0);
        [b[0] - half_width, b[1] - half_height, b[0] + half_width, b[1] + half_height]
    } else {
        [b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])]
    }
}

/// Returns the area that two boxes share, divided by the area that they cover together.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let area = |c: &[f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let shared = side(0) * side(1);
    let covered = area(a) + area(b) - shared;
    if covered > 0.0 { shared / covered } else { 0.0 }
}

pub(super) fn non_max_suppression(op: &NonMaxSuppression, inputs: &Inputs) -> Result<Tensor> {
    let (boxes, scores) = (inputs.required(0)?, inputs.required(1)?);
    let (&[images, count, 4], &[images_of_scores, classes, per_class]) =
        (boxes.shape(), scores.shape())
    else {
        return Err(Error::shape(format!("expected boxes [N,boxes,4], found {boxes:?}")));
    };
    if images != images_of_scores || count != per_class {
        return Err(Error::shape(format!("{boxes:?} and {scores:?} state different boxes")));
    }
    let number = |i: usize| inputs.optional(i).map(|t| Ok(floats(t)?.first().copied()));
    let most = inputs.optional(2).map(only).transpose()?.unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(0);
    let largest_overlap = number(3).transpose()?.flatten().unwrap_or(0.0);
    let least_score = number(4).transpose()?.flatten().unwrap_or(f64::NEG_INFINITY);
    let (boxes, scores) = (floats(boxes)?, floats(scores)?);
    let boxes: Vec<[f64; 4]> = boxes.chunks_exact(4).map(|b| corners(op, b)).collect();
    let mut selected = Vec::new();
    for image in 0..images {
        for class in 0..classes {
            let scores = &scores[(image * classes + class) * count..][..count];
            let mut order: Vec<usize> = (0..count).filter(|&i| scores[i] > least_score).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let mut kept: Vec<usize> = Vec::new();
            for candidate in order {
                if kept.len() >= most {
                    break;
                }
                let of = |i: usize| &boxes[image * count + i];
                if kept.iter().all(|&k| overlap(of(k), of(candidate)) <= largest_overlap) {
                    kept.push(candidate);
                }
            }
            for index in kept {
                selected.extend([image as i64, class as i64, index as i64]);
            }
        }
    }
    Tensor::new(&[selected.len() / 3, 3], selected)
}

#[cfg(test)]
mod tests;
