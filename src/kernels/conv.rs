//! Dense convolution: finds the rows that [`product`](super::product) multiplies.
//!
//! A row is what the window sees at one output position. With enough input channels its taps are
//! read where they are; with few they are gathered; where an epilogue is still to be applied to the
//! input of a pointwise convolution, its rows are computed into the workspace.
//!
//! Whole register tiles of two kinds of rows need none of that: `few_outputs` computes those of
//! pointwise convolutions with few outputs, and `line_product` those of one line of an NCHW image.

use std::ops::Range;

use super::Window;
use super::block::Block;
use super::epilogue::Epilogue;
use super::few_outputs::product_of_few_outputs;
use super::fits::input_len;
use super::line_product::line_product;
use super::packing::{PartSize, Unaligned, fill_bias, pack_alone};
use super::product::{
    MOST_ZEROS, OUTSIDE, Packed, PackedView, Rows, fill_panels, fill_panels_transposed,
    product_with,
};
use super::scalar_product::{SingleOutput, scalar_products};
use super::sizes::product_of;
use super::transform::transform;
use crate::simd::{Isa, LANES, Simd, Vectorised, padded};
use crate::tensor::{Aligned, Layout, Tensor};

/// Below this many input channels, taps are gathered.
const FEW_CHANNELS: usize = 16;

/// The weights of a convolution in one group.
pub struct ConvWeights {
    packed: Packed,
    channels: usize,
    /// The same weights again, where there is one output and pixels have no padding.
    single: Option<SingleOutput>,
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
    fn view(&self) -> ConvView<'_> {
        let ConvWeights { packed, channels, single } = self;
        ConvView { packed: packed.view(), channels: *channels, single: single.as_ref() }
    }

    /// Packs `weight [outputs][channels][taps]`, as ONNX and PyTorch store it.
    ///
    /// # Panics
    /// Where the lengths do not fit together.
    pub fn new(weight: &[f32], bias: Option<&[f32]>, outputs: usize, channels: usize) -> Self {
        let taps = weight.len() / outputs.max(1) / channels.max(1);
        let parts = pack_alone(Self::sizes(outputs, channels, taps), |parts| {
            let weight = bytemuck::cast_slice(weight);
            Self::pack(weight, bias, [outputs, channels, taps], false, parts);
        });
        Self::from_parts(&parts, outputs, channels, taps).expect("the lengths were made to fit")
    }

    /// The sizes of the parts of a layer.
    pub fn sizes(outputs: usize, channels: usize, taps: usize) -> Vec<PartSize> {
        let width = padded(outputs);
        let mut sizes = vec![PartSize::f32(width * channels * taps), PartSize::f32(width)];
        if Self::is_single([outputs, channels, taps]) {
            sizes.push(PartSize::f32(channels));
        }
        sizes
    }

    /// Packs `weight [outputs][channels][taps]`, or `[channels][outputs]` where it is `transposed`,
    /// into parts of zeros.
    ///
    /// # Panics
    /// Where the lengths do not fit together.
    pub fn pack(
        weight: &[Unaligned],
        bias: Option<&[f32]>,
        [outputs, channels, taps]: [usize; 3],
        transposed: bool,
        parts: &mut [&mut [u8]],
    ) {
        let length = channels * taps;
        assert_eq!(outputs * length, weight.len());
        assert!(bias.is_none_or(|bias| bias.len() == outputs) && !(transposed && taps > 1));
        let panels = bytemuck::cast_slice_mut(parts[0]);
        if transposed {
            fill_panels_transposed(panels, weight, length);
        } else {
            // Rows of panels have all channels of a tap one after another, `weight` has all taps
            // of a channel.
            let lines = (0..channels).flat_map(|c| (0..taps).map(move |tap| tap * channels + c));
            fill_panels(panels, weight, &lines.collect::<Vec<usize>>());
        }
        fill_bias(bias, parts[1]);
        if Self::is_single([outputs, channels, taps]) {
            parts[2].copy_from_slice(weight.as_flattened());
        }
    }

    /// Returns the weights as those of a scalar product, for a layer that [is one](Self::is_single).
    ///
    /// # Panics
    /// Panics if the layer has more than one tap, or more outputs than a vector.
    pub fn into_single(self) -> SingleOutput {
        self.single.unwrap_or_else(|| {
            let PackedView { panels, bias, length } = self.packed.view();
            assert_eq!((length, bias.len()), (self.channels, LANES));
            let weight: Vec<f32> = panels.iter().step_by(LANES).copied().collect();
            SingleOutput { weight: Aligned::from(weight.as_slice()).into(), bias: bias[0] }
        })
    }

    /// Whether a layer of these outputs, channels and taps is one scalar product per pixel, whose channels
    /// have no padding. Such a layer has the same weights again as a scalar product.
    pub fn is_single([outputs, channels, taps]: [usize; 3]) -> bool {
        outputs == 1 && taps == 1 && channels.is_multiple_of(LANES)
    }

    /// Weights that were packed earlier; `None` where these are not theirs.
    pub fn from_parts(
        parts: &[Tensor],
        outputs: usize,
        channels: usize,
        taps: usize,
    ) -> Option<Self> {
        let (parts, single) = match parts {
            [parts @ .., single] if Self::is_single([outputs, channels, taps]) => {
                (parts, Some(single))
            }
            parts => (parts, None),
        };
        let [panels, bias] = parts else { return None };
        let length = channels.checked_mul(taps)?;
        let packed = Packed::of(panels.to_numbers()?, bias.to_numbers()?, length)?;
        let fits = packed.width() == padded(outputs)
            && single.is_none_or(|weight| weight.len() == channels);
        let single = match single.filter(|_| fits) {
            Some(weight) => {
                Some(SingleOutput { weight: weight.to_numbers()?, bias: packed.bias()[0] })
            }
            None => None,
        };
        fits.then_some(ConvWeights { packed, channels, single })
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
        gathers(self.channels)
    }

    /// Elements of workspace for blocks of `rows` rows.
    pub fn workspace(&self, rows: usize, prologue: bool) -> usize {
        match prologue {
            true => rows.saturating_mul(1 + padded(self.channels)),
            false => workspace(rows, self.channels, self.packed.length()),
        }
    }
}

