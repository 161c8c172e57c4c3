//! Plans: networks lowered to steps over slots.

use super::map::MapShape;
use super::steps::{Primitive, TensorOperation};
use crate::graph::Op;
use crate::kernels::scalar_product::SingleOutput;
use crate::tensor::Tensor;

/// The number of a value of a plan.
pub type Slot = usize;

/// What holds the elements of a slot.
#[derive(Clone, Debug)]
pub enum SlotKind {
    /// The network's input with this number.
    Input(usize),
    /// A constant of the network.
    Constant(Tensor),
    /// A map in the arena, whose shape in the graph is this.
    Map(MapShape),
    /// The map of another slot, seen under another shape.
    Alias {
        /// The slot of the map.
        of: Slot,
        /// The shape in the graph.
        shape: MapShape,
    },
    /// A plane in the arena: the value has one channel, `[N,1,H,W]`, and the numbers of an image lie one
    /// after another, padded to whole vectors.
    Plane(MapShape),
    /// A map in the arena with partial sums over the pixels of the map in this slot. The step that
    /// computes that map also computes its sums.
    Sums(Slot),
    /// A tensor that a step allocates.
    Tensor,
    /// Nothing: the value exists only inside a step.
    Fused,
}

/// A value of a plan.
#[derive(Clone, Debug)]
pub struct SlotInfo {
    /// Its name in the graph.
    pub name: String,
    /// What holds its elements.
    pub kind: SlotKind,
}

/// How a step is computed.
pub enum StepKind {
    /// By a primitive, from maps to maps.
    Primitive(Box<dyn Primitive>),
    /// By kernels, from tensors to tensors.
    Tensors(Box<dyn TensorOperation>),
    /// By reading the sizes of the axes from `start` to before `end`, without the elements.
    Shape {
        /// The first axis.
        start: i64,
        /// One past the last axis; absent for all.
        end: Option<i64>,
    },
    /// By the reference executor, from tensors to tensors.
    General(Op),
    /// By copying a tensor or an input of the network to a map.
    Import,
}

impl StepKind {
    /// Returns the name that listings of a plan show.
    pub fn name(&self) -> &'static str {
        match self {
            StepKind::Primitive(primitive) => primitive.name(),
            StepKind::Tensors(operation) => operation.name(),
            StepKind::Shape { .. } => "shape",
            StepKind::General(_) => "general",
            StepKind::Import => "import",
        }
    }

    /// Returns the size in bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        match self {
            StepKind::Primitive(primitive) => primitive.weight_bytes(),
            StepKind::Tensors(_)
            | StepKind::Shape { .. }
            | StepKind::General(_)
            | StepKind::Import => 0,
        }
    }
}

/// One entry of a plan: a computation, the slots that it reads, and the slots that it writes.
pub struct Step {
    /// The name of the graph's node that it was lowered from.
    pub name: String,
    /// The operators that it computes, joined by `+`.
    pub op: String,
    /// How it is computed.
    pub kind: StepKind,
    /// The slots that it reads. An optional input that is left out is `None`.
    pub inputs: Vec<Option<Slot>>,
    /// The slots that it writes: the result, its partial sums, and the plane of `logits`. An output that
    /// nothing reads may be `None`.
    pub outputs: Vec<Option<Slot>>,
    /// A layer of one output per pixel of the result of a primitive. It is applied to each block of the
    /// result while that is in the cache.
    pub logits: Option<SingleOutput>,
}

impl Step {
    /// Returns the size in bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        let logits = self.logits.as_ref().map_or(0, |layer| size_of_val(&*layer.weight));
        self.kind.weight_bytes() + logits
    }
}

/// The slot whose map is in the memory of `slot`.
fn owner(slots: &[SlotInfo], slot: Slot) -> Slot {
    match slots[slot].kind {
        SlotKind::Alias { of, .. } => of,
        _ => slot,
    }
}

/// A network lowered to steps, in the order in which they run.
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) slots: Vec<SlotInfo>,
    pub(super) outputs: Vec<Slot>,
    /// For every slot, the last step that reads or writes it; for an output of the network, the
    /// number of steps.
    pub(super) last_use: Vec<Option<usize>>,
    /// For every slot, the last step that reads it as a tensor; for an output of the network that is
    /// one, the number of steps.
    pub(super) last_use_as_tensor: Vec<Option<usize>>,
}

impl Plan {
    /// Creates a plan of `steps` over `slots`. The network's outputs are in the slots `outputs`.
    pub fn new(steps: Vec<Step>, slots: Vec<SlotInfo>, outputs: Vec<Slot>) -> Self {
        let mut last_use = vec![None; slots.len()];
        let mut used = |slot: Slot, step: usize| {
            last_use[slot] = Some(step);
            let owner = owner(&slots, slot);
            last_use[owner] = last_use[owner].max(Some(step));
        };
        for (i, step) in steps.iter().enumerate() {
            step.inputs.iter().chain(&step.outputs).flatten().for_each(|&slot| used(slot, i));
        }
        outputs.iter().for_each(|&slot| used(slot, steps.len()));
        let mut last_use_as_tensor = vec![None; slots.len()];
        let on_tensors = |(_, step): &(usize, &Step)| !matches!(step.kind, StepKind::Primitive(_));
        for (i, step) in steps.iter().enumerate().filter(on_tensors) {
            step.inputs.iter().flatten().for_each(|&slot| last_use_as_tensor[slot] = Some(i));
        }
        for &slot in outputs.iter().filter(|&&slot| matches!(slots[slot].kind, SlotKind::Tensor)) {
            last_use_as_tensor[slot] = Some(steps.len());
        }
        Plan { steps, slots, outputs, last_use, last_use_as_tensor }
    }

    /// Returns the steps, in the order in which they run.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns all values. A [`Slot`] is an index into them.
    pub fn slots(&self) -> &[SlotInfo] {
        &self.slots
    }

    /// Returns the slot of the map whose memory a slot has: the slot itself unless it is an alias.
    pub(super) fn owner(&self, slot: Slot) -> Slot {
        owner(&self.slots, slot)
    }

    /// Returns the slots that are live before `step`: an earlier step writes them, and `step` or a
    /// later one reads them.
    pub(super) fn live_before(&self, step: usize) -> impl Iterator<Item = Slot> {
        let written = self.steps[..step].iter().flat_map(|step| step.outputs.iter().flatten());
        written.copied().filter(move |&slot| self.last_use[slot] >= Some(step))
    }

    /// Returns the size in bytes of all packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.steps.iter().map(Step::weight_bytes).sum()
    }
}
