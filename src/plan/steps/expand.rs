//! A convolution and the depthwise convolution after it as one step.
//!
//! The map between the two is the largest of an inverted residual and would leave the cache before
//! it is read. Here a few of its lines exist at a time: the first convolution computes the lines
//! that the next lines of the result need, and the last ones are kept.

use std::ops::Range;

use super::conv::{ConvStep, DepthwiseStep};
use super::io::{Io, MOST_INPUTS};
use super::kernel::Kernel;
use crate::error::Result;
use crate::kernels::Window;
use crate::kernels::conv::{Image, conv};
use crate::kernels::depthwise::depthwise;
use crate::kernels::epilogue::Epilogue;
use crate::plan::extent::{Extent, View};
use crate::plan::threads::compute_blocks;
use crate::plan::tuning::{JOINED_AT_A_TIME, JOINED_BLOCKS};
use crate::simd::{Isa, padded};
use crate::tensor::{Block, Cut, Layout};

/// Both convolutions. Inputs are those of the first, then those of the second but for its map.
pub struct ExpandStep {
    /// The first.
    pub expand: ConvStep,
    /// The second.
    pub depthwise: DepthwiseStep,
}

/// The sizes of a run.
struct Sizes {
    /// The window of the first convolution.
    expand: Window,
    /// The window of the second.
    depthwise: Window,
    /// Elements of a line of the map between.
    line: usize,
    /// Lines of the result that are computed at a time.
    lines: usize,
}

impl Sizes {
    /// The lines of the map between that lines of the result need.
    fn needed(&self, first: usize, end: usize) -> Range<usize> {
        let w = &self.depthwise;
        let reach = (w.kernel[0] - 1) * w.dilation[0];
        let at = |position: usize| position.saturating_add_signed(-w.before[0]).min(w.input[0]);
        let last = (end - 1) * w.stride[0] + reach + 1;
        let first = at(first * w.stride[0]);
        first..at(last).max(first)
    }

    /// The most lines between that exist at a time.
    fn strip(&self) -> usize {
        let w = &self.depthwise;
        ((self.lines - 1) * w.stride[0] + (w.kernel[0] - 1) * w.dilation[0] + 1).min(w.input[0])
    }
}

impl ExpandStep {
    fn cut(output: Extent) -> Cut {
        let width = output.width * output.stride();
        let row_blocks = JOINED_BLOCKS.min(output.height).max(1);
        Cut { images: output.images, rows: output.height, width, row_blocks, column_blocks: 1 }
    }

    /// The map between, which has images and channels as `like` has.
    fn between(expand: &Window, like: Extent) -> Extent {
        let [height, width] = expand.output;
        Extent { height, width, ..like }
    }

    fn lines(output: Extent) -> usize {
        (JOINED_AT_A_TIME / (output.width * output.stride()).max(1)).clamp(2, 8)
    }

    /// Elements for the strip, bounded by what the result tells: a line between is at most as many
    /// times as long as the second convolution steps.
    fn strip_len(&self, output: Extent) -> usize {
        let stride = |axis: usize| self.depthwise.window.strides.get(axis).copied().unwrap_or(1);
        let dilation = self.depthwise.window.dilations.first().copied().unwrap_or(1);
        let [height, width] = self.depthwise.window.kernel;
        let lines = (Self::lines(output) - 1) * stride(0) + (height - 1) * dilation + 1;
        let across = self.depthwise.window.dilations.get(1).copied().unwrap_or(1) * width;
        let line = (output.width * stride(1) + across).saturating_mul(output.stride());
        lines.saturating_mul(line)
    }
}

impl Kernel for ExpandStep {
    fn name(&self) -> &'static str {
        "expand + depthwise"
    }

    fn macs(&self, input: Extent, output: Extent) -> usize {
        let Ok(window) = self.expand.window.over(input) else { return 0 };
        let between = Self::between(&window, output);
        self.expand.macs(input, between) + self.depthwise.macs(between, output)
    }

    fn workspace(&self, output: Extent) -> usize {
        let strip = self.strip_len(output);
        let pixels = strip / output.stride().max(1);
        strip.saturating_add(self.expand.weights.workspace(pixels, false))
    }

    fn partial_sums(&self, output: Extent) -> usize {
        Self::cut(output).row_blocks
    }

    fn weight_bytes(&self) -> usize {
        self.expand.weight_bytes() + self.depthwise.weight_bytes()
    }

    fn reads_nchw(&self) -> bool {
        self.expand.reads_nchw()
    }

    fn check(&self, input: Extent) -> Result<()> {
        let window = self.expand.window.over(input)?;
        self.depthwise.window.over(Self::between(&window, input)).map(|_| ())
    }

    fn run(&self, io: Io) -> Result<()> {
        let (x, result) = (io.input(0), io.result(0));
        let expand = self.expand.window.over(x.extent)?;
        let between = Self::between(&expand, result);
        let sizes = Sizes {
            depthwise: self.depthwise.window.over(between)?,
            line: between.width * between.stride(),
            lines: Self::lines(result),
            expand,
        };
        let macs = between.len() * self.expand.weights.packed().length() + 9 * result.len();
        let inputs = io.inputs;
        let [Some(y), sums] = io.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, result.stride()));
        let isa = io.isa;
        let cost = (io.workspace, io.team, macs);
        compute_blocks(y, sums, Self::cut(result), cost, |mut block, work| {
            self.block(isa, x, &inputs, &sizes, &mut block, work);
        });
        Ok(())
    }
}