/// Elements of workspace for blocks of `rows` rows, each of which is multiplied by `length` weights.
pub(super) fn workspace(rows: usize, channels: usize, length: usize) -> usize {
    // Sizes that no memory holds are refused by whoever adds them up.
    rows.saturating_mul(if gathers(channels) { 1 + length } else { length / channels.max(1) })
}

/// The weights of a convolution in one group, where they lie.
pub(super) struct ConvView<'a> {
    packed: PackedView<'a>,
    channels: usize,
    single: Option<&'a SingleOutput>,
}

impl<'a> ConvView<'a> {
    /// A view of weights that [`ConvWeights`] would hold.
    pub fn new(packed: PackedView<'a>, channels: usize) -> Self {
        ConvView { packed, channels, single: None }
    }
}

/// Whether the taps of a map of so many channels are gathered.
pub fn gathers(channels: usize) -> bool {
    !(FEW_CHANNELS..=MOST_ZEROS).contains(&channels)
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
    conv_with(isa, x, &weights.view(), window, prologue, epilogue, block, work);
}

/// As [`conv`], with weights that need not belong to a layer.
///
/// # Panics
/// Where image, weights, window, epilogues, block and workspace do not fit together.
pub(super) fn conv_with(
    isa: Isa,
    x: Image,
    weights: &ConvView,
    window: &Window,
    prologue: Option<&Epilogue>,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) {
    let width = match x.layout {
        Layout::Nhwc => padded(weights.channels),
        Layout::Nchw => weights.channels,
    };
    assert_eq!(x.data.len(), input_len(window, width));
    assert!(block.rows().end <= product_of(window.output));
    if let (Some(single), None, Layout::Nhwc) = (weights.single, prologue, x.layout)
        && window.is_pointwise()
    {
        scalar_products(isa, x.data, single, epilogue, block);
    } else if let Some(prologue) = prologue {
        assert!(window.is_pointwise() && x.layout == Layout::Nhwc);
        multiply_activated(isa, x.data, weights, prologue, epilogue, block, work);
    } else if gathers(weights.channels) {
        multiply_gathered(isa, x, weights, window, epilogue, block, work);
    } else {
        assert!(x.layout == Layout::Nhwc && x.data.len() < OUTSIDE as usize);
        multiply_in_place(isa, x.data, weights, window, epilogue, block, work);
    }
}

