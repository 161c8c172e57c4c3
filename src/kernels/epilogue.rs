//! What a kernel applies to its results while they are still in registers.
#![allow(unsafe_code)]

mod two_pieces;

pub(super) use two_pieces::TwoPieces;

use super::activation::{Activation, activate, clamp, each, hard_swish};
use super::place::Place;
use crate::simd::{LANES, Simd, times_sigmoid};

/// How a map joins a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// As a summand: a residual connection.
    #[default]
    Sum,
    /// By the larger of the two: a piece of Maxout.
    Maximum,
    /// By the smaller of the two.
    Minimum,
    /// As a factor.
    Product,
    /// As what is subtracted from the result.
    Difference,
    /// As what the result is subtracted from.
    ReverseDifference,
    /// As what the result is divided by.
    Quotient,
}

/// What happens to the results of one image, in this order: `before` is added, the activation is
/// applied, its value scaled by the attention and clamped, `after` joins.
///
/// Maps are NHWC with rows of `width` channels, a multiple of [`LANES`].
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// A map of the same size, added before the activation.
    pub before: Option<&'a [f32]>,
    /// The activation.
    pub activation: Activation,
    /// `[rows][width]`: all slopes, then all offsets of a max-affine activation, `c_0`, `c_1` and so on
    /// of another one; empty if the activation has none.
    pub coefficients: &'a [f32],
    /// Whether all channels share the first coefficient of each row, as in DY-ReLU-A; rows then
    /// have [`LANES`] elements.
    pub shared: bool,
    /// A factor for every row.
    pub attention: Option<&'a [f32]>,
    /// Bounds of the value: `min(max(y, low), high)`.
    pub clamp: Option<[f32; 2]>,
    /// A map of the same size that joins after the activation.
    pub after: Option<&'a [f32]>,
    /// How it joins.
    pub join: Join,
}

impl Epilogue<'static> {
    /// Nothing happens.
    pub const NONE: Self = Epilogue {
        before: None,
        activation: Activation::Identity,
        coefficients: &[],
        shared: false,
        attention: None,
        clamp: None,
        after: None,
        join: Join::Sum,
    };
}

