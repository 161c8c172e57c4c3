//! Images of callers.

use std::path::PathBuf;

use dyrelu::vision::{self, Photo, Prediction};
use dyrelu::{Error, Result};
use numpy::{PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// An image file, its contents, or red, green and blue of each pixel: an array of shape
/// `[height, width, 3]`.
#[derive(FromPyObject)]
pub enum Image<'py> {
    Pixels(PyReadonlyArray3<'py, u8>),
    Contents(PyBackedBytes),
    File(PathBuf),
}

/// An image that no longer depends on Python's objects.
pub enum Source {
    Photo(Photo),
    Contents(PyBackedBytes),
    File(PathBuf),
}

impl Image<'_> {
    /// Copies the pixels of an array.
    pub fn detached(self) -> Result<Source> {
        let pixels = match self {
            Image::File(path) => return Ok(Source::File(path)),
            Image::Contents(bytes) => return Ok(Source::Contents(bytes)),
            Image::Pixels(pixels) => pixels,
        };
        let shape = pixels.shape();
        let (Ok(height), Ok(width), 3) = (shape[0].try_into(), shape[1].try_into(), shape[2])
        else {
            return Err(Error::input(format!(
                "an image has shape [height, width, 3], found {shape:?}"
            )));
        };
        Photo::new(width, height, pixels.as_array().iter().copied().collect()).map(Source::Photo)
    }
}

impl Source {
    /// Decodes the file, if it is one or the contents of one.
    pub fn load(self) -> Result<Photo> {
        match self {
            Source::Photo(photo) => Ok(photo),
            Source::Contents(bytes) => vision::decode(&bytes),
            Source::File(path) => vision::load(path),
        }
    }
}

/// The label, class and score of a prediction.
pub type Guess = (String, usize, f32);

pub fn guess(prediction: Prediction) -> Guess {
    (prediction.label, prediction.class, prediction.score)
}
