//! The attentions of DY-ReLU-C as planes, and their logits as a part of the steps before.
//!
//! A map of one channel has eight elements per pixel, of which one is used. A plane has one. The logits
//! are one scalar product per pixel of a map: the step that computes the map computes them, too, while
//! its results are in the cache.

use std::collections::{HashMap, HashSet};

use super::choose::Convolution;
use super::group::Group;
use super::merge::Stage;
use super::network::Network;
use crate::compile::pack::Form;
use crate::graph::{Op, ValueId};
use crate::kernels::conv::ConvWeights;

/// Returns the attentions of DY-ReLU-C that only epilogues read. They are planes.
pub(super) fn only_in_epilogues(net: &Network, stages: &[Stage]) -> HashSet<ValueId> {
    let mut epilogues: HashMap<ValueId, usize> = HashMap::new();
    for group in stages.iter().flat_map(|stage| stage.first.iter().chain([&stage.group])) {
        if let Some(pi) = group.epilogue.attention {
            *epilogues.entry(pi).or_default() += 1;
        }
    }
    let is_plane = |&(pi, count): &(ValueId, usize)| {
        let op = net.links.producer(pi).map(|id| &net.graph.node(id).op);
        matches!(op, Some(Op::SpatialAttention(_)))
            && net.links.consumers(pi).len() == count
            && !net.links.is_output(pi)
    };
    epilogues.into_iter().filter(is_plane).map(|(pi, _)| pi).collect()
}

/// Returns the map whose logits a convolution computes, if these are the logits of an attention that is
/// one of `planes`, and the step that computes the map can compute them, too.
pub(super) fn map_of_logits(
    net: &Network,
    planes: &HashSet<ValueId>,
    group: &Group,
    convolution: &Convolution,
) -> Option<ValueId> {
    let Form::Dense { outputs, channels, taps, .. } = convolution.layer.form else { return None };
    let is_single = ConvWeights::is_single([outputs, channels, taps]);
    if !is_single || !convolution.window.is_pointwise() || !group.epilogue.is_empty() {
        return None;
    }
    let attention = net.graph.node(net.links.only_reader(group.output)?);
    planes.contains(&attention.output()).then(|| net.graph.node(group.members[0]).input(0))?
}

#[cfg(test)]
mod tests {
    use crate::graph::{
        Binary, Conv, Dim, Graph, HiddenActivation, Hyperfunction, MaxAffine, Op, Padding,
        PoolKind, SpatialAttention, Squash, TensorType, Unary, ValueId,
    };
    use crate::tensor::{DType, Tensor};
    use crate::{Model, Options, Session, reference};

    fn wave(shape: &[usize], frequency: f32) -> Tensor {
        let count = shape.iter().product();
        let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
        Tensor::new(shape, data).unwrap()
    }

    fn conv(strides: usize, pad: i64) -> Op {
        let padding = Padding::Explicit(vec![pad; 4]);
        Op::Conv(Conv { padding, strides: vec![strides; 2], dilations: Vec::new(), groups: 1 })
    }

    /// A network with an input `[N,3,H,W]`, whose map of `channels` channels a DY-ReLU-C or the sigmoid
    /// of one channel scales.
    struct Net {
        graph: Graph,
        map: ValueId,
    }

    impl Net {
        fn new(channels: usize, [height, width]: [usize; 2]) -> Self {
            let mut graph = Graph::new("t");
            let dims = vec![Dim::symbol("N"), 3.into(), height.into(), width.into()];
            let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
            let weight = graph.add_constant("w", wave(&[channels, 3, 3, 3], 0.7));
            let map = graph.apply("conv", conv(2, 1), &[x, weight]);
            Net { graph, map }
        }

        fn channels(&self) -> usize {
            let ids = self.graph.nodes()[0].input(1);
            self.graph.constant(ids.unwrap()).unwrap().shape()[0]
        }

        /// Returns the logits and the attention.
        fn attention(&mut self) -> [ValueId; 2] {
            let weight = wave(&[1, self.channels(), 1, 1], 0.9);
            let weight = self.graph.add_constant("wa", weight);
            let bias = self.graph.add_constant("ba", wave(&[1], 1.0));
            let z = self.graph.apply("logits", conv(1, 0), &[self.map, weight, bias]);
            let op = Op::SpatialAttention(SpatialAttention { tau: 2.0, gamma_per_position: 0.3 });
            [z, self.graph.apply("attention", op, &[z])]
        }

