//! An expanding convolution and the depthwise convolution after it, as one step.
//!
//! The map between the two is the largest of an inverted residual. Computed as a whole, it would
//! leave the cache before it is read. This step holds a strip of a few of its lines instead: before
//! the depthwise convolution computes some lines of the result, the first convolution appends the
//! lines that they need to the strip, which keeps those that are needed again, also by the next block
//! of the thread.

use std::ops::Range;

use super::arguments::{Arguments, Inputs};
use super::conv::ConvPrimitive;
use super::depthwise::DepthwisePrimitive;
use super::primitive::Primitive;
use super::window::WindowShape;
use crate::error::Result;
use crate::kernels::Window;
use crate::kernels::conv::{Image, conv};
use crate::kernels::depthwise::depthwise;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::{Block, Cut};
use crate::plan::map::{Extent, MapView};
use crate::plan::tuning::{EXPAND_ELEMENTS, EXPAND_ROW_BLOCKS};
use crate::simd::{Isa, padded};
use crate::tensor::Layout;

/// A dense convolution and a depthwise convolution of its result. The inputs are those of the first,
/// then those of the second without its map.
pub struct ExpandPrimitive {
    /// The first convolution.
    pub expand: ConvPrimitive,
    /// The second convolution.
    pub depthwise: DepthwisePrimitive,
}

/// The sizes of a run, for a map between the two convolutions that is never whole.
struct Strip {
    /// The window of the first convolution.
    expand: Window,
    /// The window of the second.
    depthwise: Window,
    /// Elements per line of the map between.
    line: usize,
    /// Lines of the result that are computed at a time.
    result_lines: usize,
}

impl Strip {
    /// Returns the lines of the map between that the lines `first..end` of the result need.
    fn needed(&self, first: usize, end: usize) -> Range<usize> {
        let w = &self.depthwise;
        let reach = (w.kernel[0] - 1) * w.dilation[0];
        let at = |position: usize| position.saturating_add_signed(-w.before[0]).min(w.input[0]);
        let last = (end - 1) * w.stride[0] + reach + 1;
        let first = at(first * w.stride[0]);
        first..at(last).max(first)
    }

    /// Returns the most lines of the map between that exist at a time.
    fn most_lines(&self) -> usize {
        let w = &self.depthwise;
        let reach = (w.kernel[0] - 1) * w.dilation[0];
        ((self.result_lines - 1) * w.stride[0] + reach + 1).min(w.input[0])
    }
}

impl ExpandPrimitive {
    fn cut(output: Extent) -> Cut {
        let width = output.width * output.stride();
        let row_blocks = EXPAND_ROW_BLOCKS.min(output.height).max(1);
        Cut {
            images: output.images,
            rows: output.height,
            width,
            row_blocks,
            column_blocks: 1,
            row_unit: 1,
        }
    }

    /// Returns the size of the map between, which has the images and channels of `like`.
    fn between(expand: &Window, like: Extent) -> Extent {
        let [height, width] = expand.output;
        Extent { height, width, ..like }
    }

    fn result_lines(output: Extent) -> usize {
        (EXPAND_ELEMENTS / (output.width * output.stride()).max(1)).clamp(2, 8)
    }

    /// Returns an upper bound of the elements of the strip, which follows from the size of the
    /// result alone: a line of the map between is at most as long as the second window reaches
    /// when it passes over a line of the result.
    fn most_strip_elements(&self, output: Extent) -> usize {
        let WindowShape { kernel: [height, width], strides, dilations, .. } =
            &self.depthwise.window;
        let along = |steps: &[usize], axis: usize| steps.get(axis).copied().unwrap_or(1);
        let lines = (Self::result_lines(output) - 1) * along(strides, 0)
            + (height - 1) * along(dilations, 0)
            + 1;
        let pixels = output.width * along(strides, 1) + along(dilations, 1) * width;
        lines.saturating_mul(pixels.saturating_mul(output.stride()))
    }
}

