//! Convolution with weights per image.

use super::arguments::Arguments;
use super::conv::cut_matrix;
use super::epilogue::StepEpilogue;
use super::primitive::Primitive;
use super::window::WindowShape;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::dynamic_conv::{Kernel, Packer, dynamic_conv};
use crate::plan::map::Extent;
use crate::plan::tuning::ELEMENTS_PER_BLOCK;

/// Packs the weights of each image, input 0 `[N, weights]`, for a [`DynamicConvPrimitive`].
pub struct PackPrimitive {
    /// Packs the weights of an image.
    pub packer: Packer,
}

impl Primitive for PackPrimitive {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (weights, output) = (arguments.input(0), arguments.output_extent(0));
        let (images, width) = (output.images, output.image());
        let kernel = self.packer.kernel();
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        let cut = Cut { images, rows: 1, width, row_blocks: 1, column_blocks: 1, row_unit: 1 };
        arguments.workers.compute_blocks(y, None, cut, output.len(), |block, _| {
            let weights = &weights.image(block.image())[..kernel.weights()];
            let packed = &mut block.row(0)[..kernel.packed()];
            self.packer.pack(bytemuck::cast_slice(weights), packed);
        });
        Ok(())
    }
}

/// A convolution of input 0. Input 1 `[N, packed weights]` has the packed weights of each image.
pub struct DynamicConvPrimitive {
    /// The kernel.
    pub kernel: Kernel,
    /// The window.
    pub window: WindowShape,
    /// Added to each output channel: `[padded channels]`.
    pub bias: Vec<f32>,
    /// The input that has the biases of each image, `[N, channels]`, in place of `bias`.
    pub image_bias: Option<usize>,
    /// What is applied to the output.
    pub epilogue: StepEpilogue,
}

impl DynamicConvPrimitive {
    fn cut(&self, output: Extent) -> Cut {
        let Extent { images, height, width, .. } = output;
        match self.kernel {
            Kernel::Dense { .. } => {
                cut_matrix(images, output.pixels(), output.stride(), self.kernel.length())
            }
            Kernel::Depthwise { .. } => {
                Cut::in_rows(images, height, width * output.stride(), ELEMENTS_PER_BLOCK)
            }
        }
    }
}

