//! The tensors of an ONNX file, which lie in the message itself or in a file beside it.

use std::sync::Arc;

use half::{bf16, f16};

use super::external::{self, ExternalFiles};
use super::proto;
use crate::error::{Error, Result};
use crate::tensor::{DType, Element, Storage, Tensor, num_elements};

/// Reads tensors, and opens the files in which they lie.
pub(super) struct TensorReader {
    /// The files of external tensors, `None` for a model in memory.
    files: Option<ExternalFiles>,
}

/// Returns the element type of a number in the file.
pub(super) fn dtype(number: i32) -> Result<DType> {
    Ok(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        16 => DType::BF16,
        other => {
            let name = match other {
                4 => "uint16",
                8 => "string",
                12 => "uint32",
                13 => "uint64",
                14 | 15 => "complex",
                17..=20 => "float8",
                _ => "unknown",
            };
            return Err(Error::unsupported(format!("elements of type {name} (number {other})")));
        }
    })
}

impl TensorReader {
    pub(super) fn new(files: Option<ExternalFiles>) -> Self {
        TensorReader { files }
    }

    /// Returns the files in which external tensors lie.
    pub(super) fn into_files(self) -> Option<ExternalFiles> {
        self.files
    }

    /// Reads the tensor of a message. Raw data is borrowed. If it is not aligned, it is copied when it is
    /// first read, unless the reader takes it at any address.
    pub(super) fn read(&mut self, message: &proto::Tensor) -> Result<Tensor> {
        let named =
            |e: Error| Error::new(e.kind(), format!("tensor {:?}: {}", message.name, e.message()));
        self.read_unnamed(message).map_err(named)
    }

    fn read_unnamed(&mut self, message: &proto::Tensor) -> Result<Tensor> {
        const EXTERNAL: i32 = 1;
        let dtype = dtype(message.data_type)?;
        let shape = sizes(&message.dims)?;
        let count = num_elements(&shape)
            .ok_or_else(|| Error::format(format!("its shape {shape:?} is too large")))?;
        if message.data_location == EXTERNAL {
            let entries = message.external_data.as_slice();
            let Some(files) = &mut self.files else {
                let location = external::location(entries)?;
                return Err(Error::input(format!(
                    "it lies in {location:?}; open the model by its path"
                )));
            };
            let expected = count
                .checked_mul(dtype.size())
                .ok_or_else(|| Error::format("its shape is too large"))?;
            let storage = files.bytes(entries, expected)?;
            return Tensor::from_storage(dtype, &shape, storage);
        }
        let typed = message.float_data.len()
            + message.int32_data.len()
            + message.int64_data.len()
            + message.double_data.len();
        if typed == 0 {
            let storage = Storage::new(Arc::new(message.raw_data.clone()));
            return as_format(Tensor::from_storage(dtype, &shape, storage));
        }
        let small = &message.int32_data;
        let tensor = match dtype {
            DType::F32 => Tensor::new(&shape, message.float_data.clone()),
            DType::F64 => Tensor::new(&shape, message.double_data.clone()),
            DType::I64 => Tensor::new(&shape, message.int64_data.clone()),
            DType::I32 => Tensor::new(&shape, small.clone()),
            DType::I16 => Tensor::new(&shape, narrowed(small, |x| i16::try_from(x).ok())?),
            DType::I8 => Tensor::new(&shape, narrowed(small, |x| i8::try_from(x).ok())?),
            DType::U8 => Tensor::new(&shape, narrowed(small, |x| u8::try_from(x).ok())?),
            DType::Bool => Tensor::from_bools(&shape, small.iter().map(|&x| x != 0)),
            DType::F16 => {
                let bits = |x| Some(f16::from_bits(u16::try_from(x).ok()?));
                Tensor::new(&shape, narrowed(small, bits)?)
            }
            DType::BF16 => {
                let bits = |x| Some(bf16::from_bits(u16::try_from(x).ok()?));
                Tensor::new(&shape, narrowed(small, bits)?)
            }
        };
        as_format(tensor)
    }
}

/// Reads the shape that a message states.
pub(super) fn sizes(dims: &[i64]) -> Result<Vec<usize>> {
    let size = |&d: &i64| {
        usize::try_from(d).map_err(|_| Error::format(format!("its shape has a size of {d}")))
    };
    dims.iter().map(size).collect()
}

/// Makes a wrong number of elements an error of the file, not of an argument.
fn as_format(tensor: Result<Tensor>) -> Result<Tensor> {
    tensor.map_err(|e| Error::format(e.message()))
}

fn narrowed<T: Element>(from: &[i32], to: impl Fn(i32) -> Option<T>) -> Result<Vec<T>> {
    let narrow = |&x: &i32| {
        to(x).ok_or_else(|| Error::format(format!("its element {x} does not fit its type")))
    };
    from.iter().map(narrow).collect()
}
