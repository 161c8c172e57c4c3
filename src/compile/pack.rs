//! From chosen layers to packed weights, each packed once, in its final place.
//!
//! What a layer is says how large its parts are. All layers of a network are therefore packed one
//! after another into one piece of memory, and kernels read them there. A native file that was
//! packed when it was converted brings the parts itself.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::format::PackedTensors;
use crate::graph::{Hyperfunction, Squash, ValueId};
use crate::kernels::conv::ConvWeights;
use crate::kernels::depthwise::DepthwiseWeights;
use crate::kernels::hyperfunction::{Bound, Coefficients, Precision};
use crate::kernels::winograd::WinogradWeights;
use crate::kernels::{PartSize, pack_together};
use crate::tensor::Tensor;

/// The version of the passes and of the layouts of packed weights. A file that was prepared by
/// another one is compiled like any other.
pub(super) const PREPARATION: u32 = 1;

/// A layer for which a kernel has been chosen, and its weights as the graph has them.
pub(super) struct Layer<'g> {
    /// What it gives.
    pub value: ValueId,
    pub form: Form<'g>,
    /// Elements of type f32, which nobody looks at where packed ones are at hand.
    pub weight: &'g Tensor,
    pub bias: Option<Cow<'g, [f32]>>,
}

/// What a layer is, and its sizes.
#[derive(Clone, Copy)]
pub(super) enum Form<'g> {
    /// A dense convolution; a fully connected layer has one tap, and its weights may be
    /// `transposed`.
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
    Winograd {
        outputs: usize,
        channels: usize,
    },
    /// The first layer of a hyperfunction.
    Hidden {
        outputs: usize,
        channels: usize,
    },
    /// The second.
    Coefficients {
        op: &'g Hyperfunction,
        channels: usize,
        hidden: usize,
    },
}

/// A layer's weights as its kernel reads them.
pub(super) enum Weights {
    Dense(ConvWeights),
    Depthwise(DepthwiseWeights),
    Winograd(WinogradWeights),
    Coefficients(Coefficients),
}

impl Layer<'_> {
    /// What the layer is called in files.
    fn kind(&self) -> &'static str {
        match self.form {
            Form::Dense { .. } => "dense",
            Form::Depthwise { .. } => "depthwise",
            Form::Winograd { .. } => "winograd",
            Form::Hidden { .. } => "hidden",
            Form::Coefficients { .. } => "coefficients",
        }
    }

    /// Lends the weights, which are made for the purpose where they are not at hand: packed ones take
    /// their place, and both together would be twice the memory.
    fn with_weight<R>(&self, look: impl FnOnce(&[f32]) -> R) -> R {
        let weight = self.weight.fleeting();
        look(weight.as_f32().expect("layers are chosen by the type of their weights"))
    }

    fn precision(&self) -> Precision {
        match self.form {
            Form::Coefficients { .. } => self.with_weight(Precision::of),
            _ => Precision { is_half: false, is_finite: true },
        }
    }

    fn sizes(&self, precision: Precision) -> Vec<PartSize> {
        match self.form {
            Form::Dense { outputs, channels, taps, .. } => {
                ConvWeights::sizes(outputs, channels, taps)
            }
            Form::Hidden { outputs, channels } => ConvWeights::sizes(outputs, channels, 1),
            Form::Depthwise { channels, taps } => DepthwiseWeights::sizes(channels, taps),
            Form::Winograd { outputs, channels } => WinogradWeights::sizes(outputs, channels),
            Form::Coefficients { op, channels, hidden } => {
                Coefficients::sizes(op.init.len(), channels, hidden, precision)
            }
        }
    }

    fn pack(&self, parts: &mut [&mut [u8]]) {
        let bias = self.bias.as_deref();
        self.with_weight(|weight| match self.form {
            Form::Dense { outputs, channels, taps, transposed } => {
                ConvWeights::pack(weight, bias, [outputs, channels, taps], transposed, parts);
            }
            Form::Hidden { outputs, channels } => {
                ConvWeights::pack(weight, bias, [outputs, channels, 1], false, parts);
            }
            Form::Depthwise { channels, .. } => {
                DepthwiseWeights::pack(weight, bias, channels, parts);
            }
            Form::Winograd { outputs, channels } => {
                WinogradWeights::pack(weight, bias, outputs, channels, parts);
            }
            Form::Coefficients { op, channels, hidden } => {
                Coefficients::pack(weight, bias, [op.init.len(), channels, hidden], parts);
            }
        });
    }

    /// The weights in `parts`; `None` where these are not the layer's own.
    fn read(&self, parts: &[Tensor], is_finite: bool) -> Option<Weights> {
        Some(match self.form {
            Form::Dense { outputs, channels, taps, .. } => {
                Weights::Dense(ConvWeights::of(parts, outputs, channels, taps)?)
            }
            Form::Hidden { outputs, channels } => {
                Weights::Dense(ConvWeights::of(parts, outputs, channels, 1)?)
            }
            Form::Depthwise { channels, taps } => {
                Weights::Depthwise(DepthwiseWeights::of(parts, channels, taps)?)
            }
            Form::Winograd { outputs, channels } => {
                Weights::Winograd(WinogradWeights::of(parts, outputs, channels)?)
            }
            Form::Coefficients { op, channels, hidden } => {
                let (init, lambda) = (&op.init, &op.lambda);
                let bound = match op.squash {
                    Squash::Sigmoid => Bound::Tanh,
                    Squash::HardSigmoid => Bound::Clamp,
                    Squash::None => Bound::None,
                };
                let layer =
                    Coefficients::of(parts, channels, init, lambda, bound, hidden, is_finite)?;
                Weights::Coefficients(layer)
            }
        })
    }
}

