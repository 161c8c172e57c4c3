//! Exact fractions, for positions between elements.
//!
//! Which element is the nearest to a position can hang on the last bit, so positions are never
//! rounded. Numerators and denominators are products of a few sizes and of the integers that single
//! precision has, which i128 holds.

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

    /// Exactly `value`, which lies between 2^-40 and 2^40.
    pub fn of(value: f32) -> Self {
        let value = f64::from(value);
        // A number in single precision has 24 bits, here the lowest of them is 2^-63 or more.
        let exponent = (0..64).find(|&e| (value * f64::from(e).exp2()).fract() == 0.0).unwrap_or(0);
        let numerator = (value * f64::from(exponent).exp2()) as i128;
        Fraction { numerator, denominator: 1 << exponent }
    }

    /// Whether this is less than `other`. A denominator of 0 stands for infinity here.
    pub fn is_less(self, other: Self) -> bool {
        self.numerator * other.denominator < other.numerator * self.denominator
    }

    /// Whether this is 1.
    pub fn is_one(self) -> bool {
        self.numerator == self.denominator
    }

    /// The largest whole number that is not larger.
    pub fn floor(self) -> i128 {
        self.numerator.div_euclid(self.denominator)
    }

    /// The smallest whole number that is not smaller.
    pub fn ceil(self) -> i128 {
        -(-self.numerator).div_euclid(self.denominator)
    }

    /// This and `halves` halves.
    pub fn plus_halves(self, halves: i128) -> Self {
        let Fraction { numerator, denominator } = self;
        Fraction { numerator: 2 * numerator + halves * denominator, denominator: 2 * denominator }
    }

    /// The distance from here to the whole number `to`, rounded once.
    pub fn distance(self, to: i128) -> f64 {
        (to * self.denominator - self.numerator) as f64 / self.denominator as f64
    }

    /// The nearest f64, but for one rounding of each of the two.
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
            let Fraction { numerator, denominator } = Fraction::of(value);
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
