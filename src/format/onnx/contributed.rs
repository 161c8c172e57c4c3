//! The operators of the domain `com.microsoft` that ONNX Runtime's offline optimiser writes at its levels
//! "basic" and "extended".

use super::attributes::Attributes;
use super::operators::{NodeReader, gemm, unknown};
use crate::error::Result;
use crate::graph::{Binary, Gemm, Op, Unary, ValueId};

impl NodeReader<'_> {
    /// Adds the graph operators that compute an operator of the domain `com.microsoft`.
    pub(super) fn contributed(&mut self, a: &Attributes) -> Result<()> {
        match self.node.op_type.as_str() {
            "FusedConv" => self.fused_conv(a),
            "FusedGemm" => {
                let op = Op::Gemm(gemm(a)?);
                let inputs = std::mem::take(&mut self.inputs);
                self.then_activation(a, op, inputs)
            }
            "FusedMatMul" | "TransposeMatMul" => self.fused_matmul(a),
            "Gelu" => self.unary_of_sum(Unary::Gelu { tanh: false }),
            "BiasGelu" => self.unary_of_sum(Unary::Gelu { tanh: false }),
            "FastGelu" => self.unary_of_sum(Unary::Gelu { tanh: true }),
            "QuickGelu" => self.unary_of_sum(Unary::Swish { alpha: a.float("alpha", 1.702)? }),
            _ => Err(self.unsupported()),
        }
    }

    fn fused_conv(&mut self, a: &Attributes) -> Result<()> {
        let op = Op::Conv(self.conv(a)?);
        let mut inputs = std::mem::take(&mut self.inputs);
        let sum = if inputs.len() > 3 { inputs.split_off(3)[0] } else { None };
        let Some(sum) = sum else { return self.then_activation(a, op, inputs) };
        let conv = self.intermediate("conv", op, inputs);
        self.then_activation(a, Op::Binary(Binary::Add), vec![Some(conv), Some(sum)])
    }

    /// Adds `op`, followed by the activation that the attributes name.
    fn then_activation(
        &mut self,
        a: &Attributes,
        op: Op,
        inputs: Vec<Option<ValueId>>,
    ) -> Result<()> {
        let name = a.string("activation", "")?;
        if name.is_empty() {
            self.finish(op, inputs);
            return Ok(());
        }
        let listed = a.floats("activation_params")?.unwrap_or(&[]);
        let parameter = |i: usize, key: &str, default: f32| match listed.get(i) {
            Some(&value) => Ok(value),
            None => a.float(key, default),
        };
        let unary = match name {
            "Relu" => Unary::Relu,
            "Sigmoid" => Unary::Sigmoid,
            "Tanh" => Unary::Tanh,
            "HardSwish" => Unary::HardSwish,
            "LeakyRelu" => Unary::LeakyRelu { alpha: parameter(0, "activation_alpha", 0.01)? },
            "HardSigmoid" => Unary::HardSigmoid {
                alpha: parameter(0, "activation_alpha", 0.2)?,
                beta: parameter(1, "activation_beta", 0.5)?,
            },
            "Clip" => {
                let x = self.intermediate("before", op, inputs);
                let low = parameter(0, "activation_min", f32::MIN)?;
                let high = parameter(1, "activation_max", f32::MAX)?;
                let low = self.number_like(Some(x), "min", low)?;
                let high = self.number_like(Some(x), "max", high)?;
                self.finish(Op::Clip, vec![Some(x), Some(low), Some(high)]);
                return Ok(());
            }
            other => return Err(unknown("activation", other)),
        };
        let x = self.intermediate("before", op, inputs);
        self.finish(Op::Unary(unary), vec![Some(x)]);
        Ok(())
    }

    /// Adds a product of matrices, each transposed if its attribute asks for it, times a number.
    fn fused_matmul(&mut self, a: &Attributes) -> Result<()> {
        if a.flag("transBatchA", false)? || a.flag("transBatchB", false)? {
            return Err(self.unsupported());
        }
        let mut inputs = std::mem::take(&mut self.inputs);
        let alpha = a.float("alpha", 1.0)?;
        let transposed = [a.flag("transA", false)?, a.flag("transB", false)?];
        let ranks: Vec<Option<usize>> =
            inputs.iter().map(|id| id.and_then(|id| self.rank(id))).collect();
        if ranks == [Some(2), Some(2)] {
            let [trans_a, trans_b] = transposed;
            self.finish(Op::Gemm(Gemm { alpha, beta: 0.0, trans_a, trans_b }), inputs);
            return Ok(());
        }
        for (i, _) in transposed.iter().enumerate().filter(|(_, transposed)| **transposed) {
            let Some(rank) = ranks.get(i).copied().flatten().filter(|&rank| rank >= 2) else {
                return Err(self.unsupported());
            };
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.swap(rank - 2, rank - 1);
            let transpose = Op::Transpose { perm };
            let name = format!("transposed_{i}");
            inputs[i] = Some(self.intermediate(&name, transpose, vec![inputs[i]]));
        }
        if alpha == 1.0 {
            self.finish(Op::MatMul, inputs);
            return Ok(());
        }
        let product = self.intermediate("product", Op::MatMul, inputs);
        let scale = self.number_like(Some(product), "alpha", alpha)?;
        self.finish(Op::Binary(Binary::Mul), vec![Some(product), Some(scale)]);
        Ok(())
    }

    /// Adds a function of the first input, or of the sum of both inputs if there are two.
    fn unary_of_sum(&mut self, unary: Unary) -> Result<()> {
        let mut inputs = std::mem::take(&mut self.inputs);
        if inputs.get(1).copied().flatten().is_some() {
            let sum = self.intermediate("sum", Op::Binary(Binary::Add), inputs);
            inputs = vec![Some(sum)];
        }
        inputs.truncate(1);
        self.finish(Op::Unary(unary), inputs);
        Ok(())
    }
}
