//! Where the maps of some steps lie, for inputs of given shapes.

use std::ops::Range;
use std::sync::Arc;

use super::arrange::{Lifetime, TOO_MUCH_MEMORY, arrange};
use crate::error::{Error, Result};
use crate::graph::{Bindings, Dim};
use crate::plan::map::{Extent, default_layout};
use crate::plan::{Plan, SUMS, Slot, SlotKind, StepKind};
use crate::tensor::Layout;

/// The size of every map of a plan, and the place in the arena of those that some of its steps
/// read and write, for inputs of given shapes.
///
/// Places are ranges of elements of the arena.
pub struct Placement {
    /// The steps that run in this arena.
    pub(in crate::plan) steps: Range<usize>,
    /// The shapes of the inputs, shared so that inputs can borrow them during a run.
    pub(in crate::plan) inputs: Arc<[Vec<usize>]>,
    /// For every slot, the shape that it has in the graph; empty for partial sums and tensors.
    pub(in crate::plan) shapes: Vec<Vec<usize>>,
    /// For every slot, the order of the axes of that shape.
    pub(in crate::plan) layouts: Vec<Layout>,
    /// For every slot, the size of its map.
    pub(in crate::plan) extents: Vec<Option<Extent>>,
    /// For every slot, its place.
    places: Vec<Option<Range<usize>>>,
    /// For every step, whether its output overwrites its first input.
    pub(in crate::plan) in_place: Vec<bool>,
    /// The place of the workspace of all threads.
    workspace: Range<usize>,
}

/// Maps begin at multiples of this many elements: a cache line.
const CACHE_LINE: usize = 16;

impl Placement {
    /// Places the maps of `steps` of `plan`, and a workspace for `threads` threads.
    ///
    /// `inputs` are the shapes of the inputs, `bindings` the sizes that the symbols of the graph
    /// stand for. Maps that earlier steps write have a place from the first step on, maps that later
    /// steps read have one until the last.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if sizes do not follow from those of the inputs, do not
    /// fit the steps, or are too large.
    pub fn new(
        plan: &Plan,
        steps: Range<usize>,
        inputs: Vec<Vec<usize>>,
        bindings: &Bindings,
        threads: usize,
    ) -> Result<Self> {
        let (shapes, layouts, mut extents) = sizes(plan, &inputs, bindings)?;
        let workspace = check_steps(plan, &steps, &mut extents)?;
        let (roots, in_place) = share_places(plan, &steps, &extents);
        let maps = lifetimes(plan, &steps, &extents, &roots);
        let (starts, total) = arrange(&maps)?;
        let place = |slot: Slot| {
            let start = *starts.get(roots[plan.owner(slot)])?.as_ref()?;
            extents[slot].map(|extent| start..start + extent.len())
        };
        let places = (0..plan.slots.len()).map(place).collect();
        let end = workspace
            .checked_next_multiple_of(CACHE_LINE)
            .and_then(|workspace| workspace.checked_mul(threads)?.checked_add(total))
            .filter(|&end| end < isize::MAX as usize / 4)
            .ok_or_else(|| Error::shape(TOO_MUCH_MEMORY))?;
        let inputs = inputs.into();
        let workspace = total..end;
        Ok(Placement { steps, inputs, shapes, layouts, extents, places, in_place, workspace })
    }

    /// Returns the elements of the arena: all maps and the workspace of all threads.
    pub(super) fn arena_len(&self) -> usize {
        self.workspace.end
    }

    /// Returns the size of the arena in bytes.
    pub fn arena_bytes(&self) -> usize {
        4 * self.arena_len()
    }

    /// Returns the place of the workspace of all threads.
    pub fn workspace(&self) -> Range<usize> {
        self.workspace.clone()
    }

    /// Returns the place of a map, or `None` for a slot that is not in the arena.
    pub fn place(&self, slot: Slot) -> Option<Range<usize>> {
        self.places.get(slot)?.clone()
    }

    /// Returns the shape that a map has in the graph; that of partial sums is empty.
    pub fn shape(&self, slot: Slot) -> &[usize] {
        &self.shapes[slot]
    }
}

/// The shape, its layout and the size of every slot.
type Sizes = (Vec<Vec<usize>>, Vec<Layout>, Vec<Option<Extent>>);

/// Evaluates the shapes of all maps and inputs.
fn sizes(plan: &Plan, inputs: &[Vec<usize>], bindings: &Bindings) -> Result<Sizes> {
    let mut shapes = vec![Vec::new(); plan.slots.len()];
    let mut layouts = vec![Layout::default(); plan.slots.len()];
    let mut extents = vec![None; plan.slots.len()];
    for (slot, info) in plan.slots.iter().enumerate() {
        let extent = match &info.kind {
            SlotKind::Plane(_) => |shape: &[usize], _| Extent::of_plane(shape),
            _ => Extent::from_shape,
        };
        let (shape, layout) = match &info.kind {
            SlotKind::Map(shape) | SlotKind::Plane(shape) | SlotKind::Alias { shape, .. } => {
                (evaluate(&shape.dims, bindings)?, shape.layout)
            }
            SlotKind::Input(i) => (inputs[*i].clone(), default_layout(inputs[*i].len())),
            _ => continue,
        };
        extents[slot] = extent(&shape, layout).map(Extent::checked).transpose()?;
        (shapes[slot], layouts[slot]) = (shape, layout);
    }
    Ok((shapes, layouts, extents))
}

