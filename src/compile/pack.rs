//! Packs the weights of each layer once, into its final place.
//!
//! The packed weights of a layer consist of one to three tensors, its parts, whose sizes follow from
//! the kernel that was chosen for the layer. All layers of a network are packed one after another
//! into one allocation, from which kernels read them. A native file can bring the parts itself; they
//! are then used where they lie in the file.

use std::borrow::Cow;
use std::collections::HashMap;

use super::tuning::HELD_BYTES;
use crate::format::{PackedTensors, SourceFiles};
use crate::graph::{Hyperfunction, Squash, ValueId};
use crate::kernels::conv::ConvWeights;
use crate::kernels::depthwise::DepthwiseWeights;
use crate::kernels::dynamic_conv::{Kernel, Packer};
use crate::kernels::grouped::{GroupedWeights, Groups};
use crate::kernels::hyperfunction::{self, Coefficients, are_finite};
use crate::kernels::winograd::WinogradWeights;
use crate::kernels::{PartSize, Unaligned, pack_together};
use crate::tensor::{AlignedBuffer, Tensor};

/// The version of the passes and of the layouts of packed weights. What a file of another version
/// has prepared is ignored.
pub(super) const PREPARATION: u32 = 4;

/// A layer for which a kernel has been chosen, with its weights as the graph stores them.
pub(super) struct Layer<'g> {
    /// The output of the layer.
    pub value: ValueId,
    pub form: Form<'g>,
    /// Elements of type f32, which are not read if the file has packed weights for the layer.
    pub weight: &'g Tensor,
    pub bias: Option<Cow<'g, [f32]>>,
}

/// The kernel of a layer, and its sizes.
#[derive(Clone, Copy)]
pub(super) enum Form<'g> {
    /// A dense convolution, or a fully connected layer, which has one tap and may have its weights
    /// `transposed`, as `[channels][outputs]`.
    Dense {
        outputs: usize,
        channels: usize,
        taps: usize,
        transposed: bool,
    },
    Depthwise {
        channels: usize,
        taps: usize,
    },
    /// A convolution in groups of several channels or outputs.
    Grouped(Groups),
    Winograd {
        outputs: usize,
        channels: usize,
    },
    /// Weights of a convolution by several experts, packed for its kernel.
    Mixture {
        kernel: Kernel,
        experts: usize,
    },
    /// The first layer of a hyperfunction.
    Hidden {
        outputs: usize,
        channels: usize,
    },
    /// The second layer of a hyperfunction.
    Coefficients {
        op: &'g Hyperfunction,
        channels: usize,
        hidden: usize,
        /// Whether the weights may be stored as 16-bit integers.
        may_round: bool,
    },
}

/// The weights of a layer as its kernel reads them.
pub(super) enum Weights {
    Dense(ConvWeights),
    Depthwise(DepthwiseWeights),
    Grouped(GroupedWeights),
    Winograd(WinogradWeights),
    Coefficients(Coefficients),
}

