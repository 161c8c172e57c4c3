//! Networks and inputs at the edge of sense: the engine gives what the reference gives, or a
//! sentence.

use dyrelu::graph::{
    Binary, Bindings, Conv, Dim, Gemm, Graph, HiddenActivation, Hyperfunction, MaxAffine, Op,
    Padding, Pool, PoolKind, Squash, TensorType, Unary, ValueId, Variadic, bind_inputs,
};
use dyrelu::plan::{Input, Runner, Team, Watch};
use dyrelu::simd::Isa;
use dyrelu::{DType, Model, Options, Result, Session, Tensor, reference};

fn wave(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
}

/// What makes an output of an input.
type Build<'a> = dyn Fn(&mut Graph, ValueId) -> ValueId + 'a;

/// A network of one input of these sizes; what is no number is free.
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

#[track_caller]
fn agrees(graph: &Graph, x: &Tensor) {
    let expected = reference::run(graph, std::slice::from_ref(x)).unwrap().remove(0);
    let found = run(graph, x).unwrap();
    assert_eq!(found.shape(), expected.shape());
    let (found, expected) = (found.as_f32().unwrap(), expected.as_f32().unwrap());
    let scale = expected.iter().fold(1f32, |scale, x| scale.max(x.abs()));
    for (a, b) in found.iter().zip(expected) {
        let same = a == b || (a.is_nan() && b.is_nan());
        assert!(same || (a - b).abs() <= 1e-4 * scale, "{a} and {b}");
    }
}

