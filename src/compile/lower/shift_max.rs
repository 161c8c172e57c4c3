//! Dynamic Shift-Max, with the permutation of channels that follows it.

use super::channels;
use super::network::Network;
use crate::graph::{NodeId, Op, ValueId};
use crate::plan::ShiftMaxPrimitive;

/// A Shift-Max of a map, and the nodes that its step computes.
pub(super) struct ShiftMaxStep {
    pub inputs: [ValueId; 2],
    pub members: Vec<NodeId>,
    /// The output of the last member.
    pub output: ValueId,
    k: usize,
    source: Vec<usize>,
    /// The channel of each result.
    order: Vec<usize>,
}

impl ShiftMaxStep {
    /// Returns the step of node `id`, if it is a Shift-Max of a map.
    pub fn of(net: &Network, id: NodeId) -> Option<Self> {
        let node = net.graph.node(id);
        let Op::ShiftMax(op) = &node.op else { return None };
        let (x, coefficients) = (node.input(0)?, node.input(1)?);
        let fits = net.maps.is_nchw(x)
            && net.maps.channels(x)? == op.source.len()
            && net.maps.is_coefficients(coefficients)
            && net.graph.constant(x).is_none();
        let step = ShiftMaxStep {
            inputs: [x, coefficients],
            members: vec![id],
            output: node.output(),
            k: op.k,
            source: op.source.clone(),
            order: (0..op.source.len()).collect(),
        };
        fits.then(|| step.with_permutation(net))
    }

    /// Adds the node that permutes the results, if there is one and no other node reads them.
    fn with_permutation(mut self, net: &Network) -> Self {
        let next = net.links.only_reader(self.output);
        if let Some(next) = next
            && let node = net.graph.node(next)
            && let Some(order) = channels::gathered(net, node)
            && order.len() == self.order.len()
            // Those would copy the channels from the results before the permutation.
            && !net.links.consumers(node.output()).iter().any(|&id| channels::is_mover(net, id))
        {
            self.members.push(next);
            self.output = node.output();
            self.order = order;
        }
        self
    }

    /// Returns what computes the step.
    pub fn primitive(&self) -> ShiftMaxPrimitive {
        ShiftMaxPrimitive::new(self.k, &self.source, &self.order)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Dim, Graph, Op, ShiftMax, TensorType, Unary};
    use crate::tensor::{DType, Tensor};
    use crate::{Model, Options, Session, reference};

    const CHANNELS: usize = 12;

    fn wave(shape: &[usize], frequency: f32) -> Tensor {
        let count = shape.iter().product();
        let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
        Tensor::new(shape, data).unwrap()
    }

    /// Builds a Shift-Max of a map, a permutation of its channels, and what `reader` reads that with.
    fn network(
        reader: impl Fn(&mut Graph, crate::graph::ValueId) -> crate::graph::ValueId,
    ) -> Graph {
        let mut g = Graph::new("t");
        let input = |g: &mut Graph, name: &str, rest: &[usize]| {
            let rest = rest.iter().map(|&size| Dim::from(size));
            let dims = [Dim::symbol("N")].into_iter().chain(rest).collect();
            g.add_input(name, TensorType { dtype: DType::F32, dims })
        };
        let x = input(&mut g, "x", &[CHANNELS, 5, 7]);
        let theta = input(&mut g, "theta", &[4, CHANNELS]);
        let x = g.apply("map", Op::Unary(Unary::Relu), &[x]);
        let source = (0..CHANNELS).map(|c| (c + 5) % CHANNELS).collect();
        let y = g.apply("max", Op::ShiftMax(ShiftMax { k: 2, source }), &[x, theta]);
        let order = (0..CHANNELS as i64).map(|c| c % 3 * 4 + c / 3).collect();
        let order = g.add_constant("order", Tensor::vector::<i64>(order));
        let y = g.apply("shuffle", Op::Gather { axis: 1 }, &[y, order]);
        let y = reader(&mut g, y);
        g.set_outputs(vec![y]);
        g
    }

    /// Runs a network, compares it with the reference, and returns the operators of its steps.
    fn steps(graph: Graph) -> Vec<String> {
        let inputs = [wave(&[2, CHANNELS, 5, 7], 0.37), wave(&[2, 4, CHANNELS], 0.71)];
        let expected = reference::run(&graph, &inputs).unwrap();
        let model = Model::from_graph(graph, Options::default()).unwrap();
        let found = Session::with_threads(&model, 2).unwrap().run(&inputs).unwrap();
        let found = found[0].as_f32().unwrap();
        for (y, want) in found.iter().zip(expected[0].as_f32().unwrap()) {
            assert!((y - want).abs() <= 1e-5, "{y}, expected {want}");
        }
        model.plan().steps().iter().map(|step| step.op.clone()).collect()
    }

    #[test]
    fn a_permutation_is_part_of_the_step() {
        let tanh = |g: &mut Graph, y| g.apply("y", Op::Unary(Unary::Tanh), &[y]);
        assert!(steps(network(tanh)).contains(&"ShiftMax+Gather".to_owned()));
    }

    #[test]
    fn a_reader_that_copies_channels_reads_the_results_as_they_are() {
        let twice = |g: &mut Graph, y| g.apply("y", Op::Concat { axis: 1 }, &[y, y]);
        let steps = steps(network(twice));
        assert!(steps.contains(&"ShiftMax".to_owned()), "{steps:?}");
    }
}
