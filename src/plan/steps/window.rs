//! The windows of convolutions and pooling.

use crate::error::Result;
use crate::graph::Padding;
use crate::graph::geometry::{self, WindowSpec};
use crate::kernels::Window;
use crate::plan::map::Extent;

/// A window before the size of the input is known. [`over`](Self::over) resolves it.
#[derive(Clone)]
pub struct WindowShape {
    /// Height and width, in taps.
    pub kernel: [usize; 2],
    /// Strides down and across; empty for ones.
    pub strides: Vec<usize>,
    /// Dilations down and across; empty for ones.
    pub dilations: Vec<usize>,
    /// The padding.
    pub padding: Padding,
    /// Whether the size of the output is rounded up.
    pub ceil_mode: bool,
    /// Whether it is the window of a matrix product, which may have no rows.
    pub of_rows: bool,
}

impl WindowShape {
    /// Returns a window of one tap and stride 1.
    pub fn pointwise() -> Self {
        WindowShape {
            kernel: [1, 1],
            strides: Vec::new(),
            dilations: Vec::new(),
            padding: Padding::Explicit(Vec::new()),
            ceil_mode: false,
            of_rows: false,
        }
    }

    /// Returns the window of a product of a matrix, whose rows are the pixels.
    pub fn of_rows() -> Self {
        WindowShape { of_rows: true, ..Self::pointwise() }
    }

    /// Returns the number of taps.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn spec(&self) -> WindowSpec<'_> {
        let WindowShape { kernel, strides, dilations, padding, .. } = self;
        WindowSpec { kernel, strides, dilations, padding }
    }

    /// Returns whether every pixel of the output depends on the same pixel of the input alone.
    pub fn is_pointwise(&self) -> bool {
        self.spec().is_pointwise()
    }

    /// Resolves the window for an input of this size.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the window does not fit the input.
    pub fn over(&self, input: Extent) -> Result<Window> {
        let spec = self.spec();
        if self.of_rows && input.pixels() == 0 {
            let (ones, size) = ([1; 2], [input.height, input.width]);
            let (stride, dilation, before) = (ones, ones, [0; 2]);
            return Ok(Window {
                kernel: ones,
                stride,
                dilation,
                before,
                input: size,
                output: size,
            });
        }
        spec.check(2)?;
        let down = geometry::window(0, input.height, spec, self.ceil_mode)?;
        let across = geometry::window(1, input.width, spec, self.ceil_mode)?;
        Ok(Window {
            kernel: self.kernel,
            stride: [down.stride, across.stride],
            dilation: [down.dilation, across.dilation],
            before: [down.before as isize, across.before as isize],
            input: [input.height, input.width],
            output: [down.output, across.output],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided before the size of the input is known holds for every size.
    #[test]
    fn a_window_is_pointwise_as_written_and_as_resolved() {
        let input = Extent { images: 1, height: 3, width: 4, channels: 1 };
        let mut pointwise = 0;
        for case in 0..81 * 4 {
            let pad = |axis: u32| case / 3i64.pow(axis) % 3 - 1;
            let shape = WindowShape {
                kernel: if case / 81 % 2 == 0 { [1, 1] } else { [1, 2] },
                strides: if case / 162 == 0 { vec![] } else { vec![1, 2] },
                padding: Padding::Explicit((0..4).map(pad).collect()),
                ..WindowShape::pointwise()
            };
            let Ok(window) = shape.over(input) else { continue };
            assert_eq!(shape.is_pointwise(), window.is_pointwise(), "{window:?}");
            pointwise += usize::from(window.is_pointwise());
        }
        assert_eq!(pointwise, 1);
        for padding in [Padding::SameUpper, Padding::SameLower] {
            let shape = WindowShape { padding, ..WindowShape::pointwise() };
            assert!(shape.is_pointwise() && shape.over(input).unwrap().is_pointwise());
        }
    }
}
