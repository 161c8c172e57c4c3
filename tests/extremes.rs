//! Extreme networks and inputs: the engine gives the result of the reference executor, or an error.

use dyrelu::graph::{
    Binary, Bindings, Conv, Dim, Gemm, Graph, HiddenActivation, Hyperfunction, MaxAffine, Op,
    Padding, Pool, PoolKind, Squash, TensorType, Unary, ValueId, Variadic, bind_inputs,
};
use dyrelu::plan::{Input, Runner, Team, Watch};
use dyrelu::simd::Isa;
use dyrelu::{DType, Model, Options, Result, RunOptions, Session, Tensor, reference};

fn wave(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
}

/// Adds operators to a graph. Takes the input and returns the output.
type Build<'a> = dyn Fn(&mut Graph, ValueId) -> ValueId + 'a;

/// A network with one input of the given sizes, separated by spaces. A word is the symbol of a free
/// size.
fn network(sizes: &str, build: impl FnOnce(&mut Graph, ValueId) -> ValueId) -> Graph {
    let mut g = Graph::new("t");
    let dim = |word: &str| word.parse::<i64>().map_or_else(|_| Dim::symbol(word), Dim::from);
    let dims = sizes.split(' ').map(dim).collect();
    let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
    let y = build(&mut g, x);
    g.set_outputs(vec![y]);
    g
}

fn convolution(kernel: usize, strides: [usize; 2], pads: [i64; 4]) -> (Conv, Tensor) {
    let padding = Padding::Explicit(pads.to_vec());
    let conv = Conv { padding, strides: strides.to_vec(), dilations: vec![], groups: 1 };
    (conv, wave(&[5, 3, kernel, kernel]))
}

fn convolve(g: &mut Graph, x: ValueId, (conv, weight): (Conv, Tensor)) -> ValueId {
    let weight = g.add_constant("w", weight);
    g.apply("conv", Op::Conv(conv), &[x, weight])
}

fn run(graph: &Graph, x: &Tensor) -> Result<Tensor> {
    let model = Model::from_graph(graph.clone(), Options::default())?;
    Ok(Session::with_threads(&model, 2)?.run(std::slice::from_ref(x))?.remove(0))
}

/// Asserts that the engine gives the result of the reference.
#[track_caller]
fn assert_agrees(graph: &Graph, x: &Tensor) {
    let expected = reference::run(graph, std::slice::from_ref(x)).unwrap().remove(0);
    let output = run(graph, x).unwrap();
    assert_eq!(output.shape(), expected.shape());
    let (output, expected) = (output.as_f32().unwrap(), expected.as_f32().unwrap());
    let scale = expected.iter().fold(1f32, |scale, x| scale.max(x.abs()));
    for (a, b) in output.iter().zip(expected) {
        let equal = a == b || (a.is_nan() && b.is_nan());
        assert!(equal || (a - b).abs() <= 1e-4 * scale, "{a} and {b}");
    }
}

/// Asserts that opening or running the network fails with an error that contains `words`.
#[track_caller]
fn assert_refused(graph: &Graph, x: &Tensor, words: &str) {
    let error = run(graph, x).expect_err(words).to_string();
    assert!(error.contains(words), "{words:?} in {error:?}");
}

fn classifier() -> Graph {
    network("N 3 H W", |g, x| {
        let map = convolve(g, x, convolution(3, [2, 2], [1, 1, 1, 1]));
        let map = g.apply("relu", Op::Unary(Unary::Relu), &[map]);
        let mean = g.apply("mean", Op::GlobalPool(PoolKind::Average), &[map]);
        g.apply("y", Op::Flatten { axis: 1 }, &[mean])
    })
}

#[test]
fn an_empty_batch_has_an_empty_result() {
    assert_agrees(&classifier(), &wave(&[0, 3, 9, 7]));
    assert_agrees(&classifier(), &wave(&[2, 3, 9, 7]));
}

#[test]
fn an_empty_tensor_may_be_tiled_any_number_of_times() {
    let graph = network("N 3", |g, x| {
        let repeats = g.add_constant("repeats", Tensor::vector(vec![1i64 << 40, 1]));
        g.apply("tile", Op::Tile, &[x, repeats])
    });
    assert_agrees(&graph, &wave(&[0, 3]));
    assert_refused(&graph, &wave(&[1, 3]), "larger than");
}

