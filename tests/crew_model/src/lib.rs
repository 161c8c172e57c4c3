//! Checks the source file `src/plan/threads/crew.rs` on every interleaving of a leader and its helpers:
//! a run ends, the leader waits for every helper that joined, and sees what the helper wrote.
#![cfg(test)]

/// loom's primitives under the names that `crew.rs` imports.
mod sync {
    pub use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
    pub use loom::sync::{Arc, Mutex};

    pub fn relax(_: usize) {
        loom::thread::yield_now();
    }
}

#[path = "../../../src/plan/threads/crew.rs"]
mod crew;

use crew::Leader;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// The blocks of a step. The thread that takes a block writes to its cell. loom reports unordered
/// accesses to a cell.
struct Blocks {
    next: AtomicUsize,
    cells: [UnsafeCell<usize>; 2],
}

// SAFETY: loom checks every access to the cells.
unsafe impl Sync for Blocks {}

impl Blocks {
    fn new() -> Self {
        Blocks { next: AtomicUsize::new(0), cells: [0, 0].map(UnsafeCell::new) }
    }

    fn compute(&self) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = self.cells.get(i) else { return };
            // SAFETY: loom checks the access.
            cell.with_mut(|cell| unsafe { *cell += 1 });
        }
    }

    /// Asserts that every block was computed exactly once. loom reports accesses that are not over.
    fn check(self) {
        for cell in self.cells {
            // SAFETY: loom checks the access.
            cell.with_mut(|cell| assert_eq!(unsafe { *cell }, 1));
        }
    }
}

/// Lets a helper look for work `max_attempts` times in vain before it leaves.
fn patience(max_attempts: usize) -> impl FnMut(usize) -> bool {
    move |attempts| {
        thread::yield_now();
        attempts < max_attempts
    }
}

/// Runs `steps` steps with one helper per element of `helpers`, which is its [`patience`].
fn model(helpers: &'static [usize], steps: usize, preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let mut leader = Leader::new();
        let threads: Vec<_> = helpers
            .iter()
            .enumerate()
            .map(|(i, &max_attempts)| {
                let crew = leader.crew().clone();
                thread::spawn(move || crew.help(i + 1, patience(max_attempts)))
            })
            .collect();
        for _ in 0..steps {
            // The blocks are on the stack, as in a run.
            let blocks = Blocks::new();
            leader.share(&|_| blocks.compute());
            blocks.check();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn one_helper_that_leaves_at_once() {
    model(&[0], 2, 4);
}

#[test]
fn one_helper_that_waits_for_the_next_step() {
    model(&[1], 2, 3);
}

#[test]
fn two_helpers() {
    model(&[0, 1], 1, 2);
}

#[test]
fn two_helpers_and_two_steps() {
    model(&[0, 0], 2, 2);
}

#[test]
fn a_helper_that_panics() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let mut leader = Leader::new();
        let crew = leader.crew().clone();
        let helper = thread::spawn(move || crew.help(1, patience(0)));
        let entered = std::sync::atomic::AtomicBool::new(false);
        let run = std::panic::AssertUnwindSafe(|| {
            leader.share(&|seat| {
                if seat > 0 {
                    entered.store(true, std::sync::atomic::Ordering::Relaxed);
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
            })
        });
        let result = std::panic::catch_unwind(run);
        let entered = entered.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(result.is_err(), entered);
        helper.join().unwrap();
    });
}
