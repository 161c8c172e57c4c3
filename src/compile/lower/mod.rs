//! From an optimised graph to a plan: which nodes become one step, and which kernel computes it.

mod fuse;
mod kernels;
mod maps;

use std::collections::HashMap;

use super::{Options, Packs};
use crate::graph::infer::Types;
use crate::graph::{Dim, Graph, Links, NodeId, Op, ValueId};
use crate::plan::{CoefficientsStep, Fused, Home, Plan, Slot, SlotInfo, Step, TransformStep, Work};
use crate::simd::padded;
use fuse::{Epilogue, Group};
use kernels::Convolution;
use maps::Maps;

/// Lowers a graph to a plan, whose weights are those in `packs` or packed now.
pub fn lower(graph: &Graph, types: &Types, options: &Options, packs: &Packs) -> Plan {
    let links = graph.links();
    let maps = Maps::new(graph, types);
    let of_node = |id| kernels::convolution(graph, options, &maps, packs, graph.node(id));
    let convolutions = graph.node_ids().filter_map(|id| Some((id, of_node(id)?))).collect();
    let mut lowering = Lowering::new(graph, convolutions, packs, types, &links, &maps);
    let groups = lowering.groups();
    for group in groups {
        lowering.emit(group);
    }
    lowering.finish()
}

/// A step in the making.
enum Draft {
    Convolution(Box<Convolution>),
    Transform(Fused),
    Other(Work),
}

struct DraftStep {
    name: String,
    ops: Vec<&'static str>,
    draft: Draft,
    inputs: Vec<Option<Slot>>,
    outputs: Vec<Option<Slot>>,
}

impl Draft {
    /// Whether this is a convolution that can compute the input of `second` line by line.
    fn can_expand(&self, second: &Draft) -> bool {
        match (self, second) {
            (Draft::Convolution(first), Draft::Convolution(second)) => first.can_expand(second),
            _ => false,
        }
    }
}

impl DraftStep {
    /// This step and a depthwise convolution that it can expand for; see
    /// [`can_expand`](Draft::can_expand).
    fn joined(mut self, second: DraftStep) -> DraftStep {
        let by = self.inputs.len() - 1;
        self.draft = match (self.draft, second.draft) {
            (Draft::Convolution(first), Draft::Convolution(second)) => {
                Draft::Convolution(Box::new(first.joined(*second, by)))
            }
            (first, _) => first,
        };
        self.inputs.extend(&second.inputs[1..]);
        self.ops.extend(second.ops);
        self.outputs = second.outputs;
        self
    }
}

struct Lowering<'g> {
    graph: &'g Graph,
    /// The kernels of convolutions and fully connected layers, until a step takes them.
    convolutions: HashMap<NodeId, Convolution>,
    packs: &'g Packs,
    types: &'g Types,
    links: &'g Links,
    maps: &'g Maps<'g>,
    slots: Vec<SlotInfo>,
    /// The slot in the arena that stands for a value which is elsewhere or shares its elements.
    stand_ins: HashMap<ValueId, Slot>,
    /// The step that produces a slot.
    producers: HashMap<Slot, usize>,
    steps: Vec<DraftStep>,
}

impl<'g> Lowering<'g> {
    fn new(
        graph: &'g Graph,
        convolutions: HashMap<NodeId, Convolution>,
        packs: &'g Packs,
        types: &'g Types,
        links: &'g Links,
        maps: &'g Maps<'g>,
    ) -> Self {
        let home = |(i, value): (usize, &crate::graph::Value)| {
            let input = graph.inputs().iter().position(|id| id.index() == i);
            let home = match (input, &value.constant) {
                (Some(number), _) => Home::Input(number),
                (None, Some(tensor)) => Home::Constant(tensor.clone()),
                (None, None) => Home::Fused,
            };
            SlotInfo { name: value.name.clone(), home }
        };
        Lowering {
            graph,
            convolutions,
            packs,
            types,
            links,
            maps,
            slots: graph.values().iter().enumerate().map(home).collect(),
            stand_ins: HashMap::new(),
            producers: HashMap::new(),
            steps: Vec::new(),
        }
    }