#[track_caller]
fn refused(graph: &Graph, x: &Tensor, words: &str) {
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
fn no_images_have_no_results() {
    agrees(&classifier(), &wave(&[0, 3, 9, 7]));
    agrees(&classifier(), &wave(&[2, 3, 9, 7]));
}

#[test]
fn nothing_repeated_often_is_nothing() {
    let graph = network("N 3", |g, x| {
        let repeats = g.add_constant("repeats", Tensor::vector(vec![1i64 << 40, 1]));
        g.apply("tile", Op::Tile, &[x, repeats])
    });
    agrees(&graph, &wave(&[0, 3]));
    refused(&graph, &wave(&[1, 3]), "larger than");
}

#[test]
fn images_without_pixels_are_refused() {
    refused(&classifier(), &wave(&[2, 3, 0, 7]), "too small");
    refused(
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
    refused(&pool, &wave(&[1, 3, 2, 7]), "too small");
    agrees(&pool, &wave(&[1, 3, 3, 3]));
}

/// A map of one pixel an image is a row of a matrix, but not for a layer that moves or pads.
#[test]
fn layers_over_single_pixels_may_have_strides_and_padding() {
    for (strides, pads) in [([1, 1], [0; 4]), ([2, 1], [0; 4]), ([3, 3], [1, 0, 0, 1])] {
        let graph = network("N 3 H W", |g, x| {
            let pooled = g.apply("pool", Op::GlobalPool(PoolKind::Average), &[x]);
            convolve(g, pooled, convolution(1, strides, pads))
        });
        agrees(&graph, &wave(&[4, 3, 5, 5]));
    }
}

#[test]
fn steps_that_leave_every_image_are_refused() {
    let far = usize::MAX >> 1;
    for (strides, pads) in [([1, far], [0; 4]), ([1, 1], [0, i64::MAX / 4, 0, 0])] {
        let graph = network("N 3 8 8", |g, x| convolve(g, x, convolution(1, strides, pads)));
        refused(&graph, &wave(&[1, 3, 8, 8]), "must not exceed");
    }
    let graph = network("N 3 8 8", |g, x| convolve(g, x, convolution(1, [50, 1000], [0; 4])));
    agrees(&graph, &wave(&[2, 3, 8, 8]));
}

/// Sizes that follow from the image are known when it comes, and may be too large then.
#[test]
fn maps_that_no_memory_holds_are_refused() {
    let far = [1 << 24; 4];
    for (channels, filters, kernel) in [(3, 5, 1), (20, 40, 3), (20, 1000, 1)] {
        let graph = network(&format!("N {channels} H W"), |g, x| {
            let weight = g.add_constant("w", wave(&[filters, channels, kernel, kernel]));
            g.apply("dense", of_groups(&far, 1), &[x, weight])
        });
        refused(&graph, &wave(&[1, channels, 8, 8]), "memory");
        let graph = network(&format!("N {channels} H W"), |g, x| {
            let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
            let y = g.apply("dense", of_groups(&[], 1), &[x, weight]);
            let taps = g.add_constant("taps", wave(&[filters, 1, kernel, kernel]));
            let y = g.apply("depthwise", of_groups(&far, filters), &[y, taps]);
            g.apply("mean", Op::GlobalPool(PoolKind::Average), &[y])
        });
        refused(&graph, &wave(&[1, channels, 8, 8]), "memory");
    }
}

/// A bias that differs from row to row is added to as many images as it has rows, and to no others.
#[test]
fn biases_by_rows_are_not_taken_for_biases_by_columns() {
    let graph = network("N 3", |g, x| {
        let (weight, bias) =
            (g.add_constant("w", wave(&[3, 4])), g.add_constant("b", wave(&[4, 1])));
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
        g.apply("fc", Op::Gemm(gemm), &[x, weight, bias])
    });
    agrees(&graph, &wave(&[4, 3]));
    refused(&graph, &wave(&[2, 3]), "broadcast");
}

fn of_groups(pads: &[i64], groups: usize) -> Op {
    let padding = Padding::Explicit(pads.to_vec());
    Op::Conv(Conv { padding, strides: vec![], dilations: vec![], groups })
}

/// Padding may move the map and keep its size.
#[test]
fn windows_of_one_element_may_look_aside() {
    let shifts = [[0, -1, 0, 1], [-1, 0, 1, 0], [1, -1, -1, 1], [2, 0, -2, 0], [0, 1, 0, 0]];
    for pads in shifts {
        for (channels, filters) in [(8, 8), (15, 3), (16, 1), (16, 8), (24, 17)] {
            let graph = network(&format!("N {channels} 5 6"), |g, x| {
                let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
                g.apply("y", of_groups(&pads, 1), &[x, weight])
            });
            agrees(&graph, &wave(&[2, channels, 5, 6]));
            // An activation before it, and a depthwise convolution before and after.
            let graph = network(&format!("N {channels} 5 6"), |g, x| {
                let taps = g.add_constant("taps", wave(&[channels, 1, 1, 1]));
                let x = g.apply("aside", of_groups(&pads, channels), &[x, taps]);
                let x = g.apply("sigmoid", Op::Unary(Unary::Sigmoid), &[x]);
                let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
                let y = g.apply("conv", of_groups(&pads, 1), &[x, weight]);
                let y = g.apply("relu", Op::Unary(Unary::Relu), &[y]);
                let taps = g.add_constant("more", wave(&[filters, 1, 3, 3]));
                g.apply("y", of_groups(&[1, 1, 1, 1], filters), &[y, taps])
            });
            agrees(&graph, &wave(&[2, channels, 5, 6]));
        }
    }
    // A map that is large enough for its lines to be computed a few at a time.
    for pads in shifts {
        let graph = network("N 16 60 64", |g, x| {
            let weight = g.add_constant("w", wave(&[40, 16, 1, 1]));
            let y = g.apply("conv", of_groups(&pads, 1), &[x, weight]);
            let taps = g.add_constant("taps", wave(&[40, 1, 3, 3]));
            g.apply("y", of_groups(&pads.map(|pad| pad + 1), 40), &[y, taps])
        });
        agrees(&graph, &wave(&[1, 16, 60, 64]));
    }
}

/// Whatever reads the network's input sees the images as they were given.
#[test]
fn images_of_single_pixels_may_feed_any_operator() {
    for (channels, filters) in [(1, 4), (3, 3), (8, 5), (15, 15), (16, 1), (17, 4), (4097, 2)] {
        let sizes = format!("N {channels} 1 1");
        let dense = |g: &mut Graph, x: ValueId| {
            let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
            g.apply("dense", of_groups(&[], 1), &[x, weight])
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
                let y = g.apply("second", of_groups(&[], 1), &[y, weight]);
                g.apply("add", Op::Binary(Binary::Add), &[y, x])
            },
            &|g, x| {
                let taps = g.add_constant("taps", wave(&[channels, 1, 3, 3]));
                g.apply("depthwise", of_groups(&[1, 1, 1, 1], channels), &[x, taps])
            },
            &|g, x| {
                let weight = g.add_constant("w", wave(&[filters, channels, 3, 3]));
                g.apply("wide", of_groups(&[1, 1, 1, 1], 1), &[x, weight])
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
                agrees(&network(&sizes, build), &wave(&[images, channels, 1, 1]));
            }
            // The batch of one that the file states is freed.
            let fixed = network(&format!("1 {channels} 1 1"), build);
            let found = run(&fixed, &wave(&[5, channels, 1, 1])).unwrap();
            let expected = run(&network(&sizes, build), &wave(&[5, channels, 1, 1])).unwrap();
            assert_eq!(found.as_f32().unwrap(), expected.as_f32().unwrap());
        }
    }
}

/// A context and the map that it belongs to, both given.
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
            let mut of = |name: &str, shape: &[usize]| g.add_constant(name, wave(shape));
            let weights = [
                of("w1", &[hidden, channels]),
                of("b1", &[hidden]),
                of("w2", &[4 * channels, hidden]),
                of("b2", &[4 * channels]),
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
            let found = Session::with_threads(&model, 2).unwrap().run(&inputs).unwrap();
            for (a, b) in found[0].as_f32().unwrap().iter().zip(expected[0].as_f32().unwrap()) {
                assert!((a - b).abs() <= 1e-4, "{a} and {b}");
            }
        }
    }
}

