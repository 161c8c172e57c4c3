//! The parts of a dynamic ReLU that read its map, on tensors `[N,C,H,W]`.

use super::{TensorInputs, TensorOperation};
use crate::error::{Error, Result};
use crate::graph::geometry;
use crate::kernels::context::means_nchw;
use crate::kernels::max_affine::{MOST_PIECES, max_affine_nchw};
use crate::simd::Isa;
use crate::tensor::{DType, Tensor};

/// A function of the planes of a tensor `[N,C,H,W]`.
#[derive(Clone, Copy, Debug)]
pub enum PerPlane {
    /// The mean of each plane. The output is `[N,C,1,1]`, or `[N,C]` without `keep_dims`.
    Means {
        /// Whether the output has the axes of the plane.
        keep_dims: bool,
    },
    /// `max over k of (a_k x + b_k)`. Input 1 has the coefficients of each plane, `[N,2K,C]`, where N and C
    /// may be 1 for coefficients of all images or channels.
    MaxAffine,
}

impl TensorOperation for PerPlane {
    fn name(&self) -> &'static str {
        match self {
            PerPlane::Means { .. } => "plane means",
            PerPlane::MaxAffine => "plane max-affine",
        }
    }

    fn run(&self, isa: Isa, mut inputs: TensorInputs, _: usize) -> Result<Vec<Tensor>> {
        let x = inputs.take(0)?;
        let &[images, channels, height, width] = x.shape() else {
            return Err(Error::shape(format!(
                "expected an input [N,C,H,W], found {:?}",
                x.shape()
            )));
        };
        let plane = height * width;
        let y = match self {
            PerPlane::Means { keep_dims } => {
                let shape = [images, channels, 1, 1];
                let shape = if *keep_dims { &shape[..] } else { &shape[..2] };
                let mut means = vec![f32::NAN; geometry::element_count(shape, DType::F32)?];
                if !x.is_empty() {
                    means_nchw(isa, x.as_f32()?, &mut means);
                }
                Tensor::new(shape, means)
            }
            PerPlane::MaxAffine => {
                let coefficients = Coefficients::new(inputs.required(1)?, images, channels)?;
                max_affine(isa, x, plane, &coefficients)
            }
        };
        Ok(vec![y?])
    }
}

/// Applies the function in place if nothing else holds `x`, otherwise to a copy.
fn max_affine(
    isa: Isa,
    mut x: Tensor,
    plane: usize,
    coefficients: &Coefficients,
) -> Result<Tensor> {
    let apply = |i: usize, plane: &mut [f32]| {
        let (mut slopes, mut intercepts) = ([0.0; MOST_PIECES], [0.0; MOST_PIECES]);
        let (a, b) = coefficients.of_plane(i, &mut slopes, &mut intercepts);
        max_affine_nchw(isa, plane, plane.len(), a, b);
    };
    if x.is_empty() {
        return Ok(x);
    }
    if let Some(elements) = x.unique_f32() {
        elements.chunks_exact_mut(plane).enumerate().for_each(|(i, plane)| apply(i, plane));
        return Ok(x);
    }
    // A plane is in the cache after it has been copied.
    let elements = x.as_f32()?;
    let mut y = Vec::with_capacity(elements.len());
    for (i, from) in elements.chunks_exact(plane).enumerate() {
        let start = y.len();
        y.extend_from_slice(from);
        apply(i, &mut y[start..]);
    }
    Tensor::new(x.shape(), y)
}

/// The coefficients `[N,2K,C]` of max-affine functions, where N and C may be 1 instead.
struct Coefficients<'a> {
    elements: &'a [f32],
    pieces: usize,
    /// The number of planes per image.
    channels: usize,
    is_of_all_images: bool,
    is_of_all_channels: bool,
}

impl<'a> Coefficients<'a> {
    fn new(tensor: &'a Tensor, images: usize, channels: usize) -> Result<Self> {
        let fits = |&[n, rows, c]: &[usize; 3]| {
            let is_even = (2..=2 * MOST_PIECES).contains(&rows) && rows.is_multiple_of(2);
            is_even && (n == images || n == 1) && (c == channels || c == 1)
        };
        let shape = tensor.shape();
        let [n, rows, c] = shape.try_into().ok().filter(fits).ok_or_else(|| {
            Error::shape(format!(
                "expected coefficients [{images},2K,{channels}] with K from 1 to {MOST_PIECES}, found \
                 {shape:?}"
            ))
        })?;
        Ok(Coefficients {
            elements: tensor.as_f32()?,
            pieces: rows / 2,
            channels,
            is_of_all_images: n == 1,
            is_of_all_channels: c == 1,
        })
    }

    /// Copies the slopes and intercepts of plane `i` of the batch, and returns them, `[K]` each.
    fn of_plane<'b>(
        &self,
        i: usize,
        slopes: &'b mut [f32; MOST_PIECES],
        intercepts: &'b mut [f32; MOST_PIECES],
    ) -> (&'b [f32], &'b [f32]) {
        let rows = 2 * self.pieces;
        let image = if self.is_of_all_images { 0 } else { i / self.channels };
        let (channel, width) =
            if self.is_of_all_channels { (0, 1) } else { (i % self.channels, self.channels) };
        let column = &self.elements[image * rows * width..][..rows * width][channel..];
        let (slopes, intercepts) = (&mut slopes[..self.pieces], &mut intercepts[..self.pieces]);
        let targets = slopes.iter_mut().chain(intercepts.iter_mut());
        targets.zip(column.iter().step_by(width)).for_each(|(to, from)| *to = *from);
        (slopes, intercepts)
    }
}
