//! Rows of coefficients from two values.

use super::arguments::Arguments;
use super::primitive::Primitive;
use crate::error::Result;
use crate::kernels::Cut;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Coefficients `[N,rows,C]`, each row from input 0 or input 1. An input of one row gives every row, and
/// one of one image or channel every image or channel.
pub struct RowsPrimitive {
    /// For every row whether it is from input 0.
    pub first: Vec<bool>,
}

impl Primitive for RowsPrimitive {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (a, b) = (arguments.input(0), arguments.input(1));
        let output = arguments.output_extent(0);
        let (rows, width) = (output.pixels(), output.stride());
        let cut = Cut::in_rows(output.images, rows, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        arguments.workers.compute_blocks(y, None, cut, output.len(), |block, _| {
            for row in block.rows() {
                let from = if self.first[row] { a } else { b };
                let at = if from.extent.pixels() == 1 { 0 } else { row };
                let source = &from.image(block.image())[at * from.extent.stride()..];
                match from.extent.channels {
                    1 => block.row(row).fill(source[0]),
                    _ => block.row(row).copy_from_slice(&source[..width]),
                }
            }
        });
        Ok(())
    }
}
