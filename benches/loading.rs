//! Benchmark of the time from a graph to its first result, for chains of dynamic ReLUs of increasing
//! length: `cargo bench --bench loading`.
//!
//! The time per node should not depend on the number of nodes.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dyrelu::{Model, Options, Session, Tensor};

#[path = "../tests/chain/mod.rs"]
mod chain;

fn chains(c: &mut Criterion) {
    let mut group = c.benchmark_group("chain");
    group.sample_size(10);
    let x = Tensor::new(&[1, 4, 3, 3], vec![0.5f32; 36]).expect("the shape has 36 elements");
    for length in [32, 64, 128, 256] {
        let graph = chain::chain(length);
        let nodes = graph.nodes().len();
        let model =
            Model::from_graph(graph.clone(), Options::default()).expect("the graph compiles");
        assert_eq!(model.report().dynamic_activations.len(), length);
        group.throughput(Throughput::Elements(nodes as u64));
        group.bench_function(format!("{nodes} nodes"), |b| {
            let load = |graph| {
                let model =
                    Model::from_graph(graph, Options::default()).expect("the graph compiles");
                let mut session = Session::new(&model);
                session.run(std::slice::from_ref(&x)).expect("the network runs")
            };
            b.iter_batched(|| graph.clone(), load, BatchSize::PerIteration);
        });
    }
}

criterion_group!(benches, chains);
criterion_main!(benches);