/// Borrows the rows of a block after the first `done` of them; `None` if there are none.
fn rest<'a>(block: &'a mut Block, done: usize) -> Option<Block<'a>> {
    let Range { start, end } = block.rows();
    (start + done < end).then(|| block.part(start + done..end))
}

/// Computes a block of a pointwise convolution of `x`, to whose rows `prologue` is applied first.
fn multiply_activated(
    isa: Isa,
    x: &[f32],
    weights: &ConvView,
    prologue: &Epilogue,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) {
    let (all, width) = (block.rows(), padded(weights.channels));
    let part = prologue.rows(all.clone(), width);
    let from = &x[all.start * width..all.end * width];
    let done = product_of_few_outputs(isa, from, Some(&part), weights.packed, epilogue, block);
    let Some(block) = &mut rest(block, done) else { return };
    let rows = block.rows().len();
    // The rows come first, because a workspace starts on a cache line.
    let (work, offsets) = work.split_at_mut(rows * width);
    let offsets: &mut [u32] = bytemuck::cast_slice_mut(&mut offsets[..rows]);
    for (i, offset) in offsets.iter_mut().enumerate() {
        *offset = (i * width) as u32;
    }
    let (part, from) = (part.rows(done..done + rows, width), &from[done * width..]);
    transform(isa, from, &part, &mut Block::whole(work, width));
    let rows = Rows { base: work, offsets, depth: weights.channels, step: 1 };
    product_with(isa, rows, weights.packed, epilogue, block);
}

/// Computes a block of a convolution whose taps are gathered, those of NCHW line by line.
fn multiply_gathered(
    isa: Isa,
    x: Image,
    weights: &ConvView,
    window: &Window,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) {
    let mut done = 0;
    if x.layout == Layout::Nchw {
        let (all, columns) = (block.rows(), window.output[1]);
        let line_end = (all.start / columns + 1) * columns;
        if all.end > line_end {
            for start in (line_end - columns..all.end).step_by(columns) {
                let line = start.max(all.start)..all.end.min(start + columns);
                let block = &mut block.part(line);
                multiply_gathered(isa, x, weights, window, epilogue, block, work);
            }
            return;
        }
        done = line_product(isa, x.data, window, weights.packed, epilogue, block, work);
    }
    let Some(block) = &mut rest(block, done) else { return };
    let (count, depth) = (block.rows().len(), weights.packed.length());
    // As above.
    let (work, offsets) = work.split_at_mut(count * depth);
    let offsets: &mut [u32] = bytemuck::cast_slice_mut(&mut offsets[..count]);
    for (i, offset) in offsets.iter_mut().enumerate() {
        *offset = i as u32;
    }
    let (channels, rows) = (weights.channels, block.rows());
    isa.run(Gather { x, channels, window, rows, out: work });
    let rows = Rows { base: work, offsets, depth, step: count };
    product_with(isa, rows, weights.packed, epilogue, block);
}

