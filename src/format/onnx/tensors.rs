//! Tensors of an ONNX file: in the message itself, or in a file beside it.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};

use super::proto;
use crate::error::{Error, Result};
use crate::format::mapped::Mapped;
use crate::tensor::{DType, Element, Storage, Tensor, num_elements};

/// Reads tensors, and keeps the external files that they lie in mapped.
pub(super) struct TensorReader<'p> {
    directory: Option<&'p Path>,
    files: HashMap<PathBuf, Storage>,
}

/// The element type that a number in the file means.
pub(super) fn dtype(number: i32) -> Result<DType> {
    Ok(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        16 => DType::BF16,
        other => {
            let name = match other {
                4 => "uint16",
                5 => "int16",
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

impl<'p> TensorReader<'p> {
    /// A reader that finds external files in `directory`.
    pub(super) fn new(directory: Option<&'p Path>) -> Self {
        TensorReader { directory, files: HashMap::new() }
    }

    /// The tensor of a message; raw data is borrowed where its alignment allows.
    pub(super) fn read(&mut self, message: &proto::Tensor) -> Result<Tensor> {
        let named =
            |e: Error| Error::new(e.kind(), format!("tensor {:?}: {}", message.name, e.message()));
        self.read_unnamed(message).map_err(named)
    }

    fn read_unnamed(&mut self, message: &proto::Tensor) -> Result<Tensor> {
        const EXTERNAL: i32 = 1;
        let dtype = dtype(message.data_type)?;
        let size = |&d: &i64| {
            usize::try_from(d).map_err(|_| Error::format(format!("its shape has a size of {d}")))
        };
        let shape: Vec<usize> = message.dims.iter().map(size).collect::<Result<_>>()?;
        let count = num_elements(&shape)
            .ok_or_else(|| Error::format(format!("its shape {shape:?} is too large")))?;
        if message.data_location == EXTERNAL {
            let storage = self.external(&message.external_data, count, dtype)?;
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

    /// The bytes of a tensor that lies in a file beside the model.
    fn external(
        &mut self,
        entries: &[proto::StringEntry],
        count: usize,
        dtype: DType,
    ) -> Result<Storage> {
        let entry = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| {
            let parse = |text: &str| {
                let message = || Error::format(format!("its {key} {text:?} is no number"));
                text.parse::<usize>().map_err(|_| message())
            };
            entry(key).map(parse).transpose()
        };
        let location = entry("location")
            .ok_or_else(|| Error::format("it is external but names no location"))?;
        let relative = Path::new(location);
        // A model must not read files outside its own folder.
        if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(Error::format(format!(
                "its location {location:?} leaves the folder of the model"
            )));
        }
        let directory = self.directory.ok_or_else(|| {
            Error::input(format!("it lies in {location:?}; open the model by its path"))
        })?;
        let path = directory.join(relative);
        if !self.files.contains_key(&path) {
            let mapped = Mapped::open(&path).map_err(|e| {
                Error::new(e.kind(), format!("its data file {}: {}", path.display(), e.message()))
            })?;
            self.files.insert(path.clone(), Storage::new(Arc::new(mapped)));
        }
        let file = &self.files[&path];
        let expected = count
            .checked_mul(dtype.size())
            .ok_or_else(|| Error::format("its shape is too large"))?;
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(expected);
        if length != expected {
            return Err(Error::format(format!(
                "its shape needs {expected} bytes, its length is {length}"
            )));
        }
        let range = offset.checked_add(length).map(|end| offset..end);
        range.and_then(|range| file.slice(range)).ok_or_else(|| {
            Error::format(format!(
                "bytes {offset} and on, {length} of them, leave {}, which has {}",
                path.display(),
                file.len()
            ))
        })
    }
}

/// A wrong number of elements in a file is damage, not misuse.
fn as_format(tensor: Result<Tensor>) -> Result<Tensor> {
    tensor.map_err(|e| Error::format(e.message()))
}

fn narrowed<T: Element>(from: &[i32], to: impl Fn(i32) -> Option<T>) -> Result<Vec<T>> {
    let narrow = |&x: &i32| {
        to(x).ok_or_else(|| Error::format(format!("its element {x} does not fit its type")))
    };
    from.iter().map(narrow).collect()
}
