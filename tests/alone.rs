//! A dynamic ReLU that is a whole network: it is computed where the caller has its input, `[N,C,H,W]`.

use std::sync::Arc;

use chain::chain;
use dyrelu::{Model, Options, Session, Tensor, reference};

mod chain;

fn wave(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.31).sin() * 3.0).collect()).unwrap()
}

fn kernels(model: &Model) -> Vec<&str> {
    model.plan().steps().iter().map(|step| step.kind.name()).collect()
}

fn alone() -> Arc<Model> {
    Model::from_graph(chain(1), Options::default()).unwrap()
}

#[test]
fn it_reads_and_writes_the_layout_of_the_caller() {
    let model = alone();
    assert_eq!(model.report().dynamic_activations.len(), 1);
    let names = kernels(&model);
    assert!(names.contains(&"plane means") && names.contains(&"plane max-affine"), "{names:?}");
    let two = Model::from_graph(chain(2), Options::default()).unwrap();
    assert!(!kernels(&two).contains(&"plane max-affine"), "the first result is read again");
}

#[test]
fn it_equals_the_reference_for_any_sizes_and_threads() {
    let model = alone();
    for shape in [[1, 4, 1, 1], [2, 4, 3, 5], [3, 4, 16, 16], [1, 4, 1, 33], [0, 4, 2, 2]] {
        let x = wave(&shape);
        let inputs = std::slice::from_ref(&x);
        let expected = reference::run(model.graph(), inputs).unwrap().remove(0);
        let first = Session::new(&model).run(inputs).unwrap().remove(0);
        assert_eq!(first.shape(), shape);
        let pairs = first.as_f32().unwrap().iter().zip(expected.as_f32().unwrap());
        for (found, expected) in pairs {
            // The weights of the second layer are stored in 16 bits.
            let close = (found - expected).abs() <= 1e-4 * expected.abs().max(1.0);
            assert!(close, "{found} is not {expected}: {shape:?}");
        }
        for threads in [2, 5] {
            let mut session = Session::with_threads(&model, threads).unwrap();
            let again = session.run(inputs).unwrap().remove(0);
            assert_eq!(again.bytes(), first.bytes(), "{shape:?} on {threads} threads");
        }
        assert_eq!(x.bytes(), wave(&shape).bytes(), "the input of {shape:?} was changed");
    }
}

#[test]
fn an_image_has_the_same_bits_alone_and_in_a_batch() {
    let model = alone();
    let batch = wave(&[3, 4, 5, 7]);
    let mut session = Session::new(&model);
    let together = session.run(std::slice::from_ref(&batch)).unwrap().remove(0);
    let images = batch.as_f32().unwrap().chunks_exact(4 * 5 * 7);
    for (image, expected) in images.zip(together.as_f32().unwrap().chunks_exact(4 * 5 * 7)) {
        let x = Tensor::new(&[1, 4, 5, 7], image.to_vec()).unwrap();
        let y = session.run(&[x]).unwrap().remove(0);
        assert_eq!(y.as_f32().unwrap(), expected);
    }
}

#[test]
fn it_writes_to_the_buffer_of_the_caller() {
    let model = alone();
    let x = wave(&[2, 4, 5, 7]);
    let expected = Session::new(&model).run(std::slice::from_ref(&x)).unwrap().remove(0);
    let mut y = vec![0.0; x.len()];
    let mut session = Session::new(&model);
    session.run_into(&[(x.shape(), x.as_f32().unwrap())], &mut [&mut y]).unwrap();
    assert_eq!(y, expected.as_f32().unwrap());
}
