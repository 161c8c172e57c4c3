//! Packed weights as parts.
//!
//! The packed weights of a layer are one to three one-dimensional tensors, its parts. Their sizes follow
//! from the sizes of the layer alone, so that many layers can be packed into one allocation. Kernels
//! read the parts where they lie: in that allocation or in a file.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::simd::{Isa, LANES, Simd, Vectorised};
use crate::tensor::{ALIGNMENT, AlignedBuffer, DType, Storage, Tensor};

/// The element type of a part and its number of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSize {
    /// The element type.
    pub dtype: DType,
    /// The number of elements.
    pub len: usize,
}

impl PartSize {
    pub(super) fn f32(len: usize) -> Self {
        PartSize { dtype: DType::F32, len }
    }

    fn bytes(self) -> usize {
        self.dtype.size() * self.len
    }
}

/// Packs layers one after another into one allocation and returns the parts of each layer.
///
/// `layers` holds the sizes of the parts of each layer. `fill` is called with the index of each layer
/// and its parts, which are zeros and start on 64-byte boundaries, and packs the layer into them.
///
/// The allocation has large pages where the system supports them: a run reads all weights, and address
/// translation of thousands of small pages costs a few per cent of its time.
pub fn pack_together(
    layers: &[Vec<PartSize>],
    mut fill: impl FnMut(usize, &mut [&mut [u8]]),
) -> Vec<Vec<Tensor>> {
    let padded_bytes = |size: &PartSize| size.bytes().next_multiple_of(ALIGNMENT);
    let mut memory = AlignedBuffer::zeroed(layers.iter().flatten().map(padded_bytes).sum());
    let mut rest = memory.as_mut_bytes();
    for (layer, sizes) in layers.iter().enumerate() {
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(padded_bytes(size));
            parts.push(&mut part[..size.bytes()]);
            rest = after;
        }
        fill(layer, &mut parts);
    }
    let memory = Storage::new(Arc::new(memory));
    let mut start = 0;
    let mut part = |size: &PartSize| {
        let bytes = memory.slice(start..start + size.bytes());
        start += padded_bytes(size);
        let tensor = bytes.and_then(|s| Tensor::from_storage(size.dtype, &[size.len], s).ok());
        tensor.expect("the memory has room for all parts")
    };
    layers.iter().map(|sizes| sizes.iter().map(&mut part).collect()).collect()
}

/// Packs a single layer, as [`pack_together`] does.
pub(super) fn pack_alone(sizes: Vec<PartSize>, fill: impl FnOnce(&mut [&mut [u8]])) -> Vec<Tensor> {
    let mut fill = Some(fill);
    let mut parts = pack_together(&[sizes], |_, parts| {
        if let Some(fill) = fill.take() {
            fill(parts);
        }
    });
    parts.pop().unwrap_or_default()
}

/// Transposes `rows [count][length]`, eight rows at a time: calls `put(i, first, numbers)` for each `i`
/// below `length` and each multiple `first` of eight below `count`, where `numbers` are the elements `i`
/// of the rows from `first` on. Elements of rows beyond the last one are zeros.
pub(super) fn transpose_rows(
    rows: &[Unaligned],
    length: usize,
    put: impl FnMut(usize, usize, &[f32; LANES]),
) {
    if length > 0 {
        Isa::get().run_narrow(TransposeRows { rows, length, put });
    }
}

/// Elements of each row that are read at a time: a cache line.
const LINE: usize = 16;

struct TransposeRows<'a, P> {
    rows: &'a [Unaligned],
    length: usize,
    put: P,
}

impl<P: FnMut(usize, usize, &[f32; LANES])> Vectorised for TransposeRows<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let count = self.rows.len() / self.length;
        for line in (0..self.length).step_by(LINE) {
            let line = line..self.length.min(line + LINE);
            for first in (0..count).step_by(LANES) {
                let rows = &self.rows[first * self.length..];
                let mut start = line.start;
                while start + LANES <= line.end && first + LANES <= count {
                    let mut tile = [[0.0; LANES]; LANES];
                    let from = &rows[start..][..(LANES - 1) * self.length + LANES];
                    // SAFETY: `from` ends with the last element of the last row that is read; loads
                    // need no alignment; the tile has room for the eight rows that are written.
                    unsafe {
                        let to = tile.as_flattened_mut().as_mut_ptr();
                        s.transpose(from.as_ptr().cast(), self.length, to, LANES);
                    }
                    for (i, numbers) in tile.iter().enumerate() {
                        (self.put)(start + i, first, numbers);
                    }
                    start += LANES;
                }
                for i in start..line.end {
                    let mut numbers = [0.0; LANES];
                    let column = rows[i..].iter().step_by(self.length);
                    for (to, &from) in numbers.iter_mut().zip(column) {
                        *to = f32::from_ne_bytes(from);
                    }
                    (self.put)(i, first, &numbers);
                }
            }
        }
    }
}

/// The bytes of an f32. Unpacked weights are read as bytes because they need not be aligned in a file.
pub type Unaligned = [u8; 4];

/// Copies the bias, if the layer has one, to the start of `part`.
pub(super) fn fill_bias(bias: Option<&[f32]>, part: &mut [u8]) {
    if let Some(bias) = bias {
        bytemuck::cast_slice_mut::<u8, f32>(part)[..bias.len()].copy_from_slice(bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_transposed_at_any_sizes() {
        for (count, length) in [(0usize, 3), (1, 1), (3, 17), (8, 16), (11, 40), (24, 9), (17, 0)] {
            let rows: Vec<f32> = (1..=count * length).map(|i| i as f32).collect();
            let mut seen = vec![0.0; count.next_multiple_of(LANES) * length];
            // An address that is not aligned for f32.
            let bytes = [&[0], bytemuck::cast_slice(&rows)].concat();
            let odd = bytemuck::cast_slice(&bytes[1..]);
            transpose_rows(odd, length, |i, first, numbers| {
                for (row, &number) in (first..).zip(numbers) {
                    assert_eq!(seen[row * length + i], 0.0, "element {i} of row {row} comes once");
                    seen[row * length + i] = number;
                }
            });
            assert_eq!(seen[..rows.len()], rows);
            assert!(seen[rows.len()..].iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn parts_lie_one_after_another_on_boundaries() {
        let halves = PartSize { dtype: DType::F16, len: 9 };
        let layers = [vec![PartSize::f32(5)], vec![halves, PartSize::f32(3)]];
        let packed = pack_together(&layers, |layer, parts| {
            for (i, part) in parts.iter_mut().enumerate() {
                assert!(part.iter().all(|&byte| byte == 0));
                part.fill((10 * layer + i) as u8);
            }
        });
        let parts: Vec<&Tensor> = packed.iter().flatten().collect();
        let bytes: Vec<_> =
            parts.iter().map(|part| (part.bytes().len(), part.bytes()[0])).collect();
        assert_eq!(bytes, [(20, 0), (18, 10), (12, 11)]);
        let address = |i: usize| parts[i].bytes().as_ptr().addr();
        assert!(address(0).is_multiple_of(ALIGNMENT));
        assert_eq!([address(1) - address(0), address(2) - address(1)], [ALIGNMENT; 2]);
    }
}
