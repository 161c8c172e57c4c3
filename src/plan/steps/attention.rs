//! The spatial attention of DY-ReLU-C.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::Result;
use crate::kernels::attention::spatial_attention;
use crate::simd::padded;

/// The attention of DY-ReLU-C, `min(gamma * softmax(z / tau), 1)` over the pixels of an image, of the
/// logits z in input 0. Input and output are planes or maps of one channel.
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

    fn works_in_place(&self) -> bool {
        true
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let extent = arguments.output_extent(0);
        let (step, count) = (extent.number_step(), extent.numbers());
        let gamma = self.gamma_per_position * count as f32;
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        for (i, pi) in y.chunks_exact_mut(extent.image().max(1)).enumerate() {
            // The attention is computed as a plane at the start of the map, then spread out.
            match arguments.inputs[0] {
                Some(z) => {
                    let logits = z.image(i).iter().step_by(z.extent.number_step());
                    pi.iter_mut().zip(logits).for_each(|(to, z)| *to = *z);
                }
                None => (1..count).for_each(|k| pi[k] = pi[k * step]),
            }
            let plane = &mut pi[..padded(count)];
            spatial_attention(arguments.isa, plane, count, self.tau, gamma);
            if step > 1 {
                // From the last to the first, so that no number is overwritten before it is read.
                for k in (0..count).rev() {
                    let number = pi[k];
                    let pixel = &mut pi[k * step..][..step];
                    pixel.fill(0.0);
                    pixel[0] = number;
                }
            }
        }
        Ok(())
    }
}