/// A map without pixels has some again once padding surrounds it.
#[test]
fn padding_fills_empty_maps() {
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
        let around = [2, 2, 2, 2];
        let layers: &[&Build] = &[
            &|g, x| {
                let weight = g.add_constant("w", wave(&[filters, channels, 3, 3]));
                let bias = g.add_constant("b", wave(&[filters]));
                g.apply("dense", of_groups(&around, 1), &[x, weight, bias])
            },
            &|g, x| {
                let weight = g.add_constant("w", wave(&[filters, channels, 1, 1]));
                let y = g.apply("pointwise", of_groups(&around, 1), &[x, weight]);
                let taps = g.add_constant("taps", wave(&[filters, 1, 3, 3]));
                g.apply("depthwise", of_groups(&around, filters), &[y, taps])
            },
            &|g, x| {
                let x = g.apply("sigmoid", Op::Unary(Unary::Sigmoid), &[x]);
                let taps = g.add_constant("taps", wave(&[channels, 1, 3, 3]));
                g.apply("depthwise", of_groups(&around, channels), &[x, taps])
            },
            &|g, x| g.apply("most", pool(PoolKind::Max, false), &[x]),
            &|g, x| g.apply("mean", pool(PoolKind::Average, false), &[x]),
            &|g, x| g.apply("sum", pool(PoolKind::Average, true), &[x]),
            // The mean of nothing is not a number.
            &|g, x| {
                let x = g.apply("relu", Op::Unary(Unary::Relu), &[x]);
                g.apply("context", Op::GlobalPool(PoolKind::Average), &[x])
            },
        ];
        for build in layers {
            let x = wave(&[2, channels, sizes[0], sizes[1]]);
            agrees(&network(&format!("N {channels} H W"), build), &x);
            agrees(&network(&format!("2 {channels} {} {}", sizes[0], sizes[1]), build), &x);
        }
    }
}

