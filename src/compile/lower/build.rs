//! Builds the steps and slots of a plan from stages.

use std::collections::{HashMap, HashSet};

use super::alone;
use super::channels::{ChannelsStep, MovedChannels};
use super::choose::{self, Convolution, Hyper};
use super::dynamic::{Dynamic, ImageWeights};
use super::group::{Core, Epilogue, Group};
use super::heads::{self, HeadsStep};
use super::lines::{self, Gates, LinesStep};
use super::merge::Stage;
use super::network::Network;
use super::pixels::{self, PixelsStep};
use super::planes;
use super::tensors;
use crate::compile::pack::{Packed, Weights};
use crate::graph::{Dim, Node, NodeId, Value, ValueId};
use crate::kernels::dynamic_conv::Packer;
use crate::plan::{
    ChannelsPrimitive, CoefficientsPrimitive, ConvPrimitive, DepthwisePrimitive,
    DynamicConvPrimitive, ExpandPrimitive, GatePrimitive, GroupedPrimitive, LOGITS, MOST_INPUTS,
    MapShape, PackPrimitive, Plan, PlanePrimitive, Primitive, SUMS, Slot, SlotInfo, SlotKind, Step,
    StepEpilogue, StepKind, TransformPrimitive, WindowShape, WinogradPrimitive,
};
use crate::simd::padded;
use crate::tensor::Layout;

/// Builds the plan of `stages`, with their `packed` weights.
pub(super) fn build(net: &Network, stages: &[Stage], packed: Packed) -> Plan {
    let mut builder = Builder::new(net, planes::only_in_epilogues(net, stages), packed);
    for stage in stages {
        builder.stage(stage);
    }
    let outputs: Vec<Slot> = net.graph.outputs().iter().map(|id| id.index()).collect();
    let Builder { steps, slots, .. } = builder;
    Plan::new(without_unread(steps, &slots, &outputs), slots, outputs)
}

/// Drops the steps whose outputs no other step reads: they compute shapes for nodes that became
/// other views of a map.
fn without_unread(steps: Vec<Step>, slots: &[SlotInfo], outputs: &[Slot]) -> Vec<Step> {
    let mut is_read = vec![false; slots.len()];
    let read = |slot: Slot, is_read: &mut Vec<bool>| {
        is_read[slot] = true;
        if let SlotKind::Alias { of, .. } = slots[slot].kind {
            is_read[of] = true;
        }
    };
    outputs.iter().for_each(|&slot| read(slot, &mut is_read));
    let mut kept = Vec::with_capacity(steps.len());
    for step in steps.into_iter().rev() {
        if step.outputs.iter().flatten().any(|&slot| is_read[slot]) {
            step.inputs.iter().flatten().for_each(|&slot| read(slot, &mut is_read));
            kept.push(step);
        }
    }
    kept.reverse();
    kept
}

struct Builder<'n, 'g> {
    net: &'n Network<'g>,
    packed: Packed,
    /// The attentions that are planes.
    planes: HashSet<ValueId>,
    /// The planes that are copies of maps, by the slots of these.
    copied_planes: HashMap<Slot, Slot>,
    moved_channels: MovedChannels,
    slots: Vec<SlotInfo>,
    /// The slots in the arena for values whose own slots are elsewhere: copies of inputs,
    /// constants and tensors.
    stand_ins: HashMap<ValueId, Slot>,
    /// The steps, by the slot of their output, that can also write its partial sums and logits.
    summing: HashMap<Slot, usize>,
    steps: Vec<Step>,
}

/// The slots that a step reads or writes.
type Inputs = Vec<Option<Slot>>;

impl<'n, 'g> Builder<'n, 'g> {
    fn new(net: &'n Network<'g>, planes: HashSet<ValueId>, packed: Packed) -> Self {
        let kind = |value: &Value| match &value.constant {
            Some(tensor) => SlotKind::Constant(tensor.clone()),
            None => SlotKind::Fused,
        };
        let slot = |value: &Value| SlotInfo { name: value.name.clone(), kind: kind(value) };
        let mut slots: Vec<SlotInfo> = net.graph.values().iter().map(slot).collect();
        for (number, input) in net.graph.inputs().iter().enumerate() {
            slots[input.index()].kind = SlotKind::Input(number);
        }
        Builder {
            net,
            packed,
            planes,
            copied_planes: HashMap::new(),
            moved_channels: MovedChannels::of(net),
            slots,
            stand_ins: HashMap::new(),
            summing: HashMap::new(),
            steps: Vec::new(),
        }
    }

