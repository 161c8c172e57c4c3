//! What a plan is, and how its steps run. Threads are met here and nowhere below.
//!
//! A plan is a network lowered to steps over slots. The values that kernels read and write are maps
//! in one arena, whose layout is [bound](Bound) once for the shapes of the inputs; the few values
//! that only the general operators know are tensors.

mod batch;
mod bound;
mod conv;
mod crew;
mod dynamic;
mod epilogue;
mod expand;
mod extent;
mod io;
mod pool;
mod run;
mod share;
mod state;
mod sync;
mod team;
mod transform;
mod window;
mod winograd;

pub use bound::Bound;
pub use conv::{ConvStep, DepthwiseStep};
pub use dynamic::{AttentionStep, CoefficientsStep};
pub use epilogue::Fused;
pub use expand::ExpandStep;
pub use extent::{Extent, View};
pub use io::{Io, MOST_INPUTS, MOST_OUTPUTS};
pub use pool::{GlobalAverageStep, PoolStep};
pub use run::{Input, Watch};
pub use state::{Batching, State, planned_bytes};
pub use team::Team;
pub use transform::TransformStep;
pub use window::WindowShape;
pub use winograd::WinogradStep;

use crate::error::Result;
use crate::graph::{Dim, Op};
use crate::tensor::Tensor;

/// A computation over maps, with whatever it has prepared in advance.
///
/// It cuts its work by shape alone, so that results do not depend on the number of threads.
pub trait Kernel: Send + Sync {
    /// What it is called where plans are shown.
    fn name(&self) -> &'static str;

    /// Elements of workspace that each thread needs.
    fn workspace(&self, _output: Extent) -> usize {
        0
    }

    /// Rows of partial sums an image that it leaves beside its output, where they are wanted.
    fn partial_sums(&self, _output: Extent) -> usize {
        1
    }

    /// Bytes of the weights that it reads.
    fn weight_bytes(&self) -> usize {
        0
    }

    /// Multiply-adds for an input 0 and an output of these sizes, those of the direct way where
    /// there are several; 0 for what is no sum of products.
    fn macs(&self, _input: Extent, _output: Extent) -> usize {
        0
    }

    /// Whether its output may lie where input 0 lies.
    fn works_in_place(&self) -> bool {
        false
    }

    /// Whether input 0 may be an input of the network as the user gave it, NCHW.
    fn reads_nchw(&self) -> bool {
        false
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// `Shape` where the inputs do not fit the operation.
    fn run(&self, io: Io) -> Result<()>;
}

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
    steps: Vec<Step>,
    slots: Vec<SlotInfo>,
    outputs: Vec<Slot>,
    /// For every slot, the last step that reads or writes it.
    last_use: Vec<Option<usize>>,
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
    fn crossing(&self, step: usize) -> impl Iterator<Item = Slot> {
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
