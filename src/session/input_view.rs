//! What a caller lends to a run.

use crate::plan::{Input, Levels};
use crate::tensor::{Layout, Tensor};

/// An input of [`Session::run_views`](super::Session::run_views) in memory of the caller.
///
/// # Examples
///
/// Two frames of a camera, as bytes in NHWC, go into a network that takes f32 in NCHW:
///
/// ```
/// use dyrelu::{InputView, Layout, Model, RunOptions, Session};
///
/// let model = Model::open("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors")?;
/// let mut session = Session::new(&model);
/// let frames = vec![128; 2 * 128 * 128 * 3];
/// let input = InputView::u8([2, 128, 128, 3], &frames, Layout::Nhwc)
///     .normalised(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]);
/// let mut scores = [0.0; 20];
/// session.run_views(&[input], &mut [&mut scores], &RunOptions::default())?;
/// # Ok::<(), dyrelu::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct InputView<'a>(pub(super) Input<'a>);

impl<'a> InputView<'a> {
    /// Describes elements of type f32 in row-major order. `shape` is that of the network's input.
    pub fn f32(shape: &'a [usize], data: &'a [f32]) -> Self {
        InputView(Input::F32 { shape, data })
    }

    /// Describes the elements of a tensor.
    pub fn tensor(tensor: &'a Tensor) -> Self {
        InputView(Input::Tensor(tensor))
    }

    /// Describes images with 8 bits per channel for a network that takes f32. The axes of `data` have the
    /// sizes `shape` in the order `layout`; the network takes NCHW unless [`for_layout`](Self::for_layout)
    /// says otherwise.
    ///
    /// The network sees the levels from 0 to 255, or what [`normalised`](Self::normalised) makes of them. They
    /// are converted when a step reads them: one image at a time where a batch runs image by image.
    pub fn u8(shape: [usize; 4], data: &'a [u8], layout: Layout) -> Self {
        InputView(Input::Levels(Levels::new(shape, data, layout)))
    }

    /// Sets the order of the axes of the network's input. It has an effect on images of [`u8`](Self::u8) only.
    pub fn for_layout(self, layout: Layout) -> Self {
        self.map_levels(|levels| levels.for_layout(layout))
    }

    /// Has the network see `(level / 255 - mean) / std` for each channel, to the bits of
    /// `vision::Preprocess` with the same numbers. It has an effect on images of [`u8`](Self::u8) only.
    pub fn normalised(self, mean: &'a [f32], std: &'a [f32]) -> Self {
        self.map_levels(|levels| levels.normalised(mean, std))
    }

    fn map_levels(self, change: impl FnOnce(Levels<'a>) -> Levels<'a>) -> Self {
        match self.0 {
            Input::Levels(levels) => InputView(Input::Levels(change(levels))),
            other => InputView(other),
        }
    }
}

impl std::fmt::Debug for InputView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputView").field("shape", &self.0.shape()).finish_non_exhaustive()
    }
}