/// The packed weights of layers, by what they give and what they are called.
pub(super) struct Packed(HashMap<(ValueId, &'static str), Weights>);

impl Packed {
    /// Those of all `layers`: the ones in `stored` that fit them, and all others packed.
    pub fn new(layers: &[&Layer], stored: &PackedTensors) -> Self {
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
        for (layer, parts, precision) in pack(&missing) {
            let weights = layer.read(&parts, precision.is_finite);
            let weights = weights.expect("parts are packed for the layer that reads them");
            packed.insert((layer.value, layer.kind()), weights);
        }
        Packed(packed)
    }

    /// Those of `layer`.
    ///
    /// # Panics
    /// Panics if they have been taken, or if the layer was not among those that were packed.
    pub fn take(&mut self, layer: &Layer) -> Weights {
        let weights = self.0.remove(&(layer.value, layer.kind()));
        weights.expect("every layer of a plan is packed, and taken once")
    }
}

/// The packed weights of `layers` as a file keeps them. Those that only work while they are known
/// not to be finite are left out, and packed again by whoever loads the file.
pub(super) fn to_store(layers: &[&Layer]) -> PackedTensors {
    let mut stored = PackedTensors::default();
    for (layer, parts, precision) in pack(layers) {
        if precision.is_finite {
            stored.insert(layer.value, layer.kind(), parts);
        }
    }
    stored
}

fn pack<'a, 'g>(layers: &[&'a Layer<'g>]) -> Vec<(&'a Layer<'g>, Vec<Tensor>, Precision)> {
    let precisions: Vec<Precision> = layers.iter().map(|layer| layer.precision()).collect();
    let sizes = layers.iter().zip(&precisions).map(|(layer, &precision)| layer.sizes(precision));
    let sizes: Vec<_> = sizes.collect();
    let parts = pack_together(&sizes, |i, parts| layers[i].pack(parts));
    let layers = layers.iter().copied().zip(parts).zip(precisions);
    layers.map(|((layer, parts), precision)| (layer, parts, precision)).collect()
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
            let Weights::Dense(weights) = Packed::new(&[&other], &stored).take(&other) else {
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
            let form = Form::Coefficients { op: &op, channels: 1, hidden: 1 };
            let layer = Layer { value: ValueId(0), form, weight: &weight, bias: None };
            assert_eq!(to_store(&[&layer]).iter().count(), usize::from(is_stored), "{number}");
            let mut packed = Packed::new(&[&layer], &PackedTensors::default());
            assert!(matches!(packed.take(&layer), Weights::Coefficients(_)));
        }
    }
}
