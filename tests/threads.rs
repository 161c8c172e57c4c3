//! Runs end, and give the same bits, on any number of threads: with more threads than processors, in
//! a pool that sessions share with other work, and from threads of that pool.
//!
//! `DYRELU_THREAD_RUNS=1000000 cargo test --release --test threads` makes about a million runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use dyrelu::graph::{Conv, Dim, Graph, Op, Padding, TensorType, Unary};
use dyrelu::{DType, Model, Options, Session, Tensor};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A run that takes longer than this counts as a hang.
const LIMIT: Duration = Duration::from_secs(10);

/// The number of runs of all tests together. Each test makes a fixed share of them.
fn total_runs() -> usize {
    let variable = std::env::var("DYRELU_THREAD_RUNS");
    variable.map_or(1500, |runs| runs.parse().expect("a number of runs"))
}

static RUNS: AtomicUsize = AtomicUsize::new(0);

/// Starts a thread that aborts the process if no run of any test ends within [`LIMIT`]. A thread that
/// hangs cannot be stopped otherwise.
fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        std::thread::spawn(|| {
            let (mut last, mut since) = (0, Instant::now());
            loop {
                std::thread::sleep(Duration::from_millis(100));
                let runs = RUNS.load(Ordering::Relaxed);
                if runs != last {
                    (last, since) = (runs, Instant::now());
                }
                if since.elapsed() > LIMIT {
                    eprintln!("no run has ended for {LIMIT:?}, after {runs} runs");
                    std::process::abort();
                }
            }
        });
    });
}

fn wave(shape: &[usize], frequency: f32) -> Tensor {
    let count = shape.iter().product();
    let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
    Tensor::new(shape, data).unwrap()
}

/// A network whose convolutions are all large enough to be divided among threads.
fn network() -> Arc<Model> {
    let mut graph = Graph::new("threads");
    let dims = vec![Dim::symbol("N"), 16.into(), 24.into(), 24.into()];
    let mut x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
    for (i, (channels, kernel, groups)) in
        [(48, 1, 1), (48, 5, 48), (24, 1, 1), (24, 3, 1), (40, 1, 1)].into_iter().enumerate()
    {
        let inputs = [16, 48, 48, 24, 24][i] / groups;
        let weight = wave(&[channels, inputs, kernel, kernel], 0.7);
        let weight = graph.add_constant(format!("w{i}"), weight);
        let pad = kernel as i64 / 2;
        let conv = Op::Conv(Conv {
            padding: Padding::Explicit(vec![pad; 4]),
            strides: vec![1; 2],
            dilations: Vec::new(),
            groups,
        });
        x = graph.apply(format!("conv{i}"), conv, &[x, weight]);
        x = graph.apply(format!("relu{i}"), Op::Unary(Unary::Relu), &[x]);
    }
    graph.set_outputs(vec![x]);
    Model::from_graph(graph, Options::default()).unwrap()
}

/// A network, inputs of one and of three images, and the bits of their results on one thread.
struct Case {
    model: Arc<Model>,
    inputs: [Tensor; 2],
    bits: [Vec<u32>; 2],
}

fn bits(outputs: &[Tensor]) -> Vec<u32> {
    outputs.iter().flat_map(|t| t.as_f32().unwrap()).map(|x| x.to_bits()).collect()
}

impl Case {
    fn new() -> Self {
        watch();
        let model = network();
        let inputs = [1, 3].map(|images| wave(&[images, 16, 24, 24], 0.37));
        let mut session = Session::new(&model);
        let bits = inputs.each_ref().map(|x| bits(&session.run(std::slice::from_ref(x)).unwrap()));
        Case { model, inputs, bits }
    }

    /// Makes one run and checks its bits. Every fifth run is on three images, the others on one.
    fn run(&self, session: &mut Session, number: usize) {
        let input = usize::from(number % 5 == 4);
        let y = session.run(std::slice::from_ref(&self.inputs[input])).unwrap();
        assert!(bits(&y) == self.bits[input], "run {number} differs");
        RUNS.fetch_add(1, Ordering::Relaxed);
    }
}

fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

#[test]
fn a_session_runs_on_threads_of_its_own() {
    let case = Case::new();
    let counts = [1, 2, 3, 4, 6, 8, 16, 64];
    for threads in counts {
        let runs = total_runs() * 6 / 10 / counts.len();
        for first in (0..runs).step_by(100) {
            let mut session = Session::with_threads(&case.model, threads).unwrap();
            (first..runs.min(first + 100)).for_each(|i| case.run(&mut session, i));
        }
    }
}

