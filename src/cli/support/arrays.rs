//! Reads and writes tensors as .npy files.

use std::io::{Read, Write};
use std::path::Path;

use super::npy::{self, Header};
use dyrelu::format::{Replacement, read_regular};
use dyrelu::tensor::{Storage, num_elements};
use dyrelu::{DType, Error, Result, Tensor};

/// Reads the array in the file at `path`, or from standard input if `path` is `-`.
pub fn read(path: &Path) -> Result<Tensor> {
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let stdin = std::io::stdin().lock().read_to_end(&mut bytes);
        stdin.map_err(|e| Error::io("standard input", e))?;
        bytes
    } else {
        read_regular(path)?
    };
    tensor(&bytes).map_err(|e| e.in_file(path))
}

/// The tensor in the contents of a .npy file. Bytes after the array are ignored, as numpy does.
fn tensor(file: &[u8]) -> Result<Tensor> {
    let (Header { dtype, native, shape, fortran_order }, start) = npy::read(file)?;
    let size = dtype.size();
    let length = num_elements(&shape).and_then(|count| count.checked_mul(size));
    let data = length.and_then(|length| file.get(start..start.checked_add(length)?));
    let data = data.ok_or_else(|| {
        Error::format(format!("the file is too short for an array of shape {shape:?}"))
    })?;
    if dtype == DType::Bool && data.iter().any(|&byte| byte > 1) {
        return Err(Error::format("an element of type bool is neither 0 nor 1"));
    }
    let mut data = if fortran_order { row_major(data, &shape, size) } else { data.to_vec() };
    if !native {
        data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    Tensor::from_storage(dtype, &shape, Storage::from_vec(data))
}

/// Reorders elements of `size` bytes from column-major to row-major order.
fn row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    if data.is_empty() {
        return Vec::new();
    }
    let mut offsets = vec![0usize];
    let mut stride = 1;
    let mut strides = Vec::new();
    for &size in shape {
        strides.push(stride);
        stride *= size;
    }
    for (&size, &stride) in shape.iter().zip(&strides) {
        offsets = offsets.iter().flat_map(|&o| (0..size).map(move |i| o + i * stride)).collect();
    }
    offsets.into_iter().flat_map(|offset| &data[offset * size..][..size]).copied().collect()
}

/// Writes a tensor to a temporary file, which [`Replacement::keep`] moves to `path`.
///
/// Types that .npy files do not have are converted to f32.
pub fn write(path: &Path, tensor: &Tensor) -> Result<Replacement> {
    let Some(header) = npy::header(tensor.dtype(), tensor.shape()) else {
        return write(path, &tensor.cast(DType::F32)?);
    };
    let mut file = Replacement::of(path)?;
    let written = file.write_all(&header).and_then(|()| file.write_all(tensor.bytes()));
    written.map_err(|e| Error::io(path, e))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_either_memory_and_byte_order_are_read() {
        let header = |descr: &str, fortran: &str, shape: &str| {
            let text =
                format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}}}\n");
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((text.len() as u16).to_le_bytes());
            file.extend(text.bytes());
            file
        };
        let rows = [[1i32, 2, 3], [4, 5, 6]];
        let expected = rows.as_flattened();
        let mut c_order = header("<i4", "False", "(2, 3)");
        c_order.extend(expected.iter().flat_map(|x| x.to_le_bytes()));
        c_order.extend(b"bytes after the array are ignored");
        let mut fortran_order = header(">i4", "True", "(2, 3)");
        for column in 0..3 {
            fortran_order.extend(rows.iter().flat_map(|row| row[column].to_be_bytes()));
        }
        for file in [c_order, fortran_order] {
            let tensor = tensor(&file).unwrap();
            assert_eq!(
                (tensor.shape(), tensor.as_slice::<i32>().unwrap()),
                (&[2, 3][..], expected)
            );
        }
        for (file, words) in [
            (header("<i4", "False", "(2, 3)"), "too short"),
            (header("<f4", "True", "(1099511627776, 1099511627776, 0)"), "too short"),
            ([header("|b1", "False", "(1,)"), vec![2]].concat(), "neither 0 nor 1"),
        ] {
            let error = tensor(&file).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        let empty = tensor(&header("<f4", "True", "(1099511627776, 0)")).unwrap();
        assert!(empty.is_empty());
    }
}
