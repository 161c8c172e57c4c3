//! Packed weights as parts.
//!
//! A layer's packed weights are one to three plain tensors, its parts. The sizes of the parts follow
//! from what the layer is, so that whoever packs many layers gives each its place in one piece of
//! memory; kernels read parts where they lie, there or in a file.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::simd::{Isa, LANES, Simd, Vectorised};
use crate::tensor::{ALIGNMENT, AlignedBuffer, DType, Storage, Tensor};

/// The element type of a part, and how many elements it has.
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

/// Packs layers one after another into one piece of memory, which has large pages where the system
/// has them: a run reads all weights, and finding thousands of small pages costs a few per cent of
/// its time. `layers` are the sizes of the parts of each; `fill` gets the number of a layer and its
/// parts, which are zeros on boundaries of 64 bytes.
pub fn pack_together(
    layers: &[Vec<PartSize>],
    mut fill: impl FnMut(usize, &mut [&mut [u8]]),
) -> Vec<Vec<Tensor>> {
    let room = |size: &PartSize| size.bytes().next_multiple_of(ALIGNMENT);
    let mut memory = AlignedBuffer::zeroed(layers.iter().flatten().map(room).sum());
    let mut rest = memory.as_mut_bytes();
    for (layer, sizes) in layers.iter().enumerate() {
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(room(size));
            parts.push(&mut here[..size.bytes()]);
            rest = after;
        }
        fill(layer, &mut parts);
    }
    let memory = Storage::new(Arc::new(memory));
    let mut start = 0;
    let mut part = |size: &PartSize| {
        let here = memory.slice(start..start + size.bytes());
        start += room(size);
        let tensor = here.and_then(|s| Tensor::from_storage(size.dtype, &[size.len], s).ok());
        tensor.expect("the memory has room for all parts")
    };
    layers.iter().map(|sizes| sizes.iter().map(&mut part).collect()).collect()
}

/// As [`pack_together`], one layer alone.
pub(super) fn pack_alone(sizes: Vec<PartSize>, fill: impl FnOnce(&mut [&mut [u8]])) -> Vec<Tensor> {
    let mut fill = Some(fill);
    let mut parts = pack_together(&[sizes], |_, parts| {
        if let Some(fill) = fill.take() {
            fill(parts);
        }
    });
    parts.pop().unwrap_or_default()
}

/// Transposes `rows`, each of `length` numbers: calls `put(i, first, numbers)` with element `i` of
/// the rows from `first` on, as many as a narrow vector has; those that are missing are zeros.
pub(super) fn transpose_rows(
    rows: &[Unaligned],
    length: usize,
    put: impl FnMut(usize, usize, &[f32; LANES]),
) {
    if length > 0 {
        Isa::get().run_narrow(TransposeRows { rows, length, put });
    }
}

/// Elements of each row that are read at a time: a line of the cache.
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
                    // SAFETY: `from` ends with the last number of the last row that is read, and
                    // no alignment is asked for; the tile has as many numbers as are written.
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

/// The bytes of an f32. Plain weights are read as bytes because those of a file need not be aligned.
pub type Unaligned = [u8; 4];

/// Writes the bias, where there is one, over zeros.
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
            // On an address that no f32 has.
            let bytes = [&[0], bytemuck::cast_slice(&rows)].concat();
            let odd = bytemuck::cast_slice(&bytes[1..]);
            transpose_rows(odd, length, |i, first, numbers| {
                for (row, &number) in (first..).zip(numbers) {
                    assert_eq!(seen[row * length + i], 0.0, "it is given once");
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
