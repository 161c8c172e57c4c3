//! Nodes that make random numbers or read some.

use super::attributes::Attributes;
use super::operators::NodeReader;
use super::random_numbers::{RandomNumbers, exchanged};
use super::schema::domain;
use crate::error::Result;
use crate::graph::{Op, Scalar, ValueId};
use crate::tensor::{DType, Tensor};

impl NodeReader<'_> {
    /// Reads a node that makes random numbers or reads some. Returns whether it does.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the result of the node depends on the numbers.
    pub(super) fn reads_random_numbers(&mut self, a: &Attributes) -> Result<bool> {
        let operator = self.node.op_type.as_str();
        let is_standard = domain(&self.node.domain).is_empty();
        let numbers = match operator {
            "RandomUniform" | "RandomUniformLike" if is_standard => {
                Some((f64::from(a.float("low", 0.0)?), f64::from(a.float("high", 1.0)?)))
            }
            "Bernoulli" | "RandomNormal" | "RandomNormalLike" if is_standard => {
                Some((f64::NEG_INFINITY, f64::INFINITY))
            }
            _ => None,
        };
        if let Some((low, high)) = numbers {
            let like = self.inputs.first().copied().flatten();
            let (node, operator) = (self.name.clone(), operator.to_string());
            if let Some(output) = self.outputs.first().copied().flatten() {
                self.random.insert(output, RandomNumbers { node, operator, low, high, like });
            }
            return Ok(true);
        }
        let read = |id: &Option<ValueId>| self.random.get(&(*id)?).cloned();
        let Some(numbers) = self.inputs.iter().find_map(read) else { return Ok(false) };
        let result = match self.inputs[..] {
            [Some(a), Some(b)] if self.random.contains_key(&a) => {
                self.bound(b).and_then(|bound| Some((b, numbers.compared(operator, bound)?)))
            }
            [Some(a), Some(_)] => self
                .bound(a)
                .and_then(|bound| Some((a, numbers.compared(exchanged(operator), bound)?))),
            _ => None,
        };
        let Some((bound, result)) = result else { return Err(numbers.refused()) };
        self.finish_with_truth(&numbers, bound, result)?;
        Ok(true)
    }

    /// Returns the number of a constant.
    fn bound(&self, id: ValueId) -> Option<f64> {
        let numbers = self.graph.constant(id)?.cast(DType::F64).ok()?;
        match numbers.as_slice::<f64>() {
            Ok(&[bound]) => Some(bound),
            _ => None,
        }
    }

    /// Gives `truth` to every element of a comparison of `numbers` with `bound`.
    fn finish_with_truth(
        &mut self,
        numbers: &RandomNumbers,
        bound: ValueId,
        truth: bool,
    ) -> Result<()> {
        let Some(like) = numbers.like else { return Err(numbers.refused()) };
        let shape = self.apply("shape", Op::Shape { start: 0, end: None }, &[like]);
        let value = Scalar { dtype: DType::Bool, value: f64::from(u8::from(truth)) };
        let all = self.apply("all", Op::ConstantOfShape { value }, &[shape]);
        let shape = self.graph.constant(bound).map_or(&[][..], Tensor::shape);
        let shape = shape.iter().map(|&size| size as i64).collect::<Vec<i64>>();
        let shape = self.constant_named("bound", Tensor::vector(shape));
        self.finish(Op::Expand, vec![Some(all), Some(shape)]);
        Ok(())
    }
}
