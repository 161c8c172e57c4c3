//! Running a plan.

use std::time::Instant;

use super::extent::{self, View};
use super::io::{Io, MOST_INPUTS, MOST_OUTPUTS};
use super::{Bound, Home, Kernel, Plan, Slot, Step, Work};
use crate::error::{Error, Result};
use crate::graph::Bindings;
use crate::reference;
use crate::simd::Isa;
use crate::tensor::{Arena, DType, Layout, Tensor};

/// What a run is given for an input of the network.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// A tensor of any element type.
    Tensor(&'a Tensor),
    /// Elements in row-major order.
    F32 {
        /// Sizes of the axes.
        shape: &'a [usize],
        /// As many elements.
        data: &'a [f32],
    },
}

impl Input<'_> {
    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Input::Tensor(tensor) => tensor.shape(),
            Input::F32 { shape, .. } => shape,
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Input::Tensor(tensor) => tensor.dtype(),
            Input::F32 { .. } => DType::F32,
        }
    }

    fn as_f32(&self) -> Result<&[f32]> {
        match self {
            Input::Tensor(tensor) => tensor.as_f32(),
            Input::F32 { data, .. } => Ok(data),
        }
    }

    fn to_tensor(self) -> Result<Tensor> {
        match self {
            Input::Tensor(tensor) => Ok(tensor.clone()),
            Input::F32 { shape, data } => Tensor::new(shape, data.to_vec()),
        }
    }
}

