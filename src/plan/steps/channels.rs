//! Concatenation, parts and permutations of maps, along the channels.

use super::arguments::{Arguments, MOST_INPUTS};
use super::primitive::Primitive;
use crate::error::{Error, Result};
use crate::kernels::Cut;
use crate::kernels::channels::{ChannelTable, Channels, Run, join_channels, permute_channels};
use crate::plan::map::Extent;
use crate::plan::tuning::{ELEMENTS_PER_BLOCK, LONG_RUN};

/// Channels of inputs, in any order.
pub struct ChannelsPrimitive {
    runs: Vec<(usize, Run)>,
    /// The channels, if they are all of one input and in short runs or in steps.
    table: Option<ChannelTable>,
}

impl ChannelsPrimitive {
    /// Returns the primitive whose output has these channels: for each the input, and the channel of
    /// that input.
    pub fn new(table: &[[usize; 2]]) -> Self {
        let mut runs: Vec<(usize, Run)> = Vec::new();
        // The last run of each input.
        let mut last: [Option<usize>; MOST_INPUTS] = [None; MOST_INPUTS];
        for (to, &[input, channel]) in table.iter().enumerate() {
            if let Some(place) = last[input]
                && extend(&mut runs[place].1, channel, to)
            {
                continue;
            }
            last[input] = Some(runs.len());
            runs.push((input, Run { first: channel, step: 1, to, to_step: 1, count: 1 }));
        }
        let is_short = runs.iter().any(|(_, run)| [run.step, run.to_step] != [1, 1])
            || table.len() < runs.len() * LONG_RUN;
        let of_one = runs.len() > 1 && table.iter().all(|&[input, _]| input == 0);
        let channels = || table.iter().map(|&[_, channel]| channel).collect::<Vec<usize>>();
        let table = (of_one && is_short).then(|| ChannelTable::new(&channels()));
        ChannelsPrimitive { runs, table }
    }
}

/// Adds a channel to the end of a run. Returns whether it fits.
fn extend(run: &mut Run, channel: usize, to: usize) -> bool {
    let Run { first, step, count, .. } = *run;
    if count == 1 && channel > first {
        run.step = channel - first;
        run.to_step = to - run.to;
    } else if count == 1 || channel != first + count * step || to != run.to + count * run.to_step {
        return false;
    }
    run.count += 1;
    true
}

impl Primitive for ChannelsPrimitive {
    fn name(&self) -> &'static str {
        "channels"
    }

    fn run(&self, arguments: Arguments) -> Result<()> {
        let (inputs, output) = (arguments.inputs, arguments.output_extent(0));
        for view in inputs.iter().flatten() {
            let Extent { height, width, .. } = view.extent;
            if [height, width] != [output.height, output.width] {
                let found = format!("{height}x{width}");
                return Err(Error::shape(format!(
                    "maps of {found} and {}x{} are joined by their channels",
                    output.height, output.width
                )));
            }
        }
        let (rows, width) = (output.pixels(), output.stride());
        let cut = Cut::in_rows(output.images, rows, width, ELEMENTS_PER_BLOCK);
        let [Some(y), _] = arguments.outputs else { return Ok(()) };
        let isa = arguments.isa;
        arguments.workers.compute_blocks(y, None, cut, 4 * output.len(), |block, _| {
            let image = block.image();
            if let (Some(table), Some(x)) = (&self.table, inputs[0]) {
                permute_channels(isa, x.image(image), x.extent.stride(), table, block);
                return;
            }
            let channels = self.runs.iter().filter_map(|&(input, run)| {
                let view = inputs[input]?;
                Some(Channels { x: view.image(image), width: view.extent.stride(), run })
            });
            join_channels(channels, block);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_in_steps_are_one_run() {
        let shuffled: Vec<[usize; 2]> = (0..8).map(|i| [i % 2, 3 + i / 2]).collect();
        let run = |to| Run { first: 3, step: 1, to, to_step: 2, count: 4 };
        assert_eq!(ChannelsPrimitive::new(&shuffled).runs, [(0, run(0)), (1, run(1))]);
        let reversed: Vec<[usize; 2]> = (0..3).map(|i| [0, 2 - i]).collect();
        assert_eq!(ChannelsPrimitive::new(&reversed).runs.len(), 3);
        let halves = |table: &[[usize; 2]]| ChannelsPrimitive::new(table).table.is_some();
        let half = |i| (0..64).map(move |c| [i, c]);
        assert!(!halves(&shuffled) && halves(&reversed));
        assert!(!halves(&half(0).chain(half(1)).collect::<Vec<_>>()));
    }
}
