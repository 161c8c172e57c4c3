//! A session allocates nothing in a run whose shapes it has seen before, and the size of its working
//! memory is known before the first run.
#![cfg(feature = "onnx")]

use std::alloc::{GlobalAlloc, System};
use std::cell::Cell;
use std::path::Path;

use dyrelu::{InputView, Layout, Model, Options, RunOptions, Session};

mod chain;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts the allocations of each thread.
struct Counting;

// SAFETY: both functions forward to the system's allocator, which satisfies the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller guarantees that the layout has a size other than 0.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: std::alloc::Layout) {
        // SAFETY: the caller guarantees that `alloc` returned the block for this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The numbers of allocations in the first and the second run of a session.
fn allocations_of_two_runs(path: &Path, images: usize) -> [usize; 2] {
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
    let outputs = session.run(&[dyrelu::Tensor::new(&shape, x.clone()).unwrap()]).unwrap();
    let mut y = vec![0.0; outputs[0].len()];
    let mut session = Session::new(&model);
    [(); 2].map(|()| {
        let before = ALLOCATIONS.get();
        session.run_into(&[(&shape, &x)], &mut [&mut y]).unwrap();
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
            let [first, second] = allocations_of_two_runs(path, images);
            assert!(first > 0, "the allocator does not count");
            assert_eq!(second, 0, "{} with {images} images", path.display());
        }
    }
}

#[test]
fn the_second_run_on_bytes_allocates_nothing() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = repository.join("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors");
    let mut session = Session::new(&Model::open(path).unwrap());
    let (bytes, mut scores) = (vec![99; 3 * 128 * 128 * 3], [0.0; 30]);
    let (mean, std, options) = ([0.5; 3], [0.5; 3], RunOptions::default());
    let view = InputView::u8([3, 128, 128, 3], &bytes, Layout::Nhwc).normalised(&mean, &std);
    let allocations = [(); 2].map(|()| {
        let before = ALLOCATIONS.get();
        session.run_views(&[view], &mut [&mut scores], &options).unwrap();
        ALLOCATIONS.get() - before
    });
    assert!(allocations[0] > 0, "the allocator does not count");
    assert_eq!(allocations[1], 0);
}

#[test]
fn working_memory_is_known_before_the_run() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = "models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors";
    let model = Model::open(repository.join(shipped)).unwrap();
    let mut sizes = Vec::new();
    for (images, threads) in [(1, 1), (1, 3), (8, 1), (8, 2), (3, 2)] {
        let shape = [images, 3, 128, 128];
        let predicted = model.arena_bytes(&[shape.to_vec()], threads).unwrap();
        let x = dyrelu::Tensor::new(&shape, vec![0.5f32; shape.iter().product()]).unwrap();
        let mut session = Session::with_threads(&model, threads).unwrap();
        session.run(&[x]).unwrap();
        assert_eq!(predicted, session.arena_bytes(), "{images} images on {threads} threads");
        sizes.push(predicted);
    }
    assert!(sizes[0] > 0 && sizes[0] < sizes[1] && sizes[1] < sizes[2], "{sizes:?}");
    assert!(model.arena_bytes(&[vec![1, 3, 128, 128]], 0).is_err());
    assert!(model.arena_bytes(&[vec![1, 4, 128, 128]], 1).is_err());
}

/// Opening a network and its first run allocate in proportion to the number of nodes. A pass that
/// lists all nodes for each node fails this test.
#[test]
fn opening_allocates_in_proportion_to_the_nodes() {
    let shape = [1, 4, 3, 3];
    let allocations = |length: usize| {
        let graph = chain::chain(length);
        let before = ALLOCATIONS.get();
        let model = Model::from_graph(graph, Options::default()).unwrap();
        assert_eq!(model.report().dynamic_activations.len(), length);
        let x = dyrelu::Tensor::new(&shape, vec![0.5f32; 36]).unwrap();
        Session::new(&model).run(&[x]).unwrap();
        ALLOCATIONS.get() - before
    };
    let (short, long) = (allocations(20), allocations(40));
    assert!(10 * long <= 21 * short, "{short} for 20 activations, {long} for 40");
}
