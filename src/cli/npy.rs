//! The header of .npy files, as numpy.lib.format describes it: a dictionary written in Python.

use dyrelu::{DType, Error, Result};

/// What a header says of the array behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub dtype: DType,
    /// Whether the bytes of each element are in the order of this processor.
    pub native: bool,
    pub shape: Vec<usize>,
    /// Whether the first axis is the one whose elements lie side by side.
    pub by_columns: bool,
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read; numpy itself warns from 10,000 bytes on.
const LONGEST: usize = 1 << 16;

/// The header at the beginning of `file`, and where the data begins.
///
/// # Errors
/// `Format` for what is no .npy file, `Unsupported` for elements that no tensor has.
pub(super) fn read(file: &[u8]) -> Result<(Header, usize)> {
    let foreign = || Error::format("this is no .npy file, or a damaged one");
    let rest = file.strip_prefix(MAGIC).ok_or_else(foreign)?;
    let (length, start) = match *rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        _ => return Err(foreign()),
    };
    let text = file.get(start..start + length.min(LONGEST)).filter(|_| length <= LONGEST);
    let text = text.and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(foreign)?;
    let Some(Entries { kind, by_columns, shape }) = entries(text) else {
        return Err(Error::format("the header of this .npy file cannot be read"));
    };
    let kind = kind.ok_or_else(|| Error::unsupported("arrays of structures"))?;
    let (order, letter) = kind.split_at_checked(1).unwrap_or_default();
    let dtype = match letter {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "b1" => DType::Bool,
        _ => {
            return Err(Error::unsupported(format!(
                "arrays of type {kind}; expected f2, f4, f8, i1, i4, i8, u1 or b1"
            )));
        }
    };
    let native = match order {
        "<" => cfg!(target_endian = "little"),
        ">" => cfg!(target_endian = "big"),
        _ => true,
    };
    Ok((Header { dtype, native, shape, by_columns }, start + length))
}

/// The header of an array of `shape`, row after row, whose elements are in the order of this
/// processor; `None` where no array has such elements.
pub(super) fn written(dtype: DType, shape: &[usize]) -> Option<Vec<u8>> {
    let letter = match dtype {
        DType::F16 => "f2",
        DType::F32 => "f4",
        DType::F64 => "f8",
        DType::I8 => "i1",
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
    // A tuple of one needs its comma, others do well without the last.
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let mut text =
        format!("{{'descr': '{order}{letter}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // Spaces and a line's end bring the data to a boundary.
    let total = (12 + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', total - 12 - text.len() - 1));
    text.push('\n');
    let mut header = [MAGIC, &[2, 0], &(text.len() as u32).to_le_bytes()].concat();
    header.extend(text.bytes());
    Some(header)
}

struct Entries<'t> {
    /// The type of the elements; absent for structures.
    kind: Option<&'t str>,
    by_columns: bool,
    shape: Vec<usize>,
}

fn entries(text: &str) -> Option<Entries<'_>> {
    let mut text = Cursor(text);
    let (mut kind, mut by_columns, mut shape) = (None, None, None);
    text.expect("{")?;
    while text.expect("}").is_none() {
        let key = text.quoted()?;
        text.expect(":")?;
        match key {
            // A structure is a list, which nobody needs to read to its end.
            "descr" if text.expect("[").is_some() => {
                return Some(Entries { kind: None, by_columns: false, shape: Vec::new() });
            }
            "descr" => kind = Some(text.quoted()?),
            "fortran_order" if text.expect("True").is_some() => by_columns = Some(true),
            "fortran_order" => by_columns = text.expect("False").map(|()| false),
            "shape" => shape = Some(text.tuple()?),
            _ => return None,
        }
        if text.expect(",").is_none() {
            text.expect("}")?;
            break;
        }
    }
    Some(Entries { kind: Some(kind?), by_columns: by_columns?, shape: shape? })
}

/// What has not been read yet.
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
            // Python 2 wrote some of its numbers with a letter.
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
    fn what_is_written_is_read() {
        for shape in [&[][..], &[3], &[0, 5], &[2, 3, 224, 224]] {
            for dtype in [DType::F32, DType::F64, DType::I64, DType::Bool, DType::U8] {
                let bytes = written(dtype, shape).unwrap();
                assert_eq!(bytes.len() % 64, 0);
                let (header, start) = read(&bytes).unwrap();
                let expected =
                    Header { dtype, native: true, shape: shape.to_vec(), by_columns: false };
                assert_eq!((header, start), (expected, bytes.len()));
            }
        }
        assert_eq!(written(DType::BF16, &[3]), None);
    }

    #[test]
    fn headers_of_all_sorts_are_read() {
        let text = "{\"shape\": (2L,3 ,), 'fortran_order':True,'descr': '>f4'}  \n";
        let (header, start) = read(&file(text)).unwrap();
        let native = cfg!(target_endian = "big");
        let expected = Header { dtype: DType::F32, native, shape: vec![2, 3], by_columns: true };
        assert_eq!((header, start), (expected, 10 + text.len()));
    }

    #[test]
    fn other_headers_are_refused() {
        let with = |descr: &str, shape: &str| {
            file(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"))
        };
        assert!(read(&with("'<f4'", "(2, 3)")).is_ok());
        let mut long = with("'<f4'", "(2, 3)");
        long.splice(6..10, [2, 0, 0xf0, 0xff, 0xff, 0xff]);
        for (bytes, words) in [
            (b"PK\x03\x04".to_vec(), "no .npy file"),
            (b"\x93NUMPY".to_vec(), "no .npy file"),
            (with("'<f4'", "(2, 3)")[..40].to_vec(), "no .npy file"),
            (long, "no .npy file"),
            (file("{'descr': '<f4', 'fortran_order': False, }\n"), "cannot be read"),
            (with("'<f4'", "(-1, 3)"), "cannot be read"),
            (with("'<f4'", "(18446744073709551616,)"), "cannot be read"),
            (with("'<f4'", "(2 3)"), "cannot be read"),
            (with("'<f4', 'extra': 1", "(2, 3)"), "cannot be read"),
            (with("<f4", "(2, 3)"), "cannot be read"),
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
