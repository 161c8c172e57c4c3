//! Once inputs of a shape have been seen, running allocates nothing; how much memory it has is known
//! beforehand.
#![cfg(feature = "onnx")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use dyrelu::{Model, Options, Session};

mod chain;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts what each thread asks for.
struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of the first and the second run over a batch.
fn runs(path: &Path, images: usize) -> [usize; 2] {
    let model = Model::open(path).unwrap();
    let mut session = Session::new(&model);
    let sizes = |port: &dyrelu::Port| -> Vec<usize> {
        let dims = &port.ty.as_ref().unwrap().dims;
        let size = |(axis, dim): (usize, &dyrelu::graph::Dim)| match axis {
            0 => images,
            _ => dim.as_size().unwrap_or(9),
        };
        dims.iter().enumerate().map(size).collect()
    };
    let shape = sizes(&model.inputs()[0]);
    let x = vec![0.5; shape.iter().product()];
    let first = session.run(&[dyrelu::Tensor::new(&shape, x.clone()).unwrap()]).unwrap();
    let mut y = vec![0.0; first[0].len()];
    let mut fresh = Session::new(&model);
    [(); 2].map(|()| {
        let before = ALLOCATIONS.get();
        fresh.run_into(&[(&shape, &x)], &mut [&mut y]).unwrap();
        ALLOCATIONS.get() - before
    })
}

#[test]
fn the_second_run_allocates_nothing() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = repository.join("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors");
    let styles = ["sigmoid-A-k2", "hard_sigmoid-B-k3", "sigmoid-C-k2"];
    let file =
        |style: &str| repository.join(format!("tests/dialects/chain-{style}-script-free.onnx"));
    for path in styles.map(file).iter().chain([&shipped]) {
        for images in [1, 3] {
            let [first, second] = runs(path, images);
            assert!(first > 0, "the allocator counts");
            assert_eq!(second, 0, "{} with {images} images", path.display());
        }
    }
}

#[test]
fn working_memory_is_known_before_the_run() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = "models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors";
    let model = Model::open(repository.join(shipped)).unwrap();
    let mut seen = Vec::new();
    for (images, threads) in [(1, 1), (1, 3), (8, 1), (8, 2), (3, 2)] {
        let shape = [images, 3, 128, 128];
        let told = model.arena_bytes(&[shape.to_vec()], threads).unwrap();
        let x = dyrelu::Tensor::new(&shape, vec![0.5f32; shape.iter().product()]).unwrap();
        let mut session = Session::with_threads(&model, threads).unwrap();
        session.run(&[x]).unwrap();
        assert_eq!(told, session.arena_bytes(), "{images} images on {threads} threads");
        seen.push(told);
    }
    assert!(seen[0] > 0 && seen[0] < seen[1] && seen[1] < seen[2], "{seen:?}");
    assert!(model.arena_bytes(&[vec![1, 3, 128, 128]], 0).is_err());
    assert!(model.arena_bytes(&[vec![1, 4, 128, 128]], 1).is_err());
}

/// Opening a network and its first run cost as much as it has nodes: twice as many, twice as much. A
/// pass that makes a list of all nodes for each node shows here.
#[test]
fn opening_allocates_in_proportion_to_the_nodes() {
    let shape = [1, 4, 3, 3];
    let allocations = |length: usize| {
        let graph = chain::chain(length);
        let before = ALLOCATIONS.get();
        let model = Model::from_graph(graph, Options::default()).unwrap();
        let found = model.report().dynamic_activations.len();
        assert_eq!(found, length);
        let x = dyrelu::Tensor::new(&shape, vec![0.5f32; 36]).unwrap();
        Session::new(&model).run(&[x]).unwrap();
        ALLOCATIONS.get() - before
    };
    let (few, more) = (allocations(20), allocations(40));
    assert!(10 * more <= 21 * few, "{few} for 20 activations, {more} for 40");
}