/// Maps without channels pass through whatever takes them.
#[test]
fn maps_without_channels_have_results() {
    let layers: &[&Build] = &[
        &|g, x| {
            let slope = g.add_constant("slope", wave(&[0, 1, 1]));
            g.apply("prelu", Op::PRelu, &[x, slope])
        },
        &|g, x| {
            let weight = g.add_constant("w", wave(&[5, 0, 1, 1]));
            let y = g.apply("dense", of_groups(&[], 1), &[x, weight]);
            let context = g.apply("context", Op::GlobalPool(PoolKind::Average), &[y]);
            g.apply("scaled", Op::Binary(Binary::Mul), &[y, context])
        },
        &|g, x| {
            let weight = g.add_constant("w", wave(&[0, 0, 3, 3]));
            g.apply("dense", of_groups(&[1, 1, 1, 1], 1), &[x, weight])
        },
        // A squeeze-and-excite block, and a dynamic ReLU that uses its context.
        &|g, x| {
            let context = g.apply("context", Op::GlobalPool(PoolKind::Average), &[x]);
            let down = g.add_constant("down", wave(&[2, 0, 1, 1]));
            let y = g.apply("fc1", of_groups(&[], 1), &[context, down]);
            let y = g.apply("relu", Op::Unary(Unary::Relu), &[y]);
            let up = g.add_constant("up", wave(&[0, 2, 1, 1]));
            let y = g.apply("fc2", of_groups(&[], 1), &[y, up]);
            let gate = g.apply("gate", Op::Unary(Unary::Sigmoid), &[y]);
            let scaled = g.apply("scaled", Op::Binary(Binary::Mul), &[x, gate]);
            let shifted = g.apply("shifted", Op::Binary(Binary::Add), &[scaled, gate]);
            g.apply("y", Op::Variadic(Variadic::Max), &[shifted, scaled])
        },
        &|g, x| {
            let all = wave(&[0]);
            let norm: Vec<ValueId> =
                ["s", "b", "m", "v"].map(|name| g.add_constant(name, all.clone())).to_vec();
            let op = Op::BatchNormalization { epsilon: 1e-5 };
            g.apply("norm", op, &[x, norm[0], norm[1], norm[2], norm[3]])
        },
    ];
    for build in layers {
        agrees(&network("N 0 4 3", build), &wave(&[2, 0, 4, 3]));
    }
}

/// A panic in a watching closure is the caller's affair; the session goes on.
#[test]
fn a_session_survives_whoever_watches_it() {
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
        for last in 1..3 {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut seen = 0;
                session.run_observed(&x, &mut |_, _| {
                    seen += 1;
                    assert!(seen < last, "enough has been seen");
                })
            }));
            assert!(panicked.is_err(), "{last}");
            let found = session.run(&x).unwrap();
            assert_eq!(found[0].as_f32().unwrap(), expected[0].as_f32().unwrap());
        }
    }
    // Whoever takes times watches the first steps image by image.
    let mut runner = Runner::new(Team::alone(), Isa::get());
    let inputs = [Input::Tensor(&x[0])];
    let mut run = |watch: &mut Watch| {
        let outputs = runner.run(model.plan(), &inputs, watch, |shapes| {
            let mut bindings = Bindings::new();
            let shapes = shapes.iter().map(|shape| (DType::F32, shape.as_slice()));
            bind_inputs(model.graph(), shapes, &mut bindings)?;
            Ok(bindings)
        })?;
        outputs.tensor(0)
    };
    let expected = run(&mut Watch::Nobody).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(&mut Watch::Times(&mut |_| panic!("enough has been seen")))
    }));
    assert!(panicked.is_err());
    let found = run(&mut Watch::Nobody).unwrap();
    assert_eq!(found.as_f32().unwrap(), expected.as_f32().unwrap());
}
