//! Whole networks: the time from opening the file to the first result, the time of later runs, and images per second.
//!
//! `cargo bench --bench networks` measures the networks in `models/`, and every ONNX or native file in
//! the folder that `DYRELU_BENCH_MODELS` names. Each result is first checked against the reference.

use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dyrelu::{Model, Session, Tensor, reference};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let other_folder = std::env::var_os("DYRELU_BENCH_MODELS").map(PathBuf::from);
    let mut files = Vec::new();
    for folder in [Some(folder), other_folder].into_iter().flatten() {
        let entries = std::fs::read_dir(&folder).expect("the folder can be read");
        files.extend(entries.map(|entry| entry.expect("the folder can be read").path()));
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "onnx" || e == "safetensors"));
    files.sort();
    files
}

/// A synthetic input, of 224 by 224 pixels if the network leaves the size free.
fn image(model: &Model, batch: usize) -> Tensor {
    let ty = model.inputs()[0].ty.as_ref().expect("inputs have types");
    let size = |(axis, dim): (usize, &dyrelu::graph::Dim)| match axis {
        0 => batch,
        _ => dim.as_size().unwrap_or(224),
    };
    let shape: Vec<usize> = ty.dims.iter().enumerate().map(size).collect();
    let count = shape.iter().product();
    let data = (0..count).map(|i: usize| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
    Tensor::new(&shape, data).expect("the number of elements is that of the shape")
}

fn check(model: &Model, x: &Tensor, output: &Tensor) {
    let expected =
        reference::run(model.graph(), std::slice::from_ref(x)).expect("the reference runs");
    let (output, expected) = (output.as_f32().expect("f32"), expected[0].as_f32().expect("f32"));
    let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(output.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-4 * scale));
}

fn networks(c: &mut Criterion) {
    for file in files() {
        let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let mut group = c.benchmark_group(&name);
        group.sample_size(20);
        let model = Model::open(&file).expect("the network can be opened");
        for (threads, batch) in [(1, 1), (2, 1), (1, 8), (2, 8)] {
            let x = image(&model, batch);
            let mut session = Session::with_threads(&model, threads).expect("threads start");
            let outputs = session.run(std::slice::from_ref(&x)).expect("the network runs");
            if batch == 1 {
                check(&model, &x, &outputs[0]);
            }
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(format!("{threads} threads, batch {batch}"), |b| {
                b.iter(|| session.run(std::slice::from_ref(&x)).expect("the network runs"));
            });
        }
        let x = image(&model, 1);
        group.throughput(Throughput::Elements(1));
        group.bench_function("from file to first result", |b| {
            b.iter(|| {
                let model = Model::open(&file).expect("the network can be opened");
                let mut session = Session::new(&model);
                session.run(std::slice::from_ref(&x)).expect("the network runs")
            });
        });
    }
}

criterion_group!(benches, networks);
criterion_main!(benches);
