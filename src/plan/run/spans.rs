//! Spans of the crate `tracing` for a run and for each of its steps. Without the feature `tracing` there are
//! none, and nothing of this is in the program.
//!
//! With it, a span that no subscriber wants costs a read of a static, and allocates nothing.

#[cfg(feature = "tracing")]
pub(super) use with_tracing::{current, run, step};
#[cfg(not(feature = "tracing"))]
pub(super) use without::{current, run, step};

#[cfg(feature = "tracing")]
mod with_tracing {
    use tracing::span::EnteredSpan;
    use tracing::{Span, debug_span, trace_span};

    /// Opens the span of a run on this thread.
    pub fn run() -> EnteredSpan {
        debug_span!(target: "dyrelu", "run").entered()
    }

    /// Opens the span of a step on this thread, within that of its run.
    pub fn step(name: &str, op: &str, kernel: &str) -> EnteredSpan {
        trace_span!(target: "dyrelu", "step", name, op, kernel).entered()
    }

    /// Returns the span of the run, so that other threads can enter it.
    pub fn current() -> Span {
        Span::current()
    }
}

#[cfg(not(feature = "tracing"))]
mod without {
    /// A span that is not there.
    pub struct Nothing;

    impl Nothing {
        pub fn enter(&self) -> Self {
            Nothing
        }
    }

    pub fn run() -> Nothing {
        Nothing
    }

    pub fn step(_name: &str, _op: &str, _kernel: &str) -> Nothing {
        Nothing
    }

    pub fn current() -> Nothing {
        Nothing
    }
}
