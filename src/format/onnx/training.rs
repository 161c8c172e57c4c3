//! Batch normalisation in training mode, by the statistics of the batch.

use super::attributes::Attributes;
use super::operators::NodeReader;
use crate::error::{Error, Result};
use crate::graph::{Binary, Node, Op, Reduce, ReduceKind, ValueId};
use crate::tensor::Tensor;

impl NodeReader<'_> {
    /// Adds `Y = (X - mean) / sqrt(var + epsilon) * scale + B` with mean and variance over all axes but the
    /// channels, and the running statistics if the node has outputs for them:
    /// `running = running * momentum + batch * (1 - momentum)`.
    pub(super) fn batch_normalization_in_training(&mut self, a: &Attributes) -> Result<()> {
        let inputs = std::mem::take(&mut self.inputs);
        let &[Some(x), scale, bias, Some(mean), Some(variance)] = inputs.as_slice() else {
            return Err(Error::graph("expected five inputs"));
        };
        let momentum = a.float("momentum", 0.9)?;
        // The map is viewed as three axes, batch, channels and the rest, whatever the number of axes.
        let planes = self.constant_named("planes", Tensor::vector(vec![0i64, 0, -1]));
        let axes = self.constant_named("axes", Tensor::vector(vec![0i64, 2]));
        let vector = self.constant_named("vector", Tensor::vector(vec![-1i64]));
        let reshape = Op::Reshape { allow_zero: false };
        let average = Op::Reduce(Reduce {
            kind: ReduceKind::Mean,
            keep_dims: true,
            noop_with_empty_axes: false,
        });

        let x3 = self.step("x3", reshape.clone(), [x, planes]);
        let mean3 = self.step("mean3", average.clone(), [x3, axes]);
        let deviation = self.step("deviation", Op::Binary(Binary::Sub), [x3, mean3]);
        let square = self.step("square", Op::Binary(Binary::Mul), [deviation, deviation]);
        let variance3 = self.step("variance3", average, [square, axes]);
        let batch_mean = self.step("mean", reshape.clone(), [mean3, vector]);
        let batch_variance = self.step("variance", reshape, [variance3, vector]);

        let outputs = std::mem::take(&mut self.outputs);
        for (at, running, batch) in [(1, mean, batch_mean), (2, variance, batch_variance)] {
            if let Some(output) = outputs.get(at).copied().flatten() {
                self.running_statistic(output, running, batch, momentum)?;
            }
        }
        self.outputs = outputs.into_iter().take(1).collect();
        let statistics = [Some(batch_mean), Some(batch_variance)];
        let inputs = [[Some(x), scale, bias].as_slice(), &statistics].concat();
        self.finish(Op::BatchNormalization { epsilon: a.float("epsilon", 1e-5)? }, inputs);
        Ok(())
    }

    fn running_statistic(
        &mut self,
        output: ValueId,
        old: ValueId,
        new: ValueId,
        momentum: f32,
    ) -> Result<()> {
        let what = self.graph.value(output).name.clone();
        let keep = self.number_like(Some(old), &format!("{what}.momentum"), momentum)?;
        let take = self.number_like(Some(new), &format!("{what}.rest"), 1.0 - momentum)?;
        let old = self.step(&format!("{what}.old"), Op::Binary(Binary::Mul), [old, keep]);
        let new = self.step(&format!("{what}.new"), Op::Binary(Binary::Mul), [new, take]);
        let (op, inputs) = (Op::Binary(Binary::Add), vec![Some(old), Some(new)]);
        let name = format!("{}.{what}", self.name);
        self.graph.add_node(Node { name, op, inputs, outputs: vec![Some(output)] });
        Ok(())
    }

    fn step<const N: usize>(&mut self, what: &str, op: Op, inputs: [ValueId; N]) -> ValueId {
        self.intermediate(what, op, inputs.map(Some).to_vec())
    }
}
