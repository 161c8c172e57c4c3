//! The operators of a [`Graph`](super::Graph).
//!
//! Names and meanings are those of ONNX in its newest opset. What was an attribute in older opsets
//! and is an input now (axes, pads, bounds of a clip) is an input here; readers of older files
//! convert it. Optional inputs may be absent. Feature maps are NCHW.

mod axes;
mod dynamic;
mod elementwise;
mod indexing;
mod resample;
mod windows;

use serde::{Deserialize, Serialize};

pub use axes::*;
pub use dynamic::*;
pub use elementwise::*;
pub use indexing::*;
pub use resample::*;
pub use windows::*;

use crate::tensor::{DType, Tensor};

/// What a node computes. The inputs of each operator are listed in order; optional ones are in
/// brackets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Op {
    /// Inputs `x [N,Cin,..]`, `weight [Cout,Cin/groups,..]`, `[bias [Cout]]`.
    Conv(Conv),
    /// Inputs `x [N,Cin,..]`, `weight [Cin,Cout/groups,..]`, `[bias [Cout]]`.
    ConvTranspose(ConvTranspose),
    /// A convolution whose taps are moved by offsets. Inputs `x [N,Cin,..]`,
    /// `weight [Cout,Cin/groups,..]`, `offset [N,offset_groups*taps*axes,..]`, `[bias [Cout]]`,
    /// `[mask [N,offset_groups*taps,..]]`.
    DeformConv(DeformConv),
    /// `y [N,taps*C,..]`, of which each tap has all channels of `x`. Inputs `x [N,C,H,W]`, `offset` and
    /// `[mask]` as those of a [`DeformConv`](Self::DeformConv).
    DeformedWindows(DeformedWindows),
    /// `alpha * A' B' + beta * C`. Inputs `A`, `B`, `[C]`.
    Gemm(Gemm),
    /// Inputs `A`, `B`; batched as numpy's `matmul`.
    MatMul,
    /// Inference form. Inputs `x`, `scale`, `bias`, `mean`, `variance`, each `[C]`.
    BatchNormalization {
        /// Added to the variance.
        epsilon: f32,
    },
    /// Normalisation over the axes after the channel, for each image and channel.
    /// Inputs `x`, `scale [C]`, `bias [C]`.
    InstanceNormalization {
        /// Added to the variance.
        epsilon: f32,
    },
    /// Normalisation over the axes from `axis` on. Inputs `x`, `scale`, `[bias]`.
    LayerNormalization {
        /// The first normalised axis.
        axis: i64,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Normalisation over groups of channels. Inputs `x`, `scale [C]`, `bias [C]`.
    GroupNormalization {
        /// The number of groups.
        num_groups: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Local response normalization. Input `x [N,C,..]`.
    Lrn(Lrn),
    /// A function of one element. Input `x`.
    Unary(Unary),
    /// `min(max(x, min), max)`. Inputs `x`, `[min]`, `[max]`, both scalars.
    Clip,
    /// `x < 0 ? slope * x : x`. Inputs `x`, `slope` (broadcast to x).
    PRelu,
    /// A function of two elements, broadcast. Inputs `a`, `b`.
    Binary(Binary),
    /// A function of any number of elements, broadcast. Inputs one or more.
    Variadic(Variadic),
    /// Inputs `condition`, `a`, `b`, broadcast.
    Where,
    /// Input `x`.
    Softmax(Softmax),
    /// Logarithm of softmax. Input `x`.
    LogSoftmax(Softmax),
    /// Input `x [N,C,..]`.
    Pool(Pool),
    /// Pooling over all axes after the channel, which are kept with size 1. Input `x [N,C,..]`.
    GlobalPool(PoolKind),
    /// Inputs `x`, `[axes]`.
    Reduce(Reduce),
    /// Index of the largest element. Input `x`.
    ArgMax(ArgMax),
    /// The largest or the smallest elements, in order; of equal ones the first. Inputs `x`, `k`;
    /// outputs the elements and their indices.
    TopK(TopK),
    /// Inputs `x`, `axis`, a scalar.
    CumSum(CumSum),
    /// Inputs one or more.
    Concat {
        /// The axis along which inputs are joined.
        axis: i64,
    },
    /// Inputs `x`, `[split]`; as many outputs as the node has, of equal size without `split`.
    Split {
        /// The axis that is cut.
        axis: i64,
    },
    /// Inputs `x`, `starts`, `ends`, `[axes]`, `[steps]`.
    Slice,
    /// Inputs `x`, `indices`.
    Gather {
        /// The axis from which entries are taken.
        axis: i64,
    },
    /// Reads `x` at the position of each index, but along `axis` at the index itself. Inputs `x`,
    /// `indices`.
    GatherElements {
        /// The axis along which positions are read from the indices.
        axis: i64,
    },
    /// Inputs `x`, `indices`, whose last axis has an index for each of the first axes of `x` after
    /// those of the batch.
    #[serde(rename = "GatherND")]
    GatherNd {
        /// The number of axes that `x` and the indices have in common.
        batch_dims: usize,
    },
    /// A copy of `x` with `updates` at the positions that `GatherElements` would read. Inputs `x`,
    /// `indices`, `updates`.
    ScatterElements {
        /// The axis along which positions are read from the indices.
        axis: i64,
        /// How an update is combined with what it meets.
        reduction: ScatterReduction,
    },
    /// A copy of `x` with `updates` at the positions that `GatherND` would read. Inputs `x`,
    /// `indices`, `updates`.
    #[serde(rename = "ScatterND")]
    ScatterNd {
        /// How an update is combined with what it meets.
        reduction: ScatterReduction,
    },
    /// The positions of the elements that are not 0, one per column. Input `x`.
    NonZero,
    /// Boxes that overlap none of a higher score: `[selected, 3]` indices of image, class and box.
    /// Inputs `boxes [N,boxes,4]`, `scores [N,classes,boxes]`, `[most per class]`,
    /// `[largest overlap]`, `[least score]`.
    NonMaxSuppression(NonMaxSuppression),
    /// Inputs `x`, `shape`.
    Reshape {
        /// Whether a 0 in `shape` means a size of 0, rather than the size that `x` has.
        allow_zero: bool,
    },
    /// Reshapes to a matrix. Input `x`.
    Flatten {
        /// The first axis that belongs to the columns of the matrix.
        axis: i64,
    },
    /// Inputs `x`, `[axes]`.
    Squeeze,
    /// Inputs `x`, `axes`.
    Unsqueeze,
    /// Inputs `x`, `shape`; broadcasts both ways.
    Expand,
    /// Inputs `x`, `repeats`.
    Tile,
    /// Input `x`.
    Transpose {
        /// Output axis `i` is input axis `perm[i]`; empty reverses all.
        perm: Vec<usize>,
    },
    /// Inputs `x`, `[roi]`, `[scales]`, `[sizes]`.
    Resize(Resize),
    /// Inputs `x [N,C,..]`, `grid [N,..,axes]`, whose last axis is a position, that along the last
    /// axis first.
    GridSample(GridSample),
    /// Inputs `x [N,C,H,W]`, `regions [R,4]`, `images [R]`.
    RoiAlign(RoiAlign),
    /// Inputs `x`, `pads`, `[value]`, `[axes]`.
    Pad {
        /// How the new elements are computed.
        mode: PadMode,
    },
    /// Rearranges channels into space. Input `x`.
    DepthToSpace {
        /// The factor by which height and width grow.
        block: usize,
        /// Depth-column-row order (ONNX's default) or column-row-depth (PyTorch's pixel shuffle).
        order: DepthOrder,
    },
    /// Composes a map of maps whose pixels alternate in it. Inputs one or more `[N,..,H,W]`.
    Interleave(Interleave),
    /// Input `x`.
    Identity,
    /// Identity at inference. Input `x`, `[ratio]`, `[training_mode]`; the optional second output
    /// is a mask of `true`.
    Dropout,
    /// Input `shape`.
    ConstantOfShape {
        /// The value of every element.
        value: Scalar,
    },
    /// Inputs `start`, `limit`, `delta`, scalars.
    Range,
    /// The sizes of the axes. Input `x`.
    Shape {
        /// First axis.
        start: i64,
        /// One past the last axis; absent for all.
        end: Option<i64>,
    },
    /// The number of elements. Input `x`.
    Size,
    /// Input `x`.
    Cast {
        /// The new element type.
        to: DType,
    },
    /// From a pooled context to the coefficients of a dynamic activation.
    /// Inputs `context [N,Cin]` (or `[N,Cin,1,1]`), `[fc1.weight [hidden,Cin]]`, `[fc1.bias]`,
    /// `fc2.weight [2K*C,hidden]`, `[fc2.bias]`. Output `[N,2K,C]`.
    Hyperfunction(Hyperfunction),
    /// A convolution with weights of their own for each image, see [`DynamicConv`].
    /// Inputs `x [N,C,H,W]`, `weights [N, Cout*(C/groups)*kh*kw]`, `[bias [Cout] or [N,Cout]]`.
    DynamicConv(DynamicConv),
    /// `y = pi * max_k(a_k x + b_k)`, see [`MaxAffine`].
    /// Inputs `x [N,C,..]`, `coefficients [N or 1, 2K, C or 1]`, `[pi [N,1,..]]`.
    MaxAffine(MaxAffine),
    /// An activation of which every channel has its own parameters.
    /// Inputs `x [N,C,..]`, `parameters [N or 1, rows, C or 1]`, see [`ChannelActivation`].
    ChannelActivation(ChannelActivation),
    /// `y[c] = max_k(a_k x[c] + s_k x[source[c]])`, see [`ShiftMax`].
    /// Inputs `x [N,C,..]`, `coefficients [N or 1, 2K, C or 1]`.
    ShiftMax(ShiftMax),
    /// The function `a[c] x + b[c]` by which a normalisation over groups of channels changes a map.
    /// Inputs `x [N,C,..]`, `scale [C]`, `bias [C]`. Output `[N,2,C]`: all `a`, then all `b`.
    GroupCoefficients {
        /// The number of groups.
        num_groups: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// The attention of DY-ReLU-C: `pi = min(gamma * softmax(z / tau), 1)` over all positions of
    /// an image. Input `z [N,1,H,W]`. `gamma` is `gamma_per_position * H * W`.
    SpatialAttention(SpatialAttention),
}

/// A number with its element type, in a form that can be written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scalar {
    /// Its element type.
    pub dtype: DType,
    /// Its value; integers up to 2^53 are exact.
    pub value: f64,
}

impl Scalar {
    /// Returns a tensor of `shape` in which every element is this number.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the tensor is too large.
    pub fn fill(self, shape: &[usize]) -> crate::error::Result<Tensor> {
        let count = crate::tensor::num_elements(shape)
            .filter(|n| n.checked_mul(8).is_some_and(|bytes| bytes <= isize::MAX as usize))
            .ok_or_else(|| crate::error::Error::shape(format!("shape {shape:?} is too large")))?;
        Tensor::new(shape, vec![self.value; count])?.cast(self.dtype)
    }
}

/// Attributes of a general matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of `C`.
    pub beta: f32,
    /// Whether `A` is stored transposed.
    pub trans_a: bool,
    /// Whether `B` is stored transposed.
    pub trans_b: bool,
}

