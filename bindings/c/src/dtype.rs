//! Element types.

use dyrelu::DType;

use crate::status::{Failure, Outcome};

/// The type of the elements of an input or output.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DyreluDtype {
    /// The type depends on the data.
    Unknown = 0,
    /// IEEE single precision: float.
    F32 = 1,
    /// IEEE double precision: double.
    F64 = 2,
    /// IEEE half precision.
    F16 = 3,
    /// The upper 16 bits of a float.
    Bf16 = 4,
    /// int64_t.
    I64 = 5,
    /// int32_t.
    I32 = 6,
    /// int8_t.
    I8 = 7,
    /// uint8_t.
    U8 = 8,
    /// One byte, 0 or 1.
    Bool = 9,
    /// int16_t.
    I16 = 10,
}

/// The types that the engine has, with their numbers.
const KNOWN: [(DType, DyreluDtype); 10] = [
    (DType::F32, DyreluDtype::F32),
    (DType::F64, DyreluDtype::F64),
    (DType::F16, DyreluDtype::F16),
    (DType::BF16, DyreluDtype::Bf16),
    (DType::I64, DyreluDtype::I64),
    (DType::I32, DyreluDtype::I32),
    (DType::I8, DyreluDtype::I8),
    (DType::U8, DyreluDtype::U8),
    (DType::Bool, DyreluDtype::Bool),
    (DType::I16, DyreluDtype::I16),
];

/// Returns the number of an element type.
pub fn number(dtype: Option<DType>) -> i32 {
    let known = KNOWN.iter().find(|&&(known, _)| Some(known) == dtype);
    known.map_or(DyreluDtype::Unknown, |&(_, dtype)| dtype) as i32
}

/// Returns the element type of a number.
pub fn of_number(number: i32, name: &str) -> Outcome<DType> {
    let known = KNOWN.iter().find(|&&(_, dtype)| dtype as i32 == number);
    let unknown = || Failure::argument(format!("{name} has no element type {number}"));
    known.map(|&(known, _)| known).ok_or_else(unknown)
}
