//! What a compiler keeps beside a network: the format stores it and does not look into it.

use std::collections::BTreeMap;

use crate::graph::ValueId;
use crate::tensor::Tensor;

/// Tensors in the layouts that kernels read, by the value that the layer gives and what the layer
/// is called.
///
/// Those of a file come in whatever they are. The compiler makes a layer of the graph from them, whose
/// constructor checks them: how many there are, their element types and lengths. Those that do not
/// fit are passed over, and the layer is packed from its plain weights.
#[derive(Clone, Debug, Default)]
pub struct PackedTensors {
    parts: BTreeMap<(ValueId, String), Vec<Tensor>>,
}

impl PackedTensors {
    /// Keeps `parts` for the layer called `kind` that gives `value`; returns false where there were
    /// others.
    pub fn insert(&mut self, value: ValueId, kind: impl Into<String>, parts: Vec<Tensor>) -> bool {
        self.parts.insert((value, kind.into()), parts).is_none()
    }

    /// The parts of the layer called `kind` that gives `value`.
    pub fn get(&self, value: ValueId, kind: &str) -> Option<&[Tensor]> {
        self.parts.get(&(value, kind.to_string())).map(Vec::as_slice)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ValueId, &str, &[Tensor])> {
        self.parts.iter().map(|((value, kind), parts)| (*value, kind.as_str(), parts.as_slice()))
    }
}

/// What a native file knows about the compilation of its network.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The version of the compiler that prepared it: another one does not use it.
    pub version: u32,
    /// What that compiler noted for people.
    pub notes: serde_json::Value,
    /// Weights in the layouts that kernels read.
    pub packed: PackedTensors,
}
