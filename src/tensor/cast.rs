//! Conversions between element types.

use half::{bf16, f16};

use super::{DType, Tensor};
use crate::error::Result;

/// Evaluates `$body` with `$v` as an iterator over the elements of `$tensor`, for each element type.
macro_rules! each_element {
    ($tensor:expr, $v:ident => $body:expr) => {
        match $tensor.dtype() {
            DType::F32 => {
                let $v = $tensor.as_slice::<f32>()?.iter().copied();
                $body
            }
            DType::F64 => {
                let $v = $tensor.as_slice::<f64>()?.iter().copied();
                $body
            }
            DType::F16 => {
                let $v = $tensor.as_slice::<f16>()?.iter().map(|x| x.to_f32());
                $body
            }
            DType::BF16 => {
                let $v = $tensor.as_slice::<bf16>()?.iter().map(|x| x.to_f32());
                $body
            }
            DType::I64 => {
                let $v = $tensor.as_slice::<i64>()?.iter().copied();
                $body
            }
            DType::I32 => {
                let $v = $tensor.as_slice::<i32>()?.iter().copied();
                $body
            }
            DType::I16 => {
                let $v = $tensor.as_slice::<i16>()?.iter().copied();
                $body
            }
            DType::I8 => {
                let $v = $tensor.as_slice::<i8>()?.iter().copied();
                $body
            }
            DType::U8 | DType::Bool => {
                let $v = $tensor.bytes().iter().copied();
                $body
            }
        }
    };
}

impl Tensor {
    /// Returns the elements converted to `to`, as Rust's `as` converts numbers: from floating point to
    /// integer toward zero and saturating, between integers wrapping. Everything except zero is true.
    // The macro also casts each element type to itself.
    #[allow(clippy::unnecessary_cast)]
    pub fn cast(&self, to: DType) -> Result<Self> {
        if to == self.dtype() {
            return Ok(self.clone());
        }
        let shape = self.shape();
        each_element!(self, values => match to {
            DType::F32 => Tensor::new(shape, values.map(|x| x as f32).collect()),
            DType::F64 => Tensor::new(shape, values.map(|x| x as f64).collect()),
            DType::F16 => Tensor::new(shape, values.map(|x| f16::from_f64(x as f64)).collect()),
            DType::BF16 => Tensor::new(shape, values.map(|x| bf16::from_f64(x as f64)).collect()),
            DType::I64 => Tensor::new(shape, values.map(|x| x as i64).collect()),
            DType::I32 => Tensor::new(shape, values.map(|x| x as i32).collect()),
            DType::I16 => Tensor::new(shape, values.map(|x| x as i16).collect()),
            DType::I8 => Tensor::new(shape, values.map(|x| x as i8).collect()),
            DType::U8 => Tensor::new(shape, values.map(|x| x as u8).collect()),
            DType::Bool => Tensor::from_bools(shape, values.map(|x| x as f64 != 0.0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_truncate_and_keep_truth() {
        let t = Tensor::vector(vec![-1.7f32, 0.0, 2.9]);
        assert_eq!(t.cast(DType::I64).unwrap().as_slice::<i64>().unwrap(), [-1, 0, 2]);
        assert_eq!(t.cast(DType::Bool).unwrap().to_bools().unwrap(), [true, false, true]);
        let h = Tensor::vector(vec![f16::from_f32(0.5)]);
        assert_eq!(h.cast(DType::F32).unwrap().as_f32().unwrap(), [0.5]);
    }
}
