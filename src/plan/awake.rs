//! Keeping helpers awake while a network runs.
//!
//! A step takes tens of microseconds, about as long as waking a thread, so that helpers which go to
//! sleep between steps come too late or are put on the processor of the one that woke them. Here
//! they look for work from the first step of a run to its last, and sleep between runs.
//!
//! Linux may wake a helper on the processor of its leader although another is idle, and leave both
//! there for seconds, at the speed of one thread. A helper that finds itself there moves away.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

/// Fruitless looks for work after which a helper lets other threads of the system go first.
const PATIENCE: usize = 1000;

thread_local! {
    /// Whether this thread is in the middle of a run.
    static LEADS: Cell<bool> = const { Cell::new(false) };
}

/// A run that helpers take part in.
struct Run {
    done: AtomicBool,
    /// The processor of the leader.
    processor: usize,
}

/// Says that a run is over, also where it panics: helpers would wait for ever.
struct Finish<'a>(&'a AtomicBool, bool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        LEADS.set(self.1);
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `work` on the calling thread, which belongs to a pool, with `helpers` others awake.
pub(super) fn with_helpers<R: Send>(helpers: usize, work: impl FnOnce() -> R + Send) -> R {
    if helpers == 0 {
        return work();
    }
    let run = Run { done: AtomicBool::new(false), processor: processor() };
    let lead = || {
        let _finish = Finish(&run.done, LEADS.replace(true));
        work()
    };
    rayon::join(lead, || call(helpers, &run)).0
}

/// Makes helpers of this thread and of others.
fn call(helpers: usize, run: &Run) {
    match helpers {
        1 => help(run),
        _ => drop(rayon::join(|| help(run), || call(helpers - 1, run))),
    }
}

/// Takes part in whatever is handed out in this pool until the run is over.
fn help(run: &Run) {
    // A leader that waits for a part of its step may find this task. It must not wait here for a
    // run whose leader may in turn be waiting for its own.
    if LEADS.get() {
        return;
    }
    leave(run.processor);
    let mut idle = 0;
    while !run.done.load(Ordering::Acquire) {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => idle = 0,
            _ => {
                idle += 1;
                std::hint::spin_loop();
                if idle > PATIENCE {
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// The processor that this thread runs on.
#[cfg(target_os = "linux")]
fn processor() -> usize {
    rustix::thread::sched_getcpu()
}

#[cfg(not(target_os = "linux"))]
fn processor() -> usize {
    0
}

/// Moves this thread to another of the processors that it may use, if it is on `processor`.
#[cfg(target_os = "linux")]
fn leave(processor: usize) {
    use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};
    if sched_getcpu() != processor {
        return;
    }
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut others = allowed;
    others.unset(processor);
    // The system moves the thread at once, and may later move it wherever it likes.
    if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
        let _ = sched_setaffinity(None, &allowed);
    }
}

#[cfg(not(target_os = "linux"))]
fn leave(_: usize) {}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn runs_that_share_a_pool_end() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let run = |_| {
            let sum = || (0..64u32).into_par_iter().with_max_len(1).map(|i| i % 7).sum::<u32>();
            pool.install(|| with_helpers(2, || (0..50).map(|_| sum()).max()))
        };
        let sums: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4).map(|i| scope.spawn(move || run(i))).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        assert!(sums.iter().all(|sum| *sum == sums[0]));
    }

    #[test]
    fn a_run_that_panics_lets_its_helpers_go() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let run = || pool.install(|| with_helpers(1, || panic!("on purpose")));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        assert!(!pool.install(|| LEADS.get()));
    }
}
