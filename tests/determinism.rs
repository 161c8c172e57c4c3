//! Results are the same to the last bit on any number of threads, and for an image alone or
//! anywhere in a batch.
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

/// One of the images of a batch.
fn image(batch: &Tensor, i: usize) -> Tensor {
    let mut shape = batch.shape().to_vec();
    let len = batch.len() / shape[0];
    shape[0] = 1;
    Tensor::new(&shape, batch.as_f32().unwrap()[i * len..][..len].to_vec()).unwrap()
}

fn bits(outputs: &[Tensor]) -> Vec<Vec<u32>> {
    let of = |t: &Tensor| t.as_f32().unwrap().iter().map(|x| x.to_bits()).collect();
    outputs.iter().map(of).collect()
}

fn check(name: &str, model: &Arc<Model>, shape: &[usize]) {
    let batch = wave(&[&[IMAGES], shape].concat());
    let mut alone = Session::new(model);
    let each: Vec<_> = (0..IMAGES).map(|i| alone.run(&[image(&batch, i)]).unwrap()).collect();
    for threads in [1, 2, 3, 7] {
        let mut session = Session::with_threads(model, threads).unwrap();
        for i in [0, IMAGES - 1] {
            let one = session.run(&[image(&batch, i)]).unwrap();
            assert_eq!(bits(&one), bits(&each[i]), "{name}: image {i} on {threads} threads");
        }
        let together = session.run(std::slice::from_ref(&batch)).unwrap();
        for (output, whole) in together.iter().enumerate() {
            for (i, one) in each.iter().enumerate() {
                let (whole, one) = (image(whole, i), &one[output]);
                let place = format!("{name}: image {i} of {IMAGES} on {threads} threads");
                assert_eq!(bits(&[whole]), bits(std::slice::from_ref(one)), "{place}");
            }
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn small_networks_of_every_style() {
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
fn the_network_that_ships() {
    let path = repository().join("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors");
    check("shipped", &Model::open(path).unwrap(), &[3, 128, 128]);
}
