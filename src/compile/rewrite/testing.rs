//! Small networks for the tests of passes.

use crate::error::Result;
use crate::graph::{Dim, Graph, Node, Op, Rewriter, TensorType, ValueId};
use crate::reference;
use crate::tensor::{DType, Tensor};

/// Runs one pass alone.
pub(super) fn alone<R>(graph: &mut Graph, pass: impl FnOnce(&mut Rewriter) -> Result<R>) -> R {
    graph.prune().unwrap();
    let mut rewriter = Rewriter::new(graph).unwrap();
    let result = pass(&mut rewriter).unwrap();
    rewriter.finish().unwrap();
    result
}

/// The number of channels of the input of a [`Net`].
pub(super) const CHANNELS: usize = 3;

/// A network of one feature map.
pub(super) struct Net {
    pub graph: Graph,
    /// The input, `[N, CHANNELS, 2, 5]`.
    pub x: ValueId,
}

impl Net {
    pub fn new() -> Self {
        let mut graph = Graph::new("net");
        let dims = vec![Dim::symbol("N"), CHANNELS.into(), 2.into(), 5.into()];
        let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
        Net { graph, x }
    }

    fn name(&self) -> String {
        format!("v{}", self.graph.values().len())
    }

    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant(self.name(), tensor)
    }

    pub fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.graph.apply(self.name(), op, inputs)
    }

    pub fn apply_to(&mut self, op: Op, inputs: Vec<Option<ValueId>>) -> ValueId {
        let (name, y) = (self.name(), self.graph.add_value(self.name()));
        self.graph.add_node(Node { name, op, inputs, outputs: vec![Some(y)] });
        y
    }

    /// Runs `pass`, checks that the results stay the same, and returns the operators that are left.
    pub fn rewritten(
        mut self,
        output: ValueId,
        pass: impl FnOnce(&mut Rewriter) -> Result<()>,
    ) -> Vec<Op> {
        self.graph.set_outputs(vec![output]);
        let data = (0..20 * CHANNELS).map(|i| 5.0 * (i as f32 * 0.7).sin());
        let x = [Tensor::new(&[2, CHANNELS, 2, 5], data.collect::<Vec<f32>>()).unwrap()];
        let expected = reference::run(&self.graph, &x).unwrap();
        alone(&mut self.graph, pass);
        let found = reference::run(&self.graph, &x).unwrap();
        let pairs = found[0].as_f32().unwrap().iter().zip(expected[0].as_f32().unwrap());
        for (found, expected) in pairs {
            let bound = 2e-6 * expected.abs().max(1.0);
            assert!((found - expected).abs() <= bound, "{found}, expected {expected}");
        }
        self.graph.nodes().iter().map(|node| node.op.clone()).collect()
    }
}
