//! Operators that read or write elements at positions that the data gives, and those that compare
//! positions.

use super::attributes::Attributes;
use super::operators::{NodeReader, unknown};
use crate::error::{Error, Result};
use crate::graph::{
    ArgMax, Binary, NonMaxSuppression, Op, ScatterReduction, Softmax, TopK, Unary, element_types,
};
use crate::tensor::{DType, Tensor};

impl NodeReader<'_> {
    /// Reads `GatherND`. One that is a `Gather` becomes one: PyTorch writes `x[:, [2, 0, 1]]` so.
    pub(super) fn gather_nd(&mut self, a: &Attributes) -> Result<Op> {
        let batch_dims = a.size("batch_dims", 0)?;
        let indices = self.inputs.get(1).copied().flatten();
        let indices = indices.and_then(|id| self.graph.constant(id));
        let list = indices.and_then(|tensor| match tensor.shape() {
            [shape @ .., 1] => tensor.reshape(shape).ok(),
            _ => None,
        });
        match list {
            Some(list) if batch_dims == 0 => {
                self.inputs[1] = Some(self.constant_named("indices", list));
                Ok(Op::Gather { axis: 0 })
            }
            _ => Ok(Op::GatherNd { batch_dims }),
        }
    }

    pub(super) fn scatter_reduction(&self, a: &Attributes) -> Result<ScatterReduction> {
        match a.string("reduction", "none")? {
            "none" => Ok(ScatterReduction::None),
            "add" => Ok(ScatterReduction::Add),
            "mul" => Ok(ScatterReduction::Mul),
            "max" => Ok(ScatterReduction::Max),
            "min" => Ok(ScatterReduction::Min),
            other => Err(unknown("reduction", other)),
        }
    }

    pub(super) fn top_k(&mut self, a: &Attributes) -> Result<Op> {
        if a.has("k") {
            let k = self.constant_named("k", Tensor::vector(vec![a.int("k", 0)?]));
            self.set_input(1, k);
        }
        Ok(Op::TopK(TopK { axis: a.int("axis", -1)?, largest: a.flag("largest", true)? }))
    }

    pub(super) fn non_max_suppression(&self, a: &Attributes) -> Result<Op> {
        let centre_point_box = a.flag("center_point_box", false)?;
        Ok(Op::NonMaxSuppression(NonMaxSuppression { centre_point_box }))
    }

    /// Reads `ArgMin` as `ArgMax` of a number that falls where the element grows.
    pub(super) fn arg_min(&mut self, a: &Attributes) -> Result<()> {
        let x = self.input(0)?;
        let is_float = element_types(self.graph)[x.index()].is_none_or(DType::is_float);
        let falling = if is_float {
            self.apply("negative", Op::Unary(Unary::Neg), &[x])
        } else {
            // The negative of the smallest integer does not exist, but -1 minus it does.
            let wide = self.apply("wide", Op::Cast { to: DType::I64 }, &[x]);
            let one = self.constant_named("one", Tensor::scalar(-1i64));
            self.apply("negative", Op::Binary(Binary::Sub), &[one, wide])
        };
        let op = self.arg_max(a)?;
        self.finish(op, vec![Some(falling)]);
        Ok(())
    }

    pub(super) fn arg_max(&self, a: &Attributes) -> Result<Op> {
        Ok(Op::ArgMax(ArgMax {
            axis: a.int("axis", 0)?,
            keep_dims: a.flag("keepdims", true)?,
            select_last: a.flag("select_last_index", false)?,
        }))
    }

    /// Reads `Trilu` as a choice between the input and zeros by the difference of column and row.
    pub(super) fn trilu(&mut self, a: &Attributes) -> Result<()> {
        let x = self.input(0)?;
        let k = match self.inputs.get(1).copied().flatten() {
            Some(k) => k,
            None => self.constant_named("k", Tensor::scalar(0i64)),
        };
        let rows = self.positions("rows", x, 2, 0);
        let columns = self.positions("columns", x, 2, 1);
        let difference = self.apply("difference", Op::Binary(Binary::Sub), &[columns, rows]);
        let compare = match a.flag("upper", true)? {
            true => Binary::GreaterOrEqual,
            false => Binary::LessOrEqual,
        };
        let mask = self.apply("mask", Op::Binary(compare), &[difference, k]);
        let zero = self.typed_number(x, "zero", 0.0)?;
        self.finish(Op::Where, vec![Some(mask), Some(x), Some(zero)]);
        Ok(())
    }

    /// Reads `OneHot` as a choice between two values where positions equal the index.
    pub(super) fn one_hot(&mut self, a: &Attributes) -> Result<()> {
        let (indices, depth, values) = (self.input(0)?, self.input(1)?, self.input(2)?);
        let axis = a.int("axis", -1)?;
        let after = match usize::try_from(axis) {
            Err(_) => usize::try_from(-1 - axis).ok(),
            Ok(axis) => self.rank(indices).and_then(|rank| rank.checked_sub(axis)),
        };
        let after = after.filter(|&after| after <= super::einsum::MAX_AXES).ok_or_else(|| {
            Error::unsupported(format!("axis {axis} of indices whose axes are not known"))
        })?;
        let indices = self.apply("integers", Op::Cast { to: DType::I64 }, &[indices]);
        let depth = self.apply("depth", Op::Cast { to: DType::I64 }, &[depth]);
        let scalar = self.constant_named("scalar", Tensor::vector(Vec::<i64>::new()));
        let reshape = Op::Reshape { allow_zero: false };
        let depth = self.apply("depth_scalar", reshape, &[depth, scalar]);
        let zero = self.constant_named("zero", Tensor::scalar(0i64));
        let one = self.constant_named("one", Tensor::scalar(1i64));
        // Negative indices count from the end.
        let is_negative = self.apply("is_negative", Op::Binary(Binary::Less), &[indices, zero]);
        let wrapped = self.apply("wrapped", Op::Binary(Binary::Add), &[indices, depth]);
        let indices = self.apply("indices", Op::Where, &[is_negative, wrapped, indices]);
        let axes = self.constant_named("axes", Tensor::vector(vec![axis]));
        let indices = self.apply("columns", Op::Unsqueeze, &[indices, axes]);
        let range = self.apply("range", Op::Range, &[zero, depth, one]);
        let positions = self.with_axes_after("positions", range, after);
        let is_on = self.apply("is_on", Op::Binary(Binary::Equal), &[indices, positions]);
        let off = self.apply("off", Op::Gather { axis: 0 }, &[values, zero]);
        let on = self.apply("on", Op::Gather { axis: 0 }, &[values, one]);
        self.finish(Op::Where, vec![Some(is_on), Some(on), Some(off)]);
        Ok(())
    }

    /// Reads `Hardmax` as a comparison of positions with that of the first maximum.
    pub(super) fn hardmax(&mut self, a: &Attributes) -> Result<()> {
        let x = self.input(0)?;
        let dtype = self.element_type(x)?;
        let Softmax { axis, flatten } = self.softmax(a)?;
        let (matrix, axis) = match flatten {
            true => (self.apply("matrix", Op::Flatten { axis }, &[x]), -1),
            false => (x, axis),
        };
        let rank = if flatten { Some(2) } else { self.rank(x) };
        let rank = rank.ok_or_else(|| Error::unsupported("an input whose axes are not known"))?;
        let op = ArgMax { axis, keep_dims: true, select_last: false };
        let first = self.apply("first", Op::ArgMax(op), &[matrix]);
        let axis = crate::graph::geometry::axis(axis, rank)?;
        let positions = self.positions("positions", matrix, rank, axis);
        let is_first = self.apply("is_first", Op::Binary(Binary::Equal), &[first, positions]);
        if !flatten {
            self.finish(Op::Cast { to: dtype }, vec![Some(is_first)]);
            return Ok(());
        }
        let y = self.apply("numbers", Op::Cast { to: dtype }, &[is_first]);
        let shape = self.apply("shape", Op::Shape { start: 0, end: None }, &[x]);
        self.finish(Op::Reshape { allow_zero: true }, vec![Some(y), Some(shape)]);
        Ok(())
    }
}
