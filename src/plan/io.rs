//! What a step gets to work with.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::extent::{Extent, View};
use crate::simd::Isa;
use crate::tensor::{Block, Blocks, Cut};

/// The most inputs of a step that a kernel computes.
pub const MOST_INPUTS: usize = 9;

/// The most outputs of such a step: a map and its partial sums.
pub const MOST_OUTPUTS: usize = 2;

/// The maps that a step reads and writes, and its workspace.
pub struct Io<'a> {
    /// What the step reads; the first is absent where the step works in place.
    pub inputs: [Option<View<'a>>; MOST_INPUTS],
    /// The sizes of what the step reads.
    pub sizes: [Option<Extent>; MOST_INPUTS],
    /// What the step writes.
    pub outputs: [Option<&'a mut [f32]>; MOST_OUTPUTS],
    /// The sizes of what the step writes.
    pub results: [Option<Extent>; MOST_OUTPUTS],
    /// A part for every thread.
    pub workspace: &'a mut [f32],
    /// The instructions to use.
    pub isa: Isa,
    /// How many threads may work.
    pub threads: usize,
}

impl<'a> Io<'a> {
    /// Input `i`.
    ///
    /// # Panics
    /// Where the step has no such input: a mistake of the pass that made the step.
    pub fn input(&self, i: usize) -> View<'a> {
        self.inputs[i].expect("the step was made with this input")
    }

    /// The size of output `i`.
    ///
    /// # Panics
    /// Where the step has no such output: a mistake of the pass that made the step.
    pub fn result(&self, i: usize) -> Extent {
        self.results[i].expect("the step was made with this output")
    }
}

/// Below this many multiply-adds a step runs on the calling thread: waking another costs more.
const WORTH_A_THREAD: usize = 200_000;

/// Computes all blocks of `map`, and of `sums` where they are wanted. Each thread that takes part
/// has a part of the workspace of its own. `cost` is the number of multiply-adds of everything.
pub fn compute_blocks<'m>(
    map: &'m mut [f32],
    sums: Option<(&'m mut [f32], usize)>,
    cut: Cut,
    (workspace, threads, cost): (&mut [f32], usize, usize),
    compute: impl Fn(Block, &mut [f32]) + Sync,
) {
    let blocks = Blocks::new(map, cut);
    let blocks = match sums {
        Some((sums, width)) => blocks.with_sums(sums, width),
        None => blocks,
    };
    let part = workspace.len() / threads;
    let helpers = threads.min(cut.blocks()).min(cost / WORTH_A_THREAD + 1);
    let blocks = blocks.with_shares(helpers);
    let party = Party::default();
    let work = |workspace: &mut [f32]| {
        let mut compute_all = |next: &dyn Fn() -> Option<Block<'m>>| {
            let _working = party.work();
            while let Some(block) = next() {
                compute(block, workspace);
            }
        };
        if let Some(share) = blocks.claim(rayon::current_thread_index().unwrap_or(0)) {
            compute_all(&|| blocks.next_of(share));
        }
        if !party.finishes_soon() {
            compute_all(&|| blocks.next());
            party.finish();
        }
    };
    if helpers == 1 {
        work(&mut workspace[..part]);
    } else if part == 0 {
        (0..helpers).into_par_iter().with_max_len(1).for_each(|_| work(&mut []));
    } else {
        let parts = workspace.par_chunks_exact_mut(part).take(helpers);
        parts.with_max_len(1).for_each(work);
    }
}

/// The threads that compute the blocks of a step.
///
/// One that is through with its share waits here for the others, awake: blocks take microseconds,
/// and a thread that rayon had put to sleep meanwhile would come back tens of microseconds late. It
/// leaves them their shares for a while, for what it took from them it would miss in its own cache,
/// and they in theirs at the next step.
#[derive(Default)]
struct Party {
    working: AtomicUsize,
}

/// One thread at work, until it is dropped.
struct Working<'a>(&'a Party);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Release);
    }
}

/// Looks at the others after which a thread that waits takes over blocks of theirs: a few tens of
/// microseconds.
const PATIENCE: usize = 1000;

impl Party {
    fn work(&self) -> Working<'_> {
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(self)
    }

    fn is_over(&self) -> bool {
        self.working.load(Ordering::Acquire) == 0
    }

    /// Waits for the others, but not for long; whether they are through.
    fn finishes_soon(&self) -> bool {
        (0..PATIENCE).any(|_| {
            std::hint::spin_loop();
            self.is_over()
        })
    }

    /// Waits for the others, which may need the processor that the caller occupies.
    fn finish(&self) {
        while !self.is_over() {
            std::thread::yield_now();
        }
    }
}
