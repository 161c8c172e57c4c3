//! Maps: values in the arena, NHWC, with the channels of a pixel padded to whole vectors.

use crate::error::{Error, Result};
use crate::graph::Dim;
use crate::kernels::layout::{pixels_to_planes, planes_to_pixels};
use crate::simd::{Isa, padded};
use crate::tensor::{DType, Layout, Tensor};

/// The shape that a map has in the graph, and the order of its axes there.
#[derive(Clone, Debug, PartialEq)]
pub struct MapShape {
    /// The sizes of the axes, outermost first.
    pub dims: Vec<Dim>,
    /// Where the channels are: second, or last. With three axes these are `[N,C,pixels]` and
    /// `[N,pixels,C]`; two axes are `[N,C]` in both.
    pub layout: Layout,
}

/// Returns the layout of a value with `rank` axes of which nothing else is known. Feature maps are
/// NCHW; coefficients and tokens, which have three axes, have their channels last.
pub fn default_layout(rank: usize) -> Layout {
    if rank == 4 { Layout::Nchw } else { Layout::Nhwc }
}

/// The size of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Images per batch.
    pub images: usize,
    /// Lines per image.
    pub height: usize,
    /// Pixels per line.
    pub width: usize,
    /// Channels per pixel, without padding.
    pub channels: usize,
}

impl Extent {
    /// Returns the size of the map of a tensor: a feature map `[N,C,H,W]`, vectors `[N,C]`, or
    /// tokens `[N,rows,C]`, whose rows become lines of one pixel; with `layout`, channels are second
    /// or last. Returns `None` for any other number of axes.
    pub fn from_shape(shape: &[usize], layout: Layout) -> Option<Self> {
        let extent = |images, height, width, channels| Extent { images, height, width, channels };
        match (shape, layout) {
            (&[n, c], _) => Some(extent(n, 1, 1, c)),
            (&[n, rows, c], Layout::Nhwc) | (&[n, c, rows], Layout::Nchw) => {
                Some(extent(n, rows, 1, c))
            }
            (&[n, c, h, w], Layout::Nchw) | (&[n, h, w, c], Layout::Nhwc) => {
                Some(extent(n, h, w, c))
            }
            _ => None,
        }
    }

    /// Returns the number of pixels per image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Returns the number of elements from one pixel to the next: the channels and their padding.
    pub fn stride(&self) -> usize {
        padded(self.channels)
    }

    /// Returns the numbers per image of a plane or a map of one channel.
    pub fn numbers(&self) -> usize {
        self.pixels() * self.channels
    }

    /// Returns the number of elements from one number to the next in a plane or a map of one channel. A
    /// plane is a map of one pixel.
    pub fn number_step(&self) -> usize {
        if self.pixels() == 1 { 1 } else { self.stride() }
    }

    /// Returns the size of the plane of a value `[N,1,H,W]`.
    pub fn of_plane(shape: &[usize]) -> Option<Self> {
        let &[images, 1, h, w] = shape else { return None };
        Some(Extent { images, height: 1, width: 1, channels: h.checked_mul(w)? })
    }

    /// Returns the number of elements per image, padding included.
    pub fn image(&self) -> usize {
        self.pixels() * self.stride()
    }

    /// Returns the number of elements of the map, padding included.
    pub fn len(&self) -> usize {
        self.images * self.image()
    }

    /// Returns whether the map has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the extent itself if the number of its bytes fits in an `isize`.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if it does not.
    pub fn checked(self) -> Result<Self> {
        let Extent { images, height, width, channels } = self;
        let channels = channels.checked_next_multiple_of(8);
        let len = channels
            .and_then(|c| c.checked_mul(images)?.checked_mul(height)?.checked_mul(width))
            .filter(|&len| len <= isize::MAX as usize / DType::F32.size());
        len.map(|_| self).ok_or_else(|| Error::shape(format!("a map {self:?} is too large")))
    }
}

/// A map that a step reads.
#[derive(Clone, Copy)]
pub struct MapView<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// The size.
    pub extent: Extent,
    /// NHWC with padded channels, or NCHW without padding for an input of the network that the step
    /// reads where the caller has it.
    pub layout: Layout,
}

impl<'a> MapView<'a> {
    /// Returns the elements of image `i`. A map of one image stands for any number of equal images.
    pub fn image(&self, i: usize) -> &'a [f32] {
        let len = match self.layout {
            Layout::Nhwc => self.extent.image(),
            Layout::Nchw => self.extent.pixels() * self.extent.channels,
        };
        let i = if self.extent.images == 1 { 0 } else { i };
        &self.data[i * len..][..len]
    }
}

