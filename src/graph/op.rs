//! The operators of a [`Graph`](super::Graph).
//!
//! Names and meanings are those of ONNX in its newest opset. What was an attribute in older opsets
//! and is an input now (axes, pads, bounds of a clip) is an input here; readers of older files
//! convert it. Optional inputs may be absent. Feature maps are NCHW.

use serde::{Deserialize, Serialize};

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
    /// `y = pi * max_k(a_k x + b_k)`, see [`MaxAffine`].
    /// Inputs `x [N,C,..]`, `coefficients [N or 1, 2K, C or 1]`, `[pi [N,1,..]]`.
    MaxAffine(MaxAffine),
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

/// The padding of a convolution or of pooling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Elements added before each spatial axis, then after each: `[top, left, bottom, right]`.
    /// Empty means none. Negative values crop.
    Explicit(Vec<i64>),
    /// Output size is ceil(input / stride); an odd element of padding goes after.
    SameUpper,
    /// Output size is ceil(input / stride); an odd element of padding goes before.
    SameLower,
}

/// Attributes of a convolution. Empty `strides` and `dilations` are all ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Treatment of the border.
    pub padding: Padding,
    /// Step of the window along each spatial axis.
    pub strides: Vec<usize>,
    /// Distance of the taps along each spatial axis.
    pub dilations: Vec<usize>,
    /// The number of groups of channels that are convolved separately.
    pub groups: usize,
}

/// Attributes of a transposed convolution. Empty `strides` and `dilations` are all ones, an empty
/// `output_padding` is all zeros.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvTranspose {
    /// The elements that are cut off the full output.
    pub padding: Padding,
    /// Step of the output along each spatial axis.
    pub strides: Vec<usize>,
    /// Distance of the taps along each spatial axis.
    pub dilations: Vec<usize>,
    /// The number of groups of channels that are convolved separately.
    pub groups: usize,
    /// Elements added at the end of each spatial axis of the output.
    pub output_padding: Vec<usize>,
    /// Spatial sizes of the output, which then determine the padding; if empty, the padding
    /// determines the sizes.
    pub output_shape: Vec<usize>,
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

/// Functions of one element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The names are the functions.
pub enum Unary {
    Relu,
    LeakyRelu { alpha: f32 },
    Elu { alpha: f32 },
    Celu { alpha: f32 },
    Selu { alpha: f32, gamma: f32 },
    ThresholdedRelu { alpha: f32 },
    Gelu { tanh: bool },
    Sigmoid,
    HardSigmoid { alpha: f32, beta: f32 },
    HardSwish,
    Swish { alpha: f32 },
    Mish,
    Softplus,
    Softsign,
    Tanh,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Neg,
    Abs,
    Sign,
    Floor,
    Ceil,
    Round,
    Erf,
    Sin,
    Cos,
    Not,
}

/// Functions of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs)] // The names are the functions.
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Mod { fmod: bool },
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Xor,
}

/// Functions of any number of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are the functions.
pub enum Variadic {
    Max,
    Min,
    Sum,
    Mean,
}

/// Attributes of softmax and of its logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax {
    /// The axis that is normalised.
    pub axis: i64,
    /// Whether all axes from `axis` on are normalised together (before opset 13).
    pub flatten: bool,
}

/// What pooling computes from a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolKind {
    /// The largest element.
    Max,
    /// The mean.
    Average,
}

/// Attributes of a pooling window. Empty `strides` and `dilations` are all ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// What is computed from a window.
    pub kind: PoolKind,
    /// Size of the window along each spatial axis.
    pub kernel: Vec<usize>,
    /// Step of the window along each spatial axis.
    pub strides: Vec<usize>,
    /// Distance of the taps along each spatial axis.
    pub dilations: Vec<usize>,
    /// Treatment of the border.
    pub padding: Padding,
    /// Whether the output size rounds up.
    pub ceil_mode: bool,
    /// Whether a mean divides by the size of the window including its padding.
    pub count_include_pad: bool,
    /// Whether the positions of maxima, the second output, are counted column by column rather than
    /// row by row.
    #[serde(default)]
    pub column_major: bool,
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

/// How a resize interpolates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// The nearest element.
    Nearest(NearestRounding),
    /// Linear interpolation along each axis.
    Linear,
    /// Cubic interpolation along each axis with the given coefficient.
    Cubic {
        /// Keys' `a`, usually -0.75.
        coefficient: f32,
    },
}

