//! The elements of small tensors that hold integers.

use super::context::Context;
use super::create::shape_part;
use super::pieces::SliceBounds;
use super::sizes::are_simple;
use crate::graph::{Binary, Dim, Op, ReduceKind, TensorType, Unary, Variadic, geometry};
use crate::tensor::{DType, Tensor};

/// The most elements of a tensor that are followed; larger tensors are data, and not shapes.
const MAX_LENGTH: usize = 256;

/// Returns the elements of a constant, if it is small, has at most one axis and holds integers
/// only.
pub(super) fn elements_of_constant(tensor: &Tensor) -> Option<Vec<Dim>> {
    if tensor.shape().len() > 1 || tensor.len() > MAX_LENGTH {
        return None;
    }
    if !tensor.dtype().is_float() {
        return Some(tensor.to_i64s().ok()?.into_iter().map(Dim::from).collect());
    }
    let tensor = tensor.cast(DType::F64).ok()?;
    tensor.as_slice::<f64>().ok()?.iter().map(|&value| whole(value)).collect()
}

fn whole(value: f64) -> Option<Dim> {
    /// Up to this number single precision has every integer.
    const EXACT: f64 = (1u64 << 24) as f64;
    (value.trunc() == value && value.abs() <= EXACT).then(|| (value as i64).into())
}

/// Returns the elements of each output of a node, if they are known. `types` are the types of the
/// outputs.
pub(super) fn elements_of_outputs(cx: &Context, types: &[TensorType]) -> Vec<Option<Vec<Dim>>> {
    if let Op::Split { .. } = cx.node.op {
        return elements_of_split(cx, types);
    }
    let first = types.first().and_then(|ty| {
        let length = length(ty)?;
        let elements = elements_of_output(cx, ty, length)?;
        // An element that its type cannot hold has wrapped around or lost digits.
        let elements: Vec<Dim> =
            elements.iter().map(|e| cast(e, ty.dtype)).collect::<Option<_>>()?;
        (elements.len() == length && are_simple(&elements)).then_some(elements)
    });
    let mut outputs = vec![first];
    outputs.resize(types.len(), None);
    outputs
}

/// Returns the number of elements of a tensor with at most one axis.
fn length(ty: &TensorType) -> Option<usize> {
    let length = match ty.dims.as_slice() {
        [] => 1,
        [length] => length.as_size()?,
        _ => return None,
    };
    (length <= MAX_LENGTH).then_some(length)
}

fn elements_of_split(cx: &Context, types: &[TensorType]) -> Vec<Option<Vec<Dim>>> {
    let mut rest = cx.elements(0);
    let part = |ty| {
        let length = length(ty)?;
        let (part, after) = rest.take()?.split_at_checked(length)?;
        rest = Some(after);
        Some(part.to_vec())
    };
    types.iter().map(part).collect()
}