impl Epilogue<'_> {
    /// Returns whether all slices have what a map of `rows` rows of `width` elements requires.
    pub fn fits(&self, rows: usize, width: usize) -> bool {
        let has = |m: Option<&[f32]>, width: usize| {
            m.is_none_or(|m| rows.checked_mul(width).is_some_and(|count| m.len() >= count))
        };
        let row = if self.shared { LANES } else { width };
        let has_pieces = match self.activation {
            Activation::MaxAffine { k } | Activation::MinAffine { k } => k > 0,
            _ => true,
        };
        let coefficients = has_pieces
            && match self.activation.rows() {
                Some(0) => true,
                rows => {
                    let count = rows.and_then(|rows| rows.checked_mul(row));
                    Some(self.coefficients.len()) == count
                }
            };
        width.is_multiple_of(LANES)
            && has(self.before, width)
            && has(self.after, width)
            && has(self.attention, 1)
            && coefficients
    }

    /// The part of this epilogue that is for a range of rows.
    pub fn rows(&self, rows: std::ops::Range<usize>, width: usize) -> Self {
        let of = |width: usize| rows.start * width..rows.end * width;
        Epilogue {
            before: self.before.map(|m| &m[of(width)]),
            attention: self.attention.map(|m| &m[of(1)]),
            after: self.after.map(|m| &m[of(width)]),
            ..*self
        }
    }

    /// Applies the epilogue to the results of a register tile, stores them, and adds them to the
    /// sums.
    ///
    /// The epilogues of which networks are full are applied to the registers. For the others the
    /// results are stored first, and [`pass`](Self::pass) goes over them in the nearest cache:
    /// every epilogue in every tile would be most of the program.
    ///
    /// # Safety
    /// The epilogue [`fits`](Self::fits), and `place` is one for `M` rows of `V` vectors.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        mut x: [[S::Vector; V]; M],
        place: Place,
    ) {
        // SAFETY: the caller guarantees that the epilogue fits the map of the place, and that the place has
        // `M` rows of `V` vectors.
        unsafe {
            if self.is_quick() {
                self.apply_quick(s, &mut x, &place);
                place.store(s, &x);
                place.add_to_sums(s, &x);
            } else {
                place.store(s, &x);
                self.pass(s, place.to, M, V * S::WIDTH, place);
            }
        }
    }

    /// Whether [`apply_quick`](Self::apply_quick) can apply it.
    #[inline(always)]
    fn is_quick(&self) -> bool {
        use Activation::*;
        self.after.is_none()
            && matches!(self.activation, Identity | Clamp { .. } | HardSwish | MaxAffine { k: 2 })
    }

    /// Applies an epilogue that [`is_quick`](Self::is_quick).
    ///
    /// # Safety
    /// As for [`finish`](Self::finish).
    #[inline(always)]
    unsafe fn apply_quick<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; V]; M],
        place: &Place,
    ) {
        // SAFETY: as for `finish`: the map and the coefficients have elements for every row and column of
        // the place.
        unsafe {
            if let Some(map) = self.before {
                join_map(s, Join::Sum, x, map, place);
            }
            match self.activation {
                Activation::Clamp { low, high } => clamp(s, x, low, high),
                Activation::HardSwish => hard_swish(s, x),
                Activation::MaxAffine { .. } => self.max_affine::<S, M, V, 2>(s, x, place),
                _ => {}
            }
            if let Some(pi) = self.attention {
                attend(s, x, pi.as_ptr().add(place.row));
            }
            if let Some([low, high]) = self.clamp {
                clamp(s, x, low, high);
            }
        }
    }

    /// Applies the epilogue to `columns` of `rows` rows of results in memory, stores them in their
    /// place, which may be where they are, and adds them to the sums.
    ///
    /// # Safety
    /// The epilogue [`fits`](Self::fits), `place` is one for as many rows and columns, and so many
    /// are readable at `from`, in rows as far apart.
    pub(super) unsafe fn pass<S: Simd>(
        &self,
        s: S,
        from: *const f32,
        rows: usize,
        columns: usize,
        place: Place,
    ) {
        if self.is_two_pieces(&place) {
            // SAFETY: as the caller guarantees.
            return unsafe { self.pass_two_pieces(s, from, rows, columns, place) };
        }
        s.vectorise(
            #[inline(always)]
            move || {
                let whole = columns - columns % S::WIDTH;
                // SAFETY: the caller guarantees so many rows and columns at `from` and at the place; the
                // columns are cut into whole vectors here.
                unsafe {
                    for column in (0..whole).step_by(S::WIDTH) {
                        self.pass_column(s, from.add(column), rows, place.at(0, column));
                    }
                    for column in (whole..columns).step_by(LANES) {
                        let place = place.at(0, column);
                        self.pass_column(s.narrow(), from.add(column), rows, place);
                    }
                }
            },
        );
    }

    /// As [`pass`](Self::pass) for a vector of columns.
    ///
    /// # Safety
    /// As for [`pass`](Self::pass).
    #[inline(always)]
    unsafe fn pass_column<S: Simd>(&self, s: S, from: *const f32, rows: usize, place: Place) {
        let is_quick = self.is_quick();
        let mut row = 0;
        while row < rows {
            // SAFETY: the caller guarantees so many rows; no more than are left are taken.
            unsafe {
                let (from, place) = (from.add(row * place.width), place.at(row, 0));
                row += match rows - row {
                    8.. if is_quick => self.pass_quick_rows::<S, 8>(s, from, place),
                    4.. => self.pass_rows::<S, 4>(s, from, place),
                    _ => self.pass_rows::<S, 1>(s, from, place),
                };
            }
        }
    }

    /// As [`pass_rows`](Self::pass_rows) for an epilogue that [`is_quick`](Self::is_quick).
    ///
    /// # Safety
    /// As for [`pass`](Self::pass).
    #[inline(always)]
    unsafe fn pass_quick_rows<S: Simd, const M: usize>(
        &self,
        s: S,
        from: *const f32,
        place: Place,
    ) -> usize {
        // SAFETY: the caller guarantees `M` rows of a vector at `from` and at the place.
        unsafe {
            let mut x: [[S::Vector; 1]; M] = load_rows(s, from, place.width);
            self.apply_quick(s, &mut x, &place);
            place.store(s, &x);
            place.add_to_sums(s, &x);
        }
        M
    }

    /// As [`pass`](Self::pass) for a vector of columns and `M` rows; gives `M`.
    ///
    /// # Safety
    /// As for [`pass`](Self::pass).
    #[inline(always)]
    unsafe fn pass_rows<S: Simd, const M: usize>(
        &self,
        s: S,
        from: *const f32,
        place: Place,
    ) -> usize {
        // SAFETY: the caller guarantees `M` rows of a vector at `from` and at the place, and that maps and
        // attention have elements for each of them.
        unsafe {
            let mut x: [[S::Vector; 1]; M] = load_rows(s, from, place.width);
            if let Some(map) = self.before {
                join_map(s, Join::Sum, &mut x, map, &place);
            }
            self.activate(s, &mut x, &place);
            if let Some(pi) = self.attention {
                attend(s, &mut x, pi.as_ptr().add(place.row));
            }
            if let Some([low, high]) = self.clamp {
                clamp(s, &mut x, low, high);
            }
            if let Some(map) = self.after {
                join_map(s, self.join, &mut x, map, &place);
            }
            place.store(s, &x);
            place.add_to_sums(s, &x);
        }
        M
    }

    /// Applies the activation, whichever it is.
    ///
    /// # Safety
    /// The coefficients fit the place.
    #[inline(always)]
    unsafe fn activate<S: Simd, const M: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; 1]; M],
        place: &Place,
    ) {
        let zero = s.splat(0.0);
        match self.activation {
            // SAFETY: the caller guarantees that the coefficients fit the place.
            Activation::MaxAffine { k } => unsafe {
                match k {
                    1 => self.max_affine::<S, M, 1, 1>(s, x, place),
                    2 => self.max_affine::<S, M, 1, 2>(s, x, place),
                    _ => self.many_pieces(s, x, k, place),
                }
            },
            // SAFETY: as above.
            Activation::MinAffine { k } => unsafe { self.smallest_piece(s, x, k, place) },
            Activation::ChannelClip => {
                // SAFETY: as above.
                let [low, high] = unsafe { self.coefficients(s, place) };
                let minus_high = s.sub(zero, high);
                each!(x, |x| {
                    let raised = s.max(x, low);
                    s.sub(zero, s.max(s.sub(zero, raised), minus_high))
                });
            }
            Activation::TwoSlopes => {
                // SAFETY: as above.
                let [up, down] = unsafe { self.coefficients(s, place) };
                each!(x, |x| s.mul_add(s.at_most(x, zero), down, s.mul(s.at_least(x, zero), up)));
            }
            Activation::Acon => {
                // SAFETY: as above.
                let [scale, slope, rate] = unsafe { self.coefficients(s, place) };
                each!(x, |x| {
                    s.mul_add(scale, times_sigmoid(s, x, s.mul(rate, x)), s.mul(slope, x))
                });
            }
            activation => activate(s, activation, x),
        }
    }

    /// The max-affine function of `K` pieces.
    ///
    /// # Safety
    /// The coefficients fit K pieces and the place.
    #[inline(always)]
    unsafe fn max_affine<S: Simd, const M: usize, const V: usize, const K: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; V]; M],
        place: &Place,
    ) {
        let mut pieces = [(s.splat(0.0), s.splat(0.0)); K];
        if self.shared {
            // A loop of its own, because the other one is slower with a test per vector.
            for (at, pieces) in pieces.iter_mut().enumerate() {
                // SAFETY: the caller guarantees that the coefficients are of `K` pieces.
                *pieces = unsafe { (self.shared(s, at), self.shared(s, K + at)) };
            }
            for x in x.as_flattened_mut() {
                *x = largest(s, *x, &pieces);
            }
            return;
        }
        for v in 0..V {
            for (at, pieces) in pieces.iter_mut().enumerate() {
                let column = v * S::WIDTH;
                // SAFETY: the caller guarantees that the coefficients are of `K` pieces and fit the place.
                *pieces =
                    unsafe { (self.own(s, at, column, place), self.own(s, K + at, column, place)) };
            }
            for x in x.iter_mut() {
                x[v] = largest(s, x[v], &pieces);
            }
        }
    }

    /// The max-affine function of any number of pieces.
    ///
    /// # Safety
    /// The coefficients fit `k` pieces and the place.
    #[inline(always)]
    unsafe fn many_pieces<S: Simd, const M: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; 1]; M],
        k: usize,
        place: &Place,
    ) {
        // SAFETY: the caller guarantees that the coefficients are of `k` pieces and fit the place.
        let piece = |at| unsafe { self.piece(s, at, k, 0, place) };
        let (a, b) = piece(0);
        let mut best = *x;
        each!(best, |x| s.mul_add(x, a, b));
        for at in 1..k {
            let (a, b) = piece(at);
            for (best, x) in best.iter_mut().zip(x.iter()) {
                best[0] = s.max(best[0], s.mul_add(x[0], a, b));
            }
        }
        *x = best;
    }

    /// The smallest of `k` affine pieces, as minus the largest of the pieces with the sign reversed.
    ///
    /// # Safety
    /// The coefficients fit `k` pieces and the place.
    #[inline(always)]
    unsafe fn smallest_piece<S: Simd, const M: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; 1]; M],
        k: usize,
        place: &Place,
    ) {
        let zero = s.splat(0.0);
        each!(x, |x| s.sub(zero, x));
        let mut best = *x;
        for at in 0..k {
            // SAFETY: the caller guarantees that the coefficients are of `k` pieces and fit the place.
            let (a, b) = unsafe { self.piece(s, at, k, 0, place) };
            for (best, x) in best.iter_mut().zip(x.iter()) {
                // The slope of `-x` is the slope of `x`.
                let piece = s.sub(s.mul(x[0], a), b);
                best[0] = if at == 0 { piece } else { s.max(best[0], piece) };
            }
        }
        each!(best, |x| s.sub(zero, x));
        *x = best;
    }

    /// Slopes and offsets of one of `k` pieces for a vector of channels, `column` from the place on.
    ///
    /// # Safety
    /// The coefficients fit `k` pieces and the place.
    #[inline(always)]
    unsafe fn piece<S: Simd>(
        &self,
        s: S,
        piece: usize,
        k: usize,
        column: usize,
        place: &Place,
    ) -> (S::Vector, S::Vector) {
        // SAFETY: the coefficients have `2 k` rows and fit the place.
        let of = |j: usize| unsafe { self.coefficient(s, j, column, place) };
        (of(piece), of(k + piece))
    }

    /// The first `N` coefficients for the vector of channels at the place.
    ///
    /// # Safety
    /// The coefficients have `N` rows and fit the place.
    #[inline(always)]
    unsafe fn coefficients<S: Simd, const N: usize>(&self, s: S, place: &Place) -> [S::Vector; N] {
        // Not `map`: its closure would be compiled without the instruction set's features.
        let mut all = [s.splat(0.0); N];
        for (j, one) in all.iter_mut().enumerate() {
            // SAFETY: as the caller guarantees.
            *one = unsafe { self.coefficient(s, j, 0, place) };
        }
        all
    }

    /// Coefficient `j` for a vector of channels, `column` from the place on.
    ///
    /// # Safety
    /// The coefficients have such a row and fit the place.
    #[inline(always)]
    unsafe fn coefficient<S: Simd>(
        &self,
        s: S,
        j: usize,
        column: usize,
        place: &Place,
    ) -> S::Vector {
        // SAFETY: as the caller guarantees.
        unsafe {
            match self.shared {
                true => self.shared(s, j),
                false => self.own(s, j, column, place),
            }
        }
    }

    /// Coefficient `j` of all channels.
    ///
    /// # Safety
    /// The coefficients have such a row, and are shared.
    #[inline(always)]
    unsafe fn shared<S: Simd>(&self, s: S, j: usize) -> S::Vector {
        // SAFETY: as the caller guarantees: rows have `LANES` elements.
        unsafe { s.splat(*self.coefficients.as_ptr().add(j * LANES)) }
    }

    /// Coefficient `j` of each of a vector of channels, `column` from the place on.
    ///
    /// # Safety
    /// The coefficients have such a row, are not shared, and fit the place.
    #[inline(always)]
    unsafe fn own<S: Simd>(&self, s: S, j: usize, column: usize, place: &Place) -> S::Vector {
        let at = place.column + column + j * place.width;
        // SAFETY: as the caller guarantees: rows have `place.width` elements.
        unsafe { s.load(self.coefficients.as_ptr().add(at)) }
    }
}

