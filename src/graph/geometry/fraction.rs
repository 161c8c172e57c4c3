//! Exact fractions, for positions between elements.
//!
//! The last bit of a position can decide which element is the nearest, so that positions are never
//! rounded. Numerators and denominators are products of a few sizes and of the integers in a number
//! of single precision, which fit into i128.

/// A fraction; its denominator is positive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fraction {
    pub numerator: i128,
    pub denominator: i128,
}

impl Fraction {
    /// Zero.
    pub const ZERO: Self = Fraction { numerator: 0, denominator: 1 };

    /// One.
    pub const ONE: Self = Fraction { numerator: 1, denominator: 1 };

    /// Returns the exact fraction for `value`, which must be between 2^-40 and 2^40.
    pub fn from_f32(value: f32) -> Self {
        let value = f64::from(value);
        // Of the 24 bits of such a number the lowest is worth at least 2^-63.
        let exponent = (0..64).find(|&e| (value * f64::from(e).exp2()).fract() == 0.0).unwrap_or(0);
        let numerator = (value * f64::from(exponent).exp2()) as i128;
        Fraction { numerator, denominator: 1 << exponent }
    }

    /// Returns whether the fraction is less than `other`. A denominator of 0 means infinity.
    pub fn is_less(self, other: Self) -> bool {
        self.numerator * other.denominator < other.numerator * self.denominator
    }

    /// Returns whether the fraction is 1.
    pub fn is_one(self) -> bool {
        self.numerator == self.denominator
    }

    /// Returns the largest integer that is not larger.
    pub fn floor(self) -> i128 {
        self.numerator.div_euclid(self.denominator)
    }

    /// Returns the smallest integer that is not smaller.
    pub fn ceil(self) -> i128 {
        -(-self.numerator).div_euclid(self.denominator)
    }

    /// Returns the sum of the fraction and `halves / 2`.
    pub fn plus_halves(self, halves: i128) -> Self {
        let Fraction { numerator, denominator } = self;
        Fraction { numerator: 2 * numerator + halves * denominator, denominator: 2 * denominator }
    }

    /// Returns the distance to the integer `to`, rounded once.
    pub fn distance(self, to: i128) -> f64 {
        (to * self.denominator - self.numerator) as f64 / self.denominator as f64
    }

    /// Returns the quotient as f64, of a numerator and a denominator that are each rounded once.
    pub fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_is_taken_exactly() {
        for value in [1f32, 0.1, 0.7, 1.0 / 3.0, 2.5, 1e6, 9.1e-13, 1.09e12] {
            let Fraction { numerator, denominator } = Fraction::from_f32(value);
            assert_eq!(numerator as f64 / denominator as f64, f64::from(value));
            assert!(numerator % 2 == 1 || denominator == 1, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn whole_numbers_below_and_above() {
        for (numerator, floor, ceil) in
            [(-7, -3, -2), (-6, -2, -2), (0, 0, 0), (7, 2, 3), (9, 3, 3)]
        {
            let fraction = Fraction { numerator, denominator: 3 };
            assert_eq!((fraction.floor(), fraction.ceil()), (floor, ceil), "{numerator}/3");
        }
        let half = Fraction::ZERO.plus_halves(1);
        assert_eq!((half.floor(), half.ceil(), half.plus_halves(-1).ceil()), (0, 1, 0));
        assert_eq!(half.distance(3), 2.5);
    }
}
