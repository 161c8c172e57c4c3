//! What a plan is: steps over slots.

use super::steps::Kernel;
use crate::graph::{Dim, Op};
use crate::tensor::Tensor;

/// Names a value of a plan.
pub type Slot = usize;

/// Where a value is.
#[derive(Clone, Debug)]
pub enum Home {
    /// The input of the network with this number.
    Input(usize),
    /// In the weights.
    Constant(Tensor),
    /// In the arena, under the shape that it has in the graph.
    Map(Vec<Dim>),
    /// The elements of another slot under another shape.
    Alias {
        /// A map.
        of: Slot,
        /// The shape.
        dims: Vec<Dim>,
    },
    /// In the arena: rows of partial sums over the map of another slot, which the step with this
    /// number computes.
    Sums(Slot),
    /// A tensor that a general operator makes.
    Tensor,
    /// Nowhere: it vanished into a step.
    Fused,
}

/// A value of a plan.
#[derive(Clone, Debug)]
pub struct SlotInfo {
    /// Its name in the graph.
    pub name: String,
    /// Where it is.
    pub home: Home,
}

/// What computes a step.
pub enum Work {
    /// A kernel, over maps.
    Kernel(Box<dyn Kernel>),
    /// What is not worth a kernel of its own: the reference, over tensors.
    General(Op),
    /// Brings a tensor into the arena.
    Import,
}

impl Work {
    /// What it is called where plans are shown.
    pub fn name(&self) -> &'static str {
        match self {
            Work::Kernel(kernel) => kernel.name(),
            Work::General(_) => "general",
            Work::Import => "import",
        }
    }
}

/// Something to be computed, and the values that it reads and produces.
pub struct Step {
    /// The name of the node that it began as.
    pub name: String,
    /// The operators that it computes, joined by `+`.
    pub op: String,
    /// What computes it.
    pub work: Work,
    /// What it reads.
    pub inputs: Vec<Option<Slot>>,
    /// What it produces.
    pub outputs: Vec<Option<Slot>>,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The name of the node that it began as.
    pub name: String,
    /// The operators that it computes.
    pub op: String,
    /// Wall time.
    pub seconds: f64,
    /// Multiply-adds, those of the direct way where there are several.
    pub macs: usize,
    /// Bytes of the weights that it reads.
    pub weight_bytes: usize,
}

/// A network lowered to steps in the order in which they run.
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) slots: Vec<SlotInfo>,
    pub(super) outputs: Vec<Slot>,
    /// For every slot, the last step that reads or writes it.
    pub(super) last_use: Vec<Option<usize>>,
}

impl Plan {
    /// A plan of `steps` over `slots`.
    pub fn new(steps: Vec<Step>, slots: Vec<SlotInfo>, outputs: Vec<Slot>) -> Self {
        let mut last_use = vec![None; slots.len()];
        let mut used = |slot: Slot, step: usize| {
            last_use[slot] = Some(step);
            if let Home::Alias { of, .. } = slots[slot].home {
                last_use[of] = last_use[of].max(Some(step));
            }
        };
        for (i, step) in steps.iter().enumerate() {
            step.inputs.iter().chain(&step.outputs).flatten().for_each(|&slot| used(slot, i));
        }
        outputs.iter().for_each(|&slot| used(slot, steps.len()));
        Plan { steps, slots, outputs, last_use }
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// All values.
    pub fn slots(&self) -> &[SlotInfo] {
        &self.slots
    }

    /// The maps that steps before `step` compute and it or later ones read.
    pub(super) fn crossing(&self, step: usize) -> impl Iterator<Item = Slot> {
        let earlier = self.steps[..step].iter().flat_map(|step| step.outputs.iter().flatten());
        earlier.copied().filter(move |&slot| self.last_use[slot] >= Some(step))
    }

    /// Bytes of the weights that kernels hold.
    pub fn weight_bytes(&self) -> usize {
        let of_step = |step: &Step| match &step.work {
            Work::Kernel(kernel) => kernel.weight_bytes(),
            Work::General(_) | Work::Import => 0,
        };
        self.steps.iter().map(of_step).sum()
    }
}
