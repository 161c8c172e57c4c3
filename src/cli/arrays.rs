//! Tensors in .npy files.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use dyrelu::tensor::{DType, Element, num_elements};
use dyrelu::{Error, Result, Tensor};
use npyz::{DType as NpyType, NpyFile, NpyHeader, Order, TypeChar, WriterBuilder};

/// Reads the array in the file at `path`.
pub(super) fn read(path: &Path) -> Result<Tensor> {
    read_inner(path).map_err(|e| e.in_file(path))
}

fn read_inner(path: &Path) -> Result<Tensor> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let available = file.metadata().map_err(|e| Error::io(path, e))?.len();
    let damaged =
        |e: std::io::Error| Error::format(format!("this is no .npy file, or a damaged one: {e}"));
    let mut reader = BufReader::new(file);
    let header = NpyHeader::from_reader(&mut reader).map_err(damaged)?;
    let shape: Vec<usize> = header
        .shape()
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| Error::format("the array is too large")))
        .collect::<Result<_>>()?;
    let by_columns = header.order() == Order::Fortran;
    let NpyType::Plain(kind) = header.dtype() else {
        return Err(Error::unsupported("arrays of structures"));
    };
    let (letter, width) = (kind.type_char(), kind.size_field());
    // No more is allocated than the file holds.
    let bytes = num_elements(&shape).and_then(|n| n.checked_mul(usize::try_from(width).ok()?));
    if bytes.is_none_or(|n| n as u64 > available) {
        return Err(Error::format(format!("the file is too short for an array of {shape:?}")));
    }
    let npy = NpyFile::with_header(header, reader);
    macro_rules! load {
        ($t:ty) => {
            finish::<$t>(npy.into_vec().map_err(damaged)?, &shape, by_columns)
        };
    }
    match (letter, width) {
        (TypeChar::Float, 4) => load!(f32),
        (TypeChar::Float, 8) => load!(f64),
        (TypeChar::Int, 8) => load!(i64),
        (TypeChar::Int, 4) => load!(i32),
        (TypeChar::Int, 1) => load!(i8),
        (TypeChar::Uint, 1) => load!(u8),
        (TypeChar::Bool, _) => {
            let values: Vec<bool> = npy.into_vec().map_err(damaged)?;
            let values = in_rows(values, &shape, by_columns);
            Tensor::from_bools(&shape, values)
        }
        _ => Err(Error::unsupported(format!(
            "arrays of type {letter:?}{width}; expected f4, f8, i1, i4, i8, u1 or bool"
        ))),
    }
}

fn finish<T: Element>(values: Vec<T>, shape: &[usize], by_columns: bool) -> Result<Tensor> {
    Tensor::new(shape, in_rows(values, shape, by_columns))
}

/// Elements stored column after column, row after row.
fn in_rows<T: Copy>(values: Vec<T>, shape: &[usize], by_columns: bool) -> Vec<T> {
    if !by_columns || shape.len() < 2 {
        return values;
    }
    let mut places = vec![0usize];
    let mut stride = 1;
    let mut strides = Vec::new();
    for &size in shape {
        strides.push(stride);
        stride *= size;
    }
    for (&size, &stride) in shape.iter().zip(&strides) {
        places = places.iter().flat_map(|&p| (0..size).map(move |i| p + i * stride)).collect();
    }
    places.into_iter().map(|p| values[p]).collect()
}

/// Writes a tensor to the file at `path`: beside it first, then renamed.
pub(super) fn write(path: &Path, tensor: &Tensor) -> Result<()> {
    let mut sibling = path.as_os_str().to_owned();
    sibling.push(format!(".{}.part", std::process::id()));
    let written = write_to(Path::new(&sibling), tensor)
        .and_then(|()| std::fs::rename(&sibling, path))
        .map_err(|e| Error::io(path, e));
    if written.is_err() {
        let _ = std::fs::remove_file(&sibling);
    }
    written
}

fn write_to(path: &Path, tensor: &Tensor) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let shape: Vec<u64> = tensor.shape().iter().map(|&d| d as u64).collect();
    let other = |e: Error| std::io::Error::other(e.to_string());
    macro_rules! store {
        ($t:ty, $values:expr) => {{
            let options = npyz::WriteOptions::<$t>::new().default_dtype().shape(&shape);
            let mut writer = options.writer(&mut out).begin_nd()?;
            writer.extend($values)?;
            writer.finish()?;
        }};
    }
    match tensor.dtype() {
        DType::F64 => store!(f64, tensor.as_slice::<f64>().map_err(other)?.iter().copied()),
        DType::I64 => store!(i64, tensor.as_slice::<i64>().map_err(other)?.iter().copied()),
        DType::I32 => store!(i32, tensor.as_slice::<i32>().map_err(other)?.iter().copied()),
        DType::I8 => store!(i8, tensor.as_slice::<i8>().map_err(other)?.iter().copied()),
        DType::U8 => store!(u8, tensor.as_slice::<u8>().map_err(other)?.iter().copied()),
        DType::Bool => store!(bool, tensor.to_bools().map_err(other)?),
        _ => {
            let floats = tensor.cast(DType::F32).map_err(other)?;
            store!(f32, floats.as_f32().map_err(other)?.iter().copied());
        }
    }
    out.flush()
}
