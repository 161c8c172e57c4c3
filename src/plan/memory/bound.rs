//! A plan for inputs of given shapes: the size of every map and its place in the arena.

use std::ops::Range;
use std::sync::Arc;

use super::NO_MEMORY;
use super::arrange::{Lifetime, arrange};
use crate::error::{Error, Result};
use crate::graph::{Bindings, Dim};
use crate::plan::extent::Extent;
use crate::plan::{Home, Plan, Slot, Work};

/// Where the values of a plan, or of some of its steps, lie for inputs of given shapes.
pub struct Bound {
    /// The steps.
    pub(in crate::plan) steps: Range<usize>,
    /// The shapes of the inputs, shared so that inputs can borrow them during a run.
    pub(in crate::plan) inputs: Arc<[Vec<usize>]>,
    /// The shape that each map has in the graph.
    pub(in crate::plan) shapes: Vec<Vec<usize>>,
    /// The size of each map.
    pub(in crate::plan) extents: Vec<Option<Extent>>,
    /// The place of each map in the arena.
    pub(in crate::plan) ranges: Vec<Option<Range<usize>>>,
    /// For every step, whether its output lies where its first input lay.
    pub(in crate::plan) in_place: Vec<bool>,
    pub(in crate::plan) workspace: Range<usize>,
}

/// Maps begin at multiples of this many elements: a cache line.
const LINE: usize = 16;

impl Bound {
    /// Plans the memory of these `steps` of `plan` for inputs of shapes `inputs`, given the sizes
    /// that the symbols of the graph stand for, and `threads` threads. Maps that earlier steps
    /// compute have a place from the beginning on, those that later steps read to the end.
    ///
    /// # Errors
    /// `Shape` where sizes do not follow from the inputs or are too large.
    pub fn new(
        plan: &Plan,
        steps: Range<usize>,
        inputs: Vec<Vec<usize>>,
        bindings: &Bindings,
        threads: usize,
    ) -> Result<Self> {
        let count = plan.slots.len();
        let mut shapes = vec![Vec::new(); count];
        let mut extents: Vec<Option<Extent>> = vec![None; count];
        for (slot, info) in plan.slots.iter().enumerate() {
            let shape = match &info.home {
                Home::Map(dims) | Home::Alias { dims, .. } => evaluate(dims, bindings)?,
                Home::Input(i) => inputs[*i].clone(),
                _ => continue,
            };
            extents[slot] = Extent::of(&shape).map(Extent::checked).transpose()?;
            shapes[slot] = shape;
        }
        let mut workspace = 0;
        for (i, step) in plan.steps.iter().enumerate() {
            let Work::Kernel(kernel) = &step.work else { continue };
            let result = step.outputs.first().copied().flatten();
            let Some(extent) = result.and_then(|slot| extents[slot]) else { continue };
            let at_step = |e: Error| e.at_node(&step.name, &step.op);
            for (i, slot) in step.inputs.iter().enumerate() {
                let Some((slot, input)) = slot.and_then(|slot| Some((slot, extents[slot]?))) else {
                    continue;
                };
                check_input(extent, input, &plan.slots[slot].name).map_err(at_step)?;
                if i == 0 {
                    kernel.check(input).map_err(at_step)?;
                }
            }
            if steps.contains(&i) {
                workspace = workspace.max(kernel.workspace(extent));
            }
            if let Some(&Some(sums)) = step.outputs.get(1) {
                let height = kernel.partial_sums(extent);
                extents[sums] = Some(Extent { height, width: 1, ..extent }.checked()?);
            }
        }
        let (roots, in_place) = share_places(plan, &steps, &extents);
        let maps = lifetimes(plan, &steps, &extents, &roots);
        let (places, total) = arrange(&maps)?;
        let ranges = (0..count)
            .map(|slot| {
                let owner = match plan.slots[slot].home {
                    Home::Alias { of, .. } => of,
                    _ => slot,
                };
                let place = *places.get(roots[owner])?.as_ref()?;
                extents[slot].map(|extent| place..place + extent.len())
            })
            .collect();
        let end = workspace
            .checked_next_multiple_of(LINE)
            .and_then(|workspace| workspace.checked_mul(threads)?.checked_add(total))
            .filter(|&end| end < isize::MAX as usize / 4)
            .ok_or_else(|| Error::shape(NO_MEMORY))?;
        let inputs = inputs.into();
        Ok(Bound { steps, inputs, shapes, extents, ranges, in_place, workspace: total..end })
    }

