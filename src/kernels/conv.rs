//! Dense convolution: finds the rows that [`product`] multiplies.
//!
//! A row is what the window sees at one output position. With enough input channels its taps are
//! read where they are; with few they are gathered; where an epilogue is still to be applied to the
//! input of a pointwise convolution, its rows are computed into the workspace.

use super::Window;
use super::epilogue::Epilogue;
use super::product::{MOST_ZEROS, OUTSIDE, Packed, Rows, product};
use super::transform::transform;
use crate::simd::{Isa, padded};
use crate::tensor::{Block, Blocks, Cut, Layout};

/// Below this many input channels, taps are gathered.
const FEW_CHANNELS: usize = 16;

/// The weights of a convolution in one group.
pub struct ConvWeights {
    packed: Packed,
    channels: usize,
}

/// One image that is convolved.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// Its elements; NHWC has channels padded to whole vectors.
    pub data: &'a [f32],
    /// Their order.
    pub layout: Layout,
}

impl ConvWeights {
    /// Packs `weight [outputs][channels][taps]`, as ONNX and PyTorch store it.
    ///
    /// # Panics
    /// Where the lengths do not fit together.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, outputs: usize, channels: usize) -> Self {
        let length = weight.len() / outputs.max(1);
        let taps = length / channels.max(1);
        assert_eq!(outputs * channels * taps, weight.len());
        let element = |o: usize, i: usize| {
            let (tap, channel) = (i / channels, i % channels);
            weight[(o * channels + channel) * taps + tap]
        };
        ConvWeights { packed: Packed::new(outputs, length, bias, element), channels }
    }

    /// The packed matrix.
    pub fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Input channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Whether inputs may be NCHW: the taps are gathered anyway.
    pub fn gathers(&self) -> bool {
        self.channels < FEW_CHANNELS || self.channels > MOST_ZEROS
    }

    /// Elements of workspace for blocks of `rows` rows.
    pub fn workspace(&self, rows: usize, prologue: bool) -> usize {
        let taps = self.packed.length() / self.channels.max(1);
        match (prologue, self.gathers()) {
            (true, _) => rows * (1 + padded(self.channels)),
            (false, true) => rows * (1 + self.packed.length()),
            (false, false) => rows * taps,
        }
    }
}

/// Computes a block of one image of the output.
///
/// A `prologue` is applied to the input first; it asks for a pointwise convolution of stride 1.
///
/// # Panics
/// Where image, weights, window, epilogues, block and workspace do not fit together.
pub fn conv(
    isa: Isa,
    x: Image,
    weights: &ConvWeights,
    window: &Window,
    prologue: Option<&Epilogue>,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) {
    let positions = window.input[0] * window.input[1];
    let width = match x.layout {
        Layout::Nhwc => padded(weights.channels),
        Layout::Nchw => weights.channels,
    };
    assert_eq!(x.data.len(), positions * width);
    assert!(block.rows.end <= window.output[0] * window.output[1]);
    assert!(epilogue.fits(window.output[0] * window.output[1], block.width));
    let rows = block.rows.len();
    if let Some(prologue) = prologue {
        assert!(window.is_pointwise() && x.layout == Layout::Nhwc);
        let (offsets, work) = work.split_at_mut(rows);
        let offsets: &mut [u32] = bytemuck::cast_slice_mut(offsets);
        let work = &mut work[..rows * width];
        for (i, offset) in offsets.iter_mut().enumerate() {
            *offset = (i * width) as u32;
        }
        let first = block.rows.start;
        let part = prologue.rows(first..block.rows.end, width);
        let cut = Cut { images: 1, rows, width, row_blocks: 1, column_blocks: 1 };
        let whole = Blocks::new(work, cut);
        if let Some(mut all) = whole.next() {
            transform(isa, &x.data[first * width..block.rows.end * width], &part, &mut all);
        }
        let rows = Rows { base: work, offsets, depth: weights.channels, step: 1 };
        product(isa, rows, &weights.packed, epilogue, block);
    } else if weights.gathers() {
        let (offsets, work) = work.split_at_mut(rows);
        let offsets: &mut [u32] = bytemuck::cast_slice_mut(offsets);
        for (i, offset) in offsets.iter_mut().enumerate() {
            *offset = i as u32;
        }
        let depth = weights.packed.length();
        let work = &mut work[..rows * depth];
        gather(x, weights.channels, window, block.rows.clone(), work);
        let rows = Rows { base: work, offsets, depth, step: rows };
        product(isa, rows, &weights.packed, epilogue, block);
    } else {
        assert!(x.layout == Layout::Nhwc && x.data.len() < OUTSIDE as usize);
        let taps = window.kernel[0] * window.kernel[1];
        let offsets: &mut [u32] = bytemuck::cast_slice_mut(&mut work[..rows * taps]);
        find_taps(window, width, block.rows.clone(), offsets);
        let rows = Rows { base: x.data, offsets, depth: weights.channels, step: 1 };
        product(isa, rows, &weights.packed, epilogue, block);
    }
}

