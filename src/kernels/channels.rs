//! Channels of several maps in one: concatenation, parts of a map and permutations.

use super::block::Block;

/// Some channels of an image, NHWC, and where they go.
#[derive(Clone, Copy)]
pub struct Channels<'a> {
    /// The image.
    pub x: &'a [f32],
    /// The elements of a pixel, padding included.
    pub width: usize,
    /// Which channels, and where they go.
    pub run: Run,
}

/// Channels `first`, `first + step` and so on, which become channels `to`, `to + to_step` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first channel.
    pub first: usize,
    /// The distance of the channels.
    pub step: usize,
    /// The first channel of the result.
    pub to: usize,
    /// The distance of the channels of the result.
    pub to_step: usize,
    /// The number of channels.
    pub count: usize,
}

/// Copies channels to the pixels of a block.
///
/// # Panics
/// Panics if an image does not have the pixels of the block, or a pixel does not have the channels.
pub fn join_channels<'a>(parts: impl Iterator<Item = Channels<'a>> + Clone, block: &mut Block) {
    for row in block.rows() {
        let to = block.row(row);
        for Channels { x, width, run: Run { first, step, to: at, to_step, count } } in parts.clone()
        {
            let pixel = &x[row * width..][..width];
            if [step, to_step] == [1, 1] {
                to[at..][..count].copy_from_slice(&pixel[first..][..count]);
            } else if count > 0 {
                let end = |first: usize, step: usize| first + (count - 1) * step + 1;
                let from = pixel[first..end(first, step)].iter().step_by(step);
                let to = to[at..end(at, to_step)].iter_mut().step_by(to_step);
                to.zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_go_where_their_run_says() {
        // Three pixels of 3 channels in rows of 8, and of 10 channels in rows of 16.
        let map = |width: usize, tens: f32| -> Vec<f32> {
            (0..3 * width).map(|i| tens * (i / width) as f32 + (i % width) as f32).collect()
        };
        let (a, b) = (map(8, 100.0), map(16, -100.0));
        let run = |first, step, to, to_step, count| Run { first, step, to, to_step, count };
        let parts = [
            Channels { x: &a, width: 8, run: run(0, 1, 0, 1, 2) },
            Channels { x: &b, width: 16, run: run(1, 4, 2, 2, 3) },
            Channels { x: &a, width: 8, run: run(1, 1, 3, 2, 2) },
            Channels { x: &a, width: 8, run: run(7, 3, 7, 5, 0) },
        ];
        let mut y = [f32::NAN; 24];
        join_channels(parts.into_iter(), &mut Block::whole(&mut y, 8));
        for (pixel, y) in y.chunks_exact(8).enumerate() {
            let a = |channel: f32| pixel as f32 * 100.0 + channel;
            let b = |channel: f32| pixel as f32 * -100.0 + channel;
            assert_eq!(y[..7], [a(0.0), a(1.0), b(1.0), a(1.0), b(5.0), a(2.0), b(9.0)]);
            assert!(y[7].is_nan());
        }
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn channels_that_a_pixel_does_not_have() {
        let run = Run { first: 7, step: 1, to: 0, to_step: 1, count: 2 };
        let part = Channels { x: &[0.0; 8], width: 8, run };
        join_channels([part].into_iter(), &mut Block::whole(&mut [0.0; 8], 8));
    }
}
