//! The order of the axes of a feature map.

use super::Tensor;
use crate::error::{Error, Result};

/// The order of the axes of a feature map in memory. Networks are described in NCHW; users may
/// hand over and take back either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Batch, channel, height, width: PyTorch's and ONNX's default.
    #[default]
    Nchw,
    /// Batch, height, width, channel: TensorFlow's, and PyTorch's `channels_last`.
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
    /// A feature map copied from one layout into the other. Tensors that do not have four axes
    /// have no layout and are returned as they are.
    ///
    /// # Errors
    /// `Shape` where the elements are not f32.
    pub fn to_layout(&self, from: Layout, to: Layout) -> Result<Tensor> {
        let &[n, a, b, c] = self.shape() else { return Ok(self.clone()) };
        if from == to {
            return Ok(self.clone());
        }
        let x = self
            .as_f32()
            .map_err(|_| Error::shape(format!("layouts are for f32, found {}", self.dtype())))?;
        // One plane is `rows x columns`; the other layout is its transpose.
        let (rows, columns, shape) = match to {
            Layout::Nhwc => (a, b * c, [n, b, c, a]),
            Layout::Nchw => (a * b, c, [n, c, a, b]),
        };
        let mut y = vec![0.0; x.len()];
        let plane = (rows * columns).max(1);
        for (x, y) in x.chunks_exact(plane).zip(y.chunks_exact_mut(plane)) {
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
    fn there_and_back() {
        let x: Vec<f32> = (0..2 * 3 * 4 * 5).map(|i| i as f32).collect();
        let nchw = Tensor::new(&[2, 3, 4, 5], x.clone()).unwrap();
        let nhwc = nchw.to_layout(Layout::Nchw, Layout::Nhwc).unwrap();
        assert_eq!(nhwc.shape(), [2, 4, 5, 3]);
        assert_eq!(nhwc.as_f32().unwrap()[1], x[20]);
        let back = nhwc.to_layout(Layout::Nhwc, Layout::Nchw).unwrap();
        assert_eq!(back.as_f32().unwrap(), x);
    }
}