impl Layer<'_> {
    /// The name under which files store the parts.
    fn kind(&self) -> &'static str {
        match self.form {
            Form::Dense { .. } => "dense",
            Form::Depthwise { .. } => "depthwise",
            Form::Grouped(_) => "grouped",
            Form::Winograd { .. } => "winograd",
            Form::Mixture { .. } => "mixture",
            Form::Hidden { .. } => "hidden",
            Form::Coefficients { may_round: false, .. } => "coefficients",
            Form::Coefficients { .. } => "coefficients16",
        }
    }

    /// The weights as the graph stores them. Weights that have not been computed yet are computed in
    /// `scratch` and not kept, so that they do not occupy memory beside the packed ones.
    fn plain<'a>(&'a self, scratch: &'a mut AlignedBuffer) -> &'a [Unaligned] {
        bytemuck::cast_slice(self.weight.bytes_once(scratch))
    }

    /// The sizes of the packed parts. Reads the weights if the kernel also takes them in half
    /// precision, which is chosen if that is exact.
    fn sizes(&self, scratch: &mut AlignedBuffer) -> Vec<PartSize> {
        match self.form {
            Form::Dense { outputs, channels, taps, .. } => {
                ConvWeights::sizes(outputs, channels, taps)
            }
            Form::Mixture { kernel, experts } => ConvWeights::sizes(kernel.packed(), experts, 1),
            Form::Hidden { outputs, channels } => ConvWeights::sizes(outputs, channels, 1),
            Form::Depthwise { channels, taps } => DepthwiseWeights::sizes(channels, taps),
            Form::Grouped(groups) => GroupedWeights::sizes(groups),
            Form::Winograd { outputs, channels } => WinogradWeights::sizes(outputs, channels),
            Form::Coefficients { op, channels, hidden, may_round } => {
                let dtype = hyperfunction::storage(self.plain(scratch), hidden, may_round);
                Coefficients::sizes(op.init.len(), channels, hidden, dtype)
            }
        }
    }

    /// Packs the weights into `parts`, which are zeros. Returns whether the layer may be
    /// [read](Self::read) as one of finite weights.
    fn pack(&self, parts: &mut [&mut [u8]], scratch: &mut AlignedBuffer) -> bool {
        let (weight, bias) = (self.plain(scratch), self.bias.as_deref());
        match self.form {
            Form::Dense { outputs, channels, taps, transposed } => {
                ConvWeights::pack(weight, bias, [outputs, channels, taps], transposed, parts);
            }
            Form::Mixture { kernel, experts } => {
                let packer = Packer::new(kernel);
                let mut packed = vec![0.0; experts * kernel.packed()];
                let plain = weight.chunks_exact(kernel.weights());
                for (to, from) in packed.chunks_exact_mut(kernel.packed()).zip(plain) {
                    packer.pack(from, to);
                }
                let (packed, sizes) =
                    (bytemuck::cast_slice(&packed), [kernel.packed(), experts, 1]);
                ConvWeights::pack(packed, bias, sizes, true, parts);
            }
            Form::Hidden { outputs, channels } => {
                ConvWeights::pack(weight, bias, [outputs, channels, 1], false, parts);
            }
            Form::Depthwise { channels, .. } => {
                DepthwiseWeights::pack(weight, bias, channels, parts);
            }
            Form::Grouped(groups) => GroupedWeights::pack(weight, bias, groups, parts),
            Form::Winograd { outputs, channels } => {
                WinogradWeights::pack(weight, bias, outputs, channels, parts);
            }
            Form::Coefficients { op, channels, hidden, .. } => {
                Coefficients::pack(weight, bias, [op.init.len(), channels, hidden], parts);
                return are_finite(weight);
            }
        }
        true
    }

    /// The weights in `parts`, or `None` if the parts do not have the types and sizes of this layer.
    fn read(&self, parts: &[Tensor], is_finite: bool) -> Option<Weights> {
        Some(match self.form {
            Form::Dense { outputs, channels, taps, .. } => {
                Weights::Dense(ConvWeights::from_parts(parts, outputs, channels, taps)?)
            }
            Form::Mixture { kernel, experts } => {
                Weights::Dense(ConvWeights::from_parts(parts, kernel.packed(), experts, 1)?)
            }
            Form::Hidden { outputs, channels } => {
                Weights::Dense(ConvWeights::from_parts(parts, outputs, channels, 1)?)
            }
            Form::Depthwise { channels, taps } => {
                Weights::Depthwise(DepthwiseWeights::from_parts(parts, channels, taps)?)
            }
            Form::Grouped(groups) => Weights::Grouped(GroupedWeights::from_parts(parts, groups)?),
            Form::Winograd { outputs, channels } => {
                Weights::Winograd(WinogradWeights::from_parts(parts, outputs, channels)?)
            }
            Form::Coefficients { op, channels, hidden, .. } => {
                let (init, lambda) = (&op.init, &op.lambda);
                let squash = match op.squash {
                    Squash::Sigmoid => hyperfunction::Squash::Tanh,
                    Squash::HardSigmoid => hyperfunction::Squash::Clamp,
                    Squash::None => hyperfunction::Squash::None,
                };
                Weights::Coefficients(Coefficients::from_parts(
                    parts, channels, init, lambda, squash, hidden, is_finite,
                )?)
            }
        })
    }
}

