//! What a kernel applies to its results while they are still in registers.
#![allow(unsafe_code)]

use crate::simd::{LANES, Simd, padded, sigmoid, tanh};

/// The function that an epilogue applies to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`
    Identity,
    /// `min(max(x, low), high)`: ReLU is 0 to infinity, ReLU6 is 0 to 6.
    Clamp {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// `x < 0 ? alpha x : x`
    LeakyRelu {
        /// Slope of the negative part.
        alpha: f32,
    },
    /// `x * min(max(x / 6 + 1 / 2, 0), 1)`
    HardSwish,
    /// `min(max(alpha x + beta, 0), 1)`
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x / (1 + e^-(alpha x))`
    Swish {
        /// Factor inside the sigmoid; 1 is SiLU.
        alpha: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// `max over k of (a_k x + b_k)` with coefficients for every channel.
    MaxAffine {
        /// The number of pieces.
        k: usize,
    },
}

/// How a map joins a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// As a summand: a residual connection.
    #[default]
    Sum,
    /// By the larger of the two: a piece of Maxout.
    Maximum,
}

/// What happens to the results of one image, in this order: `before` is added, the activation is
/// applied, its value scaled by the attention, `after` joins.
///
/// Maps are NHWC with rows of `width` channels, a multiple of [`LANES`].
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// A map of the same size, added before the activation.
    pub before: Option<&'a [f32]>,
    /// The activation.
    pub activation: Activation,
    /// `[2K][width]`: all slopes, then all offsets; empty unless the activation is max-affine.
    pub coefficients: &'a [f32],
    /// Whether all channels share the first coefficient of each row, as in DY-ReLU-A; rows then
    /// have [`LANES`] elements.
    pub shared: bool,
    /// A factor for every position, the first of every [`LANES`] numbers.
    pub attention: Option<&'a [f32]>,
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
        after: None,
        join: Join::Sum,
    };
}

impl Epilogue<'_> {
    /// Whether all slices are as long as a map of `rows` rows of `width` elements asks for.
    pub fn fits(&self, rows: usize, width: usize) -> bool {
        let map = |m: Option<&[f32]>| m.is_none_or(|m| m.len() == rows * width);
        let coefficients = match self.activation {
            Activation::MaxAffine { k } => {
                let row = if self.shared { LANES } else { width };
                k > 0 && self.coefficients.len() == 2 * k * row
            }
            _ => true,
        };
        let attention = self.attention.is_none_or(|pi| pi.len() == rows * padded(1));
        width.is_multiple_of(LANES)
            && map(self.before)
            && map(self.after)
            && coefficients
            && attention
    }

    /// The part of this epilogue that is for a range of rows.
    pub fn rows(&self, rows: std::ops::Range<usize>, width: usize) -> Self {
        let of = |width: usize| rows.start * width..rows.end * width;
        Epilogue {
            before: self.before.map(|m| &m[of(width)]),
            attention: self.attention.map(|m| &m[of(padded(1))]),
            after: self.after.map(|m| &m[of(width)]),
            ..*self
        }
    }

    /// Applies the epilogue to the elements of `M` rows from `row` on, `V` vectors from `column` on.
    ///
    /// # Safety
    /// The epilogue [`fits`](Self::fits) a map of `width` that has these rows and columns.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; V]; M],
        row: usize,
        column: usize,
        width: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            if let Some(map) = self.before {
                join_map(s, Join::Sum, x, map, row, column, width);
            }
            self.activate(s, x, column, width);
            if let Some(pi) = self.attention {
                for (m, x) in x.iter_mut().enumerate() {
                    let pi = s.splat(*pi.get_unchecked((row + m) * LANES));
                    for x in x {
                        *x = s.mul(*x, pi);
                    }
                }
            }
            if let Some(map) = self.after {
                join_map(s, self.join, x, map, row, column, width);
            }
        }
    }

    #[inline(always)]
    unsafe fn activate<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; V]; M],
        column: usize,
        width: usize,
    ) {
        macro_rules! each {
            (|$x:ident| $y:expr) => {
                for row in x {
                    for $x in row {
                        *$x = $y;
                    }
                }
            };
        }
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        match self.activation {
            Activation::Identity => {}
            Activation::Clamp { low, high } => {
                let (low, high) = (s.splat(low), s.splat(high));
                each!(|x| s.at_most(s.at_least(*x, low), high));
            }
            Activation::HardSwish => {
                let (sixth, half) = (s.splat(1.0 / 6.0), s.splat(0.5));
                each!(|x| {
                    let gate = s.mul_add(*x, sixth, half);
                    s.mul(*x, s.at_most(s.at_least(gate, zero), one))
                });
            }
            // SAFETY: the caller's.
            Activation::MaxAffine { k } => unsafe {
                match k {
                    1 => self.max_affine::<S, M, V, 1>(s, x, k, column, width),
                    2 => self.max_affine::<S, M, V, 2>(s, x, k, column, width),
                    _ => self.max_affine::<S, M, V, 0>(s, x, k, column, width),
                }
            },
            activation => {
                // A copy, or else `x` would live in memory whatever the activation.
                let mut copy = *x;
                seldom(s, activation, copy.as_flattened_mut());
                *x = copy;
            }
        }
    }

    /// The max-affine function of `k` pieces, which is `K` unless that is 0.
    ///
    /// # Safety
    /// The coefficients fit K pieces and a map of `width` that has these columns.
    #[inline(always)]
    unsafe fn max_affine<S: Simd, const M: usize, const V: usize, const K: usize>(
        &self,
        s: S,
        x: &mut [[S::Vector; V]; M],
        k: usize,
        column: usize,
        width: usize,
    ) {
        // SAFETY: the caller's.
        let piece = |piece, v| unsafe { self.piece(s, piece, k, column + v * S::WIDTH, width) };
        if K == 0 {
            let mut copy = *x;
            for v in 0..V {
                let each = copy.as_flattened_mut().iter_mut().skip(v).step_by(V);
                many_pieces(s, each, k, |at| piece(at, v));
            }
            *x = copy;
            return;
        }
        for v in 0..V {
            let mut pieces = [(s.splat(0.0), s.splat(0.0)); K];
            for (at, pieces) in pieces.iter_mut().enumerate() {
                *pieces = piece(at, v);
            }
            for x in x.iter_mut() {
                let mut best = s.mul_add(x[v], pieces[0].0, pieces[0].1);
                for &(a, b) in &pieces[1..] {
                    best = s.max(best, s.mul_add(x[v], a, b));
                }
                x[v] = best;
            }
        }
    }

    /// Slopes and offsets of one piece for the channels of a vector.
    ///
    /// # Safety
    /// As for [`max_affine`](Self::max_affine).
    #[inline(always)]
    unsafe fn piece<S: Simd>(
        &self,
        s: S,
        piece: usize,
        k: usize,
        at: usize,
        width: usize,
    ) -> (S::Vector, S::Vector) {
        let theta = self.coefficients.as_ptr();
        // SAFETY: the coefficients are `[2K][width]`, or `[2K][LANES]` where they are shared.
        unsafe {
            if self.shared {
                let of = |j: usize| s.splat(*theta.add(j * LANES));
                (of(piece), of(k + piece))
            } else {
                let row = theta.add(at);
                (s.load(row.add(piece * width)), s.load(row.add((k + piece) * width)))
            }
        }
    }
}

/// The max-affine function of any number of pieces.
#[inline(always)]
fn many_pieces<'x, S: Simd>(
    s: S,
    xs: impl Iterator<Item = &'x mut S::Vector>,
    k: usize,
    piece: impl Fn(usize) -> (S::Vector, S::Vector),
) where
    S::Vector: 'x,
{
    for x in xs {
        let (a, b) = piece(0);
        let mut best = s.mul_add(*x, a, b);
        for at in 1..k {
            let (a, b) = piece(at);
            best = s.max(best, s.mul_add(*x, a, b));
        }
        *x = best;
    }
}

/// Activations that are seldom or slow, once for all tiles: inlined into each of them they would
/// be most of the program.
#[inline(never)]
fn seldom<S: Simd>(s: S, activation: Activation, x: &mut [S::Vector]) {
    macro_rules! each {
        (|$x:ident| $y:expr) => {
            for $x in x {
                *$x = $y;
            }
        };
    }
    s.vectorise(
        #[inline(always)]
        || {
            let (zero, one) = (s.splat(0.0), s.splat(1.0));
            match activation {
                Activation::LeakyRelu { alpha } => {
                    let alpha = s.splat(alpha);
                    each!(|x| s.mul_add(s.at_most(*x, zero), alpha, s.at_least(*x, zero)));
                }
                Activation::HardSigmoid { alpha, beta } => {
                    let (alpha, beta) = (s.splat(alpha), s.splat(beta));
                    each!(|x| s.at_most(s.at_least(s.mul_add(*x, alpha, beta), zero), one));
                }
                Activation::Sigmoid => each!(|x| sigmoid(s, *x)),
                Activation::Swish { alpha } => {
                    let alpha = s.splat(alpha);
                    each!(|x| s.mul(*x, sigmoid(s, s.mul(*x, alpha))));
                }
                Activation::Tanh => each!(|x| tanh(s, *x)),
                _ => unreachable!("{activation:?} is inlined"),
            }
        },
    );
}

/// Joins the elements of `map` from `row` and `column` on.
///
/// # Safety
/// A map of `width` that long has these rows and columns.
#[inline(always)]
unsafe fn join_map<S: Simd, const M: usize, const V: usize>(
    s: S,
    join: Join,
    x: &mut [[S::Vector; V]; M],
    map: &[f32],
    row: usize,
    column: usize,
    width: usize,
) {
    // SAFETY: the caller's.
    let from = unsafe { map.as_ptr().add(row * width + column) };
    for (m, x) in x.iter_mut().enumerate() {
        for (v, x) in x.iter_mut().enumerate() {
            // SAFETY: the caller's.
            let other = unsafe { s.load(from.add(m * width + v * S::WIDTH)) };
            *x = match join {
                Join::Sum => s.add(*x, other),
                Join::Maximum => s.max(*x, other),
            };
        }
    }
}

/// Adds `M` rows of `V` vectors to the vectors at `sums`.
///
/// # Safety
/// There are as many.
#[inline(always)]
pub(super) unsafe fn add_to_sums<S: Simd, const M: usize, const V: usize>(
    s: S,
    x: &[[S::Vector; V]; M],
    sums: *mut f32,
) {
    for v in 0..V {
        // SAFETY: the caller's.
        unsafe {
            let to = sums.add(v * S::WIDTH);
            let mut sum = s.load(to);
            for x in x {
                sum = s.add(sum, x[v]);
            }
            s.store(to, sum);
        }
    }
}