    /// All nodes in groups, in an order in which they can run: by the last node of each.
    fn groups(&self) -> Vec<Group> {
        let mut taken = vec![false; self.graph.nodes().len()];
        let mut groups = Vec::new();
        for id in self.graph.node_ids() {
            if taken[id.0] {
                continue;
            }
            let is_convolution = self.convolutions.contains_key(&id);
            let mut group = if is_convolution {
                Group::of_kernel(self.graph, id)
            } else {
                let epilogue = Group::of_epilogue(self.graph, self.maps, id);
                epilogue.unwrap_or_else(|| Group::of_kernel(self.graph, id))
            };
            if is_convolution || group.transforms.is_some() {
                group.extend(self.graph, self.links, self.maps, &taken);
            }
            for member in &group.members {
                taken[member.0] = true;
            }
            groups.push(group);
        }
        groups.sort_by_key(|group| group.members.last().map(|id| id.0));
        groups
    }

    fn emit(&mut self, group: Group) {
        let first = group.members[0];
        let node = self.graph.node(first);
        if let Some(x) = group.transforms {
            let mut fused = Fused::default();
            let mut inputs = vec![Some(self.map(x))];
            self.fuse(&group.epilogue, &mut fused, &mut inputs);
            self.push_group(&group, Draft::Transform(fused), inputs);
        } else if let Some(mut kernel) = self.convolutions.remove(&first)
            && let Some(x) = node.input(0)
        {
            let direct = kernel.reads_nchw();
            let is_input = matches!(self.slots[x.index()].home, Home::Input(_));
            let is_image = self.maps.dims(x).is_some_and(|dims| dims.len() == 4);
            let x = if direct && is_input && is_image { x.index() } else { self.map(x) };
            let mut inputs = vec![Some(x)];
            self.fuse(&group.epilogue, kernel.fused(), &mut inputs);
            self.push_group(&group, Draft::Convolution(Box::new(kernel)), inputs);
        } else if !self.emit_hyperfunction(first) && !self.share_elements(first) {
            self.emit_node(first);
        }
    }

    /// A node that is a step of its own.
    fn emit_node(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        if let Some(kernel) = kernels::plain(self.graph, self.types, self.maps, node)
            && let Some(x) = node.input(0)
        {
            let x = self.map(x);
            let mut inputs = vec![Some(x)];
            if kernels::is_global_average(self.graph, self.types, self.maps, node)
                && let Some(sums) = self.partial_sums(x)
            {
                inputs.push(Some(sums));
            }
            let output = self.map_slot(node.output());
            self.push(id, Draft::Other(Work::Kernel(kernel)), inputs, vec![Some(output)]);
            return;
        }
        let inputs = node.inputs.iter().map(|id| id.map(ValueId::index)).collect();
        for output in node.outputs.iter().flatten() {
            self.slots[output.index()].home = Home::Tensor;
        }
        let outputs = node.outputs.iter().map(|id| id.map(ValueId::index)).collect();
        self.push(id, Draft::Other(Work::General(node.op.clone())), inputs, outputs);
    }

    /// The two layers of a hyperfunction, where kernels can run them.
    fn emit_hyperfunction(&mut self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let Op::Hyperfunction(op) = &node.op else { return false };
        let layers = kernels::hyperfunction(self.graph, self.maps, self.packs, node, op);
        let is_coefficients = self.maps.is_coefficients(node.output());
        let (Some((first, second)), Some(context), true) = (layers, node.input(0), is_coefficients)
        else {
            return false;
        };
        let mut x = self.map(context);
        if let Some(first) = first {
            let images = self.maps.dims(context).map_or(Dim::from(1), |dims| dims[0].clone());
            let dims = vec![images, Dim::from(second.hidden())];
            let name = format!("{}.hidden", node.name);
            let hidden = self.add_slot(name, Home::Map(dims));
            let draft = Draft::Convolution(Box::new(Convolution::Dense(first)));
            self.push(id, draft, vec![Some(x)], vec![Some(hidden)]);
            x = hidden;
        }
        let output = self.map_slot(node.output());
        let work = Work::Kernel(Box::new(CoefficientsStep { layer: second }));
        self.push(id, Draft::Other(work), vec![Some(x)], vec![Some(output)]);
        true
    }

    /// A node that gives the elements of a map under another shape costs nothing.
    fn share_elements(&mut self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let is_view = matches!(
            node.op,
            Op::Flatten { .. } | Op::Reshape { .. } | Op::Squeeze | Op::Unsqueeze
        );
        let Some(x) = node.input(0).filter(|_| is_view) else { return false };
        let output = node.output();
        let vectors = self.maps.is_vectors(x) && self.maps.is_vectors(output);
        let same = vectors
            && self.maps.dims(x).map(|d| &d[..2]) == self.maps.dims(output).map(|d| &d[..2]);
        let in_arena =
            self.stand_ins.get(&x).copied().or_else(|| {
                matches!(self.slots[x.index()].home, Home::Map(_)).then_some(x.index())
            });
        match in_arena {
            Some(of) if same => {
                let dims = self.maps.dims(output).unwrap_or_default().to_vec();
                self.stand_ins.insert(output, of);
                self.slots[output.index()].home = Home::Alias { of, dims };
                true
            }
            _ => false,
        }
    }

