//! Reductions over axes.

use super::numbers::Numbers;
use crate::error::{Error, Result};
use crate::graph::{ArgMax, Reduce, ReduceKind, geometry};
use crate::tensor::{DType, Tensor, strides};

/// Returns the place in the result that each element is reduced into, and the shape of the result
/// with the reduced axes kept at size 1.
fn destinations(shape: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let kept: Vec<usize> =
        shape.iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
    let own = strides(&kept);
    let steps: Vec<usize> =
        (0..shape.len()).map(|i| if axes.contains(&i) { 0 } else { own[i] }).collect();
    (geometry::strided_places(shape, &steps), kept)
}

pub(super) fn reduce(op: &Reduce, x: &Tensor, axes: Option<Vec<i64>>) -> Result<Tensor> {
    let rank = x.shape().len();
    let axes = match axes.filter(|axes| !axes.is_empty()) {
        Some(axes) => geometry::axes(&axes, rank)?,
        None if op.noop_with_empty_axes => Vec::new(),
        None => (0..rank).collect(),
    };
    let (places, kept) = destinations(x.shape(), &axes);
    let count: usize = axes.iter().map(|&a| x.shape()[a]).product();
    let groups = geometry::element_count(&kept, x.dtype())?;
    let shape: Vec<usize> = if op.keep_dims {
        kept
    } else {
        (0..rank).filter(|i| !axes.contains(i)).map(|i| x.shape()[i]).collect()
    };
    let numbers = match Numbers::from_tensor(x)? {
        Numbers::Float(values) => Numbers::Float(floats(op.kind, &values, &places, groups, count)),
        Numbers::Int(values) => {
            let range = range_of(x.dtype());
            Numbers::Int(integers(op.kind, &values, range, &places, groups, count)?)
        }
    };
    numbers.into_tensor(&shape, x.dtype())
}

fn floats(
    kind: ReduceKind,
    values: &[f64],
    places: &[usize],
    groups: usize,
    count: usize,
) -> Vec<f64> {
    let fold = |start: f64, f: &dyn Fn(f64, f64) -> f64| {
        let mut result = vec![start; groups];
        values.iter().zip(places).for_each(|(&x, &p)| result[p] = f(result[p], x));
        result
    };
    let max = |m: f64, x: f64| if x > m || x.is_nan() { x } else { m };
    let min = |m: f64, x: f64| if x < m || x.is_nan() { x } else { m };
    match kind {
        ReduceKind::Sum => fold(0.0, &|s, x| s + x),
        ReduceKind::Mean => {
            fold(0.0, &|s, x| s + x).into_iter().map(|s| s / count as f64).collect()
        }
        ReduceKind::Max => fold(f64::NEG_INFINITY, &max),
        ReduceKind::Min => fold(f64::INFINITY, &min),
        ReduceKind::Prod => fold(1.0, &|s, x| s * x),
        ReduceKind::L1 => fold(0.0, &|s, x| s + x.abs()),
        ReduceKind::L2 => fold(0.0, &|s, x| s + x * x).into_iter().map(f64::sqrt).collect(),
        ReduceKind::SumSquare => fold(0.0, &|s, x| s + x * x),
        ReduceKind::LogSum => fold(0.0, &|s, x| s + x).into_iter().map(f64::ln).collect(),
        ReduceKind::LogSumExp => {
            let largest = fold(f64::NEG_INFINITY, &max);
            // An infinite maximum is the result; subtracting it would give NaN.
            let shift = |p: usize| if largest[p].is_finite() { largest[p] } else { 0.0 };
            let mut sums = vec![0.0; groups];
            values.iter().zip(places).for_each(|(x, &p)| sums[p] += (x - shift(p)).exp());
            sums.into_iter().enumerate().map(|(p, s)| s.ln() + shift(p)).collect()
        }
    }
}

/// The least and the largest number of an integer type. They are the maximum and the minimum of nothing.
fn range_of(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::Bool => (0, 1),
        _ => (i64::MIN, i64::MAX),
    }
}

