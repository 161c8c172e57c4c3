//! The windows of convolutions and pooling, resolved for an input.

use crate::error::Result;
use crate::graph::Padding;
use crate::graph::geometry::{self, WindowSpec};
use crate::kernels::Window;

use crate::plan::extent::Extent;

/// A window as the graph describes it.
#[derive(Clone)]
pub struct WindowShape {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Steps; empty for ones.
    pub strides: Vec<usize>,
    /// Distances of the taps; empty for ones.
    pub dilations: Vec<usize>,
    /// Treatment of the border.
    pub padding: Padding,
    /// Whether output sizes round up.
    pub ceil_mode: bool,
}

impl WindowShape {
    /// A window of one element that moves by one.
    pub fn pointwise() -> Self {
        WindowShape {
            kernel: [1, 1],
            strides: Vec::new(),
            dilations: Vec::new(),
            padding: Padding::Explicit(Vec::new()),
            ceil_mode: false,
        }
    }

    /// Elements of the window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether every output element depends on the input elements at its own place alone.
    pub fn is_pointwise(&self) -> bool {
        let unpadded = match &self.padding {
            Padding::Explicit(pads) => pads.iter().all(|&pad| pad == 0),
            Padding::SameUpper | Padding::SameLower => true,
        };
        self.kernel == [1, 1] && self.strides.iter().all(|&stride| stride == 1) && unpadded
    }

    /// How the window moves over an input.
    ///
    /// # Errors
    /// `Shape` where the window does not fit the input.
    pub fn over(&self, input: Extent) -> Result<Window> {
        let WindowShape { kernel, strides, dilations, padding, ceil_mode } = self;
        let spec = WindowSpec { kernel, strides, dilations, padding };
        spec.check(2)?;
        let down = geometry::window(0, input.height, spec, *ceil_mode)?;
        let across = geometry::window(1, input.width, spec, *ceil_mode)?;
        Ok(Window {
            kernel: *kernel,
            stride: [down.stride, across.stride],
            dilation: [down.dilation, across.dilation],
            before: [down.before as isize, across.before as isize],
            input: [input.height, input.width],
            output: [down.output, across.output],
        })
    }
}
