//! Normalisation of each element by the elements of neighbouring channels.

use super::block::Block;
use super::sizes::product_of;
use crate::simd::{Isa, Simd, Vectorised};

/// `y = x / (bias + factor * sum)^beta`, where `sum` adds up the squares of neighbouring channels.
#[derive(Clone, Copy, Debug)]
pub struct LocalResponse {
    /// The number of channels before and after an element's own that are added up.
    pub reach: [usize; 2],
    /// The factor of the sum.
    pub factor: f32,
    /// The number that is added.
    pub bias: f32,
    /// The exponent.
    pub beta: f32,
}

impl LocalResponse {
    /// The channels before and after the first and the last one that are taken for zeros.
    fn margins(&self, channels: usize) -> [usize; 2] {
        self.reach.map(|reach| reach.min(channels))
    }

    /// Returns the elements of workspace for a map of so many channels.
    pub fn workspace(&self, channels: usize) -> usize {
        let [before, after] = self.margins(channels);
        product_of([2, channels]) + before + after
    }
}

/// Normalises the rows of an image `x [pixels][width]`, NHWC, that `block` covers, over their `channels`
/// channels.
///
/// # Panics
/// Panics if image, block and workspace do not have these sizes.
pub fn local_response(
    isa: Isa,
    x: &[f32],
    channels: usize,
    op: LocalResponse,
    block: &mut Block,
    workspace: &mut [f32],
) {
    let width = block.width();
    assert!(channels <= width && block.columns() == (0..width));
    assert!(x.len() >= product_of([block.rows().end, width]), "the map has too few rows");
    let workspace = &mut workspace[..op.workspace(channels)];
    isa.run_narrow(Normalise { x, channels, op, block, workspace });
}

struct Normalise<'a, 'b, 'c> {
    x: &'a [f32],
    channels: usize,
    op: LocalResponse,
    block: &'c mut Block<'b>,
    workspace: &'a mut [f32],
}

impl Vectorised for Normalise<'_, '_, '_> {
    type Output = ();

    // The compiler makes vectors of these loops.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Normalise { x, channels, op, block, workspace } = self;
        let LocalResponse { factor, bias, beta, .. } = op;
        let ([before, after], width) = (op.margins(channels), block.width());
        let (sums, squares) = workspace.split_at_mut(channels);
        squares.fill(0.0);
        for row in block.rows() {
            let x = &x[row * width..][..channels];
            let own = &mut squares[before..][..channels];
            own.iter_mut().zip(x).for_each(|(square, &x)| *square = x * x);
            sums.fill(0.0);
            for neighbour in 0..=before + after {
                let neighbours = &squares[neighbour..][..channels];
                sums.iter_mut().zip(neighbours).for_each(|(sum, &square)| *sum += square);
            }
            let y = block.row(row)[..channels].iter_mut().zip(x.iter().zip(sums.iter()));
            // The exponent of AlexNet and GoogLeNet has no need of logarithms.
            if beta == 0.75 {
                y.for_each(|(y, (&x, &sum))| {
                    let root = (bias + factor * sum).sqrt();
                    *y = x / (root * root.sqrt());
                });
            } else {
                y.for_each(|(y, (&x, &sum))| *y = x / (bias + factor * sum).powf(beta));
            }
        }
    }
}
