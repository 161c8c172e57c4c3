//! Sizes that are known only at run time, as polynomials over named symbols.
//!
//! A network exported with a free batch computes shapes such as `N * 4C / C`. As polynomials with
//! integer coefficients, equal sizes are structurally equal: a pass can see that a reshape keeps
//! the batch axis without knowing its size.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

use crate::error::{Error, Result};

/// A factor of a term, besides its coefficient.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(Arc<str>),
    FloorDiv(Dim, Dim),
    /// The minimum of two or more sizes, which are sorted.
    Min(Vec<Dim>),
    /// The maximum of two or more sizes, which are sorted.
    Max(Vec<Dim>),
}

/// The most terms of a polynomial. Like [`MAX_DEGREE`], it is more than any network needs, and
/// keeps hostile ones from making sizes that take too long to handle.
const MAX_TERMS: usize = 256;

/// The most factors of a term.
const MAX_DEGREE: usize = 32;

/// The first character of the names of sizes that depend on data.
const UNKNOWN: char = '?';

/// The size of an axis, or an integer computed from sizes.
///
/// It is a polynomial: from the factors of each term, sorted, to its coefficient, which is never 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dim(BTreeMap<Vec<Atom>, i64>);

/// The sizes that symbols stand for in one run.
pub type Bindings = BTreeMap<Arc<str>, usize>;

impl Dim {
    /// Returns a size with a name, such as `N`, that has no value before a run.
    pub fn symbol(name: &str) -> Self {
        Self::atom(Atom::Symbol(name.into()))
    }

    /// Returns a size that depends on data and may be 0. It is a symbol whose name is a question
    /// mark and `number`.
    pub fn unknown(number: usize) -> Self {
        Self::symbol(&format!("{UNKNOWN}{number}"))
    }

    fn atom(atom: Atom) -> Self {
        Dim(BTreeMap::from([(vec![atom], 1)]))
    }

