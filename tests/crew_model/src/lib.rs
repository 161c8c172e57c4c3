//! Checks `src/plan/threads/crew.rs`, the file itself, on every interleaving of a leader and its helpers:
//! a run ends, every helper that came has been waited for, and what it wrote is seen.
#![cfg(test)]

/// loom's primitives under the names that the file expects.
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

/// The blocks of a step: each is written by whoever takes it. loom reports accesses to a cell that
/// nothing orders.
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

    /// Every block was computed once, and nothing accesses it any more.
    fn check(self) {
        for cell in self.cells {
            // SAFETY: loom checks the access.
            cell.with_mut(|cell| assert_eq!(unsafe { *cell }, 1));
        }
    }
}

/// Patience for `most` fruitless looks.
fn patience(most: usize) -> impl FnMut(usize) -> bool {
    move |looks| {
        thread::yield_now();
        looks < most
    }
}

/// Runs `steps` steps with helpers that give up after so many looks each.
fn model(helpers: &'static [usize], steps: usize, preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let mut leader = Leader::new();
        let threads: Vec<_> = helpers
            .iter()
            .enumerate()
            .map(|(i, &looks)| {
                let crew = leader.crew().clone();
                thread::spawn(move || crew.help(i + 1, patience(looks)))
            })
            .collect();
        for _ in 0..steps {
            // In this frame, as the blocks of a step are.
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
