//! Random numbers. A network for inference has none, except where its result does not depend on them:
//! dropout with a probability of 0 compares them with a bound that all of them satisfy.

use crate::error::Error;
use crate::graph::ValueId;

/// Random numbers that a node of the file makes.
#[derive(Clone)]
pub(super) struct RandomNumbers {
    /// The name of the node.
    pub node: String,
    pub operator: String,
    /// The least number.
    pub low: f64,
    /// The bound below which all numbers are.
    pub high: f64,
    /// The value that has the same shape, absent if the file states the shape.
    pub like: Option<ValueId>,
}

impl RandomNumbers {
    /// Returns the error of a network whose result depends on the numbers.
    pub fn refused(&self) -> Error {
        Error::unsupported(
            "the network's result depends on random numbers; export it for inference (in PyTorch \
             after model.eval()), so that dropout and noise are off",
        )
        .at_node(&self.node, &self.operator)
    }

    /// Returns the result of comparing every number with `bound`, or `None` if it differs.
    pub fn compared(&self, operator: &str, bound: f64) -> Option<bool> {
        let certain = |yes: bool, no: bool| (yes || no).then_some(yes);
        match operator {
            "Less" => certain(self.high <= bound, self.low >= bound),
            "LessOrEqual" => certain(self.high <= bound, self.low > bound),
            "Greater" => certain(self.low > bound, self.high <= bound),
            "GreaterOrEqual" => certain(self.low >= bound, self.high <= bound),
            _ => None,
        }
    }
}

/// Returns the comparison with its operands exchanged.
pub(super) fn exchanged(operator: &str) -> &str {
    match operator {
        "Less" => "Greater",
        "LessOrEqual" => "GreaterOrEqual",
        "Greater" => "Less",
        "GreaterOrEqual" => "LessOrEqual",
        other => other,
    }
}