#[test]
fn images_without_pixels_are_refused() {
    assert_refused(&classifier(), &wave(&[2, 3, 0, 7]), "too small");
    assert_refused(
        &classifier(),
        &Tensor::new(&[0, 3, 1 << 40, 1], vec![0f32; 0]).unwrap(),
        "larger than",
    );
    let pool = network("N 3 H W", |g, x| {
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: vec![3, 3],
            strides: vec![],
            dilations: vec![],
            padding: Padding::Explicit(vec![]),
            ceil_mode: false,
            count_include_pad: false,
            column_major: false,
        };
        g.apply("pool", Op::Pool(pool), &[x])
    });
    assert_refused(&pool, &wave(&[1, 3, 2, 7]), "too small");
    assert_agrees(&pool, &wave(&[1, 3, 3, 3]));
}

/// Feature maps of one pixel are computed as rows of a matrix, but not for a layer with padding.
#[test]
fn layers_over_single_pixels_may_have_strides_and_padding() {
    for (strides, pads) in [([1, 1], [0; 4]), ([2, 1], [0; 4]), ([3, 3], [1, 0, 0, 1])] {
        let graph = network("N 3 H W", |g, x| {
            let pooled = g.apply("pool", Op::GlobalPool(PoolKind::Average), &[x]);
            convolve(g, pooled, convolution(1, strides, pads))
        });
        assert_agrees(&graph, &wave(&[4, 3, 5, 5]));
    }
}

#[test]
fn strides_and_padding_beyond_any_image_are_refused() {
    let huge = usize::MAX >> 1;
    for (strides, pads) in [([1, huge], [0; 4]), ([1, 1], [0, i64::MAX / 4, 0, 0])] {
        let graph = network("N 3 8 8", |g, x| convolve(g, x, convolution(1, strides, pads)));
        assert_refused(&graph, &wave(&[1, 3, 8, 8]), "must not exceed");
    }
    let graph = network("N 3 8 8", |g, x| convolve(g, x, convolution(1, [50, 1000], [0; 4])));
    assert_agrees(&graph, &wave(&[2, 3, 8, 8]));
}

/// The sizes of these feature maps depend on the image, so they are checked in each run.
#[test]
fn feature_maps_larger_than_memory_are_refused() {
    let huge = [1 << 24; 4];
    for (channels, filters, kernel) in [(3, 5, 1), (20, 40, 3), (20, 1000, 1)] {
        let graph = network(&format!("N {channels} H W"), |g, x| {
            let weight = g.add_constant("w", wave(&[filters, channels, kernel, kernel]));
            g.apply("dense", convolution_op(&huge, 1), &[x, weight])
        });
        assert_refused(&graph, &wave(&[1, channels, 8, 8]), "memory");
        let graph = network(&format!("N {channels} H W"), |g, x| {
            let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
            let y = g.apply("dense", convolution_op(&[], 1), &[x, weight]);
            let taps = g.add_constant("taps", wave(&[filters, 1, kernel, kernel]));
            let y = g.apply("depthwise", convolution_op(&huge, filters), &[y, taps]);
            g.apply("mean", Op::GlobalPool(PoolKind::Average), &[y])
        });
        assert_refused(&graph, &wave(&[1, channels, 8, 8]), "memory");
    }
}

/// A bias of shape `[rows, 1]` fits a batch of as many images and no other.
#[test]
fn a_bias_per_row_is_not_a_bias_per_column() {
    let graph = network("N 3", |g, x| {
        let (weight, bias) =
            (g.add_constant("w", wave(&[3, 4])), g.add_constant("b", wave(&[4, 1])));
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
        g.apply("fc", Op::Gemm(gemm), &[x, weight, bias])
    });
    assert_agrees(&graph, &wave(&[4, 3]));
    assert_refused(&graph, &wave(&[2, 3]), "broadcast");
}

fn convolution_op(pads: &[i64], groups: usize) -> Op {
    let padding = Padding::Explicit(pads.to_vec());
    Op::Conv(Conv { padding, strides: vec![], dilations: vec![], groups })
}