/// How a resize to the nearest element rounds positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // ONNX's names.
pub enum NearestRounding {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
    /// `Floor` for an axis that grows, `Ceil` for one that shrinks: `Resize` of opset 10, which had
    /// no attribute for it. The source is the tests of ONNX 1.5.
    FloorOrCeil,
}

/// How output coordinates map to input coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // ONNX's names.
pub enum CoordinateTransform {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfCropAndResize,
}

/// Whether the sizes of a resize are limits within which the aspect ratio is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // ONNX's names.
pub enum AspectRatioPolicy {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// Attributes of a resize.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// The interpolation.
    pub mode: ResizeMode,
    /// How output coordinates map to input coordinates.
    pub coordinates: CoordinateTransform,
    /// The axes that scales or sizes are for; empty for all.
    pub axes: Vec<i64>,
    /// Whether the filter is stretched over more of the input if that shrinks.
    pub antialias: bool,
    /// Whether cubic weights outside the image are dropped and the others rescaled.
    pub exclude_outside: bool,
    /// Value outside the region of `tf_crop_and_resize`.
    pub extrapolation_value: f32,
    /// What `sizes` mean for the aspect ratio.
    pub keep_aspect_ratio: AspectRatioPolicy,
}

/// How padding continues an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PadMode {
    /// By a value, which is 0 by default.
    Constant,
    /// By reflection at the border element, which is not repeated.
    Reflect,
    /// By the border element.
    Edge,
    /// By the elements at the other end.
    Wrap,
}

/// How the number of a channel is composed of its position in the block and its depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DepthOrder {
    /// Depth, column, row.
    Dcr,
    /// Column, row, depth.
    Crd,
}

/// Maps whose pixels alternate in a larger one, as the phases of a transposed convolution do.
///
/// Pixel `(rows * y + i, columns * x + j)` of the result is pixel `(y, x)` of phase `i * columns + j`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interleave {
    /// The number of phases down and across.
    pub steps: [usize; 2],
    /// For every phase, row by row, the input that it is a part of, and its first channel there.
    pub phases: Vec<[usize; 2]>,
    /// The channels of every phase and of the result.
    pub channels: usize,
    /// The lines and the columns that the result lacks at its end: fewer than `steps`.
    pub crop: [usize; 2],
}

/// The function that bounds the deviations of coefficients from their initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Squash {
    /// `2 * sigmoid(z) - 1 = tanh(z / 2)`, the paper's.
    Sigmoid,
    /// `2 * hard_sigmoid(z) - 1 = clamp(z / 3, -1, 1)`.
    HardSigmoid,
    /// `z` itself.
    None,
}

/// The activation after the first fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The names are the functions.
pub enum HiddenActivation {
    Relu,
    Relu6,
    HardSwish,
    Gelu,
    Swish,
    None,
}

/// `coefficient[j] = init[j] + lambda[j] * squash(W2 act(W1 u + c1) + c2)[j]`, for the 2K
/// coefficients a_1..a_K, b_1..b_K of every channel (DY-ReLU-B, -C) or of all channels together
/// (DY-ReLU-A, C = 1). Row `j * C + c` of `W2` belongs to coefficient `j` of channel `c`.
///
/// Chen et al., *Dynamic ReLU*, equations 2 to 4; defaults for K = 2 are init (1, 0, 0, 0) and
/// lambda (1, 1, 0.5, 0.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hyperfunction {
    /// The number of affine pieces, 1 to 8.
    pub k: usize,
    /// The activation of the hidden layer.
    pub hidden: HiddenActivation,
    /// The function applied to the outputs of the second layer.
    pub squash: Squash,
    /// alpha_1..alpha_K, beta_1..beta_K.
    pub init: Vec<f32>,
    /// lambda of each of the 2K coefficients.
    pub lambda: Vec<f32>,
}

/// `y[n,c,h,w] = pi[n,h,w] * max over k of (a[n,k,c] * x[n,c,h,w] + b[n,k,c])`, with the
/// coefficients stacked a_1..a_K, b_1..b_K. A NaN in any piece makes the result NaN, as in
/// PyTorch's `torch.max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxAffine {
    /// The number of affine pieces, 1 to 8.
    pub k: usize,
}

/// Attributes of the spatial attention of DY-ReLU-C.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpatialAttention {
    /// Temperature of the softmax.
    pub tau: f32,
    /// `gamma / (H * W)`; the paper has 1/3.
    pub gamma_per_position: f32,
}