impl Primitive for ExpandPrimitive {
    fn name(&self) -> &'static str {
        "expand + depthwise"
    }

    fn macs(&self, input: Extent, output: Extent) -> usize {
        let Ok(window) = self.expand.window.over(input) else { return 0 };
        let between = Self::between(&window, output);
        self.expand.macs(input, between) + self.depthwise.macs(between, output)
    }

    fn workspace(&self, output: Extent) -> usize {
        let strip = self.most_strip_elements(output);
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

    fn run(&self, arguments: Arguments) -> Result<()> {
        let Arguments { inputs, isa, .. } = arguments;
        let (x, extent) = (arguments.input(0), arguments.output_extent(0));
        let expand = self.expand.window.over(x.extent)?;
        let between = Self::between(&expand, extent);
        let strip = Strip {
            depthwise: self.depthwise.window.over(between)?,
            line: between.width * between.stride(),
            result_lines: Self::result_lines(extent),
            expand,
        };
        let macs = between.len() * self.expand.weights.packed().length() + 9 * extent.len();
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, extent.stride()));
        let cut = Self::cut(extent);
        arguments.workers.compute_blocks_in_turn(
            y,
            sums,
            cut,
            macs,
            |block, workspace, held: &mut Held| {
                self.block(isa, x, inputs, &strip, block, workspace, held);
            },
        );
        Ok(())
    }
}

/// The lines of the map between that are in the workspace of a thread.
#[derive(Default)]
struct Held {
    image: usize,
    lines: Range<usize>,
}

impl Held {
    /// Moves those of the `needed` lines of an image that are held to the start of `strip`, which has
    /// lines of `line` elements, and returns their number. They are the first ones that are needed.
    fn keep(&self, image: usize, needed: &Range<usize>, strip: &mut [f32], line: usize) -> usize {
        if image != self.image || !self.lines.contains(&needed.start) {
            return 0;
        }
        let first = needed.start - self.lines.start;
        let end = self.lines.end.min(needed.end) - self.lines.start;
        if first > 0 {
            strip.copy_within(first * line..end * line, 0);
        }
        end - first
    }
}

impl ExpandPrimitive {
    /// Computes a block of the result, a few lines at a time.
    fn block(
        &self,
        isa: Isa,
        x: MapView,
        inputs: &Inputs,
        strip: &Strip,
        block: &mut Block,
        workspace: &mut [f32],
        held: &mut Held,
    ) {
        let image = Image { data: x.image(block.image()), layout: x.layout };
        let first = self.expand.epilogue.for_image(inputs, block.image());
        let second = self.depthwise.epilogue.for_image(inputs, block.image());
        let line = strip.line;
        let (lines, workspace) = workspace.split_at_mut(strip.most_lines() * line);
        let rows = block.rows();
        for start in rows.clone().step_by(strip.result_lines) {
            let end = rows.end.min(start + strip.result_lines);
            let needed = strip.needed(start, end);
            let kept = held.keep(block.image(), &needed, lines, line);
            let missing = needed.start + kept..needed.end;
            if !missing.is_empty() {
                let to = &mut lines[kept * line..needed.len() * line];
                self.expand_lines(isa, image, &strip.expand, missing, &first, to, workspace);
            }
            let mut window = strip.depthwise;
            window.input[0] = needed.len();
            window.before[0] += needed.start as isize;
            let input = &lines[..needed.len() * line];
            let part = &mut block.part(start..end);
            depthwise(isa, input, &self.depthwise.weights, &window, &second, part);
            *held = Held { image: block.image(), lines: needed };
        }
    }

    /// Computes some lines of the map between.
    fn expand_lines(
        &self,
        isa: Isa,
        image: Image,
        window: &Window,
        lines: Range<usize>,
        epilogue: &Epilogue,
        to: &mut [f32],
        workspace: &mut [f32],
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
        conv(isa, image, weights, &window, None, &epilogue, block, workspace);
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

    /// Builds a pointwise convolution, a ReLU and a depthwise convolution.
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
    fn strips_agree_with_the_reference() {
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
            let expected = reference::run(&graph, &x).unwrap();
            let model = Model::from_graph(graph, Options::default()).unwrap();
            assert_eq!(model.plan().steps().last().unwrap().op, "Conv+Relu+Conv");
            let found = Session::with_threads(&model, 2).unwrap().run(&x).unwrap();
            assert_eq!(found[0].shape(), expected[0].shape());
            for (y, want) in found[0].as_f32().unwrap().iter().zip(expected[0].as_f32().unwrap()) {
                assert!((y - want).abs() <= 1e-4, "{y} and not {want} for {size:?} {pads:?}");
            }
        }
    }
}
