//! What a caller passes for an input of a network.

use super::levels::Levels;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, num_elements};

/// An input of a run, borrowed from the caller.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// A tensor of any element type.
    Tensor(&'a Tensor),
    /// Elements of type f32 in row-major order.
    F32 {
        /// The sizes of the axes.
        shape: &'a [usize],
        /// The elements, as many as the product of `shape`.
        data: &'a [f32],
    },
    /// Images with 8 bits per channel, for an input of type f32. A run converts them before it reads them.
    Levels(Levels<'a>),
}

impl<'a> Input<'a> {
    /// Returns the sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Input::Tensor(tensor) => tensor.shape(),
            Input::F32 { shape, .. } => shape,
            Input::Levels(levels) => levels.shape(),
        }
    }

    /// Returns the element type that the network reads.
    pub fn dtype(&self) -> DType {
        match self {
            Input::Tensor(tensor) => tensor.dtype(),
            Input::F32 { .. } | Input::Levels(_) => DType::F32,
        }
    }

    /// Checks that there are as many elements as the shape says.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) if there are not.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Input::F32 { shape, data } if num_elements(shape) != Some(data.len()) => {
                let found = data.len();
                Err(Error::input(format!("shape {shape:?} does not have {found} elements")))
            }
            Input::Levels(levels) => levels.check(),
            _ => Ok(()),
        }
    }

    pub(super) fn as_f32(self) -> Result<&'a [f32]> {
        match self {
            Input::Tensor(tensor) => tensor.as_f32(),
            Input::F32 { data, .. } => Ok(data),
            Input::Levels(_) => Err(Error::input(UNCONVERTED)),
        }
    }

    pub(super) fn to_tensor(self) -> Result<Tensor> {
        match self {
            Input::Tensor(tensor) => Ok(tensor.clone()),
            Input::F32 { shape, data } => Tensor::new(shape, data.to_vec()),
            Input::Levels(_) => Err(Error::input(UNCONVERTED)),
        }
    }
}

const UNCONVERTED: &str = "an image of bytes is read before it is converted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrowed_elements_are_as_many_as_their_shape_says() {
        let data = [0.0; 6];
        assert!(Input::F32 { shape: &[2, 3], data: &data }.check().is_ok());
        for shape in [&[2, 2][..], &[7], &[usize::MAX, 2], &[]] {
            let error = Input::F32 { shape, data: &data }.check().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Input, "{shape:?}");
        }
    }
}