fn integers(
    kind: ReduceKind,
    values: &[i64],
    (least, largest): (i64, i64),
    places: &[usize],
    groups: usize,
    count: usize,
) -> Result<Vec<i64>> {
    let (start, f): (i64, fn(i64, i64) -> i64) = match kind {
        ReduceKind::Sum | ReduceKind::Mean => (0, i64::wrapping_add),
        ReduceKind::Max => (least, i64::max),
        ReduceKind::Min => (largest, i64::min),
        ReduceKind::Prod => (1, i64::wrapping_mul),
        ReduceKind::L1 => (0, |s, x| s.wrapping_add(x.wrapping_abs())),
        ReduceKind::SumSquare => (0, |s, x| s.wrapping_add(x.wrapping_mul(x))),
        ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp => {
            return Err(Error::unsupported("it is not defined on integers"));
        }
    };
    let mut result = vec![start; groups];
    values.iter().zip(places).for_each(|(&x, &p)| result[p] = f(result[p], x));
    if kind == ReduceKind::Mean && count > 0 {
        result.iter_mut().for_each(|s| *s /= count as i64);
    }
    Ok(result)
}

pub(super) fn arg_max(op: &ArgMax, x: &Tensor) -> Result<Tensor> {
    let axis = geometry::axis(op.axis, x.shape().len())?;
    let size = x.shape()[axis];
    if size == 0 {
        return Err(Error::shape("an empty axis has no largest element"));
    }
    let values = Numbers::from_tensor(x)?.into_floats();
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let outer: usize = x.shape()[..axis].iter().product();
    let mut y = Vec::with_capacity(outer * inner);
    for o in 0..outer {
        for i in 0..inner {
            let at = |j: usize| values[(o * size + j) * inner + i];
            let better = |best: usize, j: usize| {
                let (new, old) = (at(j), at(best));
                new > old || (new.is_nan() && !old.is_nan()) || (op.select_last && new == old)
            };
            y.push((1..size).fold(0, |best, j| if better(best, j) { j } else { best }) as i64);
        }
    }
    let mut shape = x.shape().to_vec();
    if op.keep_dims {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    Tensor::new(&shape, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(
        kind: ReduceKind,
        shape: &[usize],
        data: Vec<f32>,
        axes: Option<Vec<i64>>,
    ) -> Tensor {
        let op = Reduce { kind, keep_dims: false, noop_with_empty_axes: false };
        reduce(&op, &Tensor::new(shape, data).unwrap(), axes).unwrap()
    }

    #[test]
    fn logarithms_of_sums() {
        let e = std::f32::consts::E;
        let data = vec![1.0, e - 1.0, 0.5, 0.5, 0.0, 0.0];
        let y = reduced(ReduceKind::LogSum, &[3, 2], data, Some(vec![-1]));
        assert_eq!(y.shape(), [3]);
        let y = y.as_f32().unwrap();
        assert!((y[0] - 1.0).abs() < 1e-6 && y[1] == 0.0 && y[2] == f32::NEG_INFINITY, "{y:?}");
        // The logarithm of a negative sum is not a number, that of nothing is minus infinity.
        let negative = reduced(ReduceKind::LogSum, &[2], vec![1.0, -3.0], None);
        assert!(negative.as_f32().unwrap()[0].is_nan());
        let nothing = reduced(ReduceKind::LogSum, &[2, 0], vec![], Some(vec![1]));
        assert_eq!(nothing.as_f32().unwrap(), [f32::NEG_INFINITY; 2]);
        // Numbers whose exponentials overflow.
        let large = reduced(ReduceKind::LogSumExp, &[2], vec![1000.0, 1000.0], None);
        assert_eq!(large.as_f32().unwrap(), [1000.0 + std::f32::consts::LN_2]);
    }

    #[test]
    fn the_maximum_of_no_integer_is_the_least_of_its_type() {
        let least = [(DType::I32, i32::MIN.into()), (DType::U8, 0), (DType::Bool, 0)];
        for (dtype, least) in least {
            let nothing = Tensor::new(&[2, 0], Vec::<i64>::new()).unwrap().cast(dtype).unwrap();
            let op =
                Reduce { kind: ReduceKind::Max, keep_dims: false, noop_with_empty_axes: false };
            let y = reduce(&op, &nothing, Some(vec![1])).unwrap().cast(DType::I64).unwrap();
            assert_eq!(y.to_i64s().unwrap(), [least; 2], "{dtype}");
        }
    }
}
