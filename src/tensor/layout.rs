//! The order of the axes of a feature map.

use super::Tensor;
use crate::error::{Error, Result};

/// The order of the axes of a feature map in memory. Graphs use NCHW; inputs and outputs can be in
/// either layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Batch, channel, height, width: the default of PyTorch and ONNX.
    #[default]
    Nchw,
    /// Batch, height, width, channel: the default of TensorFlow, `channels_last` in PyTorch.
    Nhwc,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layout::Nchw => "NCHW",
            Layout::Nhwc => "NHWC",
        })
    }
}

impl Tensor {
    /// Returns a copy of a feature map, converted from one layout to another. A tensor that does not have
    /// four axes has no layout and is returned unchanged.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the elements are not f32.
    pub fn to_layout(&self, from: Layout, to: Layout) -> Result<Tensor> {
        let &[n, a, b, c] = self.shape() else { return Ok(self.clone()) };
        if from == to {
            return Ok(self.clone());
        }
        let x = self.as_f32().map_err(|_| {
            Error::shape(format!(
                "converting the layout needs an f32 tensor, found {}",
                self.dtype()
            ))
        })?;
        // An image is a matrix `[rows][columns]`; in the other layout it is the transpose.
        let (rows, columns, shape) = match to {
            Layout::Nhwc => (a, b * c, [n, b, c, a]),
            Layout::Nchw => (a * b, c, [n, c, a, b]),
        };
        let mut y = vec![0.0; x.len()];
        let image = (rows * columns).max(1);
        for (x, y) in x.chunks_exact(image).zip(y.chunks_exact_mut(image)) {
            for (column, out) in y.chunks_exact_mut(rows).enumerate() {
                for (row, out) in out.iter_mut().enumerate() {
                    *out = x[row * columns + column];
                }
            }
        }
        Tensor::new(&shape, y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converting_back_gives_the_original() {
        let x: Vec<f32> = (0..2 * 3 * 4 * 5).map(|i| i as f32).collect();
        let nchw = Tensor::new(&[2, 3, 4, 5], x.clone()).unwrap();
        let nhwc = nchw.to_layout(Layout::Nchw, Layout::Nhwc).unwrap();
        assert_eq!(nhwc.shape(), [2, 4, 5, 3]);
        assert_eq!(nhwc.as_f32().unwrap()[1], x[20]);
        let back = nhwc.to_layout(Layout::Nhwc, Layout::Nchw).unwrap();
        assert_eq!(back.as_f32().unwrap(), x);
    }
}
