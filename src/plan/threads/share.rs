//! Sharing out the blocks of a map among the threads of a team.

use super::team::Team;
use crate::plan::tuning::WORTH_A_THREAD;
use crate::tensor::{Block, Blocks, Cut, MOST_SHARES, Parts};

/// Looks at the others after which a thread takes over blocks of their shares: a few tens of
/// microseconds. Before, it leaves them their blocks: what it took from them it would miss in its
/// own cache, and they in theirs at the next step.
const PATIENCE: usize = 1000;

/// Computes all blocks of `map`, and of `sums` where they are wanted. Each thread that takes part
/// has a part of the workspace of its own. `cost` is the number of multiply-adds of everything.
pub fn compute_blocks<'m>(
    map: &'m mut [f32],
    sums: Option<(&'m mut [f32], usize)>,
    cut: Cut,
    (workspace, team, cost): (&mut [f32], &mut Team, usize),
    compute: impl Fn(Block<'m>, &mut [f32]) + Sync,
) {
    let part = workspace.len() / team.threads();
    let most = cut.blocks().min(cost / WORTH_A_THREAD + 1).min(MOST_SHARES);
    let members = team.threads().min(most).max(1);
    let blocks = Blocks::new(map, cut).with_shares(members);
    let blocks = match sums {
        Some((sums, width)) => blocks.with_sums(sums, width),
        None => blocks,
    };
    let parts = Parts::new(workspace, part, members);
    team.share(members, &|seat| {
        // More members than shares may come; those have nothing to do.
        let Some(share) = blocks.claim(seat) else { return };
        let Some(workspace) = parts.take(share) else { return };
        while let Some(block) = blocks.next_of(share).or_else(|| blocks.next_unclaimed()) {
            compute(block, workspace);
        }
        for _ in 0..PATIENCE {
            if blocks.all_taken() {
                return;
            }
            std::hint::spin_loop();
        }
        while let Some(block) = blocks.next() {
            compute(block, workspace);
        }
    });
}
