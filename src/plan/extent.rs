//! The size of a value in the arena.

use crate::error::{Error, Result};
use crate::kernels::layout::{pixels_to_planes, planes_to_pixels};
use crate::simd::{Isa, padded};
use crate::tensor::{DType, Layout, Tensor};

/// The size of a map: NHWC, the channels of a pixel padded to whole vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Images of the batch.
    pub images: usize,
    /// Lines of an image.
    pub height: usize,
    /// Pixels of a line.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl Extent {
    /// The extent of a tensor `[N,C,H,W]`, of vectors `[N,C]`, or of coefficients `[N,rows,C]`, the
    /// rows of which become lines.
    pub fn of(shape: &[usize]) -> Option<Self> {
        let extent = |images, height, width, channels| Extent { images, height, width, channels };
        match *shape {
            [n, c] => Some(extent(n, 1, 1, c)),
            [n, rows, c] => Some(extent(n, rows, 1, c)),
            [n, c, h, w] => Some(extent(n, h, w, c)),
            _ => None,
        }
    }

    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Elements of a pixel in memory.
    pub fn stride(&self) -> usize {
        padded(self.channels)
    }

    /// Elements of an image in memory.
    pub fn image(&self) -> usize {
        self.pixels() * self.stride()
    }

    /// Elements of the whole map in memory.
    pub fn len(&self) -> usize {
        self.images * self.image()
    }

    /// Whether the map has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that the number of elements can be counted and held in memory.
    ///
    /// # Errors
    /// `Shape` where it cannot.
    pub fn checked(self) -> Result<Self> {
        let Extent { images, height, width, channels } = self;
        let channels = channels.checked_next_multiple_of(8);
        let len = channels
            .and_then(|c| c.checked_mul(images)?.checked_mul(height)?.checked_mul(width))
            .filter(|&len| len <= isize::MAX as usize / DType::F32.size());
        len.map(|_| self).ok_or_else(|| Error::shape(format!("a map {self:?} is too large")))
    }

    /// Whether the elements of a tensor of `shape` lie in its map as they lie in the tensor.
    fn is_tensor_order(shape: &[usize]) -> bool {
        match *shape {
            [_, c, h, w] => c == 1 || h * w == 1,
            _ => true,
        }
    }
}

/// A map that a step reads.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Its elements.
    pub data: &'a [f32],
    /// Its size.
    pub extent: Extent,
    /// NHWC, except for an input of the network that the step reads as the user gave it: that is
    /// NCHW and not padded.
    pub layout: Layout,
}

impl<'a> View<'a> {
    /// One image; a map with one image stands for any number of equal ones.
    pub fn image(&self, i: usize) -> &'a [f32] {
        let len = match self.layout {
            Layout::Nhwc => self.extent.image(),
            Layout::Nchw => self.extent.pixels() * self.extent.channels,
        };
        let i = if self.extent.images == 1 { 0 } else { i };
        &self.data[i * len..][..len]
    }
}

/// Copies elements in the order of a tensor of `shape` into a map, padding with zeros.
pub(super) fn to_map(isa: Isa, tensor: &[f32], shape: &[usize], map: &mut [f32]) {
    let Some(extent) = Extent::of(shape).filter(|e| !e.is_empty()) else { return };
    let (stride, channels, pixels) = (extent.stride(), extent.channels, extent.pixels());
    if Extent::is_tensor_order(shape) {
        for (map, from) in map.chunks_exact_mut(stride).zip(tensor.chunks_exact(channels)) {
            map[..channels].copy_from_slice(from);
            map[channels..].fill(0.0);
        }
        return;
    }
    let images = map.chunks_exact_mut(extent.image()).zip(tensor.chunks_exact(pixels * channels));
    images.for_each(|(map, planes)| planes_to_pixels(isa, planes, channels, map));
}

/// Copies a map into the order of a tensor of `shape`.
pub(super) fn from_map(isa: Isa, map: &[f32], shape: &[usize], tensor: &mut [f32]) {
    let Some(extent) = Extent::of(shape).filter(|e| !e.is_empty()) else { return };
    let (stride, channels, pixels) = (extent.stride(), extent.channels, extent.pixels());
    if Extent::is_tensor_order(shape) {
        for (map, to) in map.chunks_exact(stride).zip(tensor.chunks_exact_mut(channels)) {
            to.copy_from_slice(&map[..channels]);
        }
        return;
    }
    let images = map.chunks_exact(extent.image()).zip(tensor.chunks_exact_mut(pixels * channels));
    images.for_each(|(map, planes)| pixels_to_planes(isa, map, channels, planes));
}

/// A map as a tensor of `shape`.
pub(super) fn tensor_of(isa: Isa, map: &[f32], shape: &[usize]) -> Result<Tensor> {
    let mut data = vec![0.0; shape.iter().product()];
    from_map(isa, map, shape, &mut data);
    Tensor::new(shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for shape in [&[2, 3, 4, 5][..], &[1, 8, 3, 3], &[3, 5], &[2, 4, 7], &[2, 9, 1, 1]] {
            let x: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
            let mut map = vec![f32::NAN; Extent::of(shape).unwrap().len()];
            to_map(Isa::get(), &x, shape, &mut map);
            assert!(map.iter().all(|x| !x.is_nan()), "padding of {shape:?}");
            assert_eq!(
                tensor_of(Isa::get(), &map, shape).unwrap().as_f32().unwrap(),
                x,
                "{shape:?}"
            );
        }
    }

    #[test]
    fn a_map_that_no_memory_holds_is_an_error() {
        let huge = Extent { images: 1 << 30, height: 1 << 20, width: 1 << 20, channels: 1 };
        assert!(huge.checked().is_err());
    }
}
