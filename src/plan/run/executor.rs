//! Running steps one after another.

use std::time::{Duration, Instant};

use super::options::RunOptions;
use super::spans;
use super::watch::{StepTime, Watch};
use crate::error::{Error, Result};
use crate::plan::input::Input;
use crate::plan::map::{MapView, copy_to_map, tensor_from_map};
use crate::plan::memory::{Buffers, Placement};
use crate::plan::steps::{
    Arguments, FEW_INPUTS, MOST_INPUTS, MOST_OUTPUTS, Primitive, TensorInputs,
};
use crate::plan::threads::{Logits, Team, Workers};
use crate::plan::{Plan, Slot, SlotKind, Step, StepKind};
use crate::reference;
use crate::simd::Isa;
use crate::tensor::{Layout, Tensor};

/// A plan and the inputs that it runs on.
#[derive(Clone, Copy)]
pub(super) struct Executor<'a> {
    pub plan: &'a Plan,
    pub inputs: &'a [Input<'a>],
    /// The elements of inputs that are images of bytes.
    pub converted: &'a [Vec<f32>],
    pub options: &'a RunOptions,
    pub isa: Isa,
}

impl Executor<'_> {
    /// Runs the steps that `buffers` are for, on the threads of `team`.
    pub fn run(&self, buffers: &mut Buffers, team: &mut Team, watch: &mut Watch) -> Result<()> {
        buffers.tensors.fill(None);
        for index in buffers.placement.steps.clone() {
            self.options.check()?;
            let step = &self.plan.steps[index];
            let _span = spans::step(&step.name, &step.op, step.kind.name());
            let mut macs = None;
            let start = matches!(watch, Watch::Times(_)).then(Instant::now);
            let done = match &step.kind {
                StepKind::Primitive(primitive) => {
                    let primitive = &**primitive;
                    if step.inputs.len() <= FEW_INPUTS {
                        self.run_primitive::<FEW_INPUTS>(buffers, team, index, primitive)
                    } else {
                        self.run_primitive::<MOST_INPUTS>(buffers, team, index, primitive)
                    }
                }
                StepKind::Tensors(operation) => self.run_on_tensors(buffers, index, |inputs| {
                    macs = start.map(|_| operation.macs(&inputs));
                    operation.run(self.isa, inputs, step.outputs.len())
                }),
                StepKind::General(op) => self.run_on_tensors(buffers, index, |inputs| {
                    let inputs: Vec<_> = inputs.0.iter().map(Option::as_ref).collect();
                    reference::evaluate(op, &inputs, step.outputs.len())
                }),
                &StepKind::Shape { start, end } => self.run_shape(buffers, index, start, end),
                StepKind::Import => self.run_import(buffers, step),
            };
            done.map_err(|e| e.at_node(&step.name, &step.op))?;
            match watch {
                Watch::Nobody => {}
                Watch::Times(report) => {
                    if let Some(start) = start {
                        let duration = start.elapsed();
                        report(self.step_time(buffers, step, (start, duration), macs));
                    }
                }
                Watch::Values(report) => {
                    for &slot in step.outputs.iter().flatten() {
                        let info = &self.plan.slots[slot];
                        if !matches!(info.kind, SlotKind::Sums(_)) {
                            report(&info.name, &self.value(buffers, slot)?);
                        }
                    }
                }
            }
            for &slot in step.inputs.iter().flatten() {
                if self.plan.last_use_as_tensor[slot] <= Some(index) {
                    buffers.tensors[slot] = None;
                }
            }
        }
        Ok(())
    }

    /// Returns input `n` with the elements that steps read.
    fn input(&self, n: usize) -> Input<'_> {
        match &self.inputs[n] {
            Input::Levels(levels) => Input::F32 { shape: levels.shape(), data: &self.converted[n] },
            &input => input,
        }
    }

    /// Returns the value of a slot as a tensor.
    ///
    /// # Errors
    /// [`Graph`](crate::ErrorKind::Graph) if no step has computed it.
    pub fn value(&self, buffers: &Buffers, slot: Slot) -> Result<Tensor> {
        let info = &self.plan.slots[slot];
        let missing = || Error::graph(format!("nothing produces {:?}", info.name));
        match &info.kind {
            SlotKind::Input(n) => self.input(*n).to_tensor(),
            SlotKind::Constant(tensor) => Ok(tensor.clone()),
            SlotKind::Map(_) | SlotKind::Plane(_) | SlotKind::Alias { .. } => {
                let map = buffers.map(slot).ok_or_else(missing)?;
                let Placement { layouts, extents, .. } = &buffers.placement;
                let extent = extents[slot].ok_or_else(missing)?;
                let shape = buffers.placement.shape(slot);
                tensor_from_map(self.isa, map, layouts[slot], extent, shape)
            }
            _ => buffers.tensors[slot].clone().ok_or_else(missing),
        }
    }

    /// Runs step number `index`, which computes `primitive` of at most `INPUTS` inputs.
    fn run_primitive<const INPUTS: usize>(
        &self,
        buffers: &mut Buffers,
        team: &mut Team,
        index: usize,
        primitive: &dyn Primitive,
    ) -> Result<()> {
        let step = &self.plan.steps[index];
        let Buffers { placement, arena, .. } = buffers;
        let mut reads = [const { None }; INPUTS];
        let mut input_extents = [None; INPUTS];
        for (i, slot) in step.inputs.iter().enumerate() {
            let Some(slot) = *slot else { continue };
            input_extents[i] = placement.extents[slot];
            if i > 0 || !placement.in_place[index] {
                reads[i] = placement.place(slot);
            }
        }
        let mut writes = [const { None }; MOST_OUTPUTS + 1];
        let mut output_extents = [None; MOST_OUTPUTS];
        for (i, slot) in step.outputs.iter().enumerate() {
            let Some(slot) = *slot else { continue };
            output_extents[i] = placement.extents[slot];
            writes[i] = placement.place(slot);
        }
        writes[MOST_OUTPUTS] = Some(placement.workspace());
        let (reads, writes) = arena.borrow(&reads, &writes);
        // An output without images or without pixels needs no computing; sums over it are zeros.
        if output_extents[0].is_some_and(|extent| extent.is_empty()) {
            writes.into_iter().take(MOST_OUTPUTS).flatten().for_each(|map| map.fill(0.0));
            return Ok(());
        }
        let mut inputs = [None; INPUTS];
        for (i, (view, slot)) in inputs.iter_mut().zip(&step.inputs).enumerate() {
            let Some(slot) = *slot else { continue };
            let Some(extent) = input_extents[i] else { continue };
            *view = match &self.plan.slots[slot].kind {
                SlotKind::Input(n) => {
                    let data = self.input(*n).as_f32()?;
                    Some(MapView { data, extent, layout: Layout::Nchw })
                }
                _ => reads[i].map(|data| MapView { data, extent, layout: Layout::Nhwc }),
            };
        }
        let [map, sums, plane, workspace] = writes;
        let logits = step.logits.as_ref().zip(plane);
        let logits = logits.map(|(layer, plane)| Logits { layer, plane, isa: self.isa });
        primitive.run(Arguments {
            inputs: &inputs,
            input_extents: &input_extents,
            outputs: [map, sums],
            output_extents,
            isa: self.isa,
            workers: Workers { team, workspace: workspace.unwrap_or_default(), logits },
        })
    }

    /// Runs step number `index`, which `compute` computes from tensors.
    fn run_on_tensors(
        &self,
        buffers: &mut Buffers,
        index: usize,
        compute: impl FnOnce(TensorInputs) -> Result<Vec<Tensor>>,
    ) -> Result<()> {
        let step = &self.plan.steps[index];
        for &slot in step.inputs.iter().flatten() {
            if buffers.tensors[slot].is_none() {
                buffers.tensors[slot] = Some(self.value(buffers, slot)?);
            }
        }
        // A tensor that nothing reads later is handed over, so that the result may take its place.
        let input = |(i, slot): (usize, &Option<Slot>)| {
            let slot = (*slot)?;
            let is_last = self.plan.last_use_as_tensor[slot] == Some(index);
            match is_last && !step.inputs[i + 1..].contains(&Some(slot)) {
                true => buffers.tensors[slot].take(),
                false => buffers.tensors[slot].clone(),
            }
        };
        let inputs = TensorInputs(step.inputs.iter().enumerate().map(input).collect());
        let outputs = compute(inputs)?;
        for (slot, tensor) in step.outputs.iter().zip(outputs) {
            if let Some(slot) = *slot {
                buffers.tensors[slot] = Some(tensor);
            }
        }
        Ok(())
    }

    /// Runs step number `index`, which reads sizes of a value.
    fn run_shape(
        &self,
        buffers: &mut Buffers,
        index: usize,
        start: i64,
        end: Option<i64>,
    ) -> Result<()> {
        let step = &self.plan.steps[index];
        let (Some(&Some(from)), Some(&Some(to))) = (step.inputs.first(), step.outputs.first())
        else {
            return Ok(());
        };
        let tensor;
        let shape = match &self.plan.slots[from].kind {
            SlotKind::Map(_) | SlotKind::Alias { .. } => buffers.placement.shape(from),
            SlotKind::Input(n) => self.inputs[*n].shape(),
            _ => {
                tensor = self.value(buffers, from)?;
                tensor.shape()
            }
        };
        let rank = shape.len() as i64;
        let place = |i: i64| (if i < 0 { i.saturating_add(rank) } else { i }).clamp(0, rank);
        let (start, end) = (place(start) as usize, place(end.unwrap_or(rank)) as usize);
        let sizes = shape.get(start..end).unwrap_or_default();
        let sizes = sizes.iter().map(|&size| size as i64).collect::<Vec<i64>>();
        buffers.tensors[to] = Some(Tensor::vector(sizes));
        Ok(())
    }

    /// Runs a step that copies a tensor to a map.
    fn run_import(&self, buffers: &mut Buffers, step: &Step) -> Result<()> {
        let (Some(&Some(from)), Some(&Some(to))) = (step.inputs.first(), step.outputs.first())
        else {
            return Ok(());
        };
        let Buffers { placement, arena, tensors, .. } = buffers;
        let (found, elements) = match &self.plan.slots[from].kind {
            SlotKind::Input(n) => (self.inputs[*n].shape(), self.input(*n).as_f32()?),
            SlotKind::Constant(tensor) => (tensor.shape(), tensor.as_f32()?),
            _ => match &tensors[from] {
                Some(tensor) => (tensor.shape(), tensor.as_f32()?),
                None => return Err(Error::graph("it reads a value that nothing produces")),
            },
        };
        let expected = placement.shape(to);
        if found != expected {
            let e = Error::shape(format!("expected {expected:?}, found {found:?}"));
            return Err(e.with_shapes(expected.iter().copied().map(Some).collect(), found));
        }
        let ([], [map]) = arena.borrow(&[], &[placement.place(to)]);
        if let (Some(map), Some(extent)) = (map, placement.extents[to]) {
            copy_to_map(self.isa, elements, placement.layouts[to], extent, map);
        }
        Ok(())
    }

    /// Describes how long a step took. `macs` are its multiply-adds if it computed tensors.
    fn step_time(
        &self,
        buffers: &Buffers,
        step: &Step,
        (start, duration): (Instant, Duration),
        macs: Option<usize>,
    ) -> StepTime {
        let extent = |slots: &[Option<Slot>]| buffers.placement.extents[(*slots.first()?)?];
        let macs = match &step.kind {
            StepKind::Primitive(primitive) => {
                let extents = extent(&step.inputs).zip(extent(&step.outputs));
                extents.map_or(0, |(input, output)| {
                    let logits = step.logits.as_ref().map_or(0, |layer| layer.weight.len());
                    primitive.macs(input, output) + output.images * output.pixels() * logits
                })
            }
            _ => macs.unwrap_or(0),
        };
        let (name, op, kernel) = (step.name.clone(), step.op.clone(), step.kind.name());
        let weight_bytes = step.weight_bytes();
        StepTime { name, op, kernel, start, duration, macs, weight_bytes }
    }
}