    fn stage(&mut self, Stage { first, group }: &Stage) {
        let id = group.members[0];
        match &group.core {
            Core::Transform(x) => {
                let (epilogue, inputs) = self.transform(*x, &group.epilogue);
                self.grouped(&[group], Box::new(TransformPrimitive { epilogue }), inputs, true);
            }
            Core::Convolution(convolution) => match first {
                Some(first) => self.merged(first, group, convolution),
                None if self.logits(group, convolution).is_some() => {}
                None => {
                    let (epilogue, inputs) = self.reading_map(group, convolution);
                    let sums = !convolution.vectors;
                    let primitive = self.primitive(convolution, epilogue);
                    self.grouped(&[group], primitive, inputs, sums);
                }
            },
            Core::Dynamic(dynamic) => self.dynamic(group, dynamic),
            Core::Gates(gates) => self.gates(group, gates),
            Core::Hyperfunction(hyper) => self.hyperfunction(id, hyper),
            Core::Resample(resample) => {
                let inputs = resample.inputs.iter().map(|&x| Some(self.map(x))).collect();
                let (epilogue, inputs) = self.fuse(&group.epilogue, inputs);
                self.grouped(&[group], resample.primitive(epilogue), inputs, true);
            }
            Core::ShiftMax(step) => {
                let inputs = step.inputs.iter().map(|&x| Some(self.map(x))).collect();
                self.grouped(&[group], Box::new(step.primitive()), inputs, false);
            }
            Core::Node => self.node(id),
        }
    }

    /// The fused operations and the inputs of a transformation of `x`.
    fn transform(&mut self, x: ValueId, epilogue: &Epilogue) -> (StepEpilogue, Inputs) {
        let inputs = vec![Some(self.map(x))];
        self.fuse(epilogue, inputs)
    }

    /// The fused operations and the inputs of a convolution that reads a map.
    fn reading_map(&mut self, group: &Group, convolution: &Convolution) -> (StepEpilogue, Inputs) {
        let node = self.net.graph.node(group.members[0]);
        let map = node.input(0).map(|x| {
            let is_input = matches!(self.slots[x.index()].kind, SlotKind::Input(_));
            let direct = convolution.reads_nchw() && is_input && self.net.maps.is_nchw(x);
            if direct { x.index() } else { self.map(x) }
        });
        self.fuse(&group.epilogue, vec![map])
    }

    /// Makes the step that computes a map compute the logits of its attention, if a convolution is that.
    /// Returns `None` if it is not, or if the step cannot.
    fn logits(&mut self, group: &Group, convolution: &Convolution) -> Option<()> {
        let map = planes::map_of_logits(self.net, &self.planes, group, convolution)?;
        let step = *self.summing.get(&map.index())?;
        if self.steps[step].logits.is_some() {
            return None;
        }
        let Weights::Dense(weights) = self.packed.take(&convolution.layer) else {
            unreachable!("a dense form has dense weights");
        };
        let logits = self.plane_slot(group.output);
        let step = &mut self.steps[step];
        step.logits = Some(weights.into_single());
        step.outputs.resize(LOGITS, None);
        step.outputs.push(Some(logits));
        step.op.push_str("+Conv");
        Some(())
    }

    /// Adds the step of a convolution and of the group that is computed on the way to it.
    fn merged(&mut self, first: &Group, second: &Group, convolution: &Convolution) {
        let (before, mut inputs) = match &first.core {
            Core::Transform(x) => self.transform(*x, &first.epilogue),
            Core::Convolution(inner) => self.reading_map(first, inner),
            Core::Dynamic(_)
            | Core::Gates(_)
            | Core::Hyperfunction(_)
            | Core::Resample(_)
            | Core::ShiftMax(_)
            | Core::Node => return,
        };
        // The map between the two has no slot.
        let (mut after, others) = self.fuse(&second.epilogue, vec![None]);
        let primitive: Box<dyn Primitive> = match &first.core {
            Core::Convolution(inner) => {
                after.shift(inputs.len() - 1);
                inputs.extend(&others[1..]);
                let expand = self.dense(inner, before);
                let depthwise = self.depthwise(convolution, after);
                Box::new(ExpandPrimitive { expand, depthwise })
            }
            _ => {
                let mut prologue = before;
                prologue.shift(others.len() - 1);
                inputs.splice(1..1, others[1..].iter().copied());
                let mut primitive = self.dense(convolution, after);
                primitive.prologue = Some(prologue);
                Box::new(primitive)
            }
        };
        self.grouped(&[first, second], primitive, inputs, true);
    }

