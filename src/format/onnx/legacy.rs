//! Operators of old opsets that state as attributes, or not at all, what newer ones have inputs for.

use super::attributes::Attributes;
use super::operators::{NodeReader, unknown};
use crate::error::{Error, Result};
use crate::graph::{
    AspectRatioPolicy, CoordinateTransform, NearestRounding, Op, Resize, ResizeMode,
};
use crate::tensor::Tensor;

impl NodeReader<'_> {
    /// Adds `Upsample`, or `Resize` of opset 10, which has no coordinate modes yet.
    pub(super) fn upsample(&mut self, a: &Attributes) -> Result<Op> {
        if let Some(scales) = a.floats("scales")? {
            let scales = self.constant_named("scales", Tensor::vector(scales.to_vec()));
            self.set_input(1, scales);
        }
        let scales = self.inputs.get(1).copied().flatten();
        self.inputs.truncate(1);
        self.inputs.extend([None, scales]);
        let mode = match a.string("mode", "nearest")? {
            "nearest" => ResizeMode::Nearest(NearestRounding::FloorOrCeil),
            "linear" | "bilinear" => ResizeMode::Linear,
            other => return Err(unknown("mode", other)),
        };
        Ok(Op::Resize(Resize {
            mode,
            coordinates: CoordinateTransform::Asymmetric,
            axes: Vec::new(),
            antialias: false,
            exclude_outside: false,
            extrapolation_value: 0.0,
            keep_aspect_ratio: AspectRatioPolicy::Stretch,
        }))
    }

    /// Aligns operands as opset 6 does: the second operand's axes match those of the first from `axis` on.
    /// Newer opsets match the last axes.
    pub(super) fn align_operands(&mut self, a: &Attributes) -> Result<()> {
        match self.node.op_type.as_str() {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "And" | "Or" | "Xor" | "Equal" | "Less"
            | "Greater"
                if a.has("axis") =>
            {
                self.align_second(a.size("axis", 0)?)
            }
            // There is one slope per channel.
            "PRelu" => self.align_second(1),
            _ => Ok(()),
        }
    }

    /// Appends axes of size 1 to the second operand, so that its first axis matches `axis` of the first
    /// operand.
    fn align_second(&mut self, axis: usize) -> Result<()> {
        let operand = |i: usize| self.inputs.get(i).copied().flatten();
        let (Some(x), Some(other)) = (operand(0), operand(1)) else { return Ok(()) };
        let (Some(rank), Some(other_rank)) = (self.rank(x), self.rank(other)) else {
            return Err(Error::unsupported(format!(
                "broadcasting from axis {axis} on, of values whose axes are not known; \
                 convert the file to opset 7 or newer"
            )));
        };
        let last = rank.saturating_sub(axis);
        if other_rank < last {
            let axes = (other_rank as i64..last as i64).collect();
            let axes = self.constant_named("axes", Tensor::vector::<i64>(axes));
            let inputs = vec![Some(other), Some(axes)];
            self.inputs[1] = Some(self.intermediate("aligned", Op::Unsqueeze, inputs));
        }
        Ok(())
    }
}
