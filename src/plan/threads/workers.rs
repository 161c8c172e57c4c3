//! How the threads of a team divide the blocks of a map.

use super::team::Team;
use crate::kernels::scalar_product::{SingleOutput, scalar_products_of};
use crate::kernels::{Block, Blocks, Cut, MOST_SHARES};
use crate::plan::tuning::MACS_PER_THREAD;
use crate::simd::Isa;
use crate::tensor::Parts;

/// How often a thread whose own share is done checks whether all blocks are taken, before it takes
/// blocks of other shares. All checks together last a few tens of microseconds.
///
/// A block that another thread took slows down the next step: the owner of the share reads the block
/// there, and does not find it in its cache.
const CHECKS_BEFORE_STEALING: usize = 1000;

/// A layer of one output per pixel, which is applied to each block of a map once it is computed.
pub struct Logits<'a> {
    /// The weights.
    pub layer: &'a SingleOutput,
    /// The results: for each image the numbers of its pixels, padded to whole vectors.
    pub plane: &'a mut [f32],
    /// The instruction set of the kernel.
    pub isa: Isa,
}

/// The threads that compute a step, and the workspace that they divide.
pub struct Workers<'a> {
    /// The threads.
    pub team: &'a mut Team,
    /// The workspace of all threads together, in equal parts.
    pub workspace: &'a mut [f32],
    /// What is computed from each block besides, if anything.
    pub logits: Option<Logits<'a>>,
}

impl<'a> Workers<'a> {
    /// Calls `compute` for every block of `map`, with the part of the workspace that belongs to the
    /// thread.
    ///
    /// `sums` is a map of partial sums and the number of elements per row, if sums are wanted.
    /// `macs` is the number of multiply-adds of all blocks together. It limits how many threads
    /// take part.
    ///
    /// # Panics
    /// Panics if `map` or the sums are not as large as `cut` says.
    pub fn compute_blocks<'m>(
        self,
        map: &'m mut [f32],
        sums: Option<(&'m mut [f32], usize)>,
        cut: Cut,
        macs: usize,
        compute: impl Fn(&mut Block<'m>, &mut [f32]) + Sync,
    ) where
        'a: 'm,
    {
        self.compute_blocks_in_turn(map, sums, cut, macs, |block, workspace, ()| {
            compute(block, workspace);
        });
    }

    /// As [`compute_blocks`](Self::compute_blocks), with a state of each thread that `compute` finds as
    /// it left it for the thread's previous block. The workspace, too, is as the thread left it then.
    ///
    /// Most of a thread's blocks are neighbours, in the order of their rows, but not all.
    ///
    /// # Panics
    /// As for [`compute_blocks`](Self::compute_blocks).
    pub fn compute_blocks_in_turn<'m, T: Default>(
        self,
        map: &'m mut [f32],
        sums: Option<(&'m mut [f32], usize)>,
        mut cut: Cut,
        macs: usize,
        compute: impl Fn(&mut Block<'m>, &mut [f32], &mut T) + Sync,
    ) where
        'a: 'm,
    {
        let Workers { team, workspace, logits } = self;
        let single = logits.as_ref().map(|logits| (logits.layer, logits.isa));
        if single.is_some() {
            // A logit is a sum over a whole pixel.
            cut.column_blocks = 1;
        }
        let part = workspace.len() / team.threads();
        let most = cut.blocks().min(macs / MACS_PER_THREAD + 1).min(MOST_SHARES);
        let members = team.threads().min(most).max(1);
        let blocks = Blocks::new(map, cut).with_shares(members);
        let blocks = match sums {
            Some((sums, width)) => blocks.with_sums(sums, width),
            None => blocks,
        };
        let blocks = match logits {
            Some(Logits { layer, plane, .. }) => blocks.with_products(plane, layer.weight.len()),
            None => blocks,
        };
        let compute = |mut block: Block<'m>, workspace: &mut [f32], state: &mut T| {
            compute(&mut block, workspace, state);
            if let Some((layer, isa)) = single {
                scalar_products_of(isa, layer, &mut block);
            }
        };
        let parts = Parts::new(workspace, part, members);
        team.share(members, &|seat| {
            // More threads than shares may come. They have nothing to do.
            let Some(share) = blocks.claim(seat) else { return };
            let Some(workspace) = parts.take(share) else { return };
            let mut state = T::default();
            while let Some(block) = blocks.next_of(share).or_else(|| blocks.next_unclaimed()) {
                compute(block, workspace, &mut state);
            }
            for _ in 0..CHECKS_BEFORE_STEALING {
                if blocks.all_taken() {
                    return;
                }
                std::hint::spin_loop();
            }
            while let Some(block) = blocks.next() {
                compute(block, workspace, &mut state);
            }
        });
    }
}