fn elements_of_output(cx: &Context, ty: &TensorType, length: usize) -> Option<Vec<Dim>> {
    let own = || cx.elements(0).map(<[Dim]>::to_vec);
    match &cx.node.op {
        Op::Identity | Op::Dropout | Op::Cast { .. } | Op::Transpose { .. } => own(),
        Op::Reshape { .. } | Op::Squeeze | Op::Unsqueeze => own(),
        Op::Shape { start, end } => Some(shape_part(cx.dims(0).ok()?, *start, *end).to_vec()),
        Op::Size => Some(vec![Dim::product(cx.dims(0).ok()?)?]),
        Op::ConstantOfShape { value } => Some(vec![whole(value.value)?; length]),
        Op::Range => {
            let (start, delta) = (cx.elements(0)?.first()?, cx.elements(2)?.first()?);
            let element = |i: usize| start.checked_add(&delta.checked_mul(&i.into())?);
            (0..length).map(element).collect()
        }
        Op::Expand => broadcast(cx.elements(0)?, length),
        Op::Tile => Some(cx.elements(0)?.iter().cycle().take(length).cloned().collect()),
        Op::Concat { .. } => {
            let mut joined = Vec::new();
            for i in 0..cx.node.inputs.len() {
                joined.extend_from_slice(cx.elements(i)?);
            }
            Some(joined)
        }
        Op::Gather { .. } => gather(cx.elements(0)?, cx.elements(1)?),
        Op::Slice => slice(cx, length),
        Op::Unary(unary) => cx.elements(0)?.iter().map(|x| unary_of(*unary, x, ty.dtype)).collect(),
        Op::Binary(binary) => {
            let dtype = cx.ty(0).ok()?.dtype;
            let (a, b) = (broadcast(cx.elements(0)?, length)?, broadcast(cx.elements(1)?, length)?);
            a.iter().zip(&b).map(|(a, b)| binary_of(*binary, a, b, dtype)).collect()
        }
        Op::Variadic(variadic) => {
            let mut result = broadcast(cx.elements(0)?, length)?;
            for i in 1..cx.node.inputs.len() {
                let other = broadcast(cx.elements(i)?, length)?;
                for (a, b) in result.iter_mut().zip(&other) {
                    *a = match variadic {
                        Variadic::Max => a.maximum(b),
                        Variadic::Min => a.minimum(b),
                        Variadic::Sum => a.checked_add(b)?,
                        Variadic::Mean => return None,
                    };
                }
                if !are_simple(&result) {
                    return None;
                }
            }
            Some(result)
        }
        Op::Where => {
            let choice = broadcast(cx.elements(0)?, length)?;
            let (a, b) = (broadcast(cx.elements(1)?, length)?, broadcast(cx.elements(2)?, length)?);
            let pick = |(i, c): (usize, &Dim)| {
                Some(if c.as_const()? != 0 { a[i].clone() } else { b[i].clone() })
            };
            choice.iter().enumerate().map(pick).collect()
        }
        Op::Reduce(reduce) => {
            let x = cx.elements(0)?;
            // A scalar has no axis to reduce, and a node without axes may keep all of them.
            if length != 1 || cx.dims(0).ok()?.len() != 1 || reduce.noop_with_empty_axes {
                return None;
            }
            Some(vec![total(reduce.kind, x)?])
        }
        _ => None,
    }
}

/// Broadcasts `elements` to `length` elements.
fn broadcast(elements: &[Dim], length: usize) -> Option<Vec<Dim>> {
    match elements {
        [only] => Some(vec![only.clone(); length]),
        _ if elements.len() == length => Some(elements.to_vec()),
        _ => None,
    }
}