impl ExpandStep {
    fn block(
        &self,
        isa: Isa,
        x: View,
        inputs: &[Option<View>; MOST_INPUTS],
        sizes: &Sizes,
        block: &mut Block,
        work: &mut [f32],
    ) {
        let image = Image { data: x.image(block.image), layout: x.layout };
        let first = self.expand.fused.epilogue(inputs, block.image);
        let second = self.depthwise.fused.epilogue(inputs, block.image);
        let (strip, work) = work.split_at_mut(sizes.strip() * sizes.line);
        let line = sizes.line;
        let mut have: Range<usize> = 0..0;
        let rows = block.rows.clone();
        for start in rows.clone().step_by(sizes.lines) {
            let end = rows.end.min(start + sizes.lines);
            let need = sizes.needed(start, end);
            let kept = have.end.saturating_sub(need.start);
            if kept > 0 {
                strip.copy_within((have.len() - kept) * line..have.len() * line, 0);
            }
            let new = need.start + kept..need.end;
            if !new.is_empty() {
                let to = &mut strip[kept * line..need.len() * line];
                self.lines_between(isa, image, &sizes.expand, new, &first, to, work);
            }
            let mut window = sizes.depthwise;
            window.input[0] = need.len();
            window.before[0] += need.start as isize;
            let input = &strip[..need.len() * line];
            block.rows = start..end;
            depthwise(isa, input, &self.depthwise.weights, &window, &second, block);
            have = need;
        }
        block.rows = rows;
    }

    /// Some lines of the map between.
    fn lines_between(
        &self,
        isa: Isa,
        image: Image,
        window: &Window,
        lines: Range<usize>,
        epilogue: &Epilogue,
        to: &mut [f32],
        work: &mut [f32],
    ) {
        let weights = &self.expand.weights;
        let (width, columns) = (weights.packed().width(), window.output[1]);
        let pixels = lines.start * columns..lines.end * columns;
        let epilogue = epilogue.rows(pixels.clone(), width);
        let is_pointwise = window.is_pointwise();
        let mut window = Window { output: [lines.len(), columns], ..*window };
        let mut image = image;
        if is_pointwise && image.layout == Layout::Nhwc {
            let depth = padded(weights.channels());
            image.data = &image.data[pixels.start * depth..pixels.end * depth];
            window.input = window.output;
        } else {
            window.before[0] -= (lines.start * window.stride[0]) as isize;
        }
        let block = &mut Block::whole(to, width);
        conv(isa, image, weights, &window, None, &epilogue, block, work);
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Conv, Dim, Graph, Op, Padding, TensorType, Unary};
    use crate::tensor::{DType, Tensor};
    use crate::{Model, Options, Session, reference};

    fn wave(shape: &[usize], frequency: f32) -> Tensor {
        let count = shape.iter().product();
        let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
        Tensor::new(shape, data).unwrap()
    }

    /// A pointwise convolution, a ReLU and a depthwise convolution.
    fn network(
        inputs: usize,
        size: [usize; 2],
        kernel: usize,
        stride: usize,
        pads: &[i64],
    ) -> Graph {
        const CHANNELS: usize = 41;
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), inputs.into(), size[0].into(), size[1].into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let conv = |pads: &[i64], stride: usize, groups: usize| {
            Op::Conv(Conv {
                padding: Padding::Explicit(pads.to_vec()),
                strides: vec![stride; 2],
                dilations: Vec::new(),
                groups,
            })
        };
        let weight = g.add_constant("w", wave(&[CHANNELS, inputs, 1, 1], 0.7));
        let wide = g.apply("expand", conv(&[], 1, 1), &[x, weight]);
        let wide = g.apply("relu", Op::Unary(Unary::Relu), &[wide]);
        let taps = g.add_constant("taps", wave(&[CHANNELS, 1, kernel, kernel], 0.3));
        let y = g.apply("depthwise", conv(pads, stride, CHANNELS), &[wide, taps]);
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn lines_at_a_time_agree_with_the_reference() {
        for (inputs, size, kernel, stride, pads) in [
            (16, [61, 63], 3, 1, [1, 1, 1, 1]),
            (3, [63, 61], 3, 2, [1, 1, 1, 1]),
            (17, [60, 64], 3, 2, [0, 0, 1, 1]),
            (16, [59, 67], 5, 1, [2, 2, 2, 2]),
            (24, [64, 60], 5, 2, [3, 1, 0, 2]),
            (16, [60, 64], 1, 3, [0, 0, 0, 0]),
            (16, [3, 1300], 3, 1, [1, 1, 1, 1]),
        ] {
            let graph = network(inputs, size, kernel, stride, &pads);
            let x = [wave(&[2, inputs, size[0], size[1]], 0.37)];
            let want = reference::run(&graph, &x).unwrap();
            let model = Model::from_graph(graph, Options::default()).unwrap();
            assert_eq!(model.plan().steps().last().unwrap().op, "Conv+Relu+Conv");
            let got = Session::with_threads(&model, 2).unwrap().run(&x).unwrap();
            assert_eq!(got[0].shape(), want[0].shape());
            for (got, want) in got[0].as_f32().unwrap().iter().zip(want[0].as_f32().unwrap()) {
                assert!((got - want).abs() <= 1e-4, "{got} and not {want} for {size:?} {pads:?}");
            }
        }
    }
}