        fn activation(&mut self, pi: ValueId) -> ValueId {
            let channels = self.channels();
            let context = Op::GlobalPool(PoolKind::Average);
            let context = self.graph.apply("context", context, &[self.map]);
            let mut of =
                |name: &str, shape: &[usize]| self.graph.add_constant(name, wave(shape, 0.8));
            let weights = [of("w1", &[3, channels]), of("b1", &[3]), of("w2", &[4 * channels, 3])];
            let hyperfunction = Op::Hyperfunction(Hyperfunction {
                k: 2,
                hidden: HiddenActivation::Relu,
                squash: Squash::Sigmoid,
                init: vec![1.0, 0.0, 0.0, 0.0],
                lambda: vec![1.0, 1.0, 0.5, 0.5],
            });
            let inputs = [context, weights[0], weights[1], weights[2]];
            let coefficients = self.graph.apply("hyperfunction", hyperfunction, &inputs);
            let op = Op::MaxAffine(MaxAffine { k: 2 });
            self.graph.apply("max", op, &[self.map, coefficients, pi])
        }
    }

    /// Runs the network as a batch of three on one and on four threads. Returns the operators of the
    /// steps.
    fn check(net: Net, outputs: Vec<ValueId>, size: [usize; 2]) -> Vec<String> {
        let mut graph = net.graph;
        graph.set_outputs(outputs);
        let x = [wave(&[3, 3, size[0], size[1]], 0.37)];
        let expected = reference::run(&graph, &x).unwrap();
        let model = Model::from_graph(graph, Options::default()).unwrap();
        for threads in [1, 4] {
            let found = Session::with_threads(&model, threads).unwrap().run(&x).unwrap();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.shape(), expected.shape());
                let pairs = found.as_f32().unwrap().iter().zip(expected.as_f32().unwrap());
                for (y, want) in pairs {
                    let close = (y - want).abs() <= 1e-4 * want.abs().max(1.0);
                    assert!(close, "{y} and not {want}, {threads} threads");
                }
            }
        }
        model.plan().steps().iter().map(|step| step.op.clone()).collect()
    }

    #[test]
    fn logits_are_a_part_of_the_step_before() {
        for (channels, size) in [(16, [5, 7]), (24, [33, 18]), (32, [1, 1]), (8, [64, 64])] {
            let mut net = Net::new(channels, size);
            let [_, pi] = net.attention();
            let y = net.activation(pi);
            let ops = check(net, vec![y], size);
            assert!(!ops.contains(&"Conv".to_string()), "{ops:?}");
        }
    }

    #[test]
    fn logits_and_attentions_that_are_read_elsewhere_are_maps() {
        let size = [9, 11];
        let mut net = Net::new(16, size);
        let [z, pi] = net.attention();
        let y = net.activation(pi);
        let ops = check(net, vec![y, pi], size);
        assert!(ops.contains(&"Plane".to_string()), "{ops:?}");
        let mut net = Net::new(16, size);
        let [_, pi] = net.attention();
        let y = net.activation(pi);
        let ops = check(net, vec![y, z], size);
        assert!(!ops.contains(&"Plane".to_string()), "{ops:?}");
        assert!(ops.contains(&"Conv".to_string()), "{ops:?}");
    }

    #[test]
    fn logits_of_padded_channels_are_a_step_of_their_own() {
        let size = [9, 11];
        let mut net = Net::new(17, size);
        let [_, pi] = net.attention();
        let y = net.activation(pi);
        let ops = check(net, vec![y], size);
        assert!(ops.contains(&"Conv".to_string()), "{ops:?}");
    }

    #[test]
    fn maps_of_one_channel_scale_as_planes() {
        let size = [13, 6];
        let mut net = Net::new(16, size);
        let [z, _] = net.attention();
        let gate = net.graph.apply("gate", Op::Unary(Unary::Sigmoid), &[z]);
        let map = net.map;
        let scaled = net.graph.apply("scaled", Op::Binary(Binary::Mul), &[map, gate]);
        let y = net.graph.apply("y", Op::Unary(Unary::Relu), &[map]);
        let again = net.graph.apply("again", Op::Binary(Binary::Mul), &[y, gate]);
        let ops = check(net, vec![scaled, again], size);
        assert_eq!(ops.iter().filter(|op| *op == "Plane").count(), 1, "{ops:?}");
    }
}