/// Returns an element after a cast to `to`, or `None` if that is unknown.
fn cast(element: &Dim, to: DType) -> Option<Dim> {
    let (low, high) = match to {
        DType::I64 => return Some(element.clone()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::Bool => return truth(element).map(Dim::from),
        DType::F64 | DType::F32 => (-(1 << 24), 1 << 24),
        _ => return None,
    };
    // A symbol stands for the size of a tensor that exists, and such sizes fit.
    element.as_const().is_none_or(|n| (low..=high).contains(&n)).then(|| element.clone())
}

/// Returns 1 if an element is known to differ from 0, and 0 if it is known to be 0.
fn truth(element: &Dim) -> Option<i64> {
    match element.bounds() {
        (Some(0), Some(0)) => Some(0),
        (Some(low), _) if low > 0 => Some(1),
        (_, Some(high)) if high < 0 => Some(1),
        _ => None,
    }
}

fn gather(elements: &[Dim], indices: &[Dim]) -> Option<Vec<Dim>> {
    let entry = |index: &Dim| {
        let index = geometry::axis(index.as_const()?, elements.len()).ok()?;
        Some(elements[index].clone())
    };
    indices.iter().map(entry).collect()
}

fn slice(cx: &Context, length: usize) -> Option<Vec<Dim>> {
    let elements = cx.elements(0)?;
    let bounds = SliceBounds::read(cx, 1).ok()?;
    if bounds.axes.is_empty() {
        return Some(elements.to_vec());
    }
    let start = bounds.starts?.first()?.as_const()?;
    let end = bounds.ends?.first()?.as_const()?;
    let part = geometry::slice(elements.len(), start, end, *bounds.steps?.first()?).ok()?;
    let entry = |i: usize| {
        let offset = part.step.checked_mul(i64::try_from(i).ok()?)?;
        elements.get(part.start.checked_add_signed(isize::try_from(offset).ok()?)?).cloned()
    };
    (part.len == length).then(|| (0..length).map(entry).collect())?
}

fn unary_of(op: Unary, x: &Dim, dtype: DType) -> Option<Dim> {
    match op {
        Unary::Neg => Dim::default().checked_sub(x),
        Unary::Abs => Some(x.maximum(&Dim::default().checked_sub(x)?)),
        Unary::Relu => Some(x.maximum(&Dim::default())),
        Unary::Floor | Unary::Ceil | Unary::Round => Some(x.clone()),
        Unary::Not if dtype == DType::Bool => Some((1 - truth(x)?).into()),
        _ => None,
    }
}

fn binary_of(op: Binary, a: &Dim, b: &Dim, dtype: DType) -> Option<Dim> {
    let natural = |dim: &Dim| dim.is_at_least(&Dim::default());
    let certain = |yes: bool, no: bool| (yes || no).then_some(Dim::from(i64::from(yes)));
    let above = |a: &Dim, b: &Dim| b.checked_add(&1.into()).is_some_and(|b| a.is_at_least(&b));
    match op {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::Div if dtype.is_float() => a.div_exact(b),
        Binary::Div => match (a.as_const(), b.as_const()) {
            (Some(a), Some(b)) => a.checked_div(b).map(Dim::from),
            // Rounding toward zero is rounding down if neither operand is negative.
            _ if natural(a) && above(b, &Dim::default()) => Some(a.floor_div(b)),
            _ => a.div_exact(b),
        },
        Binary::Mod { fmod } => match (a.as_const(), b.as_const()) {
            (Some(a), Some(b)) if fmod => a.checked_rem(b).map(Dim::from),
            _ if natural(a) && above(b, &Dim::default()) => {
                a.checked_sub(&a.floor_div(b).checked_mul(b)?)
            }
            _ => None,
        },
        Binary::Pow => {
            let power = a.as_const()?.checked_pow(u32::try_from(b.as_const()?).ok()?)?;
            (!dtype.is_float()).then(|| power.into())
        }
        Binary::Equal => certain(a == b, above(a, b) || above(b, a)),
        Binary::Less => certain(above(b, a), a.is_at_least(b)),
        Binary::LessOrEqual => certain(b.is_at_least(a), above(a, b)),
        Binary::Greater => certain(above(a, b), b.is_at_least(a)),
        Binary::GreaterOrEqual => certain(a.is_at_least(b), above(b, a)),
        Binary::And => match (truth(a), truth(b)) {
            (Some(0), _) | (_, Some(0)) => Some(0.into()),
            (a, b) => Some((a? & b?).into()),
        },
        Binary::Or => match (truth(a), truth(b)) {
            (Some(1), _) | (_, Some(1)) => Some(1.into()),
            (a, b) => Some((a? | b?).into()),
        },
        Binary::Xor => Some((truth(a)? ^ truth(b)?).into()),
    }
}

fn total(kind: ReduceKind, elements: &[Dim]) -> Option<Dim> {
    let mut operands = elements.iter().cloned();
    match kind {
        ReduceKind::Prod => Dim::product(elements),
        ReduceKind::Sum => operands.try_fold(Dim::default(), |sum, e| sum.checked_add(&e)),
        ReduceKind::Max => operands.reduce(|a, b| a.maximum(&b)),
        ReduceKind::Min => operands.reduce(|a, b| a.minimum(&b)),
        _ => None,
    }
}