/// Returns whether the elements of a tensor of this layout have the same order in its map.
fn has_map_order(layout: Layout, extent: Extent) -> bool {
    layout == Layout::Nhwc || extent.channels == 1 || extent.pixels() == 1
}

/// Copies the elements of a tensor of this layout to its map, and fills the padding with zeros.
pub(super) fn copy_to_map(
    isa: Isa,
    elements: &[f32],
    layout: Layout,
    extent: Extent,
    map: &mut [f32],
) {
    if extent.is_empty() {
        return;
    }
    let (stride, channels, pixels) = (extent.stride(), extent.channels, extent.pixels());
    if has_map_order(layout, extent) {
        for (to, from) in map.chunks_exact_mut(stride).zip(elements.chunks_exact(channels)) {
            to[..channels].copy_from_slice(from);
            to[channels..].fill(0.0);
        }
        return;
    }
    let images = map.chunks_exact_mut(extent.image()).zip(elements.chunks_exact(pixels * channels));
    images.for_each(|(map, planes)| planes_to_pixels(isa, planes, channels, map));
}

/// Copies a map to the elements of a tensor of this layout.
pub(super) fn copy_from_map(
    isa: Isa,
    map: &[f32],
    layout: Layout,
    extent: Extent,
    elements: &mut [f32],
) {
    if extent.is_empty() {
        return;
    }
    let (stride, channels, pixels) = (extent.stride(), extent.channels, extent.pixels());
    if has_map_order(layout, extent) {
        for (from, to) in map.chunks_exact(stride).zip(elements.chunks_exact_mut(channels)) {
            to.copy_from_slice(&from[..channels]);
        }
        return;
    }
    let images = map.chunks_exact(extent.image()).zip(elements.chunks_exact_mut(pixels * channels));
    images.for_each(|(map, planes)| pixels_to_planes(isa, map, channels, planes));
}

/// Copies a map to a new tensor of `shape`, which has this layout.
pub(super) fn tensor_from_map(
    isa: Isa,
    map: &[f32],
    layout: Layout,
    extent: Extent,
    shape: &[usize],
) -> Result<Tensor> {
    let mut elements = vec![0.0; shape.iter().product()];
    copy_from_map(isa, map, layout, extent, &mut elements);
    Tensor::new(shape, elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_survives_the_way_to_a_map_and_back() {
        let shapes = [&[2, 3, 4, 5][..], &[1, 8, 3, 3], &[3, 5], &[2, 4, 7], &[2, 9, 1, 1]];
        for (shape, layout) in shapes.iter().flat_map(|s| [(s, Layout::Nchw), (s, Layout::Nhwc)]) {
            let x: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
            let extent = Extent::from_shape(shape, layout).unwrap();
            let mut map = vec![f32::NAN; extent.len()];
            copy_to_map(Isa::get(), &x, layout, extent, &mut map);
            assert!(map.iter().all(|x| !x.is_nan()), "padding of {shape:?}");
            let tensor = tensor_from_map(Isa::get(), &map, layout, extent, shape).unwrap();
            assert_eq!(tensor.as_f32().unwrap(), x, "{shape:?} {layout}");
        }
    }

    /// The pixels of both layouts are the same, and lie one after another.
    #[test]
    fn the_map_of_a_transposed_tensor_is_the_map_of_the_tensor() {
        let x: Vec<f32> = (0..2 * 3 * 4 * 5).map(|i| i as f32).collect();
        let nchw = Tensor::new(&[2, 3, 4, 5], x).unwrap();
        let nhwc = nchw.to_layout(Layout::Nchw, Layout::Nhwc).unwrap();
        let map = |tensor: &Tensor, layout| {
            let extent = Extent::from_shape(tensor.shape(), layout).unwrap();
            let mut map = vec![f32::NAN; extent.len()];
            copy_to_map(Isa::get(), tensor.as_f32().unwrap(), layout, extent, &mut map);
            map
        };
        assert_eq!(map(&nchw, Layout::Nchw), map(&nhwc, Layout::Nhwc));
    }

    #[test]
    fn a_map_that_no_memory_holds_is_an_error() {
        let huge = Extent { images: 1 << 30, height: 1 << 20, width: 1 << 20, channels: 1 };
        assert!(huge.checked().is_err());
    }
}