    fn primitive(
        &mut self,
        convolution: &Convolution,
        epilogue: StepEpilogue,
    ) -> Box<dyn Primitive> {
        let window = convolution.window.clone();
        match self.packed.take(&convolution.layer) {
            Weights::Dense(weights) => {
                let vectors = convolution.vectors;
                Box::new(ConvPrimitive { weights, window, prologue: None, epilogue, vectors })
            }
            Weights::Depthwise(weights) => {
                Box::new(DepthwisePrimitive { weights, window, epilogue })
            }
            Weights::Grouped(weights) => Box::new(GroupedPrimitive { weights, window, epilogue }),
            Weights::Winograd(weights) => Box::new(WinogradPrimitive { weights, window, epilogue }),
            Weights::Coefficients(layer) => Box::new(CoefficientsPrimitive { layer }),
        }
    }

    fn dense(&mut self, convolution: &Convolution, epilogue: StepEpilogue) -> ConvPrimitive {
        let Weights::Dense(weights) = self.packed.take(&convolution.layer) else {
            unreachable!("merging asks for a dense convolution");
        };
        let (window, vectors) = (convolution.window.clone(), convolution.vectors);
        ConvPrimitive { weights, window, prologue: None, epilogue, vectors }
    }

    fn depthwise(
        &mut self,
        convolution: &Convolution,
        epilogue: StepEpilogue,
    ) -> DepthwisePrimitive {
        let Weights::Depthwise(weights) = self.packed.take(&convolution.layer) else {
            unreachable!("merging asks for a depthwise convolution");
        };
        DepthwisePrimitive { weights, window: convolution.window.clone(), epilogue }
    }

    /// Adds the steps of a convolution with weights per image: the weights, then the convolution.
    fn dynamic(&mut self, group: &Group, dynamic: &Dynamic) {
        let net = self.net;
        let node = net.graph.node(group.members[0]);
        let Some(x) = node.input(0) else { return };
        let images = net.maps.dims(x).map_or(Dim::from(1), |dims| dims[0].clone());
        let x = self.map(x);
        let Dynamic { kernel, ref window, ref bias, image_bias, ref weights } = *dynamic;
        let (node, from, primitive): (_, _, Box<dyn Primitive>) = match weights {
            ImageWeights::Mixture { node, layer, shares } => {
                let Weights::Dense(weights) = self.packed.take(layer) else { return };
                let (window, epilogue) = (WindowShape::pointwise(), StepEpilogue::default());
                let mixture =
                    ConvPrimitive { weights, window, prologue: None, epilogue, vectors: true };
                (net.graph.node(*node), *shares, Box::new(mixture))
            }
            &ImageWeights::Computed(weights) => {
                (node, weights, Box::new(PackPrimitive { packer: Packer::new(kernel) }))
            }
        };
        let from = self.map(from);
        let shape =
            MapShape { dims: vec![images, Dim::from(kernel.packed())], layout: Layout::Nhwc };
        let packed = self.add_slot(format!("{}.packed", node.name), SlotKind::Map(shape));
        self.step(node, StepKind::Primitive(primitive), vec![Some(from)], vec![Some(packed)]);
        let mut inputs = vec![Some(x), Some(packed)];
        let image_bias = image_bias.map(|bias| {
            inputs.push(Some(self.map(bias)));
            inputs.len() - 1
        });
        let (epilogue, inputs) = self.fuse(&group.epilogue, inputs);
        let (window, bias) = (window.clone(), bias.clone());
        let primitive = DynamicConvPrimitive { kernel, window, bias, image_bias, epilogue };
        self.grouped(&[group], Box::new(primitive), inputs, true);
    }

    fn gates(&mut self, group: &Group, gates: &Gates) {
        let mut inputs = vec![Some(self.map(gates.x))];
        let mut input = |this: &mut Self, gates: Option<ValueId>| {
            inputs.push(Some(this.map(gates?)));
            Some(inputs.len() - 1)
        };
        let (lines, columns) = (input(self, gates.lines), input(self, gates.columns));
        self.grouped(&[group], Box::new(GatePrimitive { lines, columns }), inputs, false);
    }

