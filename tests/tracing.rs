//! Spans of `tracing`: one per run, and one per step within it.
#![cfg(feature = "tracing")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dyrelu::{Model, Options, RunOptions, Session, Tensor};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

mod chain;

/// Remembers the name of each span, its field `op`, and the span that it is in.
#[derive(Clone, Default)]
struct Spans {
    next: Arc<AtomicU64>,
    open: Arc<Mutex<Vec<u64>>>,
    all: Arc<Mutex<Vec<Span>>>,
}

#[derive(Clone, Debug)]
struct Span {
    id: u64,
    parent: Option<u64>,
    name: &'static str,
    op: String,
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "dyrelu"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        struct Op(String);
        impl Visit for Op {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "op" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let id = 1 + self.next.fetch_add(1, Ordering::Relaxed);
        let parent = self.open.lock().unwrap().last().copied();
        let mut op = Op(String::new());
        attributes.record(&mut op);
        let name = attributes.metadata().name();
        self.all.lock().unwrap().push(Span { id, parent, name, op: op.0 });
        Id::from_u64(id)
    }

    fn enter(&self, span: &Id) {
        self.open.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        assert_eq!(self.open.lock().unwrap().pop(), Some(span.into_u64()));
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
}

#[test]
fn each_step_has_a_span_within_that_of_its_run() {
    let model = Model::from_graph(chain::chain(3), Options::default()).unwrap();
    let x = [Tensor::new(&[1, 4, 5, 5], vec![0.5f32; 100]).unwrap()];
    let (spans, mut session) = (Spans::default(), Session::new(&model));
    // It is the only test of this program, and so may take the subscriber of the whole process.
    tracing::subscriber::set_global_default(spans.clone()).unwrap();
    session.run(&x).unwrap();
    let (_, steps) = session.run_timed(&x, &RunOptions::default()).unwrap();
    let all = spans.all.lock().unwrap();
    let runs: Vec<&Span> = all.iter().filter(|span| span.name == "run").collect();
    assert_eq!((runs.len(), runs[0].parent, runs[1].parent), (2, None, None));
    for run in runs {
        let of_run = all.iter().filter(|span| span.name == "step" && span.parent == Some(run.id));
        let found: Vec<&str> = of_run.map(|span| span.op.as_str()).collect();
        let expected: Vec<String> = steps.iter().map(|step| format!("{:?}", step.op)).collect();
        assert_eq!(found, expected);
    }
    assert!(spans.open.lock().unwrap().is_empty());
}
