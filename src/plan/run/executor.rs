//! Running a plan.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::plan::extent::{self, View};
use crate::plan::memory::{Bound, Memory, State};
use crate::plan::steps::{Io, Kernel, MOST_INPUTS, MOST_OUTPUTS};
use crate::plan::threads::Team;
use crate::plan::{Home, Input, Plan, Slot, Step, StepTime, Work};
use crate::reference;
use crate::tensor::{Layout, Tensor};

/// Who is told about the steps of a run.
pub enum Watch<'a> {
    /// Nobody.
    Nobody,
    /// Gets what every step took.
    Times(&'a mut dyn FnMut(StepTime)),
    /// Gets every value that is not fused away, by name.
    Values(&'a mut dyn FnMut(&str, &Tensor)),
}

impl Plan {
    /// Runs all steps. [`State::bind`] comes first; [`output`](Self::output) gives the results.
    ///
    /// # Errors
    /// What a step says, with the node's name.
    pub fn run(&self, state: &mut State, inputs: &[Input], watch: &mut Watch) -> Result<()> {
        let State { heads, memory: Some(memory), team, .. } = state else { return Ok(()) };
        self.run_heads(heads, memory, team, inputs, watch)?;
        self.run_steps(memory, team, inputs, watch)
    }

    /// Runs the steps that `memory` is bound for, on the threads of `team`.
    pub(super) fn run_steps(
        &self,
        memory: &mut Memory,
        team: &mut Team,
        inputs: &[Input],
        watch: &mut Watch,
    ) -> Result<()> {
        for i in memory.bound.steps.clone() {
            let step = &self.steps[i];
            let start = matches!(watch, Watch::Times(_)).then(Instant::now);
            let done = match &step.work {
                Work::Kernel(kernel) => self.run_kernel(memory, team, inputs, i, &**kernel),
                Work::General(op) => {
                    let tensors = step.inputs.iter().map(|slot| match slot {
                        Some(slot) => self.tensor(memory, inputs, *slot).map(Some),
                        None => Ok(None),
                    });
                    tensors.collect::<Result<Vec<_>>>().and_then(|tensors| {
                        let tensors: Vec<_> = tensors.iter().map(Option::as_ref).collect();
                        let results = reference::evaluate(op, &tensors, step.outputs.len())?;
                        for (slot, tensor) in step.outputs.iter().zip(results) {
                            if let Some(slot) = *slot {
                                memory.tensors[slot] = Some(tensor);
                            }
                        }
                        Ok(())
                    })
                }
                Work::Import => self.import(memory, inputs, step),
            };
            done.map_err(|e| e.at_node(&step.name, &step.op))?;
            match watch {
                Watch::Nobody => {}
                Watch::Times(told) => {
                    let seconds = start.map_or(0.0, |start| start.elapsed().as_secs_f64());
                    told(step.time(&memory.bound, seconds));
                }
                Watch::Values(told) => {
                    for &slot in step.outputs.iter().flatten() {
                        if !matches!(self.slots[slot].home, Home::Sums(_)) {
                            told(&self.slots[slot].name, &self.tensor(memory, inputs, slot)?);
                        }
                    }
                }
            }
            for &slot in step.inputs.iter().flatten() {
                if self.last_use[slot] == Some(i) {
                    memory.tensors[slot] = None;
                }
            }
        }
        Ok(())
    }

    /// The shape of output `i` of the last run.
    ///
    /// # Errors
    /// `Graph` where nothing produces it.
    pub fn output_shape(&self, state: &State, inputs: &[Input], i: usize) -> Result<Vec<usize>> {
        let slot = self.outputs[i];
        let memory = state.memory()?;
        match &self.slots[slot].home {
            Home::Map(_) | Home::Alias { .. } => Ok(memory.bound.shapes[slot].clone()),
            _ => Ok(self.tensor(memory, inputs, slot)?.shape().to_vec()),
        }
    }

    /// Output `i` of the last run, as a tensor.
    ///
    /// # Errors
    /// `Graph` where nothing produces it.
    pub fn output(&self, state: &State, inputs: &[Input], i: usize) -> Result<Tensor> {
        self.tensor(state.memory()?, inputs, self.outputs[i])
    }

    /// Copies output `i` of the last run to `out`, in row-major order. Nothing is allocated for
    /// outputs that kernels compute.
    ///
    /// # Errors
    /// `Input` where `out` has another number of elements or the output is not of type f32.
    pub fn copy_output(
        &self,
        state: &State,
        inputs: &[Input],
        i: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let slot = self.outputs[i];
        let wrong = |expected: usize, found: usize| {
            let name = &self.slots[slot].name;
            Error::input(format!("output {name:?} has {expected} elements, room is for {found}"))
        };
        let Memory { bound, arena, isa, .. } = state.memory()?;
        match &self.slots[slot].home {
            Home::Map(_) | Home::Alias { .. } => {
                let shape = &bound.shapes[slot];
                let expected = shape.iter().product();
                if out.len() != expected {
                    return Err(wrong(expected, out.len()));
                }
                let range = bound.ranges[slot].clone().unwrap_or_default();
                extent::from_map(*isa, arena.read(range), shape, out);
            }
            _ => {
                let tensor = self.tensor(state.memory()?, inputs, slot)?;
                if out.len() != tensor.len() {
                    return Err(wrong(tensor.len(), out.len()));
                }
                out.copy_from_slice(tensor.as_f32()?);
            }
        }
        Ok(())
    }

    fn run_kernel(
        &self,
        memory: &mut Memory,
        team: &mut Team,
        inputs: &[Input],
        index: usize,
        kernel: &dyn Kernel,
    ) -> Result<()> {
        let step = &self.steps[index];
        let Memory { bound, arena, isa, .. } = memory;
        let mut reads = [const { None }; MOST_INPUTS];
        let mut sizes = [None; MOST_INPUTS];
        for (i, slot) in step.inputs.iter().enumerate() {
            let Some(slot) = *slot else { continue };
            sizes[i] = bound.extents[slot];
            if i > 0 || !bound.in_place[index] {
                reads[i] = bound.ranges[slot].clone();
            }
        }
        let mut writes = [const { None }; MOST_OUTPUTS + 1];
        let mut results = [None; MOST_OUTPUTS];
        for (i, slot) in step.outputs.iter().enumerate() {
            let Some(slot) = *slot else { continue };
            results[i] = bound.extents[slot];
            writes[i] = bound.ranges[slot].clone();
        }
        writes[MOST_OUTPUTS] = Some(bound.workspace.clone());
        let (reads, writes) = arena.borrow(&reads, &writes);
        // No image, or none that has a pixel: there is nothing to compute but sums of nothing.
        if results[0].is_some_and(|extent| extent.is_empty()) {
            writes.into_iter().take(MOST_OUTPUTS).flatten().for_each(|map| map.fill(0.0));
            return Ok(());
        }
        let mut views = [None; MOST_INPUTS];
        for (i, (view, slot)) in views.iter_mut().zip(&step.inputs).enumerate() {
            let Some(slot) = *slot else { continue };
            let Some(extent) = sizes[i] else { continue };
            *view = match &self.slots[slot].home {
                Home::Input(n) => {
                    let data = inputs[*n].as_f32()?;
                    Some(View { data, extent, layout: Layout::Nchw })
                }
                _ => reads[i].map(|data| View { data, extent, layout: Layout::Nhwc }),
            };
        }
        let [first, second, workspace] = writes;
        kernel.run(Io {
            inputs: views,
            sizes,
            outputs: [first, second],
            results,
            workspace: workspace.unwrap_or_default(),
            isa: *isa,
            team,
        })
    }

    fn import(&self, memory: &mut Memory, inputs: &[Input], step: &Step) -> Result<()> {
        let (Some(&Some(from)), Some(&Some(to))) = (step.inputs.first(), step.outputs.first())
        else {
            return Ok(());
        };
        let Memory { bound, arena, tensors, isa, .. } = memory;
        let (shape, data) = match &self.slots[from].home {
            Home::Input(n) => (inputs[*n].shape(), inputs[*n].as_f32()?),
            Home::Constant(tensor) => (tensor.shape(), tensor.as_f32()?),
            _ => match &tensors[from] {
                Some(tensor) => (tensor.shape(), tensor.as_f32()?),
                None => return Err(Error::graph("it reads a value that nothing produces")),
            },
        };
        if shape != bound.shapes[to] {
            return Err(Error::shape(format!("expected {:?}, found {shape:?}", bound.shapes[to])));
        }
        let ([], [map]) = arena.borrow(&[], &[bound.ranges[to].clone()]);
        extent::to_map(*isa, data, shape, map.unwrap_or_default());
        Ok(())
    }

    fn tensor(&self, memory: &Memory, inputs: &[Input], slot: Slot) -> Result<Tensor> {
        let missing = || Error::graph(format!("nothing produces {:?}", self.slots[slot].name));
        match &self.slots[slot].home {
            Home::Input(n) => inputs[*n].to_tensor(),
            Home::Constant(tensor) => Ok(tensor.clone()),
            Home::Map(_) | Home::Alias { .. } => {
                let range = memory.bound.ranges[slot].clone().ok_or_else(missing)?;
                extent::tensor_of(memory.isa, memory.arena.read(range), &memory.bound.shapes[slot])
            }
            _ => memory.tensors[slot].clone().ok_or_else(missing),
        }
    }
}

impl Step {
    fn time(&self, bound: &Bound, seconds: f64) -> StepTime {
        let extent = |slots: &[Option<Slot>]| bound.extents[slots.first().copied().flatten()?];
        let (macs, weight_bytes) = match &self.work {
            Work::Kernel(kernel) => {
                let macs = extent(&self.inputs).zip(extent(&self.outputs));
                (macs.map_or(0, |(x, y)| kernel.macs(x, y)), kernel.weight_bytes())
            }
            Work::General(_) | Work::Import => (0, 0),
        };
        StepTime { name: self.name.clone(), op: self.op.clone(), seconds, macs, weight_bytes }
    }
}
