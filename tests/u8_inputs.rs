//! Images of bytes give the bits of the same images in f32.

use std::sync::Arc;

use dyrelu::graph::{Dim, Graph, Op, TensorType};
use dyrelu::{DType, ErrorKind, InputView, Layout, Model, Options, RunOptions, Session, Tensor};

mod chain;

/// A network of four channels.
fn model() -> Arc<Model> {
    Model::from_graph(chain::chain(3), Options::default()).unwrap()
}

const SIDE: usize = 7;
const IMAGE: usize = 4 * SIDE * SIDE;

fn levels(images: usize) -> Vec<u8> {
    (0..images * IMAGE).map(|i| (i * 97 % 251) as u8).collect()
}

/// The bytes in the other order of axes.
fn to_nhwc(nchw: &[u8]) -> Vec<u8> {
    let pixels = SIDE * SIDE;
    let image =
        |image: &[u8]| -> Vec<u8> { (0..IMAGE).map(|i| image[i % 4 * pixels + i / 4]).collect() };
    nchw.chunks_exact(IMAGE).flat_map(image).collect()
}

fn run(model: &Arc<Model>, threads: usize, view: InputView, elements: usize) -> (Vec<f32>, usize) {
    let mut session = Session::with_threads(model, threads).unwrap();
    let mut out = vec![f32::NAN; elements];
    for _ in 0..2 {
        session.run_views(&[view], &mut [&mut out], &RunOptions::default()).unwrap();
    }
    (out, session.arena_bytes())
}

#[test]
fn bytes_in_either_layout_give_the_bits_of_converted_floats() {
    let model = model();
    let (mean, std) = ([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]);
    for (images, threads) in [(1, 1), (3, 1), (5, 2), (8, 2)] {
        let (nchw, elements) = (levels(images), images * IMAGE);
        let nhwc = to_nhwc(&nchw);
        let shape = [images, 4, SIDE, SIDE];
        let plain: Vec<f32> = nchw.iter().map(|&level| f32::from(level)).collect();
        let normalised: Vec<f32> = nchw
            .iter()
            .enumerate()
            .map(|(i, &level)| {
                let channel = i / (SIDE * SIDE) % 4;
                (f32::from(level) / 255.0 - mean[channel]) / std[channel]
            })
            .collect();
        let views = [
            InputView::u8(shape, &nchw, Layout::Nchw),
            InputView::u8([images, SIDE, SIDE, 4], &nhwc, Layout::Nhwc),
        ];
        for view in views {
            for (view, floats) in [(view, &plain), (view.normalised(&mean, &std), &normalised)] {
                let (expected, _) = run(&model, threads, InputView::f32(&shape, floats), elements);
                let (found, _) = run(&model, threads, view, elements);
                assert_eq!(found, expected, "{images} images on {threads} threads, {view:?}");
            }
        }
    }
}

#[test]
fn a_batch_that_runs_image_by_image_is_converted_so() {
    let path = "models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors";
    let model = Model::open(path).unwrap();
    let (images, image) = (6, 3 * 128 * 128);
    let bytes: Vec<u8> = (0..images * image).map(|i| (i * 31 % 256) as u8).collect();
    let floats: Vec<f32> = bytes.iter().map(|&level| f32::from(level)).collect();
    let shape = [images, 3, 128, 128];
    let view = InputView::f32(&shape, &floats);
    let (expected, arena) = run(&model, 1, view, 10 * images);
    let view = InputView::u8(shape, &bytes, Layout::Nchw);
    let (found, with_image) = run(&model, 1, view, 10 * images);
    assert_eq!(found, expected);
    assert_eq!(with_image - arena, 4 * image, "more than one image is converted at a time");
}

/// A network that returns its input, and its mean.
fn returns_its_input(dtype: DType) -> Arc<Model> {
    let mut graph = Graph::new("identity");
    let dims = vec![Dim::symbol("N"), 4.into(), 7.into(), 7.into()];
    let x = graph.add_input("x", TensorType { dtype, dims });
    let y = graph.apply("y", Op::Identity, &[x]);
    graph.set_outputs(vec![y]);
    Model::from_graph(graph, Options::default()).unwrap()
}

#[test]
fn an_input_that_is_an_output_is_converted() {
    let (model, bytes) = (returns_its_input(DType::F32), levels(2));
    let view = InputView::u8([2, 4, SIDE, SIDE], &bytes, Layout::Nchw);
    let floats: Vec<f32> = bytes.iter().map(|&level| f32::from(level)).collect();
    assert_eq!(run(&model, 1, view, 2 * IMAGE).0, floats);
}

#[test]
fn what_does_not_fit_the_network_is_refused() {
    let bytes = levels(1);
    let mut out = vec![0.0; IMAGE];
    let mut refused = |model: &Arc<Model>, view: InputView| {
        let mut session = Session::new(model);
        let e = session.run_views(&[view], &mut [&mut out], &RunOptions::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Input);
        e.to_string()
    };
    let view = InputView::u8([1, 4, SIDE, SIDE], &bytes, Layout::Nchw);
    let half = refused(&returns_its_input(DType::F16), view);
    assert!(half.contains("f16") && half.contains("tensor"), "{half}");
    let model = model();
    // The axes are those of NHWC.
    refused(&model, InputView::u8([1, 4, SIDE, SIDE], &bytes, Layout::Nhwc));
    refused(&model, InputView::u8([2, 4, SIDE, SIDE], &bytes, Layout::Nchw));
    refused(&model, view.normalised(&[0.5; 3], &[0.5; 3]));
    let tensor = Tensor::new(&[1, 4, SIDE, SIDE], bytes.clone()).unwrap();
    refused(&model, InputView::tensor(&tensor));
}
