//! Attributes of operators that move a window over a feature map.

use serde::{Deserialize, Serialize};

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

/// Attributes of a deformable convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeformConv {
    /// Those that every convolution has.
    pub conv: Conv,
    /// The number of groups of channels that have offsets of their own.
    pub offset_groups: usize,
}

/// What the windows of a deformable convolution read: the map of which it is a convolution with one tap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeformedWindows {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// The attributes of the deformable convolution.
    pub deform: DeformConv,
}

/// Attributes of local response normalization, `x / (bias + alpha * m)^beta`, where `m` is the sum of the
/// squares over neighbouring channels, divided by `size`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lrn {
    /// The number of channels that are added up, that of the element included.
    pub size: usize,
    /// The factor of the mean.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// The number that is added.
    pub bias: f32,
}

impl Lrn {
    /// Returns the numbers of channels before and after that of the element.
    pub fn reach(&self) -> [usize; 2] {
        [self.size.saturating_sub(1) / 2, self.size / 2]
    }
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