/// Padding and cropping together may shift a feature map and keep its size.
#[test]
fn convolutions_of_one_tap_may_shift_their_input() {
    let shifts = [[0, -1, 0, 1], [-1, 0, 1, 0], [1, -1, -1, 1], [2, 0, -2, 0], [0, 1, 0, 0]];
    for pads in shifts {
        for (channels, filters) in [(8, 8), (15, 3), (16, 1), (16, 8), (24, 17)] {
            let graph = network(&format!("N {channels} 5 6"), |g, x| {
                let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
                g.apply("y", convolution_op(&pads, 1), &[x, weight])
            });
            assert_agrees(&graph, &wave(&[2, channels, 5, 6]));
            // The same between activations and depthwise convolutions, which may be fused with it.
            let graph = network(&format!("N {channels} 5 6"), |g, x| {
                let taps = g.add_constant("taps", wave(&[channels, 1, 1, 1]));
                let x = g.apply("shifted", convolution_op(&pads, channels), &[x, taps]);
                let x = g.apply("sigmoid", Op::Unary(Unary::Sigmoid), &[x]);
                let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
                let y = g.apply("conv", convolution_op(&pads, 1), &[x, weight]);
                let y = g.apply("relu", Op::Unary(Unary::Relu), &[y]);
                let taps = g.add_constant("more", wave(&[filters, 1, 3, 3]));
                g.apply("y", convolution_op(&[1, 1, 1, 1], filters), &[y, taps])
            });
            assert_agrees(&graph, &wave(&[2, channels, 5, 6]));
        }
    }
    // A feature map that is large enough to be computed a few rows at a time.
    for pads in shifts {
        let graph = network("N 16 60 64", |g, x| {
            let weight = g.add_constant("w", wave(&[40, 16, 1, 1]));
            let y = g.apply("conv", convolution_op(&pads, 1), &[x, weight]);
            let taps = g.add_constant("taps", wave(&[40, 1, 3, 3]));
            g.apply("y", convolution_op(&pads.map(|pad| pad + 1), 40), &[y, taps])
        });
        assert_agrees(&graph, &wave(&[1, 16, 60, 64]));
    }
}

/// The input of these networks is read by each kind of layer, in its own layout.
#[test]
fn images_of_single_pixels_may_feed_any_operator() {
    for (channels, filters) in [(1, 4), (3, 3), (8, 5), (15, 15), (16, 1), (17, 4), (4097, 2)] {
        let sizes = format!("N {channels} 1 1");
        let dense = |g: &mut Graph, x: ValueId| {
            let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
            g.apply("dense", convolution_op(&[], 1), &[x, weight])
        };
        let layers: &[&Build] = &[
            &dense,
            &|g, x| {
                let y = dense(g, x);
                g.apply("relu", Op::Unary(Unary::Relu), &[y])
            },
            &|g, x| {
                let y = dense(g, x);
                let weight = g.add_constant("back", wave(&[channels, filters, 1, 1]));
                let y = g.apply("second", convolution_op(&[], 1), &[y, weight]);
                g.apply("add", Op::Binary(Binary::Add), &[y, x])
            },
            &|g, x| {
                let taps = g.add_constant("taps", wave(&[channels, 1, 3, 3]));
                g.apply("depthwise", convolution_op(&[1, 1, 1, 1], channels), &[x, taps])
            },
            &|g, x| {
                let weight = g.add_constant("w", wave(&[filters, channels, 3, 3]));
                g.apply("wide", convolution_op(&[1, 1, 1, 1], 1), &[x, weight])
            },
            &|g, x| {
                let y = g.apply("mean", Op::GlobalPool(PoolKind::Average), &[x]);
                dense(g, y)
            },
            &|g, x| {
                let x = g.apply("flat", Op::Flatten { axis: 1 }, &[x]);
                let weight = g.add_constant("w", wave(&[channels, filters]));
                let op = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
                g.apply("gemm", Op::Gemm(op), &[x, weight])
            },
        ];
        for build in layers {
            for images in [1, 2, 5] {
                assert_agrees(&network(&sizes, build), &wave(&[images, channels, 1, 1]));
            }
            // A batch that is fixed to 1 is freed, and gives the same bits.
            let fixed = network(&format!("1 {channels} 1 1"), build);
            let freed = run(&fixed, &wave(&[5, channels, 1, 1])).unwrap();
            let expected = run(&network(&sizes, build), &wave(&[5, channels, 1, 1])).unwrap();
            assert_eq!(freed.as_f32().unwrap(), expected.as_f32().unwrap());
        }
    }
}

