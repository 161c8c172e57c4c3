//! Pixels of a map in another order.

use super::block::Block;

/// The pixels of a sample that each pixel of the result consists of.
#[derive(Clone, Copy)]
pub struct PixelTable<'a> {
    /// Pixels of the map, `group` for each pixel of the result.
    pub table: &'a [u32],
    /// The number of pixels whose channels lie side by side.
    pub group: usize,
    /// The channels of a pixel of the map, without padding.
    pub channels: usize,
    /// Elements of a pixel of the map, padding included.
    pub width: usize,
    /// The pixels of a sample of the map.
    pub pixels: usize,
}

/// Copies pixels of `x` to the rows of a block. The rows are counted through all images, of which
/// a sample may have several.
///
/// # Panics
/// Panics if the map does not have the pixels, or a row of the block does not have the channels.
pub fn copy_pixels(x: &[f32], table: PixelTable, block: &mut Block) {
    let PixelTable { table, group, channels, width, pixels } = table;
    let per_sample = table.len() / group;
    for row in block.rows() {
        let (sample, pixel) = (row / per_sample, row % per_sample);
        let from = |source: u32| &x[(sample * pixels + source as usize) * width..][..width];
        let sources = &table[pixel * group..][..group];
        let to = block.row(row);
        if let &[source] = sources {
            to.copy_from_slice(from(source));
            continue;
        }
        for (to, &source) in to.chunks_exact_mut(channels).zip(sources) {
            to.copy_from_slice(&from(source)[..channels]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_copied_sample_by_sample() {
        // Two samples of four pixels, with 3 channels in rows of 8.
        let x: Vec<f32> = (0..64).map(|i| (i / 8 * 10 + i % 8) as f32).collect();
        let table = PixelTable { table: &[3, 0, 1], group: 1, channels: 3, width: 8, pixels: 4 };
        let mut y = [f32::NAN; 48];
        copy_pixels(&x, table, &mut Block::whole(&mut y, 8));
        let firsts: Vec<f32> = y.chunks_exact(8).map(|row| row[0]).collect();
        assert_eq!(firsts, [30.0, 0.0, 10.0, 70.0, 40.0, 50.0]);
        let table = PixelTable { table: &[1, 0, 3, 2], group: 2, channels: 3, width: 8, pixels: 4 };
        let mut y = [f32::NAN; 32];
        copy_pixels(&x, table, &mut Block::whole(&mut y, 8));
        assert_eq!(y[..6], [10.0, 11.0, 12.0, 0.0, 1.0, 2.0]);
        assert_eq!(y[24..30], [70.0, 71.0, 72.0, 60.0, 61.0, 62.0]);
    }
}