    /// Returns the value, if it is known.
    pub fn as_const(&self) -> Option<i64> {
        match self.0.len() {
            0 => Some(0),
            1 => self.0.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// Returns the value as a size, if it is known and not negative.
    pub fn as_size(&self) -> Option<usize> {
        self.as_const().and_then(|v| usize::try_from(v).ok())
    }

    /// Returns the atom, if the polynomial is a single one.
    fn as_atom(&self) -> Option<&Atom> {
        match self.0.iter().next() {
            Some((atoms, 1)) if self.0.len() == 1 => match atoms.as_slice() {
                [atom] => Some(atom),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the name, if the polynomial is a single symbol.
    pub fn as_symbol(&self) -> Option<&str> {
        match self.as_atom() {
            Some(Atom::Symbol(name)) => Some(name),
            _ => None,
        }
    }

    /// Returns the sum, or `None` if a coefficient overflows or the polynomial becomes too long.
    pub fn checked_add(&self, other: &Dim) -> Option<Dim> {
        let mut sum = self.0.clone();
        for (atoms, &coefficient) in &other.0 {
            match sum.get_mut(atoms) {
                Some(entry) => *entry = entry.checked_add(coefficient)?,
                None => _ = sum.insert(atoms.clone(), coefficient),
            }
        }
        sum.retain(|_, coefficient| *coefficient != 0);
        (sum.len() <= MAX_TERMS).then_some(Dim(sum))
    }

    /// Returns the difference, or `None` as [`checked_add`](Self::checked_add) does.
    pub fn checked_sub(&self, other: &Dim) -> Option<Dim> {
        self.checked_add(&other.checked_mul(&Dim::from(-1))?)
    }

    /// Returns the product, or `None` as [`checked_add`](Self::checked_add) does.
    pub fn checked_mul(&self, other: &Dim) -> Option<Dim> {
        let mut product = BTreeMap::new();
        for (a, &x) in &self.0 {
            for (b, &y) in &other.0 {
                let mut atoms = [a.as_slice(), b.as_slice()].concat();
                atoms.sort();
                let entry = product.entry(atoms).or_insert(0i64);
                *entry = entry.checked_add(x.checked_mul(y)?)?;
            }
        }
        product.retain(|_, coefficient| *coefficient != 0);
        let fits = product.len() <= MAX_TERMS && product.keys().all(|a| a.len() <= MAX_DEGREE);
        fits.then_some(Dim(product))
    }

    /// Returns the product of all `dims`, or `None` as [`checked_add`](Self::checked_add) does.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Option<Dim> {
        dims.into_iter().try_fold(Dim::from(1), |product, dim| product.checked_mul(dim))
    }

    /// Returns the number of symbols and numbers in the formula, a measure of the cost of handling
    /// it.
    pub fn weight(&self) -> usize {
        let of_all = |dims: &[Dim]| dims.iter().map(Dim::weight).sum::<usize>();
        let of_atom = |atom: &Atom| match atom {
            Atom::Symbol(_) => 1,
            Atom::FloorDiv(a, b) => a.weight() + b.weight(),
            Atom::Min(dims) | Atom::Max(dims) => of_all(dims),
        };
        self.0.keys().map(|atoms| 1 + atoms.iter().map(of_atom).sum::<usize>()).sum()
    }

    /// Returns the lower and the upper bound, both inclusive, as far as they are known.
    ///
    /// A symbol stands for at least 1, or for at least 0 if it [depends on data](Self::unknown).
    pub fn bounds(&self) -> (Option<i64>, Option<i64>) {
        let mut sum = (Some(0i64), Some(0i64));
        let add = |a: Option<i64>, b: Option<i64>| a?.checked_add(b?);
        let mul = |a: Option<i64>, b: Option<i64>| a?.checked_mul(b?);
        for (atoms, &coefficient) in &self.0 {
            let mut product = (Some(1), Some(1));
            for atom in atoms {
                let (low, high) = atom.bounds();
                // A factor that may be negative leaves the product without bounds.
                let low = low.filter(|low| *low >= 0);
                let high = high.filter(|_| low.is_some());
                product = (mul(product.0, low), mul(product.1, high));
            }
            if coefficient < 0 {
                std::mem::swap(&mut product.0, &mut product.1);
            }
            let factor = Some(coefficient);
            sum = (add(sum.0, mul(product.0, factor)), add(sum.1, mul(product.1, factor)));
        }
        sum
    }

    /// Returns whether the size is known to be at least `other` in every run: from the
    /// [`bounds`](Self::bounds) of the difference, or because one is among the operands of the
    /// other's minimum or maximum.
    pub fn is_at_least(&self, other: &Dim) -> bool {
        match (self.as_atom(), other.as_atom()) {
            (Some(Atom::Max(dims)), _) if dims.contains(other) => return true,
            (_, Some(Atom::Min(dims))) if dims.contains(self) => return true,
            _ => {}
        }
        self.checked_sub(other).is_some_and(|d| d.bounds().0.is_some_and(|low| low >= 0))
    }

    /// Returns the leading term, with which long division starts. Terms are ordered by degree, then
    /// by their sorted factors; multiplication keeps this order.
    fn leading(&self) -> Option<(&Vec<Atom>, i64)> {
        let term = self.0.iter().max_by_key(|(atoms, _)| (atoms.len(), *atoms));
        term.map(|(atoms, &coefficient)| (atoms, coefficient))
    }

    /// Returns the quotient, if the division leaves no remainder.
    pub fn div_exact(&self, divisor: &Dim) -> Option<Dim> {
        let (by, factor) = divisor.leading()?;
        let (mut quotient, mut rest) = (Dim::default(), self.clone());
        while let Some((atoms, coefficient)) = rest.leading() {
            if coefficient.checked_rem(factor)? != 0 {
                return None;
            }
            let mut atoms = atoms.clone();
            for atom in by {
                let at = atoms.iter().position(|a| a == atom)?;
                atoms.remove(at);
            }
            let term = Dim(BTreeMap::from([(atoms, coefficient / factor)]));
            rest = rest.checked_sub(&divisor.checked_mul(&term)?)?;
            quotient = quotient.checked_add(&term)?;
        }
        Some(quotient)
    }

    /// Returns the quotient rounded toward minus infinity. A divisor of 0 gives 0; shape inference
    /// checks divisors itself.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if let Some(exact) = self.div_exact(divisor) {
            return exact;
        }
        match divisor.as_const() {
            Some(0) => Dim::default(),
            Some(by) if by > 0 => self.floor_div_by(by),
            _ => match (self.as_const(), divisor.as_const()) {
                (Some(a), Some(b)) => floor_div(a, b).into(),
                _ => Self::atom(Atom::FloorDiv(self.clone(), divisor.clone())),
            },
        }
    }

    /// Returns the quotient by a positive number, rounded down, in a normal form: parts that `by`
    /// divides are outside of the division, common factors are cancelled, and a quotient of a
    /// quotient is a single one. Equal quotients thus are structurally equal.
    fn floor_div_by(&self, mut by: i64) -> Dim {
        let (mut whole, mut rest) = (BTreeMap::new(), BTreeMap::new());
        for (atoms, &coefficient) in &self.0 {
            whole.insert(atoms.clone(), coefficient.div_euclid(by));
            rest.insert(atoms.clone(), coefficient.rem_euclid(by));
        }
        whole.retain(|_, coefficient| *coefficient != 0);
        rest.retain(|_, coefficient| *coefficient != 0);
        let constant = rest.remove(&Vec::new()).unwrap_or(0);

        let common = rest.values().fold(by, |a, &b| gcd(a, b));
        by /= common;
        rest.values_mut().for_each(|coefficient| *coefficient /= common);
        let mut constant = constant / common;
        if by == 1 {
            // The remainder of the constant vanishes: it was less than `common`, which divides the
            // rest.
            return &Dim(whole) + &Dim(rest);
        }
        let mut dividend = Dim(rest);
        let inner = match dividend.as_atom() {
            Some(Atom::FloorDiv(x, y)) => y.as_const().filter(|y| *y > 0).map(|y| (x.clone(), y)),
            _ => None,
        };
        if let Some((x, y)) = inner
            && let (Some(product), Some(shift)) = (by.checked_mul(y), constant.checked_mul(y))
        {
            (dividend, by, constant) = (x, product, shift);
        }
        let dividend = &dividend + &constant.into();
        &Dim(whole) + &Self::atom(Atom::FloorDiv(dividend, by.into()))
    }

    /// Returns the smaller of two sizes.
    pub fn minimum(&self, other: &Dim) -> Dim {
        let operands = |dim: &Dim| match dim.as_atom() {
            Some(Atom::Min(dims)) => dims.clone(),
            _ => vec![dim.clone()],
        };
        let kept = undominated(operands(self), operands(other), |a, b| b.is_at_least(a));
        <[Dim; 1]>::try_from(kept).map_or_else(|k| Self::atom(Atom::Min(k)), |[only]| only)
    }

    /// Returns the larger of two sizes.
    pub fn maximum(&self, other: &Dim) -> Dim {
        let operands = |dim: &Dim| match dim.as_atom() {
            Some(Atom::Max(dims)) => dims.clone(),
            _ => vec![dim.clone()],
        };
        let kept = undominated(operands(self), operands(other), Dim::is_at_least);
        <[Dim; 1]>::try_from(kept).map_or_else(|k| Self::atom(Atom::Max(k)), |[only]| only)
    }

    /// Returns the value for the sizes that `bindings` has for symbols.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if a symbol is not bound or the value does not fit in an
    /// `i64`.
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
                    Atom::Min(dims) => evaluate_all(dims, bindings, i64::min)?,
                    Atom::Max(dims) => evaluate_all(dims, bindings, i64::max)?,
                };
                product = product.checked_mul(value).ok_or_else(overflow)?;
            }
            sum = sum.checked_add(product).ok_or_else(overflow)?;
        }
        Ok(sum)
    }
}