/// The context of a dynamic ReLU is an input of the network, as is its feature map.
#[test]
fn a_context_may_be_an_input() {
    for (channels, hidden) in [(3, 4), (8, 2), (16, 5), (20, 4)] {
        for vectors in ["", " 1 1"] {
            let mut g = network(&format!("N {channels} 4 3"), |_, x| x);
            let x = g.inputs()[0];
            let dims = format!("N {channels}{vectors}");
            let dim =
                |word: &str| word.parse::<i64>().map_or_else(|_| Dim::symbol(word), Dim::from);
            let dims: Vec<Dim> = dims.split(' ').map(dim).collect();
            let shape: Vec<usize> = dims.iter().map(|dim| dim.as_size().unwrap_or(3)).collect();
            let context = g.add_input("context", TensorType { dtype: DType::F32, dims });
            let mut weight = |name: &str, shape: &[usize]| g.add_constant(name, wave(shape));
            let weights = [
                weight("w1", &[hidden, channels]),
                weight("b1", &[hidden]),
                weight("w2", &[4 * channels, hidden]),
                weight("b2", &[4 * channels]),
            ];
            let op = Hyperfunction {
                k: 2,
                hidden: HiddenActivation::Relu,
                squash: Squash::Sigmoid,
                init: vec![1.0, 0.0, 0.0, 0.0],
                lambda: vec![1.0, 1.0, 0.5, 0.5],
            };
            let inputs = [context, weights[0], weights[1], weights[2], weights[3]];
            let theta = g.apply("theta", Op::Hyperfunction(op), &inputs);
            let y = g.apply("y", Op::MaxAffine(MaxAffine { k: 2 }), &[x, theta]);
            g.set_outputs(vec![y]);
            let inputs = [wave(&[3, channels, 4, 3]), wave(&shape)];
            let expected = reference::run(&g, &inputs).unwrap();
            let model = Model::from_graph(g, Options::default()).unwrap();
            let outputs = Session::with_threads(&model, 2).unwrap().run(&inputs).unwrap();
            for (a, b) in outputs[0].as_f32().unwrap().iter().zip(expected[0].as_f32().unwrap()) {
                assert!((a - b).abs() <= 1e-4, "{a} and {b}");
            }
        }
    }
}

/// A feature map without pixels has pixels once it is padded.
#[test]
fn feature_maps_without_pixels_may_be_padded() {
    let pool = |kind, count_include_pad| {
        Op::Pool(Pool {
            kind,
            kernel: vec![3, 3],
            strides: vec![],
            dilations: vec![],
            padding: Padding::Explicit(vec![2, 2, 2, 2]),
            ceil_mode: false,
            count_include_pad,
            column_major: false,
        })
    };
    for (channels, filters, sizes) in
        [(3, 5, [0, 7]), (17, 17, [4, 0]), (20, 33, [0, 0]), (16, 1, [0, 3])]
    {
        let pads = [2, 2, 2, 2];
        let layers: &[&Build] = &[
            &|g, x| {
                let weight = g.add_constant("w", wave(&[filters, channels, 3, 3]));
                let bias = g.add_constant("b", wave(&[filters]));
                g.apply("dense", convolution_op(&pads, 1), &[x, weight, bias])
            },
            &|g, x| {
                let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
                let y = g.apply("pointwise", convolution_op(&pads, 1), &[x, weight]);
                let taps = g.add_constant("taps", wave(&[filters, 1, 3, 3]));
                g.apply("depthwise", convolution_op(&pads, filters), &[y, taps])
            },
            &|g, x| {
                let x = g.apply("sigmoid", Op::Unary(Unary::Sigmoid), &[x]);
                let taps = g.add_constant("taps", wave(&[channels, 1, 3, 3]));
                g.apply("depthwise", convolution_op(&pads, channels), &[x, taps])
            },
            &|g, x| g.apply("max", pool(PoolKind::Max, false), &[x]),
            &|g, x| g.apply("mean", pool(PoolKind::Average, false), &[x]),
            &|g, x| g.apply("mean", pool(PoolKind::Average, true), &[x]),
            // The mean of no pixels is NaN.
            &|g, x| {
                let x = g.apply("relu", Op::Unary(Unary::Relu), &[x]);
                g.apply("context", Op::GlobalPool(PoolKind::Average), &[x])
            },
        ];
        for build in layers {
            let x = wave(&[2, channels, sizes[0], sizes[1]]);
            assert_agrees(&network(&format!("N {channels} H W"), build), &x);
            assert_agrees(&network(&format!("2 {channels} {} {}", sizes[0], sizes[1]), build), &x);
        }
    }
}

