//! From a context to coefficients and attention.

use super::io::Io;
use super::kernel::Kernel;
use crate::error::Result;
use crate::kernels::attention::spatial_attention;
use crate::kernels::hyperfunction::{Coefficients, coefficients};
use crate::plan::extent::Extent;
use crate::plan::threads::compute_blocks;
use crate::plan::tuning::{
    COEFFICIENTS, COEFFICIENTS_OF_BATCH, MOST_COEFFICIENT_BLOCKS, MOST_COLUMN_BLOCKS,
};
use crate::tensor::Cut;

/// The second layer of a hyperfunction, from the hidden layer in input 0 to coefficients
/// `[N][2K][C]`.
pub struct CoefficientsStep {
    /// The packed layer.
    pub layer: Coefficients,
}

impl Kernel for CoefficientsStep {
    fn name(&self) -> &'static str {
        "coefficients"
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        output.images * output.pixels() * output.channels * self.layer.hidden()
    }

    fn workspace(&self, _: Extent) -> usize {
        self.layer.workspace()
    }

    fn weight_bytes(&self) -> usize {
        self.layer.bytes()
    }

    fn run(&self, io: Io) -> Result<()> {
        let (hidden, result) = (io.input(0), io.result(0));
        let width = self.layer.outputs();
        // For several images, few columns at a time: their weights are read from memory once. For a
        // single one, long pieces, as many as there are threads: a coefficient is the same sum
        // however its neighbours are dealt out.
        let column_blocks = match result.images {
            1 => (width / COEFFICIENTS).clamp(1, MOST_COEFFICIENT_BLOCKS).min(io.team.threads()),
            _ => (width / COEFFICIENTS_OF_BATCH).clamp(1, MOST_COLUMN_BLOCKS),
        };
        let cut = Cut { images: 1, rows: result.images, width, row_blocks: 1, column_blocks };
        let [Some(y), _] = io.outputs else { return Ok(()) };
        let cost = (io.workspace, io.team, cut.rows * width * self.layer.hidden());
        compute_blocks(y, None, cut, cost, |mut block, work| {
            coefficients(io.isa, &self.layer, hidden.data, &mut block, work);
        });
        Ok(())
    }
}

/// The attention of DY-ReLU-C over the logits in input 0.
pub struct AttentionStep {
    /// Temperature of the softmax.
    pub tau: f32,
    /// The factor of the softmax over the number of pixels.
    pub gamma_per_position: f32,
}

impl Kernel for AttentionStep {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn run(&self, io: Io) -> Result<()> {
        let (z, result) = (io.input(0), io.result(0));
        let gamma = self.gamma_per_position * result.pixels() as f32;
        let [Some(y), _] = io.outputs else { return Ok(()) };
        for (i, pi) in y.chunks_exact_mut(result.image().max(1)).enumerate() {
            spatial_attention(io.isa, z.image(i), pi, self.tau, gamma);
        }
        Ok(())
    }
}