/// A timed run gives the same bits, both where all threads share an image and where each thread has
/// its own image. The network has steps with a workspace.
#[test]
fn timed_runs_give_the_same_bits() {
    let file = "models/mobilenetv2-x0.35-dyrelu-b-imagenette.safetensors";
    let model = Model::open(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    for threads in [1, 2, 3] {
        let mut session = Session::with_threads(&model, threads).unwrap();
        for images in [1, 2, 4] {
            let x = [wave(&[images, 3, 128, 128], 0.37)];
            let expected = bits(&session.run(&x).unwrap());
            let (y, times) = session.run_timed(&x, &dyrelu::RunOptions::default()).unwrap();
            assert!(bits(&y) == expected, "{images} images on {threads} threads");
            assert!(!times.is_empty());
        }
    }
}

#[test]
fn eight_sessions_share_a_pool_with_other_work() {
    let case = Case::new();
    for threads in [2, 5] {
        let (pool, done) = (pool(threads), Arc::new(AtomicBool::new(false)));
        let other_work = std::thread::spawn({
            let (pool, done) = (pool.clone(), done.clone());
            move || {
                while !done.load(Ordering::Relaxed) {
                    pool.spawn(|| std::thread::sleep(Duration::from_millis(3)));
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut session = Session::with_pool(&case.model, pool.clone());
                    (0..total_runs() / 80).for_each(|i| case.run(&mut session, i));
                });
            }
        });
        done.store(true, Ordering::Relaxed);
        other_work.join().unwrap();
    }
}

#[test]
fn sessions_run_on_threads_of_their_own_pool() {
    let case = Case::new();
    for threads in [1, 3] {
        let pool = pool(threads);
        pool.scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|_| {
                    let mut session = Session::with_pool(&case.model, pool.clone());
                    (0..total_runs() / 200).for_each(|i| case.run(&mut session, i));
                });
            }
        });
    }
}

#[test]
fn a_long_job_in_a_shared_pool_does_not_delay_a_run() {
    let case = Case::new();
    let pool = pool(2);
    let mut session = Session::with_pool(&case.model, pool.clone());
    case.run(&mut session, 0);
    let release = Arc::new(AtomicBool::new(false));
    for _ in 0..2 {
        let release = release.clone();
        pool.spawn(move || {
            while !release.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    // The jobs end after the runs only. A run that waits for a job never ends.
    (0..10).for_each(|i| case.run(&mut session, i));
    release.store(true, Ordering::Relaxed);
}

#[test]
fn jobs_in_a_shared_pool_are_executed_between_runs() {
    let case = Case::new();
    let pool = pool(2);
    let mut session = Session::with_pool(&case.model, pool.clone());
    let jobs = Arc::new(AtomicUsize::new(0));
    for i in 0..20 {
        let job = jobs.clone();
        pool.spawn(move || _ = job.fetch_add(1, Ordering::Relaxed));
        case.run(&mut session, i);
    }
    let end = Instant::now() + LIMIT;
    while jobs.load(Ordering::Relaxed) < 20 && Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(jobs.load(Ordering::Relaxed), 20);
}

/// Returns whether all threads of a pool are free at a time within `limit`.
fn is_free(pool: &ThreadPool, limit: Duration) -> bool {
    let threads = pool.current_num_threads();
    let (met, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    for _ in 0..threads {
        let (met, ended) = (met.clone(), ended.clone());
        pool.spawn(move || {
            met.fetch_add(1, Ordering::Relaxed);
            while met.load(Ordering::Relaxed) < threads && !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    let end = Instant::now() + limit;
    while met.load(Ordering::Relaxed) < threads && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    ended.store(true, Ordering::Relaxed);
    met.load(Ordering::Relaxed) == threads
}

#[test]
fn threads_of_a_shared_pool_spin_only_if_they_are_told_to() {
    let case = Case::new();
    let pool = pool(2);
    let mut session = Session::with_pool(&case.model, pool.clone());
    (0..10).for_each(|i| case.run(&mut session, i));
    assert!(is_free(&pool, LIMIT), "a thread has not returned to the pool");
    session.set_spin_duration(Duration::MAX);
    // A thread may come too late to help in a run.
    let mut runs = 0..1000;
    let is_held = runs.any(|i| {
        case.run(&mut session, i);
        !is_free(&pool, Duration::from_millis(200))
    });
    assert!(is_held, "all threads return to the pool");
    session.set_spin_duration(Duration::ZERO);
    assert!(is_free(&pool, LIMIT), "a thread spins on");
}
