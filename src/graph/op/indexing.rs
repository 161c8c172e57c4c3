//! Attributes of operators that read or write elements at positions that the data gives.

use serde::{Deserialize, Serialize};

/// How a scattered element is combined with the element that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // ONNX's names.
pub enum ScatterReduction {
    /// It takes the place of the element. The last one stays if several meet the same element.
    None,
    Add,
    Mul,
    Max,
    Min,
}

/// Attributes of `TopK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopK {
    /// The axis along which elements are selected.
    pub axis: i64,
    /// Whether the largest elements are selected, rather than the smallest.
    pub largest: bool,
}

/// Attributes of a cumulative sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CumSum {
    /// Whether a sum leaves out the element at its own position.
    pub exclusive: bool,
    /// Whether sums run from the end of the axis.
    pub reverse: bool,
}

/// Attributes of non-maximum suppression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonMaxSuppression {
    /// Whether boxes are stated as `[x centre, y centre, width, height]`, rather than by two opposite
    /// corners `[y, x, y, x]`.
    pub centre_point_box: bool,
}
