//! The JSON in the metadata of a native file, and its keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::graph::Op;
use crate::tensor::DType;

/// The version of the format that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

pub(super) const VERSION_KEY: &str = "dyrelu.version";
pub(super) const GRAPH_KEY: &str = "dyrelu.graph";
/// The prefix of the names of tensors that fill the space up to the next boundary.
pub(super) const PADDING: &str = "__padding";

#[derive(Serialize, Deserialize)]
pub(super) struct StoredGraph {
    pub name: String,
    pub inputs: Vec<StoredInput>,
    pub outputs: Vec<String>,
    pub nodes: Vec<StoredNode>,
    /// The element types of tensors that are stored in another one.
    #[serde(default)]
    pub stored_as: BTreeMap<String, DType>,
    /// Present if the network has been compiled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<StoredPreparation>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredPreparation {
    pub version: u32,
    #[serde(rename = "unrecognised")]
    pub notes: serde_json::Value,
    pub packs: Vec<StoredPack>,
}

/// The packed weights of a layer, which are no values of the network.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredPack {
    /// The value that the layer produces.
    pub value: String,
    pub kind: String,
    pub parts: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredInput {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<StoredDim>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum StoredDim {
    Size(usize),
    Symbol(String),
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredNode {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<Option<String>>,
    pub outputs: Vec<Option<String>>,
}
