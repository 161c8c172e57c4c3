//! The layers of the hyperfunctions of MobileNetV2 with DY-ReLU-B (R = 8), 35 of each kind, by the
//! kernels of this crate and by the `gemm` crate, on one thread:
//! `cargo bench --bench hyperfunction`.
//!
//! An iteration computes the layers of a whole network for one batch; the throughput is in images, so
//! that batches of different sizes compare. Every second hidden unit is 0, as after a ReLU; `no zeros`
//! has none. Each result is checked first, and the share of coefficients is printed that have other
//! bits by the one way than by the other.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use dyrelu::kernels::conv::{ConvWeights, Image, conv};
use dyrelu::kernels::epilogue::Epilogue;
use dyrelu::kernels::hyperfunction::{Coefficients, Squash, coefficients};
use dyrelu::kernels::{Block, Blocks, Cut, Window};
use dyrelu::simd::{Isa, padded};
use dyrelu::tensor::Layout;

/// Channels of the activations of an inverted residual block; each has two activations.
const EXPANDED: [usize; 16] =
    [96, 144, 144, 192, 192, 192, 384, 384, 384, 384, 576, 576, 576, 960, 960, 960];

const BATCHES: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Pieces of the activation.
const K: usize = 2;

/// Coefficients of a block, as `plan::tuning` has it for batches.
const COEFFICIENTS_OF_BATCH: usize = 1024;

/// The channels of all 35 activations.
fn activations() -> Vec<usize> {
    let blocks = EXPANDED.iter().flat_map(|&channels| [channels; 2]);
    [32, 32].into_iter().chain(blocks).chain([1280]).collect()
}

/// Numbers that are not exact in half precision.
fn wave(len: usize, frequency: f32) -> Vec<f32> {
    (0..len).map(|i| 0.1 * (i as f32 * frequency).sin()).collect()
}

/// Transposes a matrix `[rows][columns]`.
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}

fn check(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-4, "{name}: {found}, expected {expected}");
    }
}

/// A layer as `gemm` gets it.
struct Plain {
    /// `[depth][width]`
    weight: Vec<f32>,
    bias: Vec<f32>,
    depth: usize,
    /// Distance of the rows of the input.
    step: usize,
}

