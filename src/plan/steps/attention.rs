//! The spatial attention of DY-ReLU-C.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::Result;
use crate::kernels::attention::spatial_attention;

/// The attention of DY-ReLU-C, `min(gamma * softmax(z / tau), 1)` over the pixels of an image, of the
/// logits z in input 0.
pub struct AttentionPrimitive {
    /// The temperature of the softmax.
    pub tau: f32,
    /// Gamma divided by the number of pixels.
    pub gamma_per_position: f32,
}

impl Primitive for AttentionPrimitive {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (z, extent) = (arguments.input(0), arguments.output_extent(0));
        let gamma = self.gamma_per_position * extent.pixels() as f32;
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        for (i, pi) in y.chunks_exact_mut(extent.image().max(1)).enumerate() {
            spatial_attention(arguments.isa, z.image(i), pi, self.tau, gamma);
        }
        Ok(())
    }
}
