//! Sizes that are known only at run time: polynomials over named symbols.
//!
//! A network exported with a free batch computes shapes such as `N * 4C / C`. Keeping a size as a
//! polynomial with whole coefficients makes equal sizes structurally equal, so that a pass can
//! see that a reshape keeps the batch axis without knowing how long it is.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

use crate::error::{Error, Result};

/// What a product may contain besides a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(Arc<str>),
    FloorDiv(Dim, Dim),
    Min(Dim, Dim),
    Max(Dim, Dim),
}

/// The size of an axis, or an integer computed from sizes: a sum of products of symbols.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dim(BTreeMap<Vec<Atom>, i64>);

/// The sizes that symbols stand for in one run.
pub type Bindings = BTreeMap<Arc<str>, usize>;

impl Dim {
    /// A size that has a name and no value yet, such as `N`.
    pub fn symbol(name: &str) -> Self {
        Self::atom(Atom::Symbol(name.into()))
    }

    fn atom(atom: Atom) -> Self {
        Dim(BTreeMap::from([(vec![atom], 1)]))
    }

    /// The value, where it is known.
    pub fn as_const(&self) -> Option<i64> {
        match self.0.len() {
            0 => Some(0),
            1 => self.0.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// The value as a size, where it is known and not negative.
    pub fn as_size(&self) -> Option<usize> {
        self.as_const().and_then(|v| usize::try_from(v).ok())
    }

    /// The name, where this is one symbol and nothing else.
    pub fn as_symbol(&self) -> Option<&str> {
        match self.0.iter().next() {
            Some((atoms, 1)) if self.0.len() == 1 => match atoms.as_slice() {
                [Atom::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The quotient, where `divisor` divides every term (a divisor of several terms only where
    /// it equals this).
    pub fn div_exact(&self, divisor: &Dim) -> Option<Dim> {
        if divisor.0.is_empty() {
            return None;
        }
        if self == divisor {
            return Some(1.into());
        }
        let mut terms = divisor.0.iter();
        let (Some((by, &factor)), None) = (terms.next(), terms.next()) else { return None };
        let mut quotient = BTreeMap::new();
        for (atoms, &coefficient) in &self.0 {
            if coefficient.checked_rem(factor)? != 0 {
                return None;
            }
            let mut rest = atoms.clone();
            for atom in by {
                let at = rest.iter().position(|a| a == atom)?;
                rest.remove(at);
            }
            quotient.insert(rest, coefficient / factor);
        }
        Some(Dim(quotient))
    }

    /// The quotient rounded toward minus infinity. A divisor of zero gives zero: shape inference
    /// rejects it where it matters.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if let Some(exact) = self.div_exact(divisor) {
            return exact;
        }
        match (self.as_const(), divisor.as_const()) {
            (_, Some(0)) => Dim::default(),
            (Some(a), Some(b)) => floor_div(a, b).into(),
            _ => Self::atom(Atom::FloorDiv(self.clone(), divisor.clone())),
        }
    }

    /// The smaller of two.
    pub fn min(&self, other: &Dim) -> Dim {
        match (self.as_const(), other.as_const()) {
            (Some(a), Some(b)) => a.min(b).into(),
            _ if self == other => self.clone(),
            _ => Self::atom(Atom::Min(self.clone(), other.clone())),
        }
    }

    /// The larger of two.
    pub fn max(&self, other: &Dim) -> Dim {
        match (self.as_const(), other.as_const()) {
            (Some(a), Some(b)) => a.max(b).into(),
            _ if self == other => self.clone(),
            _ => Self::atom(Atom::Max(self.clone(), other.clone())),
        }
    }

    /// The value under `bindings`.
    ///
    /// # Errors
    /// `Shape` where a symbol is not bound or the value does not fit in an `i64`.
    pub fn evaluate(&self, bindings: &Bindings) -> Result<i64> {
        let overflow = || Error::shape(format!("the size {self} is too large"));
        let mut sum = 0i64;
        for (atoms, &coefficient) in &self.0 {
            let mut product = coefficient;
            for atom in atoms {
                let value = match atom {
                    Atom::Symbol(name) => {
                        let bound = bindings
                            .get(name)
                            .ok_or_else(|| Error::shape(format!("the size {name} is not known")))?;
                        i64::try_from(*bound).map_err(|_| overflow())?
                    }
                    Atom::FloorDiv(a, b) => match b.evaluate(bindings)? {
                        0 => return Err(Error::shape(format!("the size {self} divides by zero"))),
                        b => floor_div(a.evaluate(bindings)?, b),
                    },
                    Atom::Min(a, b) => a.evaluate(bindings)?.min(b.evaluate(bindings)?),
                    Atom::Max(a, b) => a.evaluate(bindings)?.max(b.evaluate(bindings)?),
                };
                product = product.checked_mul(value).ok_or_else(overflow)?;
            }
            sum = sum.checked_add(product).ok_or_else(overflow)?;
        }
        Ok(sum)
    }
}

fn floor_div(a: i64, b: i64) -> i64 {
    let quotient = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        if value == 0 { Dim::default() } else { Dim(BTreeMap::from([(Vec::new(), value)])) }
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        i64::try_from(value).unwrap_or(i64::MAX).into()
    }
}

impl From<i32> for Dim {
    fn from(value: i32) -> Self {
        i64::from(value).into()
    }
}

impl Add for &Dim {
    type Output = Dim;
    fn add(self, other: &Dim) -> Dim {
        let mut sum = self.0.clone();
        for (atoms, &coefficient) in &other.0 {
            let entry = sum.entry(atoms.clone()).or_insert(0);
            *entry = entry.saturating_add(coefficient);
        }
        sum.retain(|_, coefficient| *coefficient != 0);
        Dim(sum)
    }
}

impl Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: &Dim) -> Dim {
        self + &(other * &Dim::from(-1))
    }
}

impl Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: &Dim) -> Dim {
        let mut product = BTreeMap::new();
        for (a, &x) in &self.0 {
            for (b, &y) in &other.0 {
                let mut atoms = [a.as_slice(), b.as_slice()].concat();
                atoms.sort();
                let entry = product.entry(atoms).or_insert(0i64);
                *entry = entry.saturating_add(x.saturating_mul(y));
            }
        }
        product.retain(|_, coefficient| *coefficient != 0);
        Dim(product)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(name) => f.write_str(name),
            Atom::FloorDiv(a, b) => write!(f, "floor(({a})/({b}))"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        for (i, (atoms, &coefficient)) in self.0.iter().rev().enumerate() {
            let sign = if coefficient < 0 { "-" } else { "+" };
            if i > 0 || coefficient < 0 {
                f.write_str(sign)?;
            }
            let magnitude = coefficient.unsigned_abs();
            if magnitude != 1 || atoms.is_empty() {
                write!(f, "{magnitude}")?;
            }
            for (j, atom) in atoms.iter().enumerate() {
                let times = if j > 0 || magnitude != 1 { "*" } else { "" };
                write!(f, "{times}{atom}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_are_structurally_equal() {
        let n = Dim::symbol("N");
        let four_c = Dim::from(256);
        let total = &n * &four_c;
        assert_eq!(total.div_exact(&Dim::from(64)).unwrap(), &n * &Dim::from(4));
        assert_eq!(total.div_exact(&n).unwrap(), four_c);
        assert_eq!(&(&n + &Dim::from(3)) - &Dim::from(3), n);
        assert_eq!((&n - &n).as_const(), Some(0));
        assert_eq!(total.div_exact(&Dim::from(3)), None);
    }

    #[test]
    fn what_cannot_be_divided_is_divided_at_run_time() {
        let h = Dim::symbol("H");
        let half = &(&h - &Dim::from(1)).floor_div(&Dim::from(2)) + &Dim::from(1);
        let bindings = Bindings::from([("H".into(), 225)]);
        assert_eq!(half.evaluate(&bindings).unwrap(), 113);
        assert_eq!(half.to_string(), "floor((H-1)/(2))+1");
        assert!(half.evaluate(&Bindings::new()).is_err());
        assert_eq!(Dim::from(-7).floor_div(&2.into()).as_const(), Some(-4));
    }

    #[test]
    fn names_and_numbers_print_as_written() {
        assert_eq!(Dim::symbol("batch").to_string(), "batch");
        assert_eq!(Dim::symbol("batch").as_symbol(), Some("batch"));
        assert_eq!(Dim::from(0).to_string(), "0");
        assert_eq!((&Dim::symbol("N") * &Dim::from(3)).to_string(), "3*N");
    }
}
