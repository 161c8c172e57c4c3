//! What the compiler stores beside a network. The format does not interpret it.

use std::collections::BTreeMap;

use crate::graph::ValueId;
use crate::tensor::Tensor;

/// Weights in the layouts that kernels read, by the value that their layer produces and the kind of the
/// layer.
///
/// The format accepts any tensors. The constructor of each layer checks their number, element types and
/// lengths; if they do not fit, the compiler packs the layer from its plain weights.
#[derive(Clone, Debug, Default)]
pub struct PackedTensors {
    parts: BTreeMap<(ValueId, String), Vec<Tensor>>,
}

impl PackedTensors {
    /// Adds the `parts` of the layer of `kind` that produces `value`. Returns whether there were none
    /// before.
    pub fn insert(&mut self, value: ValueId, kind: impl Into<String>, parts: Vec<Tensor>) -> bool {
        self.parts.insert((value, kind.into()), parts).is_none()
    }

    /// Returns the parts of the layer of `kind` that produces `value`.
    pub fn get(&self, value: ValueId, kind: &str) -> Option<&[Tensor]> {
        self.parts.get(&(value, kind.to_string())).map(Vec::as_slice)
    }

    /// Returns value, kind and parts of each layer, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ValueId, &str, &[Tensor])> {
        self.parts.iter().map(|((value, kind), parts)| (*value, kind.as_str(), parts.as_slice()))
    }
}

/// What a native file holds for the compiler.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The version of the compiler that wrote it. Another version ignores it.
    pub version: u32,
    /// What the compiler noted for reports.
    pub notes: serde_json::Value,
    /// Packed weights.
    pub packed: PackedTensors,
}
