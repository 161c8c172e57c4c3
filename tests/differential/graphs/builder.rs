//! A graph under construction, with the tensor of every value at hand: what a node may be follows
//! from the tensors that it would read, and the reference says whether it can be.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dyrelu::graph::{Dim, Graph, Node, Op, TensorType, ValueId};
use dyrelu::{DType, Tensor, reference};

use super::Case;
use super::choices::Choices;

/// The most elements of a value.
const MOST_ELEMENTS: usize = 1 << 14;

/// Numbers beyond this are hardly ever allowed: what follows from them is infinite soon.
const LARGE: f64 = 1e5;

pub struct Builder<'b> {
    pub choices: Choices<'b>,
    graph: Graph,
    /// By the number of the value.
    tensors: Vec<Tensor>,
    /// Values that a node may read: inputs and what nodes give.
    pub open: Vec<ValueId>,
    used: Vec<bool>,
    inputs: Vec<Tensor>,
    /// Whether a node was added that the reference refuses, or on which it panics.
    pub broken: bool,
    /// What the batch is called, where it is free.
    batch: Option<(&'static str, usize)>,
}

impl<'b> Builder<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Builder {
            choices: Choices::new(bytes),
            graph: Graph::new("random"),
            tensors: Vec::new(),
            open: Vec::new(),
            used: Vec::new(),
            inputs: Vec::new(),
            broken: false,
            batch: None,
        }
    }

    pub fn tensor(&self, value: ValueId) -> &Tensor {
        &self.tensors[value.index()]
    }

    pub fn shape(&self, value: ValueId) -> Vec<usize> {
        self.tensor(value).shape().to_vec()
    }

    fn note(&mut self, value: ValueId, tensor: Tensor) {
        assert_eq!(value.index(), self.tensors.len(), "values are noted in order");
        self.tensors.push(tensor);
        self.used.push(false);
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}{}", self.tensors.len())
    }

    /// The batch of all inputs that have one, and its name where it is free.
    pub fn set_batch(&mut self, size: usize, free: bool) {
        self.batch = free.then_some(("N", size));
    }

    /// A new input of the network. Sizes are free here and there.
    pub fn input(&mut self, tensor: Tensor, free: bool) -> ValueId {
        let mut dims: Vec<Dim> = tensor.shape().iter().map(|&size| size.into()).collect();
        if let (Some((name, size)), Some(first)) = (self.batch, dims.first_mut())
            && free
            && first.as_size() == Some(size)
        {
            *first = Dim::symbol(name);
        }
        let all_free = self.choices.once_in(4);
        for (axis, dim) in dims.iter_mut().enumerate().skip(1) {
            // A symbol stands for one size: its name says which.
            if let Some(size) = dim.as_size()
                && free
                && size > 0
                && ((all_free && axis > 1) || self.choices.once_in(12))
            {
                *dim = Dim::symbol(&format!("S{axis}_{size}"));
            }
        }
        let id = self.graph.add_input(self.name("x"), TensorType { dtype: tensor.dtype(), dims });
        self.inputs.push(tensor.clone());
        self.note(id, tensor);
        self.open.push(id);
        id
    }

    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let id = self.graph.add_constant(self.name("c"), tensor.clone());
        self.note(id, tensor);
        id
    }

    /// An operand that is a constant mostly, but may be an input of the network or a value that
    /// happens to be like it.
    pub fn operand(&mut self, tensor: Tensor) -> ValueId {
        match self.choices.within(0, 23) {
            22 => self.input(tensor, false),
            23 => {
                let like = |t: &Tensor| t.dtype() == tensor.dtype() && t.shape() == tensor.shape();
                self.value(like).unwrap_or_else(|| self.constant(tensor))
            }
            _ => self.constant(tensor),
        }
    }

    /// Weights of `shape` of which `fan_in` are summed.
    pub fn weights(&mut self, dtype: DType, shape: &[usize], fan_in: usize) -> ValueId {
        let bound = (3.0 / fan_in.max(1) as f32).sqrt();
        let tensor = self.choices.tensor(dtype, shape, (-bound, bound));
        self.operand(tensor)
    }

    /// Numbers between `low` and `high`.
    pub fn numbers(&mut self, dtype: DType, shape: &[usize], low: f32, high: f32) -> ValueId {
        let tensor = self.choices.tensor(dtype, shape, (low, high));
        self.operand(tensor)
    }

    pub fn integers(&mut self, values: &[i64]) -> ValueId {
        self.operand(Tensor::vector(values.to_vec()))
    }

    /// A value that suits, one of the last ones more often than not.
    pub fn value(&mut self, suits: impl Fn(&Tensor) -> bool) -> Option<ValueId> {
        let suiting: Vec<ValueId> =
            self.open.iter().copied().filter(|&id| suits(self.tensor(id))).collect();
        let last = suiting.len().checked_sub(1)?;
        let back = if self.choices.once_in(3) { last } else { last.min(2) };
        Some(suiting[last - self.choices.size(0, back)])
    }

    pub fn float(&mut self) -> Option<ValueId> {
        self.value(|t| t.dtype().is_float())
    }

    /// A feature map with so many spatial axes.
    pub fn map(&mut self, spatial: std::ops::RangeInclusive<usize>) -> Option<ValueId> {
        self.value(|t| {
            t.dtype().is_float() && t.shape().len() >= 2 && spatial.contains(&(t.shape().len() - 2))
        })
    }

    /// Adds a node with one output, where the reference can evaluate it.
    pub fn apply(&mut self, op: Op, inputs: &[ValueId]) -> Option<ValueId> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.apply_to(op, &inputs, 1).map(|outputs| outputs[0])
    }

    /// Adds a node, where the reference can evaluate it.
    pub fn apply_to(
        &mut self,
        op: Op,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> Option<Vec<ValueId>> {
        if self.broken {
            return None;
        }
        let tensors: Vec<Option<&Tensor>> =
            inputs.iter().map(|id| id.map(|id| self.tensor(id))).collect();
        let evaluate = || reference::evaluate(&op, &tensors, outputs);
        let result = catch_unwind(AssertUnwindSafe(evaluate));
        let results = match result {
            Ok(Ok(results)) if results.iter().all(|t| self.is_welcome(t)) => results,
            Ok(Ok(_)) => return None,
            Ok(Err(_)) if !self.choices.once_in(100) => return None,
            // A network that cannot run ends here.
            Ok(Err(_)) | Err(_) => {
                self.broken = true;
                vec![Tensor::scalar(0f32); outputs]
            }
        };
        for id in inputs.iter().flatten() {
            self.used[id.index()] = true;
        }
        let name = self.name(op.name());
        let ids: Vec<ValueId> = results
            .into_iter()
            .map(|tensor| {
                let id = self.graph.add_value(self.name("v"));
                self.note(id, tensor);
                id
            })
            .collect();
        let outputs = ids.iter().copied().map(Some).collect();
        self.graph.add_node(Node { name, op, inputs: inputs.to_vec(), outputs });
        self.open.extend(&ids);
        (!self.broken).then_some(ids)
    }

    fn is_welcome(&self, tensor: &Tensor) -> bool {
        if tensor.len() > MOST_ELEMENTS || tensor.shape().len() > 7 {
            return false;
        }
        let Ok(values) = tensor.cast(DType::F64) else { return false };
        let values = values.as_slice::<f64>().unwrap_or(&[]);
        values.iter().all(|x| x.is_finite() && x.abs() <= LARGE)
    }

    /// The network, whose outputs are what nobody reads, and some of the others.
    pub fn finish(mut self) -> Case {
        let made = |id: &ValueId| self.graph.value(*id).input.is_none();
        let open: Vec<ValueId> = self.open.iter().copied().filter(made).collect();
        let mut outputs: Vec<ValueId> =
            open.iter().copied().filter(|id| !self.used[id.index()]).collect();
        for &id in &open {
            if self.used[id.index()] && self.choices.once_in(10) {
                outputs.push(id);
            }
        }
        // Some values nobody needs.
        while outputs.len() > 1 && self.choices.once_in(8) {
            let at = self.choices.size(0, outputs.len() - 1);
            outputs.remove(at);
        }
        // An input may be an output as it is.
        if outputs.is_empty() || self.choices.once_in(25) {
            outputs.extend(self.graph.inputs().first());
        }
        self.graph.set_outputs(outputs);
        Case { graph: self.graph, inputs: self.inputs }
    }
}
