//! What a plan is, and how its steps run. Threads are met here and nowhere below.

mod conv;
mod dense;
mod dynamic;

use std::collections::HashMap;
use std::time::Instant;

pub use conv::ConvStep;
pub use dense::DenseStep;
pub use dynamic::{GlobalAverageStep, HyperfunctionStep, MaxAffineStep};

use crate::error::Result;
use crate::tensor::Tensor;

/// One operation of a plan, with whatever it has prepared in advance.
///
/// A kernel runs inside a thread pool and may use rayon; it cuts its work by shape alone, so that
/// the result does not depend on the number of threads.
pub trait Kernel: Send + Sync {
    /// Computes the outputs. Absent optional inputs are `None`.
    ///
    /// # Errors
    /// `Shape` where the inputs do not fit the operation or each other.
    fn run(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>>;
}

/// A value of a plan.
pub type Slot = usize;

/// A kernel and the values that it reads and produces.
pub struct Step {
    /// The name of the node.
    pub name: String,
    /// The operator.
    pub op: &'static str,
    /// What computes it.
    pub kernel: Box<dyn Kernel>,
    /// What it reads.
    pub inputs: Vec<Option<Slot>>,
    /// What it produces.
    pub outputs: Vec<Option<Slot>>,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The name of the node.
    pub name: String,
    /// The operator.
    pub op: &'static str,
    /// Wall time.
    pub seconds: f64,
}

/// A network lowered to steps in the order in which they run.
pub struct Plan {
    steps: Vec<Step>,
    constants: HashMap<Slot, Tensor>,
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    /// For every step, the values that nobody reads after it.
    released: Vec<Vec<Slot>>,
}

impl Plan {
    /// A plan of `steps` over `constants`.
    pub fn new(
        steps: Vec<Step>,
        constants: HashMap<Slot, Tensor>,
        inputs: Vec<Slot>,
        outputs: Vec<Slot>,
    ) -> Self {
        let mut last_use: HashMap<Slot, usize> = HashMap::new();
        for (i, step) in steps.iter().enumerate() {
            for &slot in step.inputs.iter().chain(&step.outputs).flatten() {
                last_use.insert(slot, i);
            }
        }
        let mut released = vec![Vec::new(); steps.len()];
        for (slot, i) in last_use {
            if !constants.contains_key(&slot) && !outputs.contains(&slot) {
                released[i].push(slot);
            }
        }
        Plan { steps, constants, inputs, outputs, released }
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Runs all steps on one tensor an input; `observe` is told how long each took and what it gave.
    ///
    /// # Errors
    /// What a kernel says, with the node's name.
    pub fn run(
        &self,
        inputs: &[Tensor],
        observe: &mut dyn FnMut(&Step, f64, &[Tensor]),
    ) -> Result<Vec<Tensor>> {
        let mut values: HashMap<Slot, Tensor> =
            self.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
        for (step, released) in self.steps.iter().zip(&self.released) {
            let read = |slot: &Option<Slot>| {
                slot.and_then(|s| values.get(&s).or_else(|| self.constants.get(&s)))
            };
            let inputs: Vec<Option<&Tensor>> = step.inputs.iter().map(read).collect();
            let start = Instant::now();
            let outputs = step.kernel.run(&inputs).map_err(|e| e.at_node(&step.name, step.op))?;
            observe(step, start.elapsed().as_secs_f64(), &outputs);
            for (slot, tensor) in step.outputs.iter().zip(outputs) {
                if let Some(slot) = slot {
                    values.insert(*slot, tensor);
                }
            }
            for slot in released {
                values.remove(slot);
            }
        }
        let output =
            |slot: &Slot| {
                values.get(slot).or_else(|| self.constants.get(slot)).cloned().ok_or_else(|| {
                    crate::Error::graph("an output of the network is never produced")
                })
            };
        self.outputs.iter().map(output).collect()
    }
}
