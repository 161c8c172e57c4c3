//! The header of .npy files, a Python dictionary literal, as `numpy.lib.format` specifies it.

use dyrelu::{DType, Error, Result};

/// The header of an array.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    pub dtype: DType,
    /// Whether the bytes of each element are in the order of this processor.
    pub native: bool,
    pub shape: Vec<usize>,
    /// Whether the array is stored in column-major order.
    pub fortran_order: bool,
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read, in bytes. By default numpy refuses more than 10,000.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Reads the header at the beginning of `file`. Returns it with the offset of the data.
///
/// # Errors
/// [`ErrorKind::Format`](dyrelu::ErrorKind::Format) if the bytes are not a .npy file or its header
/// is malformed, [`ErrorKind::Unsupported`](dyrelu::ErrorKind::Unsupported) for a type of elements
/// that tensors do not have.
pub fn read(file: &[u8]) -> Result<(Header, usize)> {
    let not_npy = || Error::format("this is not a .npy file, or it is damaged");
    let rest = file.strip_prefix(MAGIC).ok_or_else(not_npy)?;
    let (length, start) = match *rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        _ => return Err(not_npy()),
    };
    if length > MAX_HEADER_BYTES {
        return Err(not_npy());
    }
    let text = file.get(start..start + length);
    let text = text.and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(not_npy)?;
    let Some(Entries { descr, fortran_order, shape }) = entries(text) else {
        return Err(Error::format("the header of this .npy file is malformed"));
    };
    let descr = descr.ok_or_else(|| Error::unsupported("arrays of structures"))?;
    let (order, kind) = descr.split_at_checked(1).unwrap_or_default();
    let dtype = match kind {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "b1" => DType::Bool,
        _ => {
            return Err(Error::unsupported(format!(
                "arrays of type {descr}; expected f2, f4, f8, i1, i2, i4, i8, u1 or b1"
            )));
        }
    };
    let native = match order {
        "<" => cfg!(target_endian = "little"),
        ">" => cfg!(target_endian = "big"),
        _ => true,
    };
    Ok((Header { dtype, native, shape, fortran_order }, start + length))
}

/// The header of a row-major array whose elements are in the byte order of this processor.
///
/// Returns `None` for a type that .npy files do not have.
pub fn header(dtype: DType, shape: &[usize]) -> Option<Vec<u8>> {
    let kind = match dtype {
        DType::F16 => "f2",
        DType::F32 => "f4",
        DType::F64 => "f8",
        DType::I8 => "i1",
        DType::I16 => "i2",
        DType::I32 => "i4",
        DType::I64 => "i8",
        DType::U8 => "u1",
        DType::Bool => "b1",
        _ => return None,
    };
    let order = if dtype.size() == 1 {
        '|'
    } else if cfg!(target_endian = "little") {
        '<'
    } else {
        '>'
    };
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    // In Python, a tuple of one element keeps its trailing comma.
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let mut text =
        format!("{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // Spaces and a newline align the data to 64 bytes, as numpy does.
    let total = (12 + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', total - 12 - text.len() - 1));
    text.push('\n');
    let mut header = [MAGIC, &[2, 0], &(text.len() as u32).to_le_bytes()].concat();
    header.extend(text.bytes());
    Some(header)
}

/// The entries of the dictionary, named by their keys.
struct Entries<'t> {
    /// The type of the elements, such as `<f4`. Absent for structures.
    descr: Option<&'t str>,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Parses the dictionary. Returns `None` if it is malformed.
fn entries(text: &str) -> Option<Entries<'_>> {
    let mut text = Cursor(text);
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    text.expect("{")?;
    while text.expect("}").is_none() {
        let key = text.quoted()?;
        text.expect(":")?;
        match key {
            // A structure is a list. Structures are refused, so the rest is not parsed.
            "descr" if text.expect("[").is_some() => {
                return Some(Entries { descr: None, fortran_order: false, shape: Vec::new() });
            }
            "descr" => descr = Some(text.quoted()?),
            "fortran_order" if text.expect("True").is_some() => fortran_order = Some(true),
            "fortran_order" => fortran_order = text.expect("False").map(|()| false),
            "shape" => shape = Some(text.tuple()?),
            _ => return None,
        }
        if text.expect(",").is_none() {
            text.expect("}")?;
            break;
        }
    }
    Some(Entries { descr: Some(descr?), fortran_order: fortran_order?, shape: shape? })
}

/// The part of the text that is not parsed yet. Each method skips spaces, then consumes what it
/// returns; it returns `None` if something else comes next.
struct Cursor<'t>(&'t str);