/// Who is told about the steps of a run.
pub enum Watch<'a> {
    /// Nobody.
    Nobody,
    /// Gets every step and how many seconds it took.
    Times(&'a mut (dyn FnMut(&Step, f64) + Send)),
    /// Gets every value that is not fused away, by name.
    Values(&'a mut (dyn FnMut(&str, &Tensor) + Send)),
}

/// The memory of one caller: the arena, and what it was planned for.
pub struct State {
    bound: Option<Bound>,
    arena: Arena,
    tensors: Vec<Option<Tensor>>,
    threads: usize,
    isa: Isa,
}

impl State {
    /// Memory for runs on `threads` threads.
    pub fn new(threads: usize, isa: Isa) -> Self {
        State { bound: None, arena: Arena::new(0), tensors: Vec::new(), threads, isa }
    }

    /// What the memory was last planned for.
    pub fn bound(&self) -> Option<&Bound> {
        self.bound.as_ref()
    }

    /// Plans memory for these inputs, unless the last run had the same shapes. `bindings` says
    /// which sizes the symbols of the graph stand for.
    ///
    /// # Errors
    /// `Shape` where the inputs do not fit the network or ask for too much memory.
    pub fn bind(
        &mut self,
        plan: &Plan,
        inputs: &[Input],
        bindings: impl FnOnce() -> Result<Bindings>,
    ) -> Result<()> {
        let same = |bound: &Bound| {
            bound.inputs.len() == inputs.len()
                && bound.inputs.iter().zip(inputs).all(|(shape, input)| shape == input.shape())
        };
        if self.bound.as_ref().is_some_and(same) {
            return Ok(());
        }
        let shapes = inputs.iter().map(|input| input.shape().to_vec()).collect();
        let bound = Bound::new(plan, shapes, &bindings()?, self.threads)?;
        if bound.arena_len() > self.arena.len() {
            self.arena = Arena::new(bound.arena_len());
        }
        self.tensors = vec![None; plan.slots.len()];
        self.bound = Some(bound);
        Ok(())
    }
}

impl Plan {
    /// Runs all steps. [`State::bind`] comes first; [`output`](Self::output) gives the results.
    ///
    /// # Errors
    /// What a step says, with the node's name.
    pub fn run(&self, state: &mut State, inputs: &[Input], watch: &mut Watch) -> Result<()> {
        for (i, step) in self.steps.iter().enumerate() {
            let start = matches!(watch, Watch::Times(_)).then(Instant::now);
            let done = match &step.work {
                Work::Kernel(kernel) => self.run_kernel(state, inputs, i, &**kernel),
                Work::General(op) => {
                    let tensors = step.inputs.iter().map(|slot| match slot {
                        Some(slot) => self.tensor(state, inputs, *slot).map(Some),
                        None => Ok(None),
                    });
                    tensors.collect::<Result<Vec<_>>>().and_then(|tensors| {
                        let tensors: Vec<_> = tensors.iter().map(Option::as_ref).collect();
                        let results = reference::evaluate(op, &tensors, step.outputs.len())?;
                        for (slot, tensor) in step.outputs.iter().zip(results) {
                            if let Some(slot) = *slot {
                                state.tensors[slot] = Some(tensor);
                            }
                        }
                        Ok(())
                    })
                }
                Work::Import => self.import(state, inputs, step),
            };
            done.map_err(|e| e.at_node(&step.name, &step.op))?;
            match watch {
                Watch::Nobody => {}
                Watch::Times(told) => {
                    let seconds = start.map_or(0.0, |start| start.elapsed().as_secs_f64());
                    told(step, seconds);
                }
                Watch::Values(told) => {
                    for &slot in step.outputs.iter().flatten() {
                        if !matches!(self.slots[slot].home, Home::Sums(_)) {
                            told(&self.slots[slot].name, &self.tensor(state, inputs, slot)?);
                        }
                    }
                }
            }
            for &slot in step.inputs.iter().flatten() {
                if self.last_use[slot] == Some(i) {
                    state.tensors[slot] = None;
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
        match (&self.slots[slot].home, &state.bound) {
            (Home::Map(_) | Home::Alias { .. }, Some(bound)) => Ok(bound.shapes[slot].clone()),
            _ => Ok(self.tensor(state, inputs, slot)?.shape().to_vec()),
        }
    }

    /// Output `i` of the last run, as a tensor.
    ///
    /// # Errors
    /// `Graph` where nothing produces it.
    pub fn output(&self, state: &State, inputs: &[Input], i: usize) -> Result<Tensor> {
        self.tensor(state, inputs, self.outputs[i])
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
        match (&self.slots[slot].home, &state.bound) {
            (Home::Map(_) | Home::Alias { .. }, Some(bound)) => {
                let shape = &bound.shapes[slot];
                let expected = shape.iter().product();
                if out.len() != expected {
                    return Err(wrong(expected, out.len()));
                }
                let range = bound.ranges[slot].clone().unwrap_or_default();
                extent::from_map(state.arena.read(range), shape, out);
            }
            _ => {
                let tensor = self.tensor(state, inputs, slot)?;
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
        state: &mut State,
        inputs: &[Input],
        index: usize,
        kernel: &dyn Kernel,
    ) -> Result<()> {
        let step = &self.steps[index];
        let Some(bound) = &state.bound else { return Ok(()) };
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
        let (reads, writes) = state.arena.borrow(&reads, &writes);
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
            isa: state.isa,
            threads: state.threads,
        })
    }

    fn import(&self, state: &mut State, inputs: &[Input], step: &Step) -> Result<()> {
        let (Some(&Some(from)), Some(&Some(to))) = (step.inputs.first(), step.outputs.first())
        else {
            return Ok(());
        };
        let State { bound: Some(bound), arena, tensors, .. } = state else { return Ok(()) };
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
        extent::to_map(data, shape, map.unwrap_or_default());
        Ok(())
    }

    fn tensor(&self, state: &State, inputs: &[Input], slot: Slot) -> Result<Tensor> {
        let missing = || Error::graph(format!("nothing produces {:?}", self.slots[slot].name));
        match (&self.slots[slot].home, &state.bound) {
            (Home::Input(n), _) => inputs[*n].to_tensor(),
            (Home::Constant(tensor), _) => Ok(tensor.clone()),
            (Home::Map(_) | Home::Alias { .. }, Some(bound)) => {
                let range = bound.ranges[slot].clone().ok_or_else(missing)?;
                extent::tensor_of(state.arena.read(range), &bound.shapes[slot])
            }
            _ => state.tensors[slot].clone().ok_or_else(missing),
        }
    }
}
