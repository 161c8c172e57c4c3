//! Channels of several maps in one: concatenation, parts of a map and permutations.
#![allow(unsafe_code)]

use super::block::Block;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised};

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

/// For each channel of a result, padding included, the channel of a pixel that it is read from.
pub struct ChannelTable {
    vectors: Vec<Sources>,
    /// The elements that a pixel must have.
    reach: usize,
}

/// The channels that a narrow vector of the result is read from.
pub(super) struct Sources {
    channels: [u32; LANES],
    /// Whether they follow one another.
    is_run: bool,
}

impl ChannelTable {
    /// Returns the table of a result whose channels are `channels` of a pixel.
    ///
    /// # Panics
    /// Panics if a channel is not below 2^32.
    pub fn new(channels: &[usize]) -> Self {
        let channel = |i: usize| match channels.get(i) {
            Some(&channel) => u32::try_from(channel).expect("a pixel of too many channels"),
            None => 0,
        };
        let vectors = (0..channels.len()).step_by(LANES).map(|first| {
            let channels = std::array::from_fn(|lane| channel(first + lane));
            let is_run = channels.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
            Sources { channels, is_run }
        });
        let reach = channels.iter().max().map_or(0, |last| last + 1);
        ChannelTable { vectors: vectors.collect(), reach }
    }

    /// Returns the elements of a pixel of the result.
    pub fn width(&self) -> usize {
        self.vectors.len() * LANES
    }

    /// Returns the elements that a pixel must have.
    pub fn reach(&self) -> usize {
        self.reach
    }

    /// Returns the channels of each vector of the result.
    pub(super) fn vectors(&self) -> &[Sources] {
        &self.vectors
    }
}

impl Sources {
    /// Loads the channels of the pixel at `pixel`.
    ///
    /// # Safety
    /// As many elements as the reach of the table must be readable at `pixel`, and the vectors of `s`
    /// must have [`LANES`] elements.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(&self, s: S, pixel: *const f32) -> S::Vector {
        // SAFETY: each channel is below the reach of the table, up to which the caller lets it read.
        // Where the channels follow one another, that holds for the last one of the vector as well.
        let read = |lane: usize| unsafe { *pixel.add(self.channels[lane] as usize) };
        if self.is_run {
            // SAFETY: as above.
            return unsafe { s.load(pixel.add(self.channels[0] as usize)) };
        }
        let numbers: [f32; LANES] =
            [read(0), read(1), read(2), read(3), read(4), read(5), read(6), read(7)];
        // SAFETY: the array has as many elements as a vector.
        unsafe { s.load(numbers.as_ptr()) }
    }
}

/// Elements of the pixels that are computed vector by vector: they stay in the nearest cache, and a
/// vector's table is loaded once for all of them.
const ELEMENTS_AT_A_TIME: usize = 2048;

/// Returns the rows of a block in pieces of about [`ELEMENTS_AT_A_TIME`].
pub(super) fn pieces(block: &Block) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let (rows, width) = (block.rows(), block.width().max(1));
    let count = (ELEMENTS_AT_A_TIME / width).max(1);
    let end = rows.end;
    rows.step_by(count).map(move |first| first..end.min(first + count))
}

/// Reads the channels of the pixels of a block from those of an image, whose pixels have `width` elements.
///
/// # Panics
/// Panics if the block does not consist of whole rows as wide as the table, the image has fewer pixels, or
/// a pixel does not have the channels.
pub fn permute_channels(
    isa: Isa,
    x: &[f32],
    width: usize,
    table: &ChannelTable,
    block: &mut Block,
) {
    assert_eq!(block.columns(), 0..table.width(), "the table is not for the columns of the block");
    assert!(x.len() >= product_of([block.rows().end, width]), "the map has too few rows");
    assert!(width >= table.reach(), "a channel is out of range of the pixels");
    isa.run_narrow(Permute { x, width, table, block });
}

struct Permute<'a, 'b, 'c> {
    x: &'a [f32],
    width: usize,
    table: &'a ChannelTable,
    block: &'c mut Block<'b>,
}

impl Vectorised for Permute<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Permute { x, width, table, block } = self;
        for rows in pieces(block) {
            for (v, sources) in table.vectors().iter().enumerate() {
                for row in rows.clone() {
                    let pixel = x[row * width..][..width].as_ptr();
                    let to = &mut block.row(row)[v * LANES..][..LANES];
                    // SAFETY: the pixel has as many elements as the table reaches, which
                    // `permute_channels` checks, and `to` as many as a narrow vector.
                    unsafe { s.store(to.as_mut_ptr(), sources.load(s, pixel)) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::padded;

    #[test]
    fn every_instruction_set_reads_by_the_table() {
        for (from, to, rows) in [(1, 1, 1), (5, 3, 7), (17, 24, 5), (40, 20, 200), (8, 8, 0)] {
            let width = padded(from);
            let x: Vec<f32> = (0..rows * width).map(|i| i as f32).collect();
            // A run of eight that begins anywhere, and channels in steps.
            let channels: Vec<usize> =
                (0..to).map(|c| if c < 8 { (c + 5) % from } else { c * 7 % from }).collect();
            let table = ChannelTable::new(&channels);
            for isa in Isa::available() {
                let mut y = vec![f32::NAN; rows * padded(to)];
                permute_channels(isa, &x, width, &table, &mut Block::whole(&mut y, padded(to)));
                for (row, y) in y.chunks_exact(padded(to)).enumerate() {
                    let want = channels.iter().map(|c| (row * width + c) as f32);
                    assert!(y[..to].iter().copied().eq(want), "{isa:?} {from} {to} {row}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "out of range of the pixels")]
    fn a_table_of_channels_that_a_pixel_does_not_have() {
        let table = ChannelTable::new(&[8]);
        let mut y = [0.0; 8];
        permute_channels(Isa::get(), &[0.0; 8], 8, &table, &mut Block::whole(&mut y, 8));
    }

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
