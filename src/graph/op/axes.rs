//! Attributes of operators that work along axes: softmax and reductions.

use serde::{Deserialize, Serialize};

/// Attributes of softmax and of its logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax {
    /// The axis that is normalised.
    pub axis: i64,
    /// Whether all axes from `axis` on are normalised together (before opset 13).
    pub flatten: bool,
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are the functions.
pub enum ReduceKind {
    Mean,
    Sum,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

/// Attributes of a reduction over the axes given as input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Whether reduced axes are kept with size 1.
    pub keep_dims: bool,
    /// Whether empty or absent axes mean no axis, rather than all.
    pub noop_with_empty_axes: bool,
}

/// Attributes of `ArgMax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgMax {
    /// The axis along which the maximum is taken.
    pub axis: i64,
    /// Whether the axis is kept with size 1.
    pub keep_dims: bool,
    /// Whether the last among equal elements is selected, rather than the first.
    pub select_last: bool,
}

impl ReduceKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            ReduceKind::Mean => "ReduceMean",
            ReduceKind::Sum => "ReduceSum",
            ReduceKind::Max => "ReduceMax",
            ReduceKind::Min => "ReduceMin",
            ReduceKind::Prod => "ReduceProd",
            ReduceKind::L1 => "ReduceL1",
            ReduceKind::L2 => "ReduceL2",
            ReduceKind::SumSquare => "ReduceSumSquare",
            ReduceKind::LogSum => "ReduceLogSum",
            ReduceKind::LogSumExp => "ReduceLogSumExp",
        }
    }
}