    /// Adds the steps of the two layers of a hyperfunction.
    fn hyperfunction(&mut self, id: NodeId, hyper: &Hyper) {
        let net = self.net;
        let node = net.graph.node(id);
        let mut x = self.map(hyper.context);
        if let Some((layer, activation)) = &hyper.first
            && let Weights::Dense(weights) = self.packed.take(layer)
        {
            let images = net.maps.dims(hyper.context).map_or(Dim::from(1), |dims| dims[0].clone());
            let dims = vec![images, Dim::from(hyper.hidden)];
            let shape = SlotKind::Map(MapShape { dims, layout: Layout::Nhwc });
            let hidden = self.add_slot(format!("{}.hidden", node.name), shape);
            let epilogue = StepEpilogue { activation: *activation, ..StepEpilogue::default() };
            let window = WindowShape::pointwise();
            let primitive =
                ConvPrimitive { weights, window, prologue: None, epilogue, vectors: true };
            self.step(
                node,
                StepKind::Primitive(Box::new(primitive)),
                vec![Some(x)],
                vec![Some(hidden)],
            );
            x = hidden;
        }
        if let Weights::Coefficients(layer) = self.packed.take(&hyper.second) {
            let output = self.map_slot(node.output());
            let kind = StepKind::Primitive(Box::new(CoefficientsPrimitive { layer }));
            self.step(node, kind, vec![Some(x)], vec![Some(output)]);
        }
    }

    /// Adds the step of a node that is in no group with others.
    fn node(&mut self, id: NodeId) {
        let net = self.net;
        let node = net.graph.node(id);
        if self.shares_elements(node) {
            return;
        }
        if alone::operation(net, node).is_some() {
            self.tensors(node);
            return;
        }
        if let Some(primitive) = choose::plain(net, node)
            && let Some(x) = node.input(0)
        {
            let x = self.plane_or_map(x);
            let mut inputs = vec![Some(x)];
            if choose::is_global_average(net, node)
                && let Some(sums) = self.partial_sums(x)
            {
                inputs.push(Some(sums));
            }
            let output = match self.planes.contains(&node.output()) {
                true => self.plane_slot(node.output()),
                false => self.map_slot(node.output()),
            };
            self.step(node, StepKind::Primitive(primitive), inputs, vec![Some(output)]);
            return;
        }
        if let Some(primitive) = choose::rows(net, node) {
            let inputs = node.inputs[1..].iter().map(|id| id.map(|id| self.map(id))).collect();
            let output = self.map_slot(node.output());
            let kind = StepKind::Primitive(Box::new(primitive));
            self.step(node, kind, inputs, vec![Some(output)]);
            return;
        }
        if let Some(PixelsStep { input, primitive }) = pixels::step(net, node) {
            let (inputs, outputs) =
                (vec![Some(self.map(input))], vec![Some(self.map_slot(node.output()))]);
            self.step(node, StepKind::Primitive(Box::new(primitive)), inputs, outputs);
            return;
        }
        if let Some(HeadsStep { inputs, primitive }) = heads::step(net, node) {
            let inputs = inputs.map(|value| Some(self.map(value))).to_vec();
            let outputs = vec![Some(self.map_slot(node.output()))];
            let kind = StepKind::Primitive(Box::new(primitive));
            self.steps.push(Step {
                name: node.name.clone(),
                op: "Attention".into(),
                kind,
                inputs,
                outputs,
                logits: None,
            });
            return;
        }
        if let Some(steps) = self.moved_channels.steps(node) {
            for step in steps {
                self.channels(node, step);
            }
            return;
        }
        if let Some(steps) = lines::steps(net, node) {
            for LinesStep { output, inputs, primitive } in steps {
                let inputs = inputs.iter().map(|&value| Some(self.map(value))).collect();
                let outputs = vec![Some(self.map_slot(output))];
                self.step(node, StepKind::Primitive(Box::new(primitive)), inputs, outputs);
            }
            return;
        }
        self.tensors(node);
    }

    /// Adds the step of a node that reads and writes tensors.
    fn tensors(&mut self, node: &Node) {
        let inputs = node.inputs.iter().map(|id| id.map(ValueId::index)).collect();
        for output in node.outputs.iter().flatten() {
            self.slots[output.index()].kind = SlotKind::Tensor;
        }
        let outputs = node.outputs.iter().map(|id| id.map(ValueId::index)).collect();
        let kind = tensors::step(self.net, node);
        self.step(node, kind, inputs, outputs);
    }