/// Multiplies each of `M` rows by its attention. The numbers lie at `pi`, one after another.
///
/// # Safety
/// There are so many numbers.
#[inline(always)]
unsafe fn attend<S: Simd, const M: usize, const V: usize>(
    s: S,
    x: &mut [[S::Vector; V]; M],
    pi: *const f32,
) {
    for (m, x) in x.iter_mut().enumerate() {
        // SAFETY: as the caller guarantees.
        let pi = s.splat(unsafe { *pi.add(m) });
        for x in x {
            *x = s.mul(*x, pi);
        }
    }
}

/// The largest of the affine pieces at `x`.
#[inline(always)]
fn largest<S: Simd, const K: usize>(
    s: S,
    x: S::Vector,
    pieces: &[(S::Vector, S::Vector); K],
) -> S::Vector {
    let mut best = s.mul_add(x, pieces[0].0, pieces[0].1);
    for &(a, b) in &pieces[1..] {
        best = s.max(best, s.mul_add(x, a, b));
    }
    best
}

/// A vector of each of `M` rows, which are `width` apart.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn load_rows<S: Simd, const M: usize>(
    s: S,
    from: *const f32,
    width: usize,
) -> [[S::Vector; 1]; M] {
    let mut x = [[s.splat(0.0)]; M];
    for (m, x) in x.iter_mut().enumerate() {
        // SAFETY: the caller guarantees that every row has a vector.
        x[0] = unsafe { s.load(from.add(m * width)) };
    }
    x
}

