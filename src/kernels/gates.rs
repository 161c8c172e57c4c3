//! Multiplication of a map by gates of its lines and of its columns, as in coordinate attention (Hou et
//! al., CVPR 2021).

use super::block::Block;
use super::sizes::product_of;
use crate::simd::{Isa, Simd, Vectorised};

/// Computes `y[h][w][c] = x[h][w][c] * lines[h][c] * columns[w][c]` for the lines of a block, whose rows
/// are lines of pixels of `width` channels. Without `x`, the block itself is multiplied.
///
/// # Panics
/// Panics if the block does not consist of whole lines, or an argument does not have its elements.
pub fn gate(
    isa: Isa,
    x: Option<&[f32]>,
    lines: Option<&[f32]>,
    columns: Option<&[f32]>,
    width: usize,
    block: &mut Block,
) {
    let len = block.width();
    assert!(width > 0 && len.is_multiple_of(width) && block.columns().len() == len);
    assert!(columns.is_none_or(|columns| columns.len() == len), "gates of the columns");
    assert!(lines.is_none_or(|lines| lines.len() >= product_of([block.rows().end, width])));
    assert!(x.is_none_or(|x| x.len() >= product_of([block.rows().end, len])));
    isa.run_narrow(Gate { x, lines, columns, width, block });
}

struct Gate<'a, 'b, 'c> {
    x: Option<&'a [f32]>,
    lines: Option<&'a [f32]>,
    columns: Option<&'a [f32]>,
    width: usize,
    block: &'c mut Block<'b>,
}

impl Vectorised for Gate<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Gate { x, lines, columns, width, block } = self;
        let len = block.width();
        for row in block.rows() {
            let y = block.row(row);
            if let Some(x) = x {
                y.copy_from_slice(&x[row * len..][..len]);
            }
            if let Some(lines) = lines {
                let gates = &lines[row * width..][..width];
                y.chunks_exact_mut(width).for_each(|pixel| multiply(pixel, gates));
            }
            if let Some(columns) = columns {
                multiply(y, columns);
            }
        }
    }
}

#[inline(always)]
fn multiply(y: &mut [f32], gates: &[f32]) {
    for (y, gate) in y.iter_mut().zip(gates) {
        *y *= gate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_element_is_multiplied_by_its_gates(isa: Isa) {
        for (height, columns, width) in [(1, 1, 8), (3, 5, 24), (7, 2, 40)] {
            let wave = |len: usize, frequency: f32| -> Vec<f32> {
                (0..len).map(|i| (i as f32 * frequency).sin()).collect()
            };
            let x = wave(height * columns * width, 0.7);
            let (of_lines, of_columns) = (wave(height * width, 0.3), wave(columns * width, 0.9));
            for (lines, across) in [(true, true), (true, false), (false, true)] {
                let (of_lines, of_columns) =
                    (lines.then_some(&*of_lines), across.then_some(&*of_columns));
                let mut y = vec![f32::NAN; x.len()];
                let block = &mut Block::whole(&mut y, columns * width);
                gate(isa, Some(&x), of_lines, of_columns, width, block);
                let mut in_place = x.clone();
                let block = &mut Block::whole(&mut in_place, columns * width);
                gate(isa, None, of_lines, of_columns, width, block);
                for (i, y) in y.iter().enumerate() {
                    let (pixel, channel) = (i / width, i % width);
                    let line = pixel / columns * width + channel;
                    let column = pixel % columns * width + channel;
                    let of = |gates: Option<&[f32]>, i: usize| gates.map_or(1.0, |gates| gates[i]);
                    assert_eq!(*y, x[i] * of(of_lines, line) * of(of_columns, column));
                }
                assert_eq!(y, in_place);
            }
        }
    }

    /// [`every_element_is_multiplied_by_its_gates`] on each instruction set.
    mod every_element_is_multiplied_by_its_gates {
        crate::simd::testing::isa_tests!(super::every_element_is_multiplied_by_its_gates);
    }
}