/// The packed weights of layers, by output and kind.
pub(super) struct Packed(HashMap<(ValueId, &'static str), Weights>);

impl Packed {
    /// Takes the weights of `layers` from `stored` where they are there and fit, and packs the
    /// others, whose plain weights lie in `files`.
    pub fn new(layers: &[&Layer], stored: &PackedTensors, files: &SourceFiles) -> Self {
        let mut packed = HashMap::with_capacity(layers.len());
        let mut missing = Vec::new();
        for layer in layers {
            let parts = stored.get(layer.value, layer.kind());
            match parts.and_then(|parts| layer.read(parts, true)) {
                Some(weights) => {
                    packed.insert((layer.value, layer.kind()), weights);
                }
                None => missing.push(*layer),
            }
        }
        for (layer, parts, is_finite) in pack(&missing, files) {
            let weights = layer.read(&parts, is_finite);
            let weights = weights.expect("parts are packed for the layer that reads them");
            packed.insert((layer.value, layer.kind()), weights);
        }
        Packed(packed)
    }

    /// Removes and returns the weights of `layer`.
    ///
    /// # Panics
    /// Panics if they have been taken before, or if `layer` was not passed to [`new`](Self::new).
    pub fn take(&mut self, layer: &Layer) -> Weights {
        let weights = self.0.remove(&(layer.value, layer.kind()));
        weights.expect("every layer of a plan is packed, and taken once")
    }
}

/// Packs the weights of `layers` for a file.
///
/// A reader takes stored weights to be finite without reading them. Layers that have infinite or NaN
/// weights are therefore left out, and packed when the file is loaded.
pub(super) fn to_store(layers: &[&Layer]) -> PackedTensors {
    let mut stored = PackedTensors::default();
    for (layer, parts, is_finite) in pack(layers, &SourceFiles::default()) {
        if is_finite {
            stored.insert(layer.value, layer.kind(), parts);
        }
    }
    stored
}

/// Packs `layers`. Returns the parts of each layer, and whether it may be read as a layer of finite
/// weights.
fn pack<'a, 'g>(
    layers: &[&'a Layer<'g>],
    files: &SourceFiles,
) -> Vec<(&'a Layer<'g>, Vec<Tensor>, bool)> {
    // One buffer for all layers, since the system zeroes memory again each time it is allocated.
    let mut scratch = AlignedBuffer::zeroed(0);
    let sizes: Vec<_> = layers.iter().map(|layer| layer.sizes(&mut scratch)).collect();
    let mut are_finite = Vec::with_capacity(layers.len());
    let mut held_bytes = 0;
    let parts = pack_together(&sizes, |i, parts| {
        let bytes = size_of::<f32>() * layers[i].weight.len();
        if held_bytes + bytes > HELD_BYTES {
            files.release_pages();
            held_bytes = 0;
        }
        held_bytes += bytes;
        are_finite.push(layers[i].pack(parts, &mut scratch));
    });
    files.release_pages();
    let layers = layers.iter().copied().zip(parts).zip(are_finite);
    layers.map(|((layer, parts), is_finite)| (layer, parts, is_finite)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_stored_packed_are_not_packed_again() {
        let weight = Tensor::new(&[3, 2], (0..6).map(|i| i as f32).collect()).unwrap();
        let layer = |bias: [f32; 3]| {
            let form = Form::Dense { outputs: 3, channels: 2, taps: 1, transposed: false };
            let bias = Some(Cow::Owned(bias.to_vec()));
            Layer { value: ValueId(7), form, weight: &weight, bias }
        };
        let stored = to_store(&[&layer([1.0, 2.0, 3.0])]);
        let other = layer([4.0, 5.0, 6.0]);
        for (stored, expected) in [(stored, 1.0), (PackedTensors::default(), 4.0)] {
            let Weights::Dense(weights) =
                Packed::new(&[&other], &stored, &SourceFiles::default()).take(&other)
            else {
                panic!("a dense layer has dense weights");
            };
            assert_eq!(weights.packed().bias()[0], expected);
        }
    }

    #[test]
    fn weights_that_are_not_finite_are_not_stored() {
        let op = Hyperfunction {
            k: 1,
            hidden: crate::graph::HiddenActivation::None,
            squash: Squash::Sigmoid,
            init: vec![0.5, 0.0],
            lambda: vec![0.5, 0.0],
        };
        for (number, is_stored) in [(0.1, true), (f32::INFINITY, false), (f32::NAN, false)] {
            let weight = Tensor::new(&[2, 1], vec![1.0, number]).unwrap();
            let form = Form::Coefficients { op: &op, channels: 1, hidden: 1, may_round: false };
            let layer = Layer { value: ValueId(0), form, weight: &weight, bias: None };
            assert_eq!(to_store(&[&layer]).iter().count(), usize::from(is_stored), "{number}");
            let mut packed =
                Packed::new(&[&layer], &PackedTensors::default(), &SourceFiles::default());
            assert!(matches!(packed.take(&layer), Weights::Coefficients(_)));
        }
    }
}