    /// The slot of the arena that holds `value`; brings it there where it is elsewhere.
    fn map(&mut self, value: ValueId) -> Slot {
        if let Some(&slot) = self.stand_ins.get(&value) {
            return slot;
        }
        let slot = value.index();
        if matches!(self.slots[slot].home, Home::Map(_)) {
            return slot;
        }
        let dims = self.maps.dims(value).unwrap_or_default().to_vec();
        let name = self.slots[slot].name.clone();
        let imported = self.add_slot(format!("{name}.map"), Home::Map(dims));
        self.steps.push(DraftStep {
            name,
            ops: vec!["Import"],
            draft: Draft::Other(Work::Import),
            inputs: vec![Some(slot)],
            outputs: vec![Some(imported)],
        });
        self.stand_ins.insert(value, imported);
        imported
    }

    /// Makes a value live in the arena.
    fn map_slot(&mut self, value: ValueId) -> Slot {
        let dims = self.maps.dims(value).unwrap_or_default().to_vec();
        self.slots[value.index()].home = Home::Map(dims);
        value.index()
    }

    fn add_slot(&mut self, name: String, home: Home) -> Slot {
        self.slots.push(SlotInfo { name, home });
        self.slots.len() - 1
    }

    /// Has the step that produces `map` leave partial sums, and gives their slot.
    fn partial_sums(&mut self, map: Slot) -> Option<Slot> {
        let step = *self.producers.get(&map)?;
        match &self.steps[step].draft {
            Draft::Convolution(kernel) if kernel.is_vectors() => return None,
            Draft::Convolution(_) | Draft::Transform(_) => {}
            Draft::Other(_) => return None,
        }
        if let Some(&Some(sums)) = self.steps[step].outputs.get(1) {
            return Some(sums);
        }
        let name = format!("{}.sums", self.slots[map].name);
        let sums = self.add_slot(name, Home::Sums(map));
        self.steps[step].outputs.push(Some(sums));
        Some(sums)
    }

    fn fuse(&mut self, epilogue: &Epilogue, fused: &mut Fused, inputs: &mut Vec<Option<Slot>>) {
        let mut add = |this: &mut Self, value: Option<ValueId>| {
            let slot = this.map(value?);
            inputs.push(Some(slot));
            Some(inputs.len() - 1)
        };
        fused.before = add(self, epilogue.before);
        fused.activation = epilogue.activation;
        fused.attention = add(self, epilogue.attention);
        fused.after = add(self, epilogue.after);
        fused.join = epilogue.join;
        let Some(coefficients) = epilogue.coefficients else { return };
        match self.constant_coefficients(coefficients) {
            Some(constant) => fused.constant = constant,
            None => fused.coefficients = add(self, Some(coefficients)),
        }
    }

    /// Constant coefficients for one image with a number for every channel, padded.
    fn constant_coefficients(&self, value: ValueId) -> Option<Vec<f32>> {
        let tensor = self.graph.constant(value)?;
        let &[1, rows, channels] = tensor.shape() else { return None };
        if channels < 2 {
            return None;
        }
        let mut padded_rows = vec![0.0; rows * padded(channels)];
        let all = padded_rows.chunks_exact_mut(padded(channels));
        for (to, from) in all.zip(tensor.as_f32().ok()?.chunks_exact(channels)) {
            to[..channels].copy_from_slice(from);
        }
        Some(padded_rows)
    }

    fn push_group(&mut self, group: &Group, draft: Draft, inputs: Vec<Option<Slot>>) {
        let output = self.map_slot(group.output);
        self.push(group.members[0], draft, inputs, vec![Some(output)]);
        let ops = group.members.iter().map(|&id| self.graph.node(id).op.name()).collect();
        if let Some(step) = self.steps.last_mut() {
            step.ops = ops;
        }
    }