    /// Elements of the arena: all maps and the workspace of all threads.
    pub fn arena_len(&self) -> usize {
        self.workspace.end
    }

    /// The place of the workspace of all threads in the arena, in elements.
    pub fn workspace(&self) -> Range<usize> {
        self.workspace.clone()
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        4 * self.arena_len()
    }

    /// The place of a map in the arena, in elements.
    pub fn place(&self, slot: Slot) -> Option<Range<usize>> {
        self.ranges.get(slot)?.clone()
    }

    /// The shape of a map as the graph sees it; that of partial sums is empty.
    pub fn shape(&self, slot: Slot) -> &[usize] {
        &self.shapes[slot]
    }

    /// The size of a map.
    pub fn extent(&self, slot: Slot) -> Option<Extent> {
        self.extents.get(slot).copied().flatten()
    }
}

/// Checks what kernels take for granted of a map that they read.
fn check_input(output: Extent, input: Extent, name: &str) -> Result<()> {
    if input.images != output.images && input.images != 1 {
        let (found, wanted) = (input.images, output.images);
        return Err(Error::shape(format!("{name:?} is of {found} images, the result of {wanted}")));
    }
    Ok(())
}

fn evaluate(dims: &[Dim], bindings: &Bindings) -> Result<Vec<usize>> {
    let size = |dim: &Dim| {
        let size = dim.evaluate(bindings)?;
        usize::try_from(size)
            .map_err(|_| Error::shape(format!("an axis of size {size}: the input is too small")))
    };
    dims.iter().map(size).collect()
}

/// For every slot, the slot whose place it takes; for every step, whether it works in place.
fn share_places(
    plan: &Plan,
    steps: &Range<usize>,
    extents: &[Option<Extent>],
) -> (Vec<Slot>, Vec<bool>) {
    let mut roots: Vec<Slot> = (0..plan.slots.len()).collect();
    let mut in_place = vec![false; plan.steps.len()];
    for i in steps.clone() {
        let step = &plan.steps[i];
        let Work::Kernel(kernel) = &step.work else { continue };
        let (Some(&Some(input)), Some(&Some(output))) = (step.inputs.first(), step.outputs.first())
        else {
            continue;
        };
        let last = plan.last_use[input] == Some(i);
        let only = step.inputs[1..].iter().all(|other| *other != Some(input));
        let movable = matches!(plan.slots[input].home, Home::Map(_));
        if kernel.works_in_place() && last && only && movable && extents[input] == extents[output] {
            roots[output] = roots[input];
            in_place[i] = true;
        }
    }
    (roots, in_place)
}

fn lifetimes(
    plan: &Plan,
    steps: &Range<usize>,
    extents: &[Option<Extent>],
    roots: &[Slot],
) -> Vec<Lifetime> {
    let mut maps: Vec<Option<Lifetime>> = (0..plan.slots.len()).map(|_| None).collect();
    let mut live = |slot: Slot, first: usize| {
        let is_map = matches!(plan.slots[slot].home, Home::Map(_) | Home::Sums(_));
        let (Some(extent), true) = (extents[slot], is_map) else { return };
        let last = plan.last_use[slot].unwrap_or(first).min(steps.end);
        let len = extent.len().next_multiple_of(LINE);
        let slot = roots[slot];
        let map = maps[slot].get_or_insert(Lifetime { slot, first, last, len });
        map.last = map.last.max(last);
    };
    plan.crossing(steps.start).for_each(|slot| live(slot, steps.start));
    for i in steps.clone() {
        plan.steps[i].outputs.iter().flatten().for_each(|&slot| live(slot, i));
    }
    maps.into_iter().flatten().collect()
}
