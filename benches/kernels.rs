//! Benchmarks of kernels at the shapes of MobileNetV2 and ResNet-18, on one thread:
//! `cargo bench --bench kernels`.
//!
//! Each benchmark checks its result first. Matrix products are compared with the `gemm` crate, and the
//! activation alone with copying.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dyrelu::graph::Op;
use dyrelu::kernels::Block;
use dyrelu::kernels::Window;
use dyrelu::kernels::conv::{ConvWeights, Image, conv};
use dyrelu::kernels::depthwise::{DepthwiseWeights, depthwise};
use dyrelu::kernels::epilogue::Epilogue;
use dyrelu::kernels::max_affine::{max_affine_nchw, max_affine_nhwc};
use dyrelu::kernels::winograd::{WinogradWeights, winograd};
use dyrelu::plan::MatrixProduct;
use dyrelu::simd::{Isa, padded};
use dyrelu::tensor::{Aligned, Layout};
use dyrelu::{DynamicRelu, Linear, Tensor, reference};

fn wave(len: usize, frequency: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * frequency).sin()).collect()
}

fn window(kernel: usize, stride: usize, side: usize) -> Window {
    Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1, 1],
        before: [(kernel / 2) as isize; 2],
        input: [side; 2],
        output: [side.div_ceil(stride); 2],
    }
}

/// Returns the first pixel of one output channel of a convolution, computed by the definition in f64.
fn element(x: &[f32], weight: &[f32], w: &Window, channels: usize, output: usize) -> f32 {
    let mut sum = 0.0;
    for tap_y in 0..w.kernel[0] {
        for tap_x in 0..w.kernel[1] {
            // The input position under the tap at the first output pixel.
            let at = |tap: usize, axis: usize| tap.checked_add_signed(-w.before[axis]);
            let (Some(y), Some(x_at)) = (at(tap_y, 0), at(tap_x, 1)) else { continue };
            let pixel = &x[(y * w.input[1] + x_at) * padded(channels)..][..channels];
            for (c, x) in pixel.iter().enumerate() {
                let tap = tap_y * w.kernel[1] + tap_x;
                let taps = w.kernel[0] * w.kernel[1];
                sum += f64::from(*x) * f64::from(weight[(output * channels + c) * taps + tap]);
            }
        }
    }
    sum as f32
}

fn check(name: &str, got: f32, want: f32) {
    assert!(
        (got - want).abs() <= 1e-4 * want.abs().max(1.0),
        "{name}: expected {want}, found {got}"
    );
}

fn pointwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("pointwise");
    for (side, channels, outputs) in [
        (112, 16, 96),
        (56, 24, 144),
        (56, 144, 24),
        (28, 32, 192),
        (14, 64, 384),
        (14, 96, 576),
        (7, 160, 960),
        (7, 960, 320),
    ] {
        let rows = side * side;
        let (x, weight) = (wave(rows * channels, 0.37), wave(outputs * channels, 0.61));
        let weights = ConvWeights::new(&weight, None, outputs, channels);
        let w = window(1, 1, side);
        let mut y = vec![0.0; rows * outputs];
        let mut work = vec![0.0; weights.workspace(rows, false)];
        let mut run = |y: &mut [f32]| {
            let image = Image { data: &x, layout: Layout::Nhwc };
            let block = &mut Block::whole(y, outputs);
            conv(Isa::get(), image, &weights, &w, None, &Epilogue::NONE, block, &mut work);
        };
        run(&mut y);
        check("pointwise", y[outputs - 1], element(&x, &weight, &w, channels, outputs - 1));
        let shape = format!("{rows}x{channels}x{outputs}");
        group.throughput(Throughput::Elements((rows * channels * outputs) as u64));
        group.bench_function(format!("dyrelu/{shape}"), |b| b.iter(|| run(black_box(&mut y))));
        group.bench_function(format!("gemm/{shape}"), |b| {
            b.iter(|| gemm(&x, &weight, &mut y, rows))
        });
    }
}

