//! The pass of a max-affine function of two pieces, which a projection applies to the rows that it reads.
#![allow(unsafe_code)]

use super::super::activation::{Activation, clamp, each};
use super::super::place::Place;
use super::{Epilogue, attend, largest, load_rows};
use crate::simd::{LANES, Simd};

impl Epilogue<'_> {
    /// Whether [`pass_two_pieces`](Self::pass_two_pieces) can apply it at the place: a max-affine
    /// function of two pieces, and nothing else but an attention and a clamp.
    #[inline(always)]
    pub(super) fn is_two_pieces(&self, place: &Place) -> bool {
        place.sums.is_none() && self.two_pieces().is_some()
    }

    /// As [`pass`](Self::pass) for an epilogue that [`is_two_pieces`](Self::is_two_pieces). A function
    /// of its own, so that coefficients and strides stay in registers.
    ///
    /// # Safety
    /// As for [`pass`](Self::pass).
    pub(super) unsafe fn pass_two_pieces<S: Simd>(
        &self,
        s: S,
        from: *const f32,
        rows: usize,
        columns: usize,
        place: Place,
    ) {
        s.vectorise(
            #[inline(always)]
            move || {
                let whole = columns - columns % S::WIDTH;
                // SAFETY: the caller guarantees so many rows and columns at `from` and at the place; the
                // columns are cut into whole vectors here.
                unsafe {
                    for column in (0..whole).step_by(S::WIDTH) {
                        self.two_pieces_of_column(s, from.add(column), rows, place.at(0, column));
                    }
                    for column in (whole..columns).step_by(LANES) {
                        let place = place.at(0, column);
                        self.two_pieces_of_column(s.narrow(), from.add(column), rows, place);
                    }
                }
            },
        );
    }

    /// As [`pass_two_pieces`](Self::pass_two_pieces) for a vector of columns.
    ///
    /// # Safety
    /// As for [`pass`](Self::pass).
    #[inline(always)]
    unsafe fn two_pieces_of_column<S: Simd>(
        &self,
        s: S,
        from: *const f32,
        rows: usize,
        place: Place,
    ) {
        let whole = rows - rows % 8;
        // SAFETY: the caller guarantees so many rows of a vector at `from` and at the place, and that the
        // coefficients and the attention fit it.
        unsafe {
            let column = Column {
                pieces: [self.piece(s, 0, 2, 0, &place), self.piece(s, 1, 2, 0, &place)],
                attention: self.attention.map(|pi| pi.as_ptr().add(place.row)),
                clamp: self.clamp,
                from,
                to: place.to,
                width: place.width,
            };
            for row in (0..whole).step_by(8) {
                column.rows::<8>(s, row);
            }
            for row in whole..rows {
                column.rows::<1>(s, row);
            }
        }
    }
}

/// A vector of columns to which a max-affine function of two pieces is applied. A copy of what the
/// epilogue says about it: stores to the map cannot change it, so that it stays in registers.
#[derive(Clone, Copy)]
struct Column<S: Simd> {
    pieces: [(S::Vector, S::Vector); 2],
    attention: Option<*const f32>,
    clamp: Option<[f32; 2]>,
    from: *const f32,
    to: *mut f32,
    /// The row stride of the map, in elements.
    width: usize,
}

impl<S: Simd> Column<S> {
    /// Computes `M` rows from `row` on.
    ///
    /// # Safety
    /// The rows are readable at `from` and writable at `to`, and the attention has them.
    #[inline(always)]
    unsafe fn rows<const M: usize>(self, s: S, row: usize) {
        let Column { pieces, attention, clamp: bounds, from, to, width } = self;
        // SAFETY: as the caller guarantees.
        unsafe {
            let mut x: [[S::Vector; 1]; M] = load_rows(s, from.add(row * width), width);
            each!(x, |x| largest(s, x, &pieces));
            if let Some(pi) = attention {
                attend(s, &mut x, pi.add(row));
            }
            if let Some([low, high]) = bounds {
                clamp(s, &mut x, low, high);
            }
            for (m, [x]) in x.into_iter().enumerate() {
                s.store(to.add((row + m) * width), x);
            }
        }
    }
}

/// A max-affine function of two pieces with nothing but an attention and a clamp, to be applied to a few
/// vectors at a time.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct TwoPieces<'a>(Epilogue<'a>);

impl<'a> Epilogue<'a> {
    /// Returns the epilogue as a max-affine function of two pieces, if it is one with nothing but an
    /// attention and a clamp.
    pub(in crate::kernels) fn two_pieces(&self) -> Option<TwoPieces<'a>> {
        let is_alone = self.before.is_none() && self.after.is_none();
        let is_max_affine = matches!(self.activation, Activation::MaxAffine { k: 2 });
        (is_alone && is_max_affine).then_some(TwoPieces(*self))
    }
}

impl TwoPieces<'_> {
    /// Applies the function to a vector of each of `M` rows: those from `row` on, at `column`.
    ///
    /// # Safety
    /// The epilogue fits maps of rows of `width` elements that have these rows and this vector.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn apply<S: Simd, const M: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; 1]; M],
        width: usize,
        row: usize,
        column: usize,
    ) {
        let place = Place { to: std::ptr::null_mut(), sums: None, row, column, width };
        // SAFETY: the caller guarantees the coefficients and the attention; nothing is stored.
        unsafe { self.0.apply_quick(s, x, &place) };
    }
}