impl Atom {
    fn bounds(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Atom::Symbol(name) => (Some(i64::from(!name.starts_with(UNKNOWN))), None),
            Atom::FloorDiv(a, b) => {
                let (low, high) = a.bounds();
                match b.as_const() {
                    Some(by) if by > 0 => {
                        (low.map(|a| floor_div(a, by)), high.map(|a| floor_div(a, by)))
                    }
                    _ => {
                        let natural = low >= Some(0) && b.bounds().0 >= Some(1);
                        (natural.then_some(0), high.filter(|_| natural))
                    }
                }
            }
            Atom::Min(dims) => {
                let all: Vec<_> = dims.iter().map(Dim::bounds).collect();
                let low = all.iter().map(|b| b.0).min().flatten();
                (low, all.iter().filter_map(|b| b.1).min())
            }
            Atom::Max(dims) => {
                let all: Vec<_> = dims.iter().map(Dim::bounds).collect();
                let high = all.iter().map(|b| b.1).collect::<Option<Vec<_>>>();
                (all.iter().filter_map(|b| b.0).max(), high.and_then(|h| h.into_iter().max()))
            }
        }
    }
}

/// Returns those operands of a minimum or maximum that no other operand `beats`, sorted.
fn undominated(mut kept: Vec<Dim>, more: Vec<Dim>, beats: impl Fn(&Dim, &Dim) -> bool) -> Vec<Dim> {
    for dim in more {
        if !kept.iter().any(|k| beats(k, &dim)) {
            kept.retain(|k| !beats(&dim, k));
            kept.push(dim);
        }
    }
    kept.sort();
    kept
}

fn evaluate_all(dims: &[Dim], bindings: &Bindings, pick: fn(i64, i64) -> i64) -> Result<i64> {
    let values: Vec<i64> = dims.iter().map(|d| d.evaluate(bindings)).collect::<Result<_>>()?;
    Ok(values.into_iter().reduce(pick).unwrap_or(0))
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
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

/// Returns the result of arithmetic that overflows: a size for which no run has a value.
fn unknowable() -> Dim {
    Dim::symbol("too large")
}

impl Add for &Dim {
    type Output = Dim;
    fn add(self, other: &Dim) -> Dim {
        self.checked_add(other).unwrap_or_else(unknowable)
    }
}

impl Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: &Dim) -> Dim {
        self.checked_sub(other).unwrap_or_else(unknowable)
    }
}

impl Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: &Dim) -> Dim {
        self.checked_mul(other).unwrap_or_else(unknowable)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(name) => f.write_str(name),
            Atom::FloorDiv(a, b) => {
                let operand = |dim: &Dim| match dim.as_atom().is_some() || dim.as_const().is_some()
                {
                    true => dim.to_string(),
                    false => format!("({dim})"),
                };
                write!(f, "floor({}/{})", operand(a), operand(b))
            }
            Atom::Min(dims) => write!(f, "min({})", listed(dims)),
            Atom::Max(dims) => write!(f, "max({})", listed(dims)),
        }
    }
}

fn listed(dims: &[Dim]) -> String {
    dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ")
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
mod tests;