impl Primitive for DynamicConvPrimitive {
    fn name(&self) -> &'static str {
        match self.kernel {
            Kernel::Dense { .. } => "dynamic dense",
            Kernel::Depthwise { .. } => "dynamic depthwise",
        }
    }

    fn macs(&self, _: Extent, output: Extent) -> usize {
        output.images * output.pixels() * output.channels * self.kernel.length()
    }

    fn workspace(&self, output: Extent) -> usize {
        self.kernel.workspace(self.cut(output).most_rows())
    }

    fn partial_sums(&self, output: Extent) -> usize {
        self.cut(output).row_blocks
    }

    fn check(&self, input: Extent) -> Result<()> {
        self.window.over(input).map(|_| ())
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (x, weights) = (arguments.input(0), arguments.input(1));
        let Arguments { inputs, isa, .. } = arguments;
        let extent = arguments.output_extent(0);
        if ![1, x.extent.images].contains(&weights.extent.images) {
            let (found, expected) = (weights.extent.images, x.extent.images);
            return Err(Error::shape(format!("weights for {found} images, expected {expected}")));
        }
        let (kernel, window, cut) = (self.kernel, self.window.over(x.extent)?, self.cut(extent));
        let macs = extent.len() * kernel.length();
        let [Some(y), sums] = arguments.outputs else { return Ok(()) };
        let sums = sums.map(|sums| (sums, extent.stride()));
        arguments.workers.compute_blocks(y, sums, cut, macs, |block, workspace| {
            let epilogue = self.epilogue.for_image(inputs, block.image());
            let packed = &weights.image(block.image())[..kernel.packed()];
            let bias = self.image_bias.and_then(|input| inputs[input]);
            let bias = bias.map_or(self.bias.as_slice(), |bias| bias.image(block.image()));
            let (x, layer) = (x.image(block.image()), (kernel, packed, bias));
            dynamic_conv(isa, x, layer, &window, &epilogue, block, workspace);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{
        Conv, Dim, DynamicConv, Gemm, Graph, Op, Padding, PoolKind, TensorType, Unary, ValueId,
    };
    use crate::tensor::{DType, Tensor};
    use crate::{Model, Options, Session, reference};

    fn wave(shape: &[usize], frequency: f32) -> Tensor {
        let count = shape.iter().product();
        let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
        Tensor::new(shape, data).unwrap()
    }

    /// A convolution whose weights are those of an expert per channel, in shares of the means of the
    /// channels. With `computed`, the weights pass through a sine first, so that they are no mixture,
    /// and the biases are those of the image.
    fn network(
        outputs: usize,
        channels: usize,
        kernel: [usize; 2],
        groups: usize,
        computed: bool,
    ) -> Graph {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), channels.into(), 9.into(), 11.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let len = outputs * (channels / groups) * kernel[0] * kernel[1];
        let experts = g.add_constant("experts", wave(&[channels, len], 0.7));
        let pooled = g.apply("pool", Op::GlobalPool(PoolKind::Average), &[x]);
        let shares = g.apply("shares", Op::Flatten { axis: 1 }, &[pooled]);
        let plain = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
        let mut weights: ValueId = g.apply("weights", Op::Gemm(plain), &[shares, experts]);
        if computed {
            weights = g.apply("sine", Op::Unary(Unary::Sin), &[weights]);
        }
        let conv = Conv {
            padding: Padding::Explicit(vec![1, 0, 1, 0]),
            strides: vec![1, 2],
            dilations: Vec::new(),
            groups,
        };
        let bias = match computed {
            true => {
                let biases = g.add_constant("biases", wave(&[channels, outputs], 1.1));
                g.apply("bias", Op::Gemm(plain), &[shares, biases])
            }
            false => g.add_constant("bias", wave(&[outputs], 1.3)),
        };
        let op = Op::DynamicConv(DynamicConv { conv, outputs, kernel });
        let y = g.apply("y", op, &[x, weights, bias]);
        let y = g.apply("relu", Op::Unary(Unary::Relu), &[y]);
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn each_image_has_weights_of_its_own() {
        for (outputs, channels, kernel, groups) in [
            (19, 17, [3, 3], 1),
            (5, 3, [3, 1], 1),
            (8, 16, [1, 1], 1),
            (12, 12, [3, 5], 12),
            (6, 4, [3, 3], 2),
        ] {
            for computed in [false, true] {
                let graph = network(outputs, channels, kernel, groups, computed);
                let case = format!("{outputs} of {channels}, {kernel:?}, {groups} groups");
                let x = [wave(&[3, channels, 9, 11], 0.37)];
                let expected = reference::run(&graph, &x).unwrap();
                let model = Model::from_graph(graph, Options::default()).unwrap();
                let names: Vec<_> = model.plan().steps().iter().map(|s| s.kind.name()).collect();
                let last = if groups == 1 { "dynamic dense" } else { "dynamic depthwise" };
                assert!(names.contains(&last) || groups == 2, "{case}: {names:?}");
                assert_eq!(names.contains(&"pack"), computed && groups != 2, "{case}: {names:?}");
                let found = Session::with_threads(&model, 2).unwrap().run(&x).unwrap();
                let (found, expected) = (found[0].as_f32().unwrap(), expected[0].as_f32().unwrap());
                for (y, want) in found.iter().zip(expected) {
                    assert!((y - want).abs() <= 1e-4, "{y} and not {want}: {case}");
                }
                // Alone, an image has the same bits.
                let image = x[0].as_f32().unwrap()[2 * channels * 99..].to_vec();
                let image = Tensor::new(&[1, channels, 9, 11], image).unwrap();
                let alone = Session::with_threads(&model, 1).unwrap().run(&[image]).unwrap();
                assert_eq!(alone[0].as_f32().unwrap(), &found[found.len() / 3 * 2..], "{case}");
            }
        }
    }
}