    /// Adds the step that copies channels, and one before it for each group of maps that are too many
    /// for it.
    fn channels(&mut self, node: &Node, step: ChannelsStep) {
        let ChannelsStep { output, sources, mut table } = step;
        let mut inputs: Inputs = sources.iter().map(|&value| Some(self.map(value))).collect();
        while inputs.len() > MOST_INPUTS {
            let mut joined = Vec::new();
            for entry in &mut table {
                if entry[0] < MOST_INPUTS {
                    joined.push(*entry);
                    *entry = [0, joined.len() - 1];
                } else {
                    entry[0] -= MOST_INPUTS - 1;
                }
            }
            let mut shape = self.net.maps.shape(output);
            shape.dims[1] = Dim::from(joined.len());
            let name = format!("{}.part", self.slots[output.index()].name);
            let part = self.add_slot(name, SlotKind::Map(shape));
            let kind = StepKind::Primitive(Box::new(ChannelsPrimitive::new(&joined)));
            self.step(node, kind, inputs.drain(..MOST_INPUTS).collect(), vec![Some(part)]);
            inputs.insert(0, Some(part));
        }
        let outputs = vec![Some(self.map_slot(output))];
        let kind = StepKind::Primitive(Box::new(ChannelsPrimitive::new(&table)));
        self.step(node, kind, inputs, outputs);
    }

    /// Makes the output of a node that only changes a shape an alias of its input. Returns whether
    /// that was possible, so that no step is needed.
    fn shares_elements(&mut self, node: &Node) -> bool {
        let Some(x) = node.input(0).filter(|_| self.net.maps.is_same_map(node)) else {
            return false;
        };
        let slot = self.stand_ins.get(&x).copied().unwrap_or(x.index());
        let of = match self.slots[slot].kind {
            SlotKind::Map(_) => slot,
            SlotKind::Alias { of, .. } => of,
            _ => return false,
        };
        let output = node.output();
        let shape = self.net.maps.shape(output);
        self.slots[output.index()].kind = SlotKind::Alias { of, shape };
        true
    }

    /// Returns the slot of the arena that holds `value`. Adds a step that copies it there if needed.
    fn map(&mut self, value: ValueId) -> Slot {
        if let Some(&slot) = self.stand_ins.get(&value) {
            return slot;
        }
        let slot = value.index();
        if matches!(self.slots[slot].kind, SlotKind::Map(_) | SlotKind::Alias { .. }) {
            return slot;
        }
        let shape = SlotKind::Map(self.net.maps.shape(value));
        let name = self.slots[slot].name.clone();
        let imported = self.add_slot(format!("{name}.map"), shape);
        self.steps.push(Step {
            name,
            op: "Import".into(),
            kind: StepKind::Import,
            inputs: vec![Some(slot)],
            outputs: vec![Some(imported)],
            logits: None,
        });
        self.stand_ins.insert(value, imported);
        imported
    }

    /// Places a value in the arena and returns its slot.
    fn map_slot(&mut self, value: ValueId) -> Slot {
        self.slots[value.index()].kind = SlotKind::Map(self.net.maps.shape(value));
        value.index()
    }

    /// Makes a value of one channel a plane and returns its slot.
    fn plane_slot(&mut self, value: ValueId) -> Slot {
        self.slots[value.index()].kind = SlotKind::Plane(self.net.maps.shape(value));
        value.index()
    }

    /// Returns the slot of a value that is a plane, or that of the map that holds it.
    fn plane_or_map(&mut self, value: ValueId) -> Slot {
        match self.slots[value.index()].kind {
            SlotKind::Plane(_) => value.index(),
            _ => self.map(value),
        }
    }

    /// Returns the slot of a value of one channel as a plane. Adds a step that copies its map if needed.
    fn plane(&mut self, value: ValueId) -> Slot {
        let from = self.plane_or_map(value);
        if from == value.index() && self.planes.contains(&value) {
            return from;
        }
        if let Some(&plane) = self.copied_planes.get(&from) {
            return plane;
        }
        let name = self.slots[value.index()].name.clone();
        let plane = SlotKind::Plane(self.net.maps.shape(value));
        let plane = self.add_slot(format!("{name}.plane"), plane);
        self.steps.push(Step {
            name,
            op: "Plane".into(),
            kind: StepKind::Primitive(Box::new(PlanePrimitive)),
            inputs: vec![Some(from)],
            outputs: vec![Some(plane)],
            logits: None,
        });
        self.copied_planes.insert(from, plane);
        plane
    }

