//! How threads work on one step of a run together, and why none of them can wait for ever.
//!
//! A leader opens a step, works on it, closes it, and waits for the helpers that are inside. A
//! helper enters the step that is open, works on it, leaves it, and looks for the next one.
//!
//! | who waits | for what | why it ends |
//! |---|---|---|
//! | the leader | helpers that are inside the step it has closed | nobody enters a closed step; a helper inside computes and waits for nothing |
//! | a helper | the next step | its patience is bounded, then it leaves |
//!
//! A helper that was invited and has not come, because its thread is busy or asleep, is not waited
//! for: the leader finishes alone. No one waits inside a thread pool's own primitives, so no one
//! picks up another job of the pool while it waits, which might in turn wait for this run.
//!
//! `tests/crew_model` checks this file with loom: every interleaving of a leader and helpers.
#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::sync::{Arc, AtomicPtr, AtomicU64, Mutex, Ordering, relax};

/// What the members of a crew do in a step. The argument is the seat of the member.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// One helper inside, in [`Crew::state`].
const INSIDE: u64 = 1;
/// All helpers inside.
const ALL_INSIDE: u64 = (1 << 16) - 1;
/// Whether helpers may enter.
const OPEN: u64 = 1 << 16;
/// One step: the bits from here on count the steps.
const STEP: u64 = 1 << 17;

/// What a leader and its helpers share.
pub struct Crew {
    /// The number of helpers inside, whether the step is open, and the number of the step.
    state: AtomicU64,
    /// The work of the step, valid while the step is open or a helper is inside.
    work: AtomicPtr<Work<'static>>,
    /// What the first helper that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The one thread that opens steps.
pub struct Leader {
    crew: Arc<Crew>,
}

impl Leader {
    /// The leader of a new crew.
    pub fn new() -> Self {
        let state = AtomicU64::new(0);
        let work = AtomicPtr::new(std::ptr::null_mut());
        Leader { crew: Arc::new(Crew { state, work, panic: Mutex::new(None) }) }
    }

    /// The crew, for a helper.
    pub fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// Calls `work` with seat 0 on this thread, and with its own seat on each helper that enters
    /// meanwhile. Returns when no helper is inside any more.
    ///
    /// # Panics
    /// Panics if `work` panics, here or on a helper.
    pub fn share(&mut self, work: Work) {
        /// Closes the step and waits for the helpers inside, also if the leader's work panics.
        struct OpenStep<'a>(&'a Crew);

        impl Drop for OpenStep<'_> {
            fn drop(&mut self) {
                self.0.state.fetch_and(!OPEN, Ordering::Relaxed);
                let mut looks = 0;
                // Acquire: what helpers wrote before they left is seen after this.
                while self.0.state.load(Ordering::Acquire) & ALL_INSIDE != 0 {
                    relax(looks);
                    looks += 1;
                }
            }
        }

        let crew = &*self.crew;
        crew.work.store((&raw const work).cast_mut().cast(), Ordering::Relaxed);
        // Only this leader writes while the step is closed and nobody is inside, so that the
        // number of the step cannot have changed in between.
        let next = crew.state.load(Ordering::Relaxed) + STEP;
        // Release: a helper that sees the step open sees its work.
        crew.state.store(next | OPEN, Ordering::Release);
        let step = OpenStep(crew);
        work(0);
        drop(step);
        let panic = crew.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Crew {
    /// Takes part, with seat `seat`, in every step that is open, until `wait` returns false.
    /// `wait` is called with the number of fruitless looks for a step since the last one.
    pub fn help(&self, seat: usize, mut wait: impl FnMut(usize) -> bool) {
        let (mut last, mut looks) = (0, 0);
        loop {
            let state = self.state.load(Ordering::Relaxed);
            let step = state / STEP;
            if state & OPEN == 0 || step == last {
                if !wait(looks) {
                    return;
                }
                looks += 1;
                continue;
            }
            let inside = state + INSIDE;
            // Acquire: the work of the step is seen.
            let entered = self.state.compare_exchange_weak(
                state,
                inside,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if entered.is_ok() {
                self.work_inside(seat);
                (last, looks) = (step, 0);
            }
        }
    }

    /// Does the work of the step that this helper has entered, and leaves it.
    fn work_inside(&self, seat: usize) {
        struct Inside<'a>(&'a AtomicU64);

        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                // Release: the leader sees what was written.
                self.0.fetch_sub(INSIDE, Ordering::Release);
            }
        }

        let _inside = Inside(&self.state);
        let work = self.work.load(Ordering::Relaxed);
        // SAFETY: `share` stored a pointer to a reference in its own frame before it opened the
        // step that this helper has entered, and does not return before the helper has left.
        let work = unsafe { *work };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(seat))) {
            self.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(panic);
        }
    }
}
