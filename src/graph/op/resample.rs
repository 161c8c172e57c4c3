//! Attributes of operators that compute a map of another size.

use serde::{Deserialize, Serialize};

use super::PoolKind;

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

/// How a sampled grid interpolates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // ONNX's names.
pub enum SampleMode {
    /// The nearest element; the even one of two that are equally near.
    Nearest,
    Linear,
    /// Cubic interpolation with Keys' `a = -0.75`.
    Cubic,
}

/// What a grid reads outside of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // ONNX's names.
pub enum SamplePadding {
    Zeros,
    Border,
    Reflection,
}

/// Attributes of `GridSample`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridSample {
    /// The interpolation.
    pub mode: SampleMode,
    /// What lies outside of the map.
    pub padding: SamplePadding,
    /// Whether -1 and 1 are the centres of the border elements, rather than their outer edges.
    pub align_corners: bool,
}

/// Attributes of `RoiAlign`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoiAlign {
    /// What is computed from the samples of a cell.
    pub kind: PoolKind,
    /// The height and width of the output.
    pub output: [usize; 2],
    /// The number of samples along each side of a cell; 0 for as many as it has elements.
    pub sampling_ratio: usize,
    /// The factor from the coordinates of regions to those of the map.
    pub spatial_scale: f32,
    /// Whether coordinates are those of pixel centres, half a pixel from the corner of the map.
    pub half_pixel: bool,
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