    fn add_slot(&mut self, name: String, kind: SlotKind) -> Slot {
        self.slots.push(SlotInfo { name, kind });
        self.slots.len() - 1
    }

    /// Returns the slot of the partial sums of `map`, and makes the step that computes `map` write
    /// them. `None` if that step cannot.
    fn partial_sums(&mut self, map: Slot) -> Option<Slot> {
        let step = *self.summing.get(&map)?;
        if let Some(&Some(sums)) = self.steps[step].outputs.get(SUMS) {
            return Some(sums);
        }
        let name = format!("{}.sums", self.slots[map].name);
        let sums = self.add_slot(name, SlotKind::Sums(map));
        let outputs = &mut self.steps[step].outputs;
        outputs.resize(outputs.len().max(SUMS + 1), None);
        outputs[SUMS] = Some(sums);
        Some(sums)
    }

    /// Translates an epilogue from values to slots. The slots that it reads are appended to
    /// `inputs`.
    fn fuse(&mut self, epilogue: &Epilogue, mut inputs: Inputs) -> (StepEpilogue, Inputs) {
        let mut add = |slot: Option<Slot>| {
            inputs.push(Some(slot?));
            Some(inputs.len() - 1)
        };
        let mut fused = StepEpilogue {
            before: add(epilogue.before.map(|value| self.map(value))),
            activation: epilogue.activation,
            attention: add(epilogue.attention.map(|value| self.plane(value))),
            clamp: epilogue.clamp,
            after: add(epilogue.after.map(|value| self.map(value))),
            join: epilogue.join,
            ..StepEpilogue::default()
        };
        if let Some(factors) = epilogue.scale.and_then(|scale| self.net.graph.constant(scale)) {
            // Slopes, then offsets of zero.
            let factors = factors.as_f32().unwrap_or_default();
            fused.constant_coefficients = factors.to_vec();
            fused.constant_coefficients.resize(2 * padded(factors.len()), 0.0);
        }
        if let Some(coefficients) = epilogue.coefficients {
            match self.constant_coefficients(coefficients) {
                Some(constant) => fused.constant_coefficients = constant,
                None => fused.coefficients = add(Some(self.map(coefficients))),
            }
        }
        (fused, inputs)
    }

    /// The elements of constant coefficients `[1, 2K, C]` with C padded; `None` if they are not
    /// constant, or not given per channel and for all images alike.
    fn constant_coefficients(&self, value: ValueId) -> Option<Vec<f32>> {
        let tensor = self.net.graph.constant(value)?;
        let &[1, rows, channels] = tensor.shape() else { return None };
        if channels < 2 {
            return None;
        }
        let mut padded_rows = vec![0.0; rows * padded(channels)];
        let rows = padded_rows.chunks_exact_mut(padded(channels));
        for (to, from) in rows.zip(tensor.as_f32().ok()?.chunks_exact(channels)) {
            to[..channels].copy_from_slice(from);
        }
        Some(padded_rows)
    }

    /// Adds the step of `groups`, whose output is that of the last one. `sums` tells whether it can
    /// write partial sums.
    fn grouped(
        &mut self,
        groups: &[&Group],
        primitive: Box<dyn Primitive>,
        inputs: Inputs,
        sums: bool,
    ) {
        let graph = self.net.graph;
        let Some(last) = groups.last() else { return };
        let output = self.map_slot(last.output);
        if sums {
            self.summing.insert(output, self.steps.len());
        }
        let members = groups.iter().flat_map(|group| &group.members);
        let ops: Vec<_> = members.map(|&id| graph.node(id).op.name()).collect();
        // A joined step has the name of its first convolution.
        let named = groups.iter().find(|group| matches!(group.core, Core::Convolution(_)));
        let name = graph.node(named.unwrap_or(last).members[0]).name.clone();
        self.steps.push(Step {
            name,
            op: ops.join("+"),
            kind: StepKind::Primitive(primitive),
            inputs,
            outputs: vec![Some(output)],
            logits: None,
        });
    }

    fn step(&mut self, node: &Node, kind: StepKind, inputs: Inputs, outputs: Inputs) {
        let (name, op) = (node.name.clone(), node.op.name().into());
        self.steps.push(Step { name, op, kind, inputs, outputs, logits: None });
    }
}
