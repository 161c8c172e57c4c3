//! Attributes of dynamic activations and convolutions.

use serde::{Deserialize, Serialize};

use super::Conv;

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

/// A convolution over height and width whose weights the network computes from the image, as those of
/// CondConv (Yang et al., 2019) and dynamic convolution (Chen et al., 2020): mixtures of experts.
///
/// The weights of an image are those of a [`Conv`], `[Cout,C/groups,kh,kw]`, in row-major order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DynamicConv {
    /// The window and the groups.
    pub conv: Conv,
    /// The number of output channels.
    pub outputs: usize,
    /// Height and width of the window, in taps.
    pub kernel: [usize; 2],
}

/// `y[n,c,h,w] = pi[n,h,w] * max over k of (a[n,k,c] * x[n,c,h,w] + b[n,k,c])`, with the
/// coefficients stacked a_1..a_K, b_1..b_K. A NaN in any piece makes the result NaN, as in
/// PyTorch's `torch.max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxAffine {
    /// The number of affine pieces, 1 to 8.
    pub k: usize,
}

/// An activation with parameters of every channel, which are constants or computed from the image. A NaN
/// in an operand of a maximum or minimum makes the result NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelActivation {
    /// `min over k of (a_k x + b_k)`. Parameters a_1..a_K, b_1..b_K.
    MinAffine {
        /// The number of affine pieces, 1 to 8.
        k: usize,
    },
    /// `min(max(x, low), high)`. Parameters low, high.
    Clip,
    /// `positive * max(x, 0) + negative * min(x, 0)`. Parameters positive, negative.
    TwoSlopes,
    /// `scale * x * sigmoid(rate * x) + slope * x`, of which ACON-C is the case scale = p1 - p2,
    /// rate = beta (p1 - p2), slope = p2 (Ma et al., *Activate or Not*, CVPR 2021). Parameters scale,
    /// slope, rate.
    Acon,
}

impl ChannelActivation {
    /// Returns the number of parameters of every channel.
    pub fn rows(self) -> usize {
        match self {
            ChannelActivation::MinAffine { k } => k.saturating_mul(2),
            ChannelActivation::Clip | ChannelActivation::TwoSlopes => 2,
            ChannelActivation::Acon => 3,
        }
    }
}

/// Dynamic Shift-Max with two terms (Li et al., *MicroNet*, ICCV 2021): the largest of K sums of a channel
/// and of another channel, `y[c] = max over k of (a[k,c] * x[c] + s[k,c] * x[source[c]])`, with the
/// coefficients stacked a_1..a_K, s_1..s_K. A NaN in any piece makes the result NaN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftMax {
    /// The number of pieces, 1 to 8.
    pub k: usize,
    /// For every channel the other one that it reads.
    pub source: Vec<usize>,
}

/// Attributes of the spatial attention of DY-ReLU-C.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpatialAttention {
    /// Temperature of the softmax.
    pub tau: f32,
    /// `gamma / (H * W)`; the paper has 1/3.
    pub gamma_per_position: f32,
}
