//! Element types and conversions between them.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use super::Tensor;
use crate::error::Result;

/// The type of the elements of a tensor. Arithmetic is done in f32, i64 and i32; the other types are
/// for storage and conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper 16 bits of an f32.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// Boolean, one byte per element: zero is false, everything else true.
    Bool,
}

impl DType {
    /// Returns the size of an element, in bytes.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// Returns whether elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::Bool => "bool",
        })
    }
}

/// A Rust type that a tensor can hold. This trait is sealed.
///
/// `bool` does not implement it because not every byte is a valid `bool`: see [`Tensor::from_bools`].
pub trait Element: sealed::Sealed {
    /// The element type of tensors that hold this type.
    const DTYPE: DType;
}

mod sealed {
    // Public but unnameable, so that no other crate can implement `Element`.
    #[allow(unnameable_types)]
    pub trait Sealed: bytemuck::Pod + Send + Sync {}
}

macro_rules! element {
    ($($t:ty => $d:ident),*) => { $(
        impl sealed::Sealed for $t {}
        impl Element for $t { const DTYPE: DType = DType::$d; }
    )* };
}
element!(f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, i8 => I8, u8 => U8);

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

// The macro also casts each element type to itself.
#[allow(clippy::unnecessary_cast)]
pub(super) fn cast(t: &Tensor, to: DType) -> Result<Tensor> {
    if to == t.dtype() {
        return Ok(t.clone());
    }
    let shape = t.shape();
    each_element!(t, values => match to {
        DType::F32 => Tensor::new(shape, values.map(|x| x as f32).collect()),
        DType::F64 => Tensor::new(shape, values.map(|x| x as f64).collect()),
        DType::F16 => Tensor::new(shape, values.map(|x| f16::from_f64(x as f64)).collect()),
        DType::BF16 => Tensor::new(shape, values.map(|x| bf16::from_f64(x as f64)).collect()),
        DType::I64 => Tensor::new(shape, values.map(|x| x as i64).collect()),
        DType::I32 => Tensor::new(shape, values.map(|x| x as i32).collect()),
        DType::I8 => Tensor::new(shape, values.map(|x| x as i8).collect()),
        DType::U8 => Tensor::new(shape, values.map(|x| x as u8).collect()),
        DType::Bool => Tensor::from_bools(shape, values.map(|x| x as f64 != 0.0)),
    })
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