impl Plain {
    /// `y [images][width] = x [images][depth] * weight + bias`
    fn run(&self, x: &[f32], y: &mut [f32]) {
        let (width, images) = (self.bias.len(), y.len() / self.bias.len());
        y.chunks_exact_mut(width).for_each(|y| y.copy_from_slice(&self.bias));
        assert!(x.len() >= images * self.step && self.weight.len() == self.depth * width);
        let (width_step, step) = (width as isize, self.step as isize);
        // SAFETY: the three matrices are as large as the sizes and steps say, and y is no other.
        unsafe {
            gemm::gemm(
                images,
                width,
                self.depth,
                y.as_mut_ptr(),
                1,
                width_step,
                true,
                x.as_ptr(),
                1,
                step,
                self.weight.as_ptr(),
                1,
                width_step,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

struct Second {
    ours: Coefficients,
    plain: Plain,
}

impl Second {
    fn new(channels: usize) -> Self {
        let (hidden, rows) = (channels / 8, 2 * K);
        let (weight, bias) = (wave(rows * channels * hidden, 0.61), wave(rows * channels, 0.43));
        let (init, lambda) = (vec![0.0; rows], vec![1.0; rows]);
        let ours =
            Coefficients::new(&weight, Some(&bias), &init, &lambda, Squash::None, hidden, false);
        let weight = transposed(&weight, rows * channels, hidden);
        Second { ours, plain: Plain { weight, bias, depth: hidden, step: padded(hidden) } }
    }

    fn run(&self, hidden: &[f32], y: &mut [f32], work: &mut [f32]) {
        let width = self.ours.outputs();
        let rows = y.len() / width;
        let column_blocks = match rows {
            1 => 1,
            _ => (width / COEFFICIENTS_OF_BATCH).clamp(1, 16),
        };
        let blocks = Blocks::new(
            y,
            Cut { images: 1, rows, width, row_blocks: 1, column_blocks, row_unit: 1 },
        );
        while let Some(mut block) = blocks.next() {
            coefficients(Isa::get(), &self.ours, hidden, &mut block, work);
        }
    }
}

struct First {
    ours: ConvWeights,
    plain: Plain,
}

impl First {
    fn new(channels: usize) -> Self {
        let hidden = channels / 8;
        let (weight, bias) = (wave(hidden * channels, 0.61), wave(hidden, 0.43));
        let ours = ConvWeights::new(&weight, Some(&bias), hidden, channels);
        let weight = transposed(&weight, hidden, channels);
        First { ours, plain: Plain { weight, bias, depth: channels, step: channels } }
    }

    fn run(&self, x: &[f32], y: &mut [f32], work: &mut [f32]) {
        let (width, channels) = (self.ours.packed().width(), self.ours.channels());
        let size = [y.len() / width, 1];
        let window = Window {
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            before: [0, 0],
            input: size,
            output: size,
        };
        let image = Image { data: &x[..size[0] * channels], layout: Layout::Nhwc };
        let block = &mut Block::whole(y, width);
        conv(Isa::get(), image, &self.ours, &window, None, &Epilogue::NONE, block, work);
    }
}

/// Input of a layer for the largest batch; every second number of it is zero if `zeros`.
fn input(len: usize, zeros: bool) -> Vec<f32> {
    let mut x = wave(len, 0.37);
    if zeros {
        x.iter_mut().step_by(2).for_each(|x| *x = 0.0);
    }
    x
}

fn measure(
    group: &mut BenchmarkGroup<WallTime>,
    name: &str,
    batch: usize,
    mut run: impl FnMut(usize),
) {
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function(format!("{name}/{batch}"), |b| b.iter(|| run(black_box(batch))));
}

fn second_layers(c: &mut Criterion) {
    let mut group = c.benchmark_group("second layers");
    let layers: Vec<Second> = activations().into_iter().map(Second::new).collect();
    let most = BATCHES[BATCHES.len() - 1];
    let (zeros, none) =
        (input(most * padded(1280 / 8), true), input(most * padded(1280 / 8), false));
    let (mut y, mut work) = (vec![0.0; most * 1280 * 2 * K], vec![0.0; 2 * 1280]);
    let (mut different, mut count) = (0, 0);
    for layer in &layers {
        let mut plain = vec![0.0; 3 * layer.plain.bias.len()];
        layer.plain.run(&zeros, &mut plain);
        layer.run(&zeros, &mut y[..3 * layer.ours.outputs()], &mut work);
        check("second layer", &y[..plain.len()], &plain);
        count += plain.len();
        different += y.iter().zip(&plain).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    }
    let percent = 100 * different / count;
    println!("{percent}% of {count} coefficients have other bits by gemm");
    for batch in BATCHES {
        for (name, hidden) in [("dyrelu", &zeros), ("dyrelu, no zeros", &none)] {
            measure(&mut group, name, batch, |batch| {
                for layer in &layers {
                    layer.run(hidden, &mut y[..batch * layer.ours.outputs()], &mut work);
                }
            });
        }
        measure(&mut group, "gemm", batch, |batch| {
            for layer in &layers {
                layer.plain.run(&zeros, &mut y[..batch * layer.plain.bias.len()]);
            }
        });
    }
}

fn first_layers(c: &mut Criterion) {
    let mut group = c.benchmark_group("first layers");
    let layers: Vec<First> = activations().into_iter().map(First::new).collect();
    let most = BATCHES[BATCHES.len() - 1];
    let x = input(most * 1280, false);
    let (mut y, mut work) = (vec![0.0; most * padded(1280 / 8)], vec![0.0; 2 * most]);
    for layer in &layers {
        let (width, ours) = (layer.plain.bias.len(), layer.ours.packed().width());
        let mut plain = vec![0.0; 3 * width];
        layer.plain.run(&x, &mut plain);
        layer.run(&x, &mut y[..3 * ours], &mut work);
        for (ours, plain) in y.chunks(ours).zip(plain.chunks(width)) {
            check("first layer", &ours[..width], plain);
        }
    }
    for batch in BATCHES {
        measure(&mut group, "dyrelu", batch, |batch| {
            for layer in &layers {
                layer.run(&x, &mut y[..batch * layer.ours.packed().width()], &mut work);
            }
        });
        measure(&mut group, "gemm", batch, |batch| {
            for layer in &layers {
                layer.plain.run(&x, &mut y[..batch * layer.plain.bias.len()]);
            }
        });
    }
}

criterion_group!(benches, second_layers, first_layers);
criterion_main!(benches);
