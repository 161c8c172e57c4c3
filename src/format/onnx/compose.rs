//! What operators are composed of that the graph does not have.

use super::attributes::Attributes;
use super::operators::NodeReader;
use crate::error::{Error, Result};
use crate::graph::infer::infer;
use crate::graph::{Binary, Op, Scalar, TensorType, Unary, ValueId, element_types};
use crate::tensor::{DType, Tensor};

impl NodeReader<'_> {
    /// Adds the operators of which `name` is composed. Returns whether there are any.
    pub(super) fn composed(&mut self, name: &str, a: &Attributes) -> Result<bool> {
        match name {
            "ArgMin" => self.arg_min(a)?,
            "Attention" => self.attention(a)?,
            "CastLike" => self.cast_like()?,
            "DequantizeLinear" => self.dequantize_linear(a)?,
            "Einsum" => self.einsum(a)?,
            "GlobalLpPool" => self.global_lp_pool(a)?,
            "GroupNormalization" => self.group_normalization_by_groups(a)?,
            "Hardmax" => self.hardmax(a)?,
            "IsInf" => self.is_inf(a)?,
            "IsNaN" => self.is_nan()?,
            "LpPool" => self.lp_pool(a)?,
            "OneHot" => self.one_hot(a)?,
            "RMSNormalization" => self.rms_normalization(a)?,
            "Shrink" => self.shrink(a)?,
            "SpaceToDepth" => self.space_to_depth(a)?,
            "Trilu" => self.trilu(a)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns input `i`, which the operator needs.
    pub(super) fn input(&self, i: usize) -> Result<ValueId> {
        let input = self.inputs.get(i).copied().flatten();
        input.ok_or_else(|| Error::graph(format!("input {i} is missing")))
    }

    /// Adds a node between the file's node and its output, as
    /// [`intermediate`](Self::intermediate) does.
    pub(super) fn apply(&mut self, what: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.intermediate(what, op, inputs.iter().map(|&id| Some(id)).collect())
    }

    /// Returns the type of a value, if it follows from the nodes read so far.
    pub(super) fn ty(&self, id: ValueId) -> Option<TensorType> {
        let value = self.graph.value(id);
        if let Some(tensor) = &value.constant {
            return Some(TensorType::from_tensor(tensor));
        }
        if let Some(ty) = &value.input {
            return Some(ty.clone());
        }
        let mut part = self.graph.clone();
        part.set_outputs(vec![id]);
        part.validate().ok()?;
        infer(&part).ok()?.get(id).cloned()
    }

    /// Returns the number of axes of a value, if it follows from the nodes read so far.
    pub(super) fn rank(&self, id: ValueId) -> Option<usize> {
        self.ty(id).map(|ty| ty.dims.len())
    }

    /// Returns the number of axes that an operator needs to know.
    pub(super) fn known_rank(&self, id: ValueId) -> Result<usize> {
        self.rank(id).ok_or_else(|| {
            Error::unsupported("the number of axes of its input does not follow from the network")
        })
    }

    pub(super) fn element_type(&self, id: ValueId) -> Result<DType> {
        element_types(self.graph)[id.index()].ok_or_else(|| {
            Error::unsupported("the element type of its input does not follow from the network")
        })
    }

    /// Adds a constant number of the element type of `x`.
    pub(super) fn typed_number(&mut self, x: ValueId, what: &str, value: f64) -> Result<ValueId> {
        let number = Scalar { dtype: self.element_type(x)?, value }.fill(&[])?;
        Ok(self.constant_named(what, number))
    }

    /// Adds axes of size 1 after those of `x`.
    pub(super) fn with_axes_after(&mut self, what: &str, x: ValueId, count: usize) -> ValueId {
        if count == 0 {
            return x;
        }
        let axes = (1..=count as i64).map(|axis| -axis).collect::<Vec<i64>>();
        let axes = self.constant_named(&format!("{what}.axes"), Tensor::vector(axes));
        self.apply(what, Op::Unsqueeze, &[x, axes])
    }

    /// Adds the size of the axis of `x` that is `from_end` before the last, as a scalar.
    pub(super) fn size(&mut self, what: &str, x: ValueId, from_end: usize) -> ValueId {
        let start = -1 - from_end as i64;
        let end = (from_end > 0).then_some(start + 1);
        let size = self.apply(&format!("{what}.shape"), Op::Shape { start, end }, &[x]);
        let axes = self.constant_named(&format!("{what}.axes"), Tensor::vector(vec![0i64]));
        self.apply(&format!("{what}.size"), Op::Squeeze, &[size, axes])
    }

    /// Adds the indices 0, 1 and so on along `axis` of the last `rank` axes of `x`, broadcast to them.
    pub(super) fn positions(
        &mut self,
        what: &str,
        x: ValueId,
        rank: usize,
        axis: usize,
    ) -> ValueId {
        let after = rank - 1 - axis;
        let size = self.size(what, x, after);
        let start = self.constant_named(&format!("{what}.start"), Tensor::scalar(0i64));
        let step = self.constant_named(&format!("{what}.step"), Tensor::scalar(1i64));
        let range = self.apply(&format!("{what}.range"), Op::Range, &[start, size, step]);
        self.with_axes_after(what, range, after)
    }

    fn cast_like(&mut self) -> Result<()> {
        let to = self.element_type(self.input(1)?)?;
        let x = self.input(0)?;
        self.finish(Op::Cast { to }, vec![Some(x)]);
        Ok(())
    }

    /// Only NaN differs from itself.
    fn is_nan(&mut self) -> Result<()> {
        let x = self.input(0)?;
        let is_number = self.apply("is_number", Op::Binary(Binary::Equal), &[x, x]);
        self.finish(Op::Unary(Unary::Not), vec![Some(is_number)]);
        Ok(())
    }

    fn is_inf(&mut self, a: &Attributes) -> Result<()> {
        let x = self.input(0)?;
        let (negative, positive) =
            (a.flag("detect_negative", true)?, a.flag("detect_positive", true)?);
        let infinity = if positive { f64::INFINITY } else { f64::NEG_INFINITY };
        let infinity = self.typed_number(x, "infinity", infinity)?;
        let x = match (negative, positive) {
            (true, true) => self.apply("size", Op::Unary(Unary::Abs), &[x]),
            // Nothing is to be detected, and no number is less than minus infinity.
            (false, false) => {
                self.finish(Op::Binary(Binary::Less), vec![Some(x), Some(infinity)]);
                return Ok(());
            }
            _ => x,
        };
        self.finish(Op::Binary(Binary::Equal), vec![Some(x), Some(infinity)]);
        Ok(())
    }

    /// `x + bias` below `-lambd`, `x - bias` above `lambd`, and 0 in between.
    fn shrink(&mut self, a: &Attributes) -> Result<()> {
        let x = self.input(0)?;
        let (bias, threshold) = (a.float("bias", 0.0)?, a.float("lambd", 0.5)?);
        let bias = self.typed_number(x, "bias", bias.into())?;
        let above = self.typed_number(x, "above", threshold.into())?;
        let below = self.typed_number(x, "below", (-threshold).into())?;
        let zero = self.typed_number(x, "zero", 0.0)?;
        let less = self.apply("less", Op::Binary(Binary::Sub), &[x, bias]);
        let more = self.apply("more", Op::Binary(Binary::Add), &[x, bias]);
        let is_high = self.apply("is_high", Op::Binary(Binary::Greater), &[x, above]);
        let is_low = self.apply("is_low", Op::Binary(Binary::Less), &[x, below]);
        let high = self.apply("high", Op::Where, &[is_high, less, zero]);
        self.finish(Op::Where, vec![Some(is_low), Some(more), Some(high)]);
        Ok(())
    }
}
