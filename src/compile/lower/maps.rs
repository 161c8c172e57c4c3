//! The sizes of values, as far as kernels need them.

use crate::graph::infer::Types;
use crate::graph::predicates::is_one;
use crate::graph::{Bindings, Dim, Graph, TensorType, ValueId};
use crate::tensor::DType;

/// Tells which values can lie in the arena, and their sizes.
pub(super) struct Maps<'g> {
    types: &'g Types,
    /// A size for every symbol of the graph's inputs.
    bindings: Bindings,
}

impl<'g> Maps<'g> {
    pub fn new(graph: &Graph, types: &'g Types) -> Self {
        let declared = graph.inputs().iter().filter_map(|&id| graph.value(id).input.as_ref());
        let symbols = declared.flat_map(|ty| &ty.dims).filter_map(Dim::as_symbol);
        Maps { types, bindings: symbols.map(|name| (name.into(), 1 << 12)).collect() }
    }

    /// The sizes of a value; `None` unless it is of type f32 and its sizes follow from those of the
    /// inputs of the network.
    pub fn dims(&self, value: ValueId) -> Option<&'g [Dim]> {
        let TensorType { dtype, dims } = self.types.get(value)?;
        let known = dims.iter().all(|dim| dim.evaluate(&self.bindings).is_ok());
        (*dtype == DType::F32 && known).then_some(dims.as_slice())
    }

    /// Whether a value is `[N,C]` or `[N,C,H,W]`.
    pub fn is_feature_map(&self, value: ValueId) -> bool {
        self.dims(value).is_some_and(|dims| matches!(dims.len(), 2 | 4))
    }

    /// Whether a value is `[N,C]` or `[N,C,1,1]`.
    pub fn is_vectors(&self, value: ValueId) -> bool {
        self.dims(value).is_some_and(|dims| match dims {
            [_, _] => true,
            [_, _, h, w] => is_one(h) && is_one(w),
            _ => false,
        })
    }

    /// Whether a value is `[N,2K,C]`.
    pub fn is_coefficients(&self, value: ValueId) -> bool {
        self.dims(value).is_some_and(|dims| dims.len() == 3)
    }

    /// Whether `pi` has one channel and otherwise the sizes of `x`.
    pub fn is_attention(&self, pi: ValueId, x: ValueId) -> bool {
        match (self.dims(pi), self.dims(x)) {
            (Some([n, c, h, w]), Some([xn, _, xh, xw])) => {
                c.as_const() == Some(1) && (n, h, w) == (xn, xh, xw)
            }
            _ => false,
        }
    }

    /// Whether two values are maps of the same sizes.
    pub fn same_size(&self, a: ValueId, b: ValueId) -> bool {
        self.is_feature_map(a) && self.dims(a) == self.dims(b)
    }

    /// The number of channels, if it is known.
    pub fn channels(&self, value: ValueId) -> Option<usize> {
        self.dims(value)?.get(1)?.as_size()
    }
}
