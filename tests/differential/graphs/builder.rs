//! A graph under construction, with the tensor of every value.
//!
//! The tensors decide which operands fit a new node. The reference executor evaluates it, and decides
//! whether it is valid.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dyrelu::graph::{Dim, Graph, Node, Op, TensorType, ValueId};
use dyrelu::{DType, Tensor, reference};

use super::Case;
use super::choices::Choices;

/// The largest number of elements of a value.
const MAX_ELEMENTS: usize = 1 << 14;

/// The largest magnitude of an element. Larger numbers soon lead to infinities.
const MAX_MAGNITUDE: f64 = 1e5;

pub struct Builder<'b> {
    pub choices: Choices<'b>,
    graph: Graph,
    /// The tensor of each value, by the index of the value.
    tensors: Vec<Tensor>,
    /// The values that a new node may read: inputs and outputs of nodes.
    pub open: Vec<ValueId>,
    /// Whether a node reads the value, by its index.
    used: Vec<bool>,
    inputs: Vec<Tensor>,
    /// Whether the last node is one that the reference refuses, or on which it panics.
    pub broken: bool,
    /// The symbol and the size of the batch, if it is free.
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

    /// Records the tensor of the value that was added last.
    fn record(&mut self, value: ValueId, tensor: Tensor) {
        assert_eq!(value.index(), self.tensors.len(), "values are recorded in order");
        self.tensors.push(tensor);
        self.used.push(false);
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}{}", self.tensors.len())
    }

    /// Sets the size of the batch of all inputs, and whether it is free.
    pub fn set_batch(&mut self, size: usize, free: bool) {
        self.batch = free.then_some(("N", size));
    }

    /// Adds an input of the network. If `free` is set, random sizes are symbols.
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
            // A symbol has one value in the whole network, so its name contains the size.
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
        self.record(id, tensor);
        self.open.push(id);
        id
    }

    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let id = self.graph.add_constant(self.name("c"), tensor.clone());
        self.record(id, tensor);
        id
    }

    /// Adds an operand: usually a constant, sometimes an input of the network or an existing value of
    /// the same type and shape.
    pub fn operand(&mut self, tensor: Tensor) -> ValueId {
        match self.choices.within(0, 23) {
            22 => self.input(tensor, false),
            23 => {
                let same_type =
                    |t: &Tensor| t.dtype() == tensor.dtype() && t.shape() == tensor.shape();
                self.value(same_type).unwrap_or_else(|| self.constant(tensor))
            }
            _ => self.constant(tensor),
        }
    }

    /// Adds weights for sums of `fan_in` products.
    pub fn weights(&mut self, dtype: DType, shape: &[usize], fan_in: usize) -> ValueId {
        let bound = (3.0 / fan_in.max(1) as f32).sqrt();
        let tensor = self.choices.tensor(dtype, shape, (-bound, bound));
        self.operand(tensor)
    }

    /// Adds an operand with numbers between `low` and `high`.
    pub fn numbers(&mut self, dtype: DType, shape: &[usize], low: f32, high: f32) -> ValueId {
        let tensor = self.choices.tensor(dtype, shape, (low, high));
        self.operand(tensor)
    }

    pub fn integers(&mut self, values: &[i64]) -> ValueId {
        self.operand(Tensor::vector(values.to_vec()))
    }

    /// Chooses a value that satisfies `fits`, usually one of the last three.
    pub fn value(&mut self, fits: impl Fn(&Tensor) -> bool) -> Option<ValueId> {
        let fitting: Vec<ValueId> =
            self.open.iter().copied().filter(|&id| fits(self.tensor(id))).collect();
        let last = fitting.len().checked_sub(1)?;
        let back = if self.choices.once_in(3) { last } else { last.min(2) };
        Some(fitting[last - self.choices.size(0, back)])
    }

    pub fn float(&mut self) -> Option<ValueId> {
        self.value(|t| t.dtype().is_float())
    }

    /// Chooses a feature map with this number of spatial axes.
    pub fn map(&mut self, spatial: std::ops::RangeInclusive<usize>) -> Option<ValueId> {
        self.value(|t| {
            t.dtype().is_float() && t.shape().len() >= 2 && spatial.contains(&(t.shape().len() - 2))
        })
    }

    /// Adds a node with one output, if the reference can evaluate it.
    pub fn apply(&mut self, op: Op, inputs: &[ValueId]) -> Option<ValueId> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.apply_to(op, &inputs, 1).map(|outputs| outputs[0])
    }

    /// Adds a node, if the reference can evaluate it. Rarely, adds one that the reference refuses.
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
            Ok(Ok(results)) if results.iter().all(|t| self.is_allowed(t)) => results,
            Ok(Ok(_)) => return None,
            Ok(Err(_)) if !self.choices.once_in(100) => return None,
            // The network cannot run, so it ends here.
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
                self.record(id, tensor);
                id
            })
            .collect();
        let outputs = ids.iter().copied().map(Some).collect();
        self.graph.add_node(Node { name, op, inputs: inputs.to_vec(), outputs });
        self.open.extend(&ids);
        (!self.broken).then_some(ids)
    }

    fn is_allowed(&self, tensor: &Tensor) -> bool {
        if tensor.len() > MAX_ELEMENTS || tensor.shape().len() > 7 {
            return false;
        }
        let Ok(values) = tensor.cast(DType::F64) else { return false };
        let values = values.as_slice::<f64>().unwrap_or(&[]);
        values.iter().all(|x| x.is_finite() && x.abs() <= MAX_MAGNITUDE)
    }

    /// Finishes the network. Its outputs are the values that no node reads, and some others.
    pub fn finish(mut self) -> Case {
        let is_computed = |id: &ValueId| self.graph.value(*id).input.is_none();
        let computed: Vec<ValueId> = self.open.iter().copied().filter(is_computed).collect();
        let mut outputs: Vec<ValueId> =
            computed.iter().copied().filter(|id| !self.used[id.index()]).collect();
        for &id in &computed {
            if self.used[id.index()] && self.choices.once_in(10) {
                outputs.push(id);
            }
        }
        // Sometimes a value is neither read nor an output.
        while outputs.len() > 1 && self.choices.once_in(8) {
            let at = self.choices.size(0, outputs.len() - 1);
            outputs.remove(at);
        }
        // Sometimes an input is an output.
        if outputs.is_empty() || self.choices.once_in(25) {
            outputs.extend(self.graph.inputs().first());
        }
        self.graph.set_outputs(outputs);
        Case { graph: self.graph, inputs: self.inputs }
    }
}
