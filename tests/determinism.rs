//! The result of an image has the same bits on any number of threads, alone and at any place in a
//! batch.
#![cfg(feature = "onnx")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyrelu::{Model, Session, Tensor};

const IMAGES: usize = 5;

fn wave(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * 0.371).sin() * 2.0).collect();
    Tensor::new(shape, data).unwrap()
}

/// Image `i` of a batch.
fn image(batch: &Tensor, i: usize) -> Tensor {
    let mut shape = batch.shape().to_vec();
    let len = batch.len() / shape[0];
    shape[0] = 1;
    Tensor::new(&shape, batch.as_f32().unwrap()[i * len..][..len].to_vec()).unwrap()
}

fn bits(outputs: &[Tensor]) -> Vec<Vec<u32>> {
    let bits = |t: &Tensor| t.as_f32().unwrap().iter().map(|x| x.to_bits()).collect();
    outputs.iter().map(bits).collect()
}

/// Asserts that all runs give each image the bits of a run of this image alone on one thread.
fn check(name: &str, model: &Arc<Model>, shape: &[usize]) {
    let batch = wave(&[&[IMAGES], shape].concat());
    let mut session = Session::new(model);
    let expected: Vec<_> = (0..IMAGES).map(|i| session.run(&[image(&batch, i)]).unwrap()).collect();
    for threads in [1, 2, 3, 7] {
        let mut session = Session::with_threads(model, threads).unwrap();
        for i in [0, IMAGES - 1] {
            let alone = session.run(&[image(&batch, i)]).unwrap();
            assert_eq!(bits(&alone), bits(&expected[i]), "{name}: image {i} on {threads} threads");
        }
        let outputs = session.run(std::slice::from_ref(&batch)).unwrap();
        for (number, output) in outputs.iter().enumerate() {
            for (i, expected) in expected.iter().enumerate() {
                let expected = bits(std::slice::from_ref(&expected[number]));
                let place = format!("{name}: image {i} of {IMAGES} on {threads} threads");
                assert_eq!(bits(&[image(output, i)]), expected, "{place}");
            }
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_activation_style_is_deterministic() {
    let files = std::fs::read_dir(repository().join("tests/dialects")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let is_free = |path: &PathBuf| path.to_string_lossy().ends_with("script-free.onnx");
    let mut count = 0;
    for path in files.into_iter().filter(is_free) {
        let model = Model::open(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let sizes = &model.inputs()[0].ty.as_ref().unwrap().dims[1..];
        let shape: Vec<_> = sizes.iter().map(|dim| dim.as_size().unwrap_or(9)).collect();
        check(&name, &model, &shape);
        count += 1;
    }
    assert!(count >= 20, "only {count} networks");
}

#[test]
fn a_shipped_network_is_deterministic() {
    let path = repository().join("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors");
    check("shipped", &Model::open(path).unwrap(), &[3, 128, 128]);
}