fn evaluate(dims: &[Dim], bindings: &Bindings) -> Result<Vec<usize>> {
    let size = |dim: &Dim| {
        let size = dim.evaluate(bindings)?;
        usize::try_from(size)
            .map_err(|_| Error::shape(format!("an axis of size {size}: the input is too small")))
    };
    dims.iter().map(size).collect()
}

/// Checks that all primitives can be applied to maps of these sizes, and adds the sizes of partial
/// sums. Returns the elements of workspace that one thread needs for `steps`.
fn check_steps(plan: &Plan, steps: &Range<usize>, extents: &mut [Option<Extent>]) -> Result<usize> {
    let mut workspace = 0;
    for (i, step) in plan.steps.iter().enumerate() {
        let StepKind::Primitive(primitive) = &step.kind else { continue };
        let output = step.outputs.first().copied().flatten();
        let Some(output) = output.and_then(|slot| extents[slot]) else { continue };
        let at_step = |e: Error| e.at_node(&step.name, &step.op);
        for (position, slot) in step.inputs.iter().enumerate() {
            let Some((slot, input)) = slot.and_then(|slot| Some((slot, extents[slot]?))) else {
                continue;
            };
            if primitive.keeps_images() {
                check_images(output, input, &plan.slots[slot].name).map_err(at_step)?;
            }
            if position == 0 {
                primitive.check(input).map_err(at_step)?;
            }
        }
        if steps.contains(&i) {
            workspace = workspace.max(primitive.workspace(output));
        }
        if let Some(&Some(sums)) = step.outputs.get(SUMS) {
            let height = primitive.partial_sums(output);
            extents[sums] = Some(Extent { height, width: 1, ..output }.checked()?);
        }
    }
    Ok(workspace)
}

/// Checks that an input has as many images as the output, or one that stands for all.
fn check_images(output: Extent, input: Extent, name: &str) -> Result<()> {
    if input.images != output.images && input.images != 1 {
        let (found, wanted) = (input.images, output.images);
        return Err(Error::shape(format!("{name:?} is of {found} images, the result of {wanted}")));
    }
    Ok(())
}

/// Finds the steps that can work in place. Returns, for every slot, the slot whose place it takes,
/// and for every step, whether it works in place.
fn share_places(
    plan: &Plan,
    steps: &Range<usize>,
    extents: &[Option<Extent>],
) -> (Vec<Slot>, Vec<bool>) {
    let mut roots: Vec<Slot> = (0..plan.slots.len()).collect();
    let mut in_place = vec![false; plan.steps.len()];
    for i in steps.clone() {
        let step = &plan.steps[i];
        let StepKind::Primitive(primitive) = &step.kind else { continue };
        let (Some(&Some(input)), Some(&Some(output))) = (step.inputs.first(), step.outputs.first())
        else {
            continue;
        };
        let owner = plan.owner(input);
        let is_last_use = plan.last_use[owner] == Some(i);
        let mut others = step.inputs[1..].iter().flatten();
        let is_read_once = others.all(|&other| plan.owner(other) != owner);
        let is_map = matches!(plan.slots[owner].kind, SlotKind::Map(_) | SlotKind::Plane(_));
        let fits = extents[input] == extents[output];
        if primitive.works_in_place() && is_last_use && is_read_once && is_map && fits {
            roots[output] = roots[owner];
            in_place[i] = true;
        }
    }
    (roots, in_place)
}

/// Returns when each place is in use, from the first write to the last use of the maps that take it.
fn lifetimes(
    plan: &Plan,
    steps: &Range<usize>,
    extents: &[Option<Extent>],
    roots: &[Slot],
) -> Vec<Lifetime> {
    let mut maps: Vec<Option<Lifetime>> = (0..plan.slots.len()).map(|_| None).collect();
    let mut live = |slot: Slot, first: usize| {
        let is_map = matches!(
            plan.slots[slot].kind,
            SlotKind::Map(_) | SlotKind::Plane(_) | SlotKind::Sums(_)
        );
        let (Some(extent), true) = (extents[slot], is_map) else { return };
        let last = plan.last_use[slot].unwrap_or(first).min(steps.end);
        let len = extent.len().next_multiple_of(CACHE_LINE);
        let slot = roots[slot];
        let map = maps[slot].get_or_insert(Lifetime { slot, first, last, len });
        map.last = map.last.max(last);
    };
    plan.live_before(steps.start).for_each(|slot| live(slot, steps.start));
    for i in steps.clone() {
        plan.steps[i].outputs.iter().flatten().for_each(|&slot| live(slot, i));
    }
    maps.into_iter().flatten().collect()
}
