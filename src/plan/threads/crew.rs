//! The protocol by which threads work on one step of a run together, and why no thread waits forever.
//!
//! The leader opens a step, works on it, closes it, and waits for the helpers that are inside. A
//! helper enters the open step, works on it, leaves it, and waits for the next one.
//!
//! | who waits | for what | why the wait ends |
//! |---|---|---|
//! | the leader | the helpers inside the step that it has closed | no helper enters a closed step, and a helper inside waits for nothing |
//! | a helper | the next step | its patience is bounded, then it leaves |
//!
//! The leader does not wait for a helper that was invited and has not come because its thread is busy
//! or asleep. It finishes the step alone. No thread waits inside the primitives of a thread pool,
//! where it could pick up another job of the pool that in turn waits for this run.
//!
//! `tests/crew_model` checks this file with loom, on every interleaving of a leader and helpers.
#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::sync::{Arc, AtomicPtr, AtomicU64, Mutex, Ordering, relax};

/// What every member of a crew calls in a step. The argument is the seat of the member.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// One helper inside, as a summand of [`Crew::state`].
const INSIDE: u64 = 1;
/// The bits that count the helpers inside.
const ALL_INSIDE: u64 = (1 << 16) - 1;
/// The bit that is set while helpers may enter.
const OPEN: u64 = 1 << 16;
/// One step, as a summand: the remaining bits count the steps.
const STEP: u64 = 1 << 17;

/// What the leader and its helpers share.
pub struct Crew {
    /// The number of helpers inside, whether the step is open, and the number of the step.
    state: AtomicU64,
    /// The work of the step, valid while the step is open or a helper is inside.
    work: AtomicPtr<Work<'static>>,
    /// The payload of the first panic of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The handle of the one thread that opens steps.
pub struct Leader {
    crew: Arc<Crew>,
}

impl Leader {
    /// Creates a crew and returns its leader.
    pub fn new() -> Self {
        let state = AtomicU64::new(0);
        let work = AtomicPtr::new(std::ptr::null_mut());
        Leader { crew: Arc::new(Crew { state, work, panic: Mutex::new(None) }) }
    }

    /// Returns the crew, for a helper.
    pub fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// Calls `work` with seat 0 on this thread, and with its own seat on each helper that enters
    /// meanwhile. Returns once no helper is inside.
    ///
    /// # Panics
    /// Panics if `work` panics, here or on a helper.
    pub fn share(&mut self, work: Work) {
        /// Closes the step and waits for the helpers inside when dropped, also if the leader's work
        /// panics.
        struct OpenStep<'a>(&'a Crew);

        impl Drop for OpenStep<'_> {
            fn drop(&mut self) {
                self.0.state.fetch_and(!OPEN, Ordering::Relaxed);
                let mut looks = 0;
                // Acquire: this thread now sees what helpers wrote before they left.
                while self.0.state.load(Ordering::Acquire) & ALL_INSIDE != 0 {
                    relax(looks);
                    looks += 1;
                }
            }
        }

        let crew = &*self.crew;
        crew.work.store((&raw const work).cast_mut().cast(), Ordering::Relaxed);
        // While the step is closed and no helper is inside, only this leader writes the state, so
        // that it cannot change between this load and the store.
        let next = crew.state.load(Ordering::Relaxed) + STEP;
        // Release: a helper that sees the open step also sees its work.
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
    /// Takes part in every open step, with seat `seat`, until `wait` returns false.
    ///
    /// `wait` is called when no new step is open. Its argument is the number of its calls since the
    /// last step.
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
            // Acquire: this thread now sees the work of the step.
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

    /// Calls the work of the step that this helper has entered, and leaves the step.
    fn work_inside(&self, seat: usize) {
        struct Inside<'a>(&'a AtomicU64);

        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                // Release: the leader sees what this helper wrote.
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
