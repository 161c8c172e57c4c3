//! Convolutions with weights of an image, against those of layers with the same weights, which are
//! tested against their definition.

use super::super::dynamic_conv::{Kernel, Packer, dynamic_conv};
use super::*;

fn weights_of_an_image_are_those_of_a_layer(isa: Isa) {
    for (i, w) in windows().iter().enumerate() {
        let (rows, taps) = (w.output[0] * w.output[1], w.kernel[0] * w.kernel[1]);
        let pixels = w.input[0] * w.input[1];
        for (outputs, channels) in [(1, 16), (3, 5), (17, 24), (24, 19), (40, 17)] {
            let kernels =
                [Kernel::Dense { outputs, channels, taps }, Kernel::Depthwise { channels, taps }];
            for kernel in kernels {
                let outputs = kernel.outputs();
                let width = padded(outputs);
                let x = padded_rows(&wave(pixels * channels, 0.37), channels);
                let (weight, bias) = (wave(kernel.weights(), 0.61), wave(outputs, 1.7));
                let mut packed = Guarded::unwritten(kernel.packed());
                Packer::new(kernel).pack(bytemuck::cast_slice(&weight), &mut packed);
                let mut padded_bias = vec![0.0; width];
                padded_bias[..outputs].copy_from_slice(&bias);
                let extras = Extras::new(rows, outputs);
                let epilogues = extras.epilogues();
                let epilogue = &epilogues[i % epilogues.len()];
                let case = format!("window {i}, {kernel:?}, {}", isa.name());
                // Whole maps: rows are pixels for the dense kernel and lines for the depthwise one.
                let line = match kernel {
                    Kernel::Dense { .. } => width,
                    Kernel::Depthwise { .. } => w.output[1] * width,
                };
                let mut found = vec![f32::NAN; rows * width];
                let mut work = Guarded::unwritten(kernel.workspace(rows));
                let block = &mut Block::whole(&mut found, line);
                let layer = (kernel, &*packed, padded_bias.as_slice());
                dynamic_conv(isa, &x, layer, w, epilogue, block, &mut work);
                let mut want = vec![f32::NAN; rows * width];
                let block = &mut Block::whole(&mut want, line);
                match kernel {
                    Kernel::Dense { .. } => {
                        let layer = ConvWeights::new(&weight, Some(&bias), outputs, channels);
                        let image = Image { data: &x, layout: Layout::Nhwc };
                        let mut work = vec![0.0; layer.workspace(rows, false)];
                        conv(isa, image, &layer, w, None, epilogue, block, &mut work);
                    }
                    Kernel::Depthwise { .. } => {
                        let layer = DepthwiseWeights::new(&weight, Some(&bias), channels);
                        depthwise(isa, &x, &layer, w, epilogue, block);
                    }
                }
                for (found, want) in found.chunks(width).zip(want.chunks(width)) {
                    for (found, want) in found[..outputs].iter().zip(&want[..outputs]) {
                        assert_close(*found, f64::from(*want), &case);
                    }
                }
            }
        }
    }
}

/// [`weights_of_an_image_are_those_of_a_layer`] on each instruction set.
mod weights_of_an_image_are_those_of_a_layer {
    crate::simd::testing::isa_tests!(super::weights_of_an_image_are_those_of_a_layer);
}