impl<'t> Cursor<'t> {
    fn expect(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn quoted(&mut self) -> Option<&'t str> {
        let quote =
            ['\'', '"'].into_iter().find(|quote| self.0.trim_start().starts_with(*quote))?;
        let (inside, rest) = self.0.trim_start()[1..].split_once(quote)?;
        self.0 = rest;
        Some(inside)
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut sizes = Vec::new();
        self.expect("(")?;
        while self.expect(")").is_none() {
            self.0 = self.0.trim_start();
            let end = self.0.find(|c: char| !c.is_ascii_digit())?;
            sizes.push(self.0[..end].parse().ok()?);
            // Python 2 wrote long integers with a trailing L.
            self.0 = self.0[end..].strip_prefix('L').unwrap_or(&self.0[end..]);
            if self.expect(",").is_none() {
                self.expect(")")?;
                break;
            }
        }
        Some(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<u8> {
        let mut file = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes()].concat();
        file.extend(text.bytes());
        file
    }

    #[test]
    fn a_written_header_is_read_back() {
        for shape in [&[][..], &[3], &[0, 5], &[2, 3, 224, 224]] {
            for dtype in [DType::F32, DType::F64, DType::I64, DType::Bool, DType::U8] {
                let bytes = header(dtype, shape).unwrap();
                assert_eq!(bytes.len() % 64, 0);
                let (parsed, start) = read(&bytes).unwrap();
                let expected =
                    Header { dtype, native: true, shape: shape.to_vec(), fortran_order: false };
                assert_eq!((parsed, start), (expected, bytes.len()));
            }
        }
        assert_eq!(header(DType::BF16, &[3]), None);
    }

    #[test]
    fn spacing_quotes_and_the_order_of_keys_do_not_matter() {
        let text = "{\"shape\": (2L,3 ,), 'fortran_order':True,'descr': '>f4'}  \n";
        let (parsed, start) = read(&file(text)).unwrap();
        let native = cfg!(target_endian = "big");
        let expected = Header { dtype: DType::F32, native, shape: vec![2, 3], fortran_order: true };
        assert_eq!((parsed, start), (expected, 10 + text.len()));
    }

    #[test]
    fn malformed_and_unsupported_headers_are_refused() {
        let with = |descr: &str, shape: &str| {
            file(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"))
        };
        assert!(read(&with("'<f4'", "(2, 3)")).is_ok());
        let mut long = with("'<f4'", "(2, 3)");
        long.splice(6..10, [2, 0, 0xf0, 0xff, 0xff, 0xff]);
        for (bytes, words) in [
            (b"PK\x03\x04".to_vec(), "not a .npy file"),
            (b"\x93NUMPY".to_vec(), "not a .npy file"),
            (with("'<f4'", "(2, 3)")[..40].to_vec(), "not a .npy file"),
            (long, "not a .npy file"),
            (file("{'descr': '<f4', 'fortran_order': False, }\n"), "malformed"),
            (with("'<f4'", "(-1, 3)"), "malformed"),
            (with("'<f4'", "(18446744073709551616,)"), "malformed"),
            (with("'<f4'", "(2 3)"), "malformed"),
            (with("'<f4', 'extra': 1", "(2, 3)"), "malformed"),
            (with("<f4", "(2, 3)"), "malformed"),
            (with("'<c8'", "(2, 3)"), "arrays of type <c8"),
            (with("''", "(2, 3)"), "arrays of type"),
            (with("'|O'", "(2, 3)"), "arrays of type |O"),
            (with("'ü'", "(2, 3)"), "arrays of type ü"),
            (with(&"[".repeat(20_000), "(2, 3)"), "structures"),
        ] {
            let error = read(&bytes).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