/// Notes where every tap of the window reads at each of `rows`: `[taps][rows]`.
fn find_taps(window: &Window, width: usize, rows: std::ops::Range<usize>, offsets: &mut [u32]) {
    let (count, columns) = (rows.len(), window.output[1]);
    for (tap, offsets) in offsets.chunks_exact_mut(count).enumerate() {
        let (tap_y, tap_x) = (tap / window.kernel[1], tap % window.kernel[1]);
        for (row, offset) in rows.clone().zip(offsets) {
            let y = window.source(0, row / columns, tap_y);
            let x = window.source(1, row % columns, tap_x);
            *offset = match (y, x) {
                (Some(y), Some(x)) => ((y * window.input[1] + x) * width) as u32,
                _ => OUTSIDE,
            };
        }
    }
}

/// Copies what the window sees at each of `rows`: `out` is `[taps][channels][rows]`.
fn gather(
    x: Image,
    channels: usize,
    window: &Window,
    rows: std::ops::Range<usize>,
    out: &mut [f32],
) {
    let plane = window.input[0] * window.input[1];
    let (pixel, channel_step) = match x.layout {
        Layout::Nhwc => (padded(channels), 1),
        Layout::Nchw => (1, plane),
    };
    let (columns, stride) = (window.output[1], window.stride[1]);
    for (i, out) in out.chunks_exact_mut(rows.len()).enumerate() {
        let (tap, channel) = (i / channels, i % channels);
        let (tap_y, tap_x) = (tap / window.kernel[1], tap % window.kernel[1]);
        let inside = window.inside(1, tap_x);
        out.fill(0.0);
        // Line by line of the output, the run of positions that the tap sees.
        for line in rows.start / columns..=(rows.end - 1) / columns {
            let Some(y) = window.source(0, line, tap_y) else { continue };
            let first = rows.start.max(line * columns + inside.start);
            let last = rows.end.min(line * columns + inside.end);
            if first >= last {
                continue;
            }
            let Some(left) = window.source(1, first - line * columns, tap_x) else { continue };
            let from = (y * window.input[1] + left) * pixel + channel * channel_step;
            let run = &mut out[first - rows.start..last - rows.start];
            let from = &x.data[from..];
            match stride * pixel {
                1 => run.copy_from_slice(&from[..run.len()]),
                2 => strided::<2>(from, run),
                step => {
                    for (out, from) in run.iter_mut().zip(from.iter().step_by(step)) {
                        *out = *from;
                    }
                }
            }
        }
    }
}

/// Every `STEP`-th element, in a form that the compiler turns into vector shuffles.
fn strided<const STEP: usize>(from: &[f32], out: &mut [f32]) {
    let (last, most) = match out.split_last_mut() {
        Some(parts) => parts,
        None => return,
    };
    let whole = &from[..most.len() * STEP];
    for (out, from) in most.iter_mut().zip(whole.chunks_exact(STEP)) {
        *out = from[0];
    }
    *last = from[most.len() * STEP];
}
