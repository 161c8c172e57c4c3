//! Dynamic ReLUs in every style of published code, as PyTorch's exporters and common optimisers
//! write them, are recognised and give PyTorch's output.
//!
//! `tools/dyrelu_tools/goldens.py` writes the files.
#![cfg(all(feature = "onnx", feature = "write"))]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyrelu::compile::{self, DynamicActivation};
use dyrelu::format::Access;
use dyrelu::format::safetensors::{WeightStorage, write};
use dyrelu::graph::Graph;
use dyrelu::{Model, Options, Session, Tensor, format, reference};
use serde::Deserialize;

/// The largest accepted error, relative to the largest magnitude.
const TOLERANCE: f32 = 1e-4;

/// An entry of `cases.json`: a file, and what the compiler is expected to report for it.
#[derive(Deserialize)]
struct Case {
    file: String,
    style: String,
    /// The batch of the goldens to compare with.
    batch: usize,
    found: Vec<Expected>,
    unrecognised: usize,
}

#[derive(Deserialize, PartialEq, Debug)]
struct Expected {
    form: String,
    k: usize,
    channels: usize,
    hidden: Option<usize>,
    squash: Option<String>,
}

impl From<&DynamicActivation> for Expected {
    fn from(a: &DynamicActivation) -> Self {
        let squash = a.squash.map(|s| serde_json::to_value(s).unwrap().as_str().unwrap().into());
        Expected { form: a.form.into(), k: a.k, channels: a.channels, hidden: a.hidden, squash }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects")
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Inputs of the networks, and PyTorch's outputs.
struct Goldens(Vec<u8>);

impl Goldens {
    fn open() -> Self {
        Goldens(std::fs::read(folder().join("goldens.safetensors")).unwrap())
    }

    fn tensor(&self, name: &str) -> Tensor {
        let file = safetensors::SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Tensor::new(view.shape(), values.collect::<Vec<f32>>()).unwrap()
    }
}

/// The largest difference, divided by the largest magnitude.
fn error(output: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(output.shape(), expected.shape());
    let (output, expected) = (output.as_f32().unwrap(), expected.as_f32().unwrap());
    let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let differences = output.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |m, d| if d.is_nan() || d > m { d } else { m }) / scale
}

/// Runs a case. Returns one sentence per failure.
fn check(case: &Case, goldens: &Goldens) -> Vec<String> {
    let mut failures = Vec::new();
    let graph: Graph = match format::open(folder().join(&case.file)) {
        Ok(graph) => graph,
        Err(e) => return vec![e.to_string()],
    };
    let input = goldens.tensor(&format!("{}.input.{}", case.style, case.batch));
    let output = goldens.tensor(&format!("{}.output.{}", case.style, case.batch));
    let inputs = [input];
    let mut compare = |executor: &str, result: dyrelu::Result<Vec<Tensor>>| match result {
        Ok(outputs) => {
            let e = error(&outputs[0], &output);
            if e.is_nan() || e > TOLERANCE {
                failures.push(format!("{executor}: error {e:.1e}"));
            }
        }
        Err(e) => failures.push(format!("{executor}: {e}")),
    };
    compare("reference", reference::run(&graph, &inputs));
    let model = match Model::from_graph(graph, Options::default()) {
        Ok(model) => model,
        Err(e) => return vec![e.to_string()],
    };
    compare("engine", Session::new(&model).run(&inputs));
    compare("reference on the optimised graph", reference::run(model.graph(), &inputs));

    let report = model.report();
    let found: Vec<Expected> = report.dynamic_activations.iter().map(Expected::from).collect();
    if found != case.found || report.unrecognised.len() != case.unrecognised {
        failures.push(format!(
            "expected {:?} and {} unrecognised, found {found:?} and {:?}",
            case.found, case.unrecognised, report.unrecognised
        ));
    }
    failures
}

#[test]
fn every_style_is_recognised_and_equals_pytorch() {
    let (cases, goldens) = (cases(), Goldens::open());
    assert!(cases.len() > 200, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        failures.extend(check(case, &goldens).into_iter().map(|f| format!("{}: {f}", case.file)));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// A native file keeps the recognised activations, and gives results with the same bits, with and
/// without packed weights.
#[test]
fn native_files_keep_activations_and_bits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.safetensors");
    let goldens = Goldens::open();
    for case in cases().iter().filter(|c| c.file.ends_with("script-free.onnx")) {
        let model = Model::open(folder().join(&case.file)).unwrap();
        let inputs = [goldens.tensor(&format!("{}.input.2", case.style))];
        let run = |model: &Arc<Model>| Session::new(model).run(&inputs).unwrap();
        for packed in [false, true] {
            let unrecognised = &model.report().unrecognised;
            let prepared = packed.then(|| compile::prepare(model.graph(), unrecognised).unwrap());
            write(model.graph(), prepared, &path, WeightStorage::F32).unwrap();
            let opened = format::open_with(&path, None, Access::read()).unwrap();
            assert_eq!(opened.prepared.is_some(), packed);
            let native = Model::open(&path).unwrap();
            let activations = &native.report().dynamic_activations;
            assert_eq!(*activations, model.report().dynamic_activations, "{}", case.file);
            assert_eq!(run(&native)[0].bytes(), run(&model)[0].bytes(), "{}", case.file);
        }
    }
}

/// Activations with constant coefficients are reported too, from ONNX and from native files.
#[test]
fn static_activations_are_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.safetensors");
    let mut checked = 0;
    for (style, form, k) in [
        ("maxout-k2", "Maxout", 2),
        ("maxout-k3", "Maxout", 3),
        ("frelu", "FReLU", 2),
        ("prelu", "PReLU", 2),
        ("prelu-steep", "PReLU", 2),
        ("leaky-relu", "LeakyReLU", 2),
    ] {
        for case in cases().iter().filter(|c| c.style == style) {
            let model = Model::open(folder().join(&case.file)).unwrap();
            let reported = &model.report().static_activations;
            let forms: Vec<_> = reported.iter().map(|a| (a.form, a.k, a.channels)).collect();
            assert_eq!(forms, [(form, k, 8)], "{}", case.file);
            write(model.graph(), None, &path, WeightStorage::F32).unwrap();
            assert_eq!(Model::open(&path).unwrap().report().static_activations, *reported);
            checked += 1;
        }
    }
    assert!(checked >= 20, "only {checked} files");
}

#[test]
fn results_do_not_depend_on_threads_or_batch() {
    let goldens = Goldens::open();
    for case in cases().iter().filter(|c| c.file.ends_with("script-free.onnx")) {
        let model = Model::open(folder().join(&case.file)).unwrap();
        let batch = goldens.tensor(&format!("{}.input.2", case.style));
        let run = |threads, x: &Tensor| {
            let mut session = Session::with_threads(&model, threads).unwrap();
            session.run(std::slice::from_ref(x)).unwrap().remove(0)
        };
        let together = run(1, &batch);
        for threads in [2, 3, 7] {
            assert_eq!(run(threads, &batch).bytes(), together.bytes(), "{} threads", threads);
        }
        let mut shape = batch.shape().to_vec();
        let half = batch.len() / 2;
        shape[0] = 1;
        let alone = Tensor::new(&shape, batch.as_f32().unwrap()[half..].to_vec()).unwrap();
        let second = &together.bytes()[together.bytes().len() / 2..];
        assert_eq!(run(1, &alone).bytes(), second, "{}", case.file);
    }
}

/// A batch that an exporter fixed to 1 is free in the opened model and in a native file of it.
#[test]
fn a_fixed_batch_is_freed_and_gives_the_bits_of_single_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.safetensors");
    let goldens = Goldens::open();
    for case in cases().iter().filter(|c| c.file.ends_with("-fixed.onnx")) {
        let model = Model::open(folder().join(&case.file)).unwrap();
        assert_eq!(model.report().fixed_batch, None, "{}", case.file);
        let batch = three_images(&goldens, &case.style);
        let together = session_run(&model, &batch);
        let size = together.bytes().len() / 3;
        for (i, bytes) in together.bytes().chunks_exact(size).enumerate() {
            let alone = session_run(&model, &image(&batch, i));
            assert_eq!(alone.bytes(), bytes, "{}: image {i}", case.file);
        }
        let expected = goldens.tensor(&format!("{}.output.2", case.style));
        let pair = goldens.tensor(&format!("{}.input.2", case.style));
        assert!(error(&session_run(&model, &pair), &expected) <= TOLERANCE, "{}", case.file);

        write(model.graph(), None, &path, WeightStorage::F32).unwrap();
        let native = Model::open(&path).unwrap();
        assert_eq!(session_run(&native, &batch).bytes(), together.bytes(), "{}", case.file);
    }
}

/// The input of two images and the input of one image, concatenated.
fn three_images(goldens: &Goldens, style: &str) -> Tensor {
    let parts = [2, 1].map(|n| goldens.tensor(&format!("{style}.input.{n}")));
    let data = parts.iter().flat_map(|t| t.as_f32().unwrap().to_vec()).collect::<Vec<f32>>();
    let shape = [&[3], &parts[0].shape()[1..]].concat();
    Tensor::new(&shape, data).unwrap()
}

/// Image `i` of a batch.
fn image(batch: &Tensor, i: usize) -> Tensor {
    let shape = [&[1], &batch.shape()[1..]].concat();
    let size = batch.len() / batch.shape()[0];
    Tensor::new(&shape, batch.as_f32().unwrap()[i * size..][..size].to_vec()).unwrap()
}

fn session_run(model: &Arc<Model>, x: &Tensor) -> Tensor {
    Session::new(model).run(std::slice::from_ref(x)).unwrap().remove(0)
}