/// Joins the elements of a map at the place of `x`.
///
/// # Safety
/// The map has this place.
#[inline(always)]
unsafe fn join_map<S: Simd, const M: usize, const V: usize>(
    s: S,
    join: Join,
    x: &mut [[S::Vector; V]; M],
    map: &[f32],
    place: &Place,
) {
    let zero = s.splat(0.0);
    // SAFETY: the caller guarantees that the map has this place.
    let from = unsafe { map.as_ptr().add(place.row * place.width + place.column) };
    for (m, x) in x.iter_mut().enumerate() {
        for (v, x) in x.iter_mut().enumerate() {
            // SAFETY: the caller guarantees that the map has `M` rows of `V` vectors from there on.
            let other = unsafe { s.load(from.add(m * place.width + v * S::WIDTH)) };
            *x = match join {
                Join::Sum => s.add(*x, other),
                Join::Maximum => s.max(*x, other),
                Join::Minimum => {
                    let (a, b) = (s.sub(zero, *x), s.sub(zero, other));
                    s.sub(zero, s.max(a, b))
                }
                Join::Product => s.mul(*x, other),
                Join::Difference => s.sub(*x, other),
                Join::ReverseDifference => s.sub(other, *x),
                Join::Quotient => s.div(*x, other),
            };
        }
    }
}