#[test]
fn feature_maps_without_channels_have_results() {
    let layers: &[&Build] = &[
        &|g, x| {
            let slope = g.add_constant("slope", wave(&[0, 1, 1]));
            g.apply("prelu", Op::PRelu, &[x, slope])
        },
        &|g, x| {
            let weight = g.add_constant("w", wave(&[5, 0, 1, 1]));
            let y = g.apply("dense", convolution_op(&[], 1), &[x, weight]);
            let context = g.apply("context", Op::GlobalPool(PoolKind::Average), &[y]);
            g.apply("scaled", Op::Binary(Binary::Mul), &[y, context])
        },
        &|g, x| {
            let weight = g.add_constant("w", wave(&[0, 0, 3, 3]));
            g.apply("dense", convolution_op(&[1, 1, 1, 1], 1), &[x, weight])
        },
        // A squeeze-and-excite block and a dynamic ReLU that use the same context.
        &|g, x| {
            let context = g.apply("context", Op::GlobalPool(PoolKind::Average), &[x]);
            let down = g.add_constant("down", wave(&[2, 0, 1, 1]));
            let y = g.apply("fc1", convolution_op(&[], 1), &[context, down]);
            let y = g.apply("relu", Op::Unary(Unary::Relu), &[y]);
            let up = g.add_constant("up", wave(&[0, 2, 1, 1]));
            let y = g.apply("fc2", convolution_op(&[], 1), &[y, up]);
            let gate = g.apply("gate", Op::Unary(Unary::Sigmoid), &[y]);
            let scaled = g.apply("scaled", Op::Binary(Binary::Mul), &[x, gate]);
            let shifted = g.apply("shifted", Op::Binary(Binary::Add), &[scaled, gate]);
            g.apply("y", Op::Variadic(Variadic::Max), &[shifted, scaled])
        },
        &|g, x| {
            let parameters =
                ["scale", "bias", "mean", "variance"].map(|name| g.add_constant(name, wave(&[0])));
            let op = Op::BatchNormalization { epsilon: 1e-5 };
            g.apply("norm", op, &[&[x], &parameters[..]].concat())
        },
    ];
    for build in layers {
        assert_agrees(&network("N 0 4 3", build), &wave(&[2, 0, 4, 3]));
    }
}

/// After a panic in an observer, the session can be used again and gives the same bits.
#[test]
fn a_session_survives_a_panic_in_its_observer() {
    let graph = network("N 3 64 64", |g, x| {
        let map = convolve(g, x, convolution(3, [1, 1], [1, 1, 1, 1]));
        let map = g.apply("relu", Op::Unary(Unary::Relu), &[map]);
        g.apply("mean", Op::GlobalPool(PoolKind::Average), &[map])
    });
    let x = [wave(&[4, 3, 64, 64])];
    let model = Model::from_graph(graph, Options::default()).unwrap();
    for threads in [1, 2] {
        let mut session = Session::with_threads(&model, threads).unwrap();
        let expected = session.run(&x).unwrap();
        for calls_to_panic in 1..3 {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut calls = 0;
                session.run_observed(&x, &mut |_, _| {
                    calls += 1;
                    assert!(calls < calls_to_panic, "the observer panics on purpose");
                })
            }));
            assert!(panicked.is_err(), "{calls_to_panic}");
            let outputs = session.run(&x).unwrap();
            assert_eq!(outputs[0].as_f32().unwrap(), expected[0].as_f32().unwrap());
        }
    }
    // An observer of times is called within the steps that run image by image.
    let mut runner = Runner::new(Team::alone(), Isa::get());
    let options = RunOptions::default();
    let inputs = [Input::Tensor(&x[0])];
    let mut run = |watch: &mut Watch| {
        let outputs = runner.run(model.plan(), &inputs, &options, watch, |shapes| {
            let mut bindings = Bindings::new();
            let shapes = shapes.iter().map(|shape| (DType::F32, shape.as_slice()));
            bind_inputs(model.graph(), shapes, &mut bindings)?;
            Ok(bindings)
        })?;
        outputs.tensor(0)
    };
    let expected = run(&mut Watch::Nobody).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(&mut Watch::Times(&mut |_| panic!("the observer panics on purpose")))
    }));
    assert!(panicked.is_err());
    let output = run(&mut Watch::Nobody).unwrap();
    assert_eq!(output.as_f32().unwrap(), expected.as_f32().unwrap());
}
