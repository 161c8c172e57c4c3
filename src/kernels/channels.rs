//! Channels of several maps side by side: concatenation, and parts of a map.

use super::block::Block;

/// Some channels of an image, NHWC.
#[derive(Clone, Copy)]
pub struct Channels<'a> {
    /// The image.
    pub x: &'a [f32],
    /// The elements of a pixel, padding included.
    pub width: usize,
    /// The first channel.
    pub first: usize,
    /// The number of channels.
    pub count: usize,
}

/// Copies the channels of `parts` to the pixels of a block, one part after another.
///
/// # Panics
/// Panics if an image does not have the pixels of the block, or a pixel does not have the channels.
pub fn join_channels<'a>(parts: impl Iterator<Item = Channels<'a>> + Clone, block: &mut Block) {
    for row in block.rows() {
        let mut to = block.row(row);
        for Channels { x, width, first, count } in parts.clone() {
            assert!(first + count <= width, "channels of a pixel");
            let (here, rest) = to.split_at_mut(count);
            here.copy_from_slice(&x[row * width + first..][..count]);
            to = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_maps_are_put_side_by_side() {
        // Three pixels of 3 channels in rows of 8, and of 10 channels in rows of 16.
        let map = |width: usize, tens: f32| -> Vec<f32> {
            (0..3 * width).map(|i| tens * (i / width) as f32 + (i % width) as f32).collect()
        };
        let (a, b) = (map(8, 100.0), map(16, -100.0));
        let parts = [
            Channels { x: &a, width: 8, first: 0, count: 3 },
            Channels { x: &b, width: 16, first: 7, count: 2 },
            Channels { x: &a, width: 8, first: 2, count: 1 },
        ];
        let mut y = [f32::NAN; 24];
        join_channels(parts.into_iter(), &mut Block::whole(&mut y, 8));
        for (pixel, y) in y.chunks_exact(8).enumerate() {
            let pixel = pixel as f32 * 100.0;
            let expected = [pixel, pixel + 1.0, pixel + 2.0, 7.0 - pixel, 8.0 - pixel, pixel + 2.0];
            assert_eq!(y[..6], expected);
            assert!(y[6..].iter().all(|y| y.is_nan()));
        }
    }

    #[test]
    #[should_panic(expected = "channels of a pixel")]
    fn channels_that_a_pixel_does_not_have() {
        let part = Channels { x: &[0.0; 8], width: 8, first: 7, count: 2 };
        join_channels([part].into_iter(), &mut Block::whole(&mut [0.0; 8], 8));
    }
}
