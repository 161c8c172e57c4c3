//! Layer normalisation.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::layer_norm::{Affine, layer_norm};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;
use crate::simd::padded;

/// Normalisation of each pixel of input 0 over its channels. Works in place if no later step reads
/// input 0.
pub struct LayerNormPrimitive {
    scale: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
    epsilon: f32,
}

impl LayerNormPrimitive {
    /// Creates the normalisation of as many channels as there are factors in `scale`.
    ///
    /// # Panics
    /// Panics if `bias` has another length.
    pub fn new(scale: &[f32], bias: &[f32], epsilon: f32) -> Self {
        assert_eq!(scale.len(), bias.len());
        let channels = scale.len();
        let pad = |numbers: &[f32]| {
            let mut numbers = numbers.to_vec();
            numbers.resize(padded(channels), 0.0);
            numbers
        };
        LayerNormPrimitive { scale: pad(scale), bias: pad(bias), channels, epsilon }
    }
}

impl Primitive for LayerNormPrimitive {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn weight_bytes(&self) -> usize {
        size_of::<f32>() * (self.scale.len() + self.bias.len())
    }

    fn works_in_place(&self) -> bool {
        true
    }

    fn check(&self, input: Extent) -> Result<()> {
        if input.channels == self.channels {
            return Ok(());
        }
        let (found, expected) = (input.channels, self.channels);
        Err(Error::shape(format!("a map of {found} channels is normalised over {expected}")))
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, output, isa) = (arguments.inputs[0], arguments.output_extent(0), arguments.isa);
        let LayerNormPrimitive { scale, bias, channels, epsilon } = self;
        let affine = Affine { scale, bias, channels: *channels, epsilon: *epsilon };
        let (rows, width) = (output.pixels(), output.stride());
        let cut = Cut::in_rows(output.images, rows, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, 8 * output.len(), |block, _| {
            let x = x.map(|x| x.image(block.image()));
            layer_norm(isa, x, &affine, block);
        });
        Ok(())
    }
}