/// Computes `y [rows][outputs] = x [rows][channels] * weight [outputs][channels]'` with the `gemm`
/// crate.
fn gemm(x: &[f32], weight: &[f32], y: &mut [f32], rows: usize) {
    let (outputs, channels) = (y.len() / rows, x.len() / rows);
    // SAFETY: the three slices hold matrices of these sizes and strides, and `y` overlaps no other.
    unsafe {
        gemm::gemm(
            rows,
            outputs,
            channels,
            y.as_mut_ptr(),
            1,
            outputs as isize,
            false,
            x.as_ptr(),
            1,
            channels as isize,
            weight.as_ptr(),
            channels as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Products that are no layers: as steps of a plan, and by the reference.
fn plain_products(c: &mut Criterion) {
    let mut group = c.benchmark_group("products");
    for (a, b) in [
        ([1, 1, 1280], [1, 1280, 1000]),
        ([1, 49, 320], [1, 320, 1280]),
        ([8, 196, 64], [8, 64, 196]),
    ] {
        let tensor = |shape: [usize; 3], frequency: f32| {
            Tensor::new(&shape, wave(shape.iter().product(), frequency)).expect("as many elements")
        };
        let (x, weight) = (tensor(a, 0.37), tensor(b, 0.61));
        let inputs = [Some(&x), Some(&weight)];
        let product = || MatrixProduct::MatMul.run(&inputs).expect("the sizes fit");
        let reference = || reference::evaluate(&Op::MatMul, &inputs, 1).expect("the sizes fit");
        let (found, expected) = (product(), reference());
        let pairs = found.as_f32().expect("f32").iter().zip(expected[0].as_f32().expect("f32"));
        pairs.for_each(|(&found, &expected)| check("product", found, expected));
        let shape = format!("{} x {}x{}x{}", a[0], a[1], a[2], b[2]);
        group.throughput(Throughput::Elements((a[0] * a[1] * a[2] * b[2]) as u64));
        group.bench_function(format!("step/{shape}"), |b| b.iter(|| black_box(product())));
        group.bench_function(format!("reference/{shape}"), |b| b.iter(|| black_box(reference())));
    }
}

fn depthwise_convolutions(c: &mut Criterion) {
    let mut group = c.benchmark_group("depthwise");
    for (side, channels, kernel, stride) in [
        (112, 32, 3, 1),
        (112, 96, 3, 2),
        (56, 144, 3, 1),
        (28, 192, 3, 1),
        (14, 384, 3, 1),
        (14, 480, 5, 1),
        (7, 960, 3, 1),
    ] {
        let w = window(kernel, stride, side);
        let x = wave(side * side * channels, 0.37);
        let taps = wave(kernel * kernel * channels, 0.61);
        let weights = DepthwiseWeights::new(&taps, None, channels);
        let line = w.output[1] * channels;
        let mut y = vec![0.0; w.output[0] * line];
        let run = |y: &mut [f32]| {
            let block = &mut Block::whole(y, line);
            depthwise(Isa::get(), &x, &weights, &w, &Epilogue::NONE, block);
        };
        run(&mut y);
        let inside =
            (kernel / 2..kernel).flat_map(|row| (kernel / 2..kernel).map(move |c| (row, c)));
        let product = |(row, column): (usize, usize)| {
            let pixel = (row - kernel / 2) * side + column - kernel / 2;
            x[pixel * channels] * taps[row * kernel + column]
        };
        check("depthwise", y[0], inside.map(product).sum());
        group.throughput(Throughput::Elements((y.len() * kernel * kernel) as u64));
        let name = format!("{side}x{side}x{channels}, {kernel}x{kernel} by {stride}");
        group.bench_function(name, |b| b.iter(|| run(black_box(&mut y))));
    }
}

fn three_by_three(c: &mut Criterion) {
    let mut group = c.benchmark_group("3x3");
    // The sizes of ResNet-18, and sizes on both sides of the thresholds for Winograd's algorithm.
    let sizes = [(56, 64), (28, 128), (14, 256), (7, 512), (10, 256), (12, 256), (56, 8), (56, 16)];
    for (side, channels) in sizes {
        let w = window(3, 1, side);
        let pixels = side * side;
        let (x, weight) = (wave(pixels * channels, 0.37), wave(channels * channels * 9, 0.61));
        let direct = ConvWeights::new(&weight, None, channels, channels);
        let fast = WinogradWeights::new(&weight, None, channels, channels);
        let mut y = vec![0.0; pixels * channels];
        let mut work = vec![0.0; direct.workspace(pixels, false).max(fast.workspace(side, side))];
        let mut run = |y: &mut [f32], by_winograd: bool| {
            let (isa, block) = (Isa::get(), &mut Block::whole(y, channels));
            if by_winograd {
                winograd(isa, &x, &fast, &w, &Epilogue::NONE, block, &mut work);
            } else {
                let image = Image { data: &x, layout: Layout::Nhwc };
                conv(isa, image, &direct, &w, None, &Epilogue::NONE, block, &mut work);
            }
        };
        group.throughput(Throughput::Elements((pixels * channels * channels * 9) as u64));
        for (name, by_winograd) in [("direct", false), ("winograd", true)] {
            run(&mut y, by_winograd);
            check(name, y[channels - 1], element(&x, &weight, &w, channels, channels - 1));
            let name = format!("{name}/{side}x{side}x{channels}");
            group.bench_function(name, |b| b.iter(|| run(black_box(&mut y), by_winograd)));
        }
    }
}

/// DY-ReLU-B (R = 8) with its context and its hyperfunction, compared with copying.
fn dynamic_relu(c: &mut Criterion) {
    let mut group = c.benchmark_group("DY-ReLU-B alone");
    for (channels, side) in [(96, 112), (576, 14)] {
        let (plane, hidden) = (side * side, channels / 8);
        let x = wave(channels * plane, 0.37);
        let (w1, c1) = (wave(hidden * channels, 0.9), wave(hidden, 0.8));
        // Negligible weights, but not exact in half precision: those would be stored in half the bytes.
        let (w2, c2) = (vec![1e-9; 4 * channels * hidden], vec![0.0; 4 * channels]);
        let fc1 = Linear { weight: &w1, bias: &c1 };
        let fc2 = Linear { weight: &w2, bias: &c2 };
        // The coefficients keep their initial values: a plain ReLU at the cost of a dynamic one.
        let mut relu = DynamicRelu::new(channels, fc1, fc2).expect("the weights fit");
        let mut y = vec![0.0; x.len()];
        for layout in [Layout::Nchw, Layout::Nhwc] {
            relu.apply_into(&x, &mut y, 1, layout).expect("the map fits");
            check(&layout.to_string(), y[5], x[5].max(0.0));
        }
        group.throughput(Throughput::Bytes(4 * x.len() as u64));
        let shape = format!("{channels}x{side}x{side}");
        group.bench_function(format!("copy/{shape}"), |bench| {
            bench.iter(|| black_box(&mut y).copy_from_slice(black_box(&x)));
        });
        for layout in [Layout::Nchw, Layout::Nhwc] {
            group.bench_function(format!("{layout}/{shape}"), |bench| {
                bench.iter(|| relu.apply_into(&x, black_box(&mut y), 1, layout));
            });
        }
    }
}

/// The max-affine function alone, with given coefficients, in place, compared with ReLU6.
fn max_affine(c: &mut Criterion) {
    let mut group = c.benchmark_group("max-affine in place");
    for (channels, side) in [(96, 112), (576, 14)] {
        let plane = side * side;
        let x = wave(channels * plane, 0.37);
        let (a, b) = (wave(2 * channels, 0.9), wave(2 * channels, 1.3));
        let (isa, mut y) = (Isa::get(), x.clone());
        let piece = |k: usize| x[0].mul_add(a[k * channels], b[k * channels]);
        max_affine_nchw(isa, &mut y, plane, &a, &b);
        check("NCHW", y[0], piece(0).max(piece(1)));
        y.copy_from_slice(&x);
        max_affine_nhwc(isa, &mut y, channels, &a, &b);
        check("NHWC", y[0], piece(0).max(piece(1)));
        group.throughput(Throughput::Bytes(4 * x.len() as u64));
        let shape = format!("{channels}x{side}x{side}");
        // Slopes 1 and 0: applied in place repeatedly, larger ones would overflow.
        let (a, b) = ([vec![1.0; channels], vec![0.0; channels]].concat(), vec![0.0; 2 * channels]);
        group.bench_function(format!("NCHW/{shape}"), |bench| {
            bench.iter(|| max_affine_nchw(isa, black_box(&mut y), plane, &a, &b));
        });
        group.bench_function(format!("NHWC/{shape}"), |bench| {
            bench.iter(|| max_affine_nhwc(isa, black_box(&mut y), channels, &a, &b));
        });
        group.bench_function(format!("ReLU6/{shape}"), |bench| {
            bench.iter(|| black_box(&mut y).iter_mut().for_each(|y| *y = y.clamp(0.0, 6.0)));
        });
    }
}

/// The bandwidth of reads from memory and caches on one thread.
fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("reading");
    for megabytes in [16, 32, 256] {
        let mut x = Aligned::<f32>::zeroed(megabytes << 18);
        x.fill(1.0);
        let sum = |x: &[f32]| {
            let mut sums = [0.0; 32];
            for part in x.as_chunks::<32>().0 {
                sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            }
            sums.iter().sum::<f32>()
        };
        check("sum", sum(&x), x.len() as f32);
        group.throughput(Throughput::Bytes(4 * x.len() as u64));
        group.bench_function(format!("{megabytes} MB"), |bench| bench.iter(|| sum(black_box(&x))));
    }
}

criterion_group!(
    benches,
    reading,
    pointwise,
    plain_products,
    depthwise_convolutions,
    three_by_three,
    dynamic_relu,
    max_affine
);
criterion_main!(benches);