/// Computes a block of a convolution whose taps are read where they are in `x`, which is NHWC.
fn multiply_in_place(
    isa: Isa,
    x: &[f32],
    weights: &ConvView,
    window: &Window,
    epilogue: &Epilogue,
    block: &mut Block,
    work: &mut [f32],
) {
    let (all, width) = (block.rows(), padded(weights.channels));
    let mut done = 0;
    if window.is_pointwise() {
        let from = &x[all.start * width..all.end * width];
        done = product_of_few_outputs(isa, from, None, weights.packed, epilogue, block);
    }
    let Some(block) = &mut rest(block, done) else { return };
    let (rows, taps) = (block.rows(), product_of(window.kernel));
    let offsets: &mut [u32] = bytemuck::cast_slice_mut(&mut work[..rows.len() * taps]);
    if window.is_pointwise() {
        let places = rows.zip(&mut *offsets);
        places.for_each(|(row, offset)| *offset = (row * width) as u32);
    } else {
        find_taps(window, width, rows, offsets);
    }
    let rows = Rows { base: x, offsets, depth: weights.channels, step: 1 };
    product_with(isa, rows, weights.packed, epilogue, block);
}

/// A part of a line of output positions under which a tap reads one line of the input.
struct Run {
    /// Positions, counted from the first of the rows.
    rows: Range<usize>,
    /// The pixel of the input that the first of them reads.
    pixel: usize,
}

/// The runs of `rows` in which a tap of the window lies inside the input.
fn runs(
    window: &Window,
    [tap_y, tap_x]: [usize; 2],
    rows: Range<usize>,
) -> impl Iterator<Item = Run> {
    let columns = window.output[1];
    let inside = window.inside(1, tap_x);
    let lines = rows.start / columns..rows.end.div_ceil(columns);
    lines.filter_map(move |line| {
        let y = window.source(0, line, tap_y)?;
        let first = rows.start.max(line * columns + inside.start);
        let end = rows.end.min(line * columns + inside.end);
        if first >= end {
            return None;
        }
        let x = window.source(1, first - line * columns, tap_x)?;
        let pixel = y * window.input[1] + x;
        Some(Run { rows: first - rows.start..end - rows.start, pixel })
    })
}

/// Notes where every tap of the window reads at each of `rows`: `[taps][rows]`.
pub(super) fn find_taps(window: &Window, width: usize, rows: Range<usize>, offsets: &mut [u32]) {
    for (tap, offsets) in offsets.chunks_exact_mut(rows.len()).enumerate() {
        offsets.fill(OUTSIDE);
        let tap = [tap / window.kernel[1], tap % window.kernel[1]];
        for run in runs(window, tap, rows.clone()) {
            let (mut offset, step) = (run.pixel * width, window.stride[1] * width);
            for to in &mut offsets[run.rows] {
                *to = offset as u32;
                offset += step;
            }
        }
    }
}

/// Copies what the window sees at each of `rows`: `out` is `[taps][channels][rows]`.
struct Gather<'a> {
    x: Image<'a>,
    channels: usize,
    window: &'a Window,
    rows: Range<usize>,
    out: &'a mut [f32],
}

impl Vectorised for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Gather { x, channels, window, rows, out } = self;
        let (pixel, channel_step) = match x.layout {
            Layout::Nhwc => (padded(channels), 1),
            Layout::Nchw => (1, window.input[0] * window.input[1]),
        };
        out.fill(0.0);
        let count = rows.len();
        for (tap, out) in out.chunks_exact_mut(channels * count).enumerate() {
            let tap = [tap / window.kernel[1], tap % window.kernel[1]];
            for run in runs(window, tap, rows.clone()) {
                for (channel, out) in out.chunks_exact_mut(count).enumerate() {
                    let out = &mut out[run.rows.clone()];
                    let from = &x.data[run.pixel * pixel + channel * channel_step..];
                    match window.stride[1] * pixel {
                        1 => out.copy_from_slice(&from[..out.len()]),
                        2 => strided::<2>(from, out),
                        step => {
                            for (out, from) in out.iter_mut().zip(from.iter().step_by(step)) {
                                *out = *from;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every `STEP`-th element, in a form that the compiler turns into vector shuffles.
#[inline(always)]
fn strided<const STEP: usize>(from: &[f32], out: &mut [f32]) {
    let Some((last, most)) = out.split_last_mut() else { return };
    let whole = &from[..most.len() * STEP];
    for (out, from) in most.iter_mut().zip(whole.chunks_exact(STEP)) {
        *out = from[0];
    }
    *last = from[most.len() * STEP];
}