    fn push(
        &mut self,
        id: NodeId,
        draft: Draft,
        inputs: Vec<Option<Slot>>,
        outputs: Vec<Option<Slot>>,
    ) {
        for &slot in outputs.iter().flatten() {
            self.producers.insert(slot, self.steps.len());
        }
        let node = self.graph.node(id);
        let (name, ops) = (node.name.clone(), vec![node.op.name()]);
        self.steps.push(DraftStep { name, ops, draft, inputs, outputs });
    }

    fn finish(mut self) -> Plan {
        let outputs: Vec<Slot> = self.graph.outputs().iter().map(|id| id.index()).collect();
        self.move_into_prologues(&outputs);
        self.join_depthwise(&outputs);
        let step = |draft: DraftStep| Step {
            name: draft.name,
            op: draft.ops.join("+"),
            work: match draft.draft {
                Draft::Convolution(kernel) => Work::Kernel(match *kernel {
                    Convolution::Dense(step) => Box::new(step),
                    Convolution::Depthwise(step) => Box::new(step),
                    Convolution::Expand(step) => step,
                    Convolution::Winograd(step) => Box::new(step),
                }),
                Draft::Transform(fused) => Work::Kernel(Box::new(TransformStep { fused })),
                Draft::Other(work) => work,
            },
            inputs: draft.inputs,
            outputs: draft.outputs,
        };
        let steps = std::mem::take(&mut self.steps).into_iter().map(step).collect();
        Plan::new(steps, self.slots, outputs)
    }

    /// Joins depthwise convolutions of large maps with the convolutions that compute those.
    fn join_depthwise(&mut self, outputs: &[Slot]) {
        let mut readers: HashMap<Slot, usize> = HashMap::new();
        for step in &self.steps {
            for &slot in step.inputs.iter().flatten() {
                *readers.entry(slot).or_default() += 1;
            }
        }
        let mut steps: Vec<DraftStep> = Vec::new();
        for mut step in std::mem::take(&mut self.steps) {
            let map = step.inputs.first().copied().flatten();
            let place = steps.iter().rposition(|earlier| earlier.outputs == [map]);
            if let (Some(map), Some(place)) = (map, place)
                && readers[&map] == 1
                && !outputs.contains(&map)
                && self.is_large(map)
                && steps[place].draft.can_expand(&step.draft)
            {
                step = steps.remove(place).joined(step);
                self.slots[map].home = Home::Fused;
            }
            steps.push(step);
        }
        self.steps = steps;
    }

    /// Whether a map of one image does not stay in the nearest caches, as far as is known.
    fn is_large(&self, map: Slot) -> bool {
        let Home::Map(dims) = &self.slots[map].home else { return false };
        let mut sizes = dims.iter().skip(1).map(Dim::as_size);
        let size = sizes.try_fold(1usize, |product, size| Some(product.saturating_mul(size?)));
        dims.len() == 4 && size.is_none_or(|size| size >= 140_000)
    }

    /// Moves a transformation into the pointwise convolution that alone reads its result, which
    /// then applies it to rows in cache.
    fn move_into_prologues(&mut self, outputs: &[Slot]) {
        let mut readers: HashMap<Slot, Vec<usize>> = HashMap::new();
        for (i, step) in self.steps.iter().enumerate() {
            for &slot in step.inputs.iter().flatten() {
                readers.entry(slot).or_default().push(i);
            }
        }
        let mut moved = vec![false; self.steps.len()];
        for (i, moved) in moved.iter_mut().enumerate() {
            let &[Some(map)] = self.steps[i].outputs.as_slice() else { continue };
            let Some(&[reader]) = readers.get(&map).map(Vec::as_slice) else { continue };
            if outputs.contains(&map) || self.steps[reader].inputs[0] != Some(map) {
                continue;
            }
            let takes = match &self.steps[reader].draft {
                Draft::Convolution(kernel) => kernel.takes_prologue(),
                _ => false,
            };
            let Draft::Transform(fused) = &self.steps[i].draft else { continue };
            if !takes {
                continue;
            }
            let mut prologue = fused.clone();
            let ops = self.steps[i].ops.clone();
            let from = self.steps[i].inputs.clone();
            let step = &mut self.steps[reader];
            let shift = step.inputs.len() - 1;
            prologue.shift(shift);
            step.inputs[0] = from[0];
            step.inputs.extend(&from[1..]);
            step.ops.splice(0..0, ops);
            if let Draft::Convolution(kernel) = &mut step.draft {
                kernel.set_prologue(prologue);
            }
            self.slots[map].home = Home::Fused;
            *moved = true;
        }
        let mut moved = moved.into_iter();
        self.steps.retain(|_| !moved.next().unwrap_or(false));
    }
}