impl Op {
    /// Returns the name of the operator in ONNX, or this crate's own for those that ONNX does not
    /// have.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "Conv",
            Op::ConvTranspose(_) => "ConvTranspose",
            Op::DeformConv(_) => "DeformConv",
            Op::DeformedWindows(_) => "DeformedWindows",
            Op::Gemm(_) => "Gemm",
            Op::MatMul => "MatMul",
            Op::BatchNormalization { .. } => "BatchNormalization",
            Op::InstanceNormalization { .. } => "InstanceNormalization",
            Op::LayerNormalization { .. } => "LayerNormalization",
            Op::GroupNormalization { .. } => "GroupNormalization",
            Op::Lrn(_) => "LRN",
            Op::Unary(unary) => unary.name(),
            Op::Clip => "Clip",
            Op::PRelu => "PRelu",
            Op::Binary(binary) => binary.name(),
            Op::Variadic(variadic) => variadic.name(),
            Op::Where => "Where",
            Op::Softmax(_) => "Softmax",
            Op::LogSoftmax(_) => "LogSoftmax",
            Op::Pool(Pool { kind: PoolKind::Max, .. }) => "MaxPool",
            Op::Pool(Pool { kind: PoolKind::Average, .. }) => "AveragePool",
            Op::GlobalPool(PoolKind::Max) => "GlobalMaxPool",
            Op::GlobalPool(PoolKind::Average) => "GlobalAveragePool",
            Op::Reduce(reduce) => reduce.kind.name(),
            Op::ArgMax(_) => "ArgMax",
            Op::TopK(_) => "TopK",
            Op::CumSum(_) => "CumSum",
            Op::Concat { .. } => "Concat",
            Op::Split { .. } => "Split",
            Op::Slice => "Slice",
            Op::Gather { .. } => "Gather",
            Op::GatherElements { .. } => "GatherElements",
            Op::GatherNd { .. } => "GatherND",
            Op::ScatterElements { .. } => "ScatterElements",
            Op::ScatterNd { .. } => "ScatterND",
            Op::NonZero => "NonZero",
            Op::NonMaxSuppression(_) => "NonMaxSuppression",
            Op::Reshape { .. } => "Reshape",
            Op::Flatten { .. } => "Flatten",
            Op::Squeeze => "Squeeze",
            Op::Unsqueeze => "Unsqueeze",
            Op::Expand => "Expand",
            Op::Tile => "Tile",
            Op::Transpose { .. } => "Transpose",
            Op::Resize(_) => "Resize",
            Op::GridSample(_) => "GridSample",
            Op::RoiAlign(_) => "RoiAlign",
            Op::Pad { .. } => "Pad",
            Op::DepthToSpace { .. } => "DepthToSpace",
            Op::Interleave(_) => "Interleave",
            Op::Identity => "Identity",
            Op::Dropout => "Dropout",
            Op::ConstantOfShape { .. } => "ConstantOfShape",
            Op::Range => "Range",
            Op::Shape { .. } => "Shape",
            Op::Size => "Size",
            Op::Cast { .. } => "Cast",
            Op::Hyperfunction(_) => "Hyperfunction",
            Op::DynamicConv(_) => "DynamicConv",
            Op::MaxAffine(_) => "MaxAffine",
            Op::ChannelActivation(ChannelActivation::MinAffine { .. }) => "MinAffine",
            Op::ChannelActivation(ChannelActivation::Clip) => "ChannelClip",
            Op::ChannelActivation(ChannelActivation::TwoSlopes) => "TwoSlopes",
            Op::ChannelActivation(ChannelActivation::Acon) => "Acon",
            Op::ShiftMax(_) => "ShiftMax",
            Op::GroupCoefficients { .. } => "GroupCoefficients",
            Op::SpatialAttention(_) => "SpatialAttention",
        }
    }

    /// Returns the allowed numbers of inputs and outputs.
    pub fn arity(&self) -> Arity {
        let many = usize::MAX;
        let (inputs, outputs) = match self {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) => (2..=3, 1..=1),
            Op::LayerNormalization { .. } => (2..=3, 1..=1),
            Op::InstanceNormalization { .. }
            | Op::GroupNormalization { .. }
            | Op::GroupCoefficients { .. } => (3..=3, 1..=1),
            Op::BatchNormalization { .. } => (5..=5, 1..=1),
            Op::MatMul | Op::PRelu | Op::Binary(_) | Op::Gather { .. } => (2..=2, 1..=1),
            Op::Reshape { .. } | Op::Unsqueeze | Op::Expand | Op::Tile => (2..=2, 1..=1),
            Op::GatherElements { .. } | Op::GatherNd { .. } => (2..=2, 1..=1),
            Op::CumSum(_) | Op::GridSample(_) => (2..=2, 1..=1),
            Op::ScatterElements { .. } | Op::ScatterNd { .. } | Op::RoiAlign(_) => (3..=3, 1..=1),
            Op::TopK(_) => (2..=2, 1..=2),
            Op::NonMaxSuppression(_) => (2..=5, 1..=1),
            Op::DeformConv(_) => (3..=5, 1..=1),
            Op::DeformedWindows(_) => (2..=3, 1..=1),
            Op::Clip => (1..=3, 1..=1),
            Op::Where | Op::Range => (3..=3, 1..=1),
            Op::Variadic(_) | Op::Concat { .. } | Op::Interleave(_) => (1..=many, 1..=1),
            Op::Reduce(_) | Op::Squeeze => (1..=2, 1..=1),
            Op::Split { .. } => (1..=2, 1..=many),
            Op::Slice => (3..=5, 1..=1),
            Op::Resize(_) => (1..=4, 1..=1),
            Op::Pad { .. } => (2..=4, 1..=1),
            Op::Dropout => (1..=3, 1..=2),
            Op::Pool(Pool { kind: PoolKind::Max, .. }) => (1..=1, 1..=2),
            Op::Hyperfunction(_) => (4..=5, 1..=1),
            Op::DynamicConv(_) | Op::MaxAffine(_) => (2..=3, 1..=1),
            Op::ChannelActivation(_) | Op::ShiftMax(_) => (2..=2, 1..=1),
            Op::Unary(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::Pool(_)
            | Op::GlobalPool(_)
            | Op::ArgMax(_)
            | Op::NonZero
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::DepthToSpace { .. }
            | Op::Identity
            | Op::ConstantOfShape { .. }
            | Op::Lrn(_)
            | Op::Shape { .. }
            | Op::Size
            | Op::Cast { .. }
            | Op::SpatialAttention(_) => (1..=1, 1..=1),
        };
        Arity { inputs, outputs }
    }

    /// Returns the indices of inputs that may be absent although a later one is present.
    pub fn optional_inputs(&self) -> &'static [usize] {
        match self {
            Op::Clip | Op::Reduce(_) | Op::Squeeze | Op::Split { .. } => &[1, 2],
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::MaxAffine(_) => &[2],
            Op::DynamicConv(_) | Op::LayerNormalization { .. } | Op::DeformedWindows(_) => &[2],
            Op::DeformConv(_) => &[3, 4],
            Op::NonMaxSuppression(_) => &[2, 3, 4],
            Op::Resize(_) => &[1, 2, 3],
            Op::Slice => &[3, 4],
            Op::Pad { .. } => &[2, 3],
            Op::Dropout => &[1, 2],
            Op::Hyperfunction(_) => &[1, 2, 4],
            _ => &[],
        }
    }
}

/// The allowed numbers of inputs and outputs of an operator.
pub struct Arity {
    /// The numbers of inputs.
    pub inputs: std::ops::RangeInclusive<usize>,
    /// The numbers of outputs.
    pub outputs: std::ops::RangeInclusive<usize>,
}
