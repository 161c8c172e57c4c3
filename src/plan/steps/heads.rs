//! Attention of several heads.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::heads::{Bias, Heads, Operand, attend};
use crate::plan::map::Extent;
use crate::plan::tuning::ROWS_PER_BLOCK;
use crate::simd::padded;

/// Attention among the tokens of each image, which are its pixels: of queries in input 0, keys in
/// input 1 and values in input 2.
pub struct HeadsPrimitive {
    /// The number of heads.
    pub count: usize,
    /// The channels of a query and of a key.
    pub depth: usize,
    /// The channels of a value.
    pub channels: usize,
    /// The factor of the products of queries and keys.
    pub scale: f32,
    /// The channels in which the queries, keys and values are: the first one, and the distance from
    /// one head to the next.
    pub places: [[usize; 2]; 3],
    /// What is added to the products.
    pub biases: Vec<ScoreBias>,
}

/// Numbers that are added to the products of queries and keys.
pub struct ScoreBias {
    /// `[images][heads][tokens][padded(tokens)]`.
    pub scores: Vec<f32>,
    /// The number of images after which the numbers repeat.
    pub images: usize,
    /// The number of heads: one for all, or all.
    pub heads: usize,
    /// The number of tokens.
    pub tokens: usize,
}

impl HeadsPrimitive {
    fn cut(output: Extent) -> Cut {
        let rows = output.pixels();
        let row_blocks = rows.div_ceil(ROWS_PER_BLOCK).max(1);
        let (images, width) = (output.images, output.stride());
        Cut { images, rows, width, row_blocks, column_blocks: 1, row_unit: 1 }
    }

    fn heads(&self, keys: usize) -> Heads {
        let HeadsPrimitive { count, depth, channels, scale, .. } = *self;
        Heads { count, keys, depth, channels, scale }
    }
}

impl Primitive for HeadsPrimitive {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn workspace(&self, output: Extent) -> usize {
        self.heads(output.pixels()).workspace(Self::cut(output).most_rows())
    }

    fn weight_bytes(&self) -> usize {
        self.biases.iter().map(|bias| size_of_val(bias.scores.as_slice())).sum()
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        let tokens = output.pixels();
        output.images * tokens * tokens * self.count * (self.depth + self.channels)
    }

    fn check(&self, input: Extent) -> Result<()> {
        let differs = |bias: &&ScoreBias| bias.tokens != input.pixels();
        match self.biases.iter().find(differs) {
            None => Ok(()),
            Some(bias) => Err(Error::shape(format!(
                "attention among {} tokens has a bias for {}",
                input.pixels(),
                bias.tokens
            ))),
        }
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (output, isa) = (arguments.output_extent(0), arguments.isa);
        let operands = [0, 1, 2].map(|i| arguments.input(i));
        let (heads, cut) = (self.heads(output.pixels()), Self::cut(output));
        let macs = self.macs(output, output);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, macs, |block, workspace| {
            let image = block.image();
            let operand = |i: usize| {
                let ([first, step], view) = (self.places[i], operands[i]);
                Operand { tokens: view.image(image), width: view.extent.stride(), first, step }
            };
            let biases = self.biases.iter().map(|bias| {
                let count = bias.heads * bias.tokens * padded(bias.tokens);
                let scores = &bias.scores[image % bias.images * count..][..count];
                Bias { scores, heads: bias.heads, tokens: bias.tokens }
            });
            let operands = [operand(0), operand(1), operand(2)];
            attend(isa, operands, heads, biases, block, workspace);
        });
        Ok(())
    }
}