impl Op {
    /// Returns the name of the operator in ONNX, or this crate's own for those that ONNX does not
    /// have.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "Conv",
            Op::ConvTranspose(_) => "ConvTranspose",
            Op::Gemm(_) => "Gemm",
            Op::MatMul => "MatMul",
            Op::BatchNormalization { .. } => "BatchNormalization",
            Op::InstanceNormalization { .. } => "InstanceNormalization",
            Op::LayerNormalization { .. } => "LayerNormalization",
            Op::GroupNormalization { .. } => "GroupNormalization",
            Op::Unary(unary) => unary.name(),
            Op::Clip => "Clip",
            Op::PRelu => "PRelu",
            Op::Binary(binary) => binary.name(),
            Op::Variadic(Variadic::Max) => "Max",
            Op::Variadic(Variadic::Min) => "Min",
            Op::Variadic(Variadic::Sum) => "Sum",
            Op::Variadic(Variadic::Mean) => "Mean",
            Op::Where => "Where",
            Op::Softmax(_) => "Softmax",
            Op::LogSoftmax(_) => "LogSoftmax",
            Op::Pool(Pool { kind: PoolKind::Max, .. }) => "MaxPool",
            Op::Pool(Pool { kind: PoolKind::Average, .. }) => "AveragePool",
            Op::GlobalPool(PoolKind::Max) => "GlobalMaxPool",
            Op::GlobalPool(PoolKind::Average) => "GlobalAveragePool",
            Op::Reduce(reduce) => match reduce.kind {
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
            },
            Op::ArgMax(_) => "ArgMax",
            Op::Concat { .. } => "Concat",
            Op::Split { .. } => "Split",
            Op::Slice => "Slice",
            Op::Gather { .. } => "Gather",
            Op::Reshape { .. } => "Reshape",
            Op::Flatten { .. } => "Flatten",
            Op::Squeeze => "Squeeze",
            Op::Unsqueeze => "Unsqueeze",
            Op::Expand => "Expand",
            Op::Tile => "Tile",
            Op::Transpose { .. } => "Transpose",
            Op::Resize(_) => "Resize",
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
            Op::MaxAffine(_) => "MaxAffine",
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
            Op::MaxAffine(_) => (2..=3, 1..=1),
            Op::Unary(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::Pool(_)
            | Op::GlobalPool(_)
            | Op::ArgMax(_)
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::DepthToSpace { .. }
            | Op::Identity
            | Op::ConstantOfShape { .. }
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
            Op::LayerNormalization { .. } => &[2],
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

impl Unary {
    fn name(self) -> &'static str {
        match self {
            Unary::Relu => "Relu",
            Unary::LeakyRelu { .. } => "LeakyRelu",
            Unary::Elu { .. } => "Elu",
            Unary::Celu { .. } => "Celu",
            Unary::Selu { .. } => "Selu",
            Unary::ThresholdedRelu { .. } => "ThresholdedRelu",
            Unary::Gelu { .. } => "Gelu",
            Unary::Sigmoid => "Sigmoid",
            Unary::HardSigmoid { .. } => "HardSigmoid",
            Unary::HardSwish => "HardSwish",
            Unary::Swish { .. } => "Swish",
            Unary::Mish => "Mish",
            Unary::Softplus => "Softplus",
            Unary::Softsign => "Softsign",
            Unary::Tanh => "Tanh",
            Unary::Exp => "Exp",
            Unary::Log => "Log",
            Unary::Sqrt => "Sqrt",
            Unary::Reciprocal => "Reciprocal",
            Unary::Neg => "Neg",
            Unary::Abs => "Abs",
            Unary::Sign => "Sign",
            Unary::Floor => "Floor",
            Unary::Ceil => "Ceil",
            Unary::Round => "Round",
            Unary::Erf => "Erf",
            Unary::Sin => "Sin",
            Unary::Cos => "Cos",
            Unary::Not => "Not",
        }
    }
}

impl Binary {
    fn name(self) -> &'static str {
        match self {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Pow => "Pow",
            Binary::Mod { .. } => "Mod",
            Binary::Equal => "Equal",
            Binary::Less => "Less",
            Binary::LessOrEqual => "LessOrEqual",
            Binary::Greater => "Greater",
            Binary::GreaterOrEqual => "GreaterOrEqual",
            Binary::And => "And",
            Binary::Or => "Or",
            Binary::Xor => "Xor",
        }
    }
}
