//! Arithmetic of sizes that may be symbols.
//!
//! If two sizes must be equal and it is unknown whether they are, inference assumes that they are;
//! a run checks it. The result is the one that is a known number, or else the first.

use super::fresh::Fresh;
use crate::error::{Error, Result};
use crate::graph::{Dim, TensorType};

/// The most symbols and numbers in the formula of a size that is followed.
const MAX_WEIGHT: usize = 256;

fn too_large() -> Error {
    Error::shape("a size is too large to be counted")
}

pub(super) fn add(a: &Dim, b: &Dim) -> Result<Dim> {
    a.checked_add(b).ok_or_else(too_large)
}

pub(super) fn sub(a: &Dim, b: &Dim) -> Result<Dim> {
    a.checked_sub(b).ok_or_else(too_large)
}

pub(super) fn mul(a: &Dim, b: &Dim) -> Result<Dim> {
    a.checked_mul(b).ok_or_else(too_large)
}

pub(super) fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Result<Dim> {
    Dim::product(dims).ok_or_else(too_large)
}

/// Returns the quotient by a positive number, rounded up.
pub(super) fn ceil_div(a: &Dim, by: i64) -> Result<Dim> {
    Ok(add(a, &(by - 1).into())?.floor_div(&by.into()))
}

/// Returns whether two sizes can be equal in some run. They cannot if one is known to be larger.
pub(crate) fn may_equal(a: &Dim, b: &Dim) -> bool {
    // Every size that is no number may be 0 in a run, whatever its bounds.
    if (a.as_const() == Some(0)) != (b.as_const() == Some(0)) {
        return a.as_const().is_none() || b.as_const().is_none();
    }
    let Some((low, high)) = a.checked_sub(b).map(|d| d.bounds()) else { return true };
    low.is_none_or(|low| low <= 0) && high.is_none_or(|high| high >= 0)
}

/// Returns the size of two axes that must be equal, or `None` if they cannot be.
pub(super) fn merge(a: &Dim, b: &Dim) -> Option<Dim> {
    let kept = if a.as_const().is_none() && b.as_const().is_some() { b } else { a };
    may_equal(a, b).then(|| kept.clone())
}

/// Returns the size to which two sizes broadcast, or `None` if they cannot.
///
/// If it is unknown whether they are equal or one of them is 1, the result is the formula that is
/// right in both cases: their maximum, or 0 if one of them is 0.
fn broadcast_pair(a: &Dim, b: &Dim) -> Option<Dim> {
    let is = |dim: &Dim, value| dim.as_const() == Some(value);
    let above_one = |dim: &Dim| dim.is_at_least(&2.into());
    let fits = |dim: &Dim, size: &Dim| may_equal(dim, &1.into()) || may_equal(dim, size);
    match (a.as_const(), b.as_const()) {
        _ if a == b || is(b, 1) => Some(a.clone()),
        _ if is(a, 1) => Some(b.clone()),
        (Some(_), Some(_)) => None,
        (Some(_), None) => Some(a.clone()).filter(|a| fits(b, a)),
        (None, Some(_)) => Some(b.clone()).filter(|b| fits(a, b)),
        _ if above_one(a) && above_one(b) => merge(a, b),
        _ if above_one(a) => Some(a.clone()),
        _ if above_one(b) => Some(b.clone()),
        _ => {
            let (one, largest) = (Dim::from(1), a.maximum(b));
            let is_light = |dim: &Dim| dim.weight() <= MAX_WEIGHT;
            let may_be_empty = !a.is_at_least(&one) || !b.is_at_least(&one);
            let exact = match may_be_empty {
                true => largest.checked_mul(&a.minimum(b).minimum(&one)),
                false => Some(largest.clone()),
            };
            // If the formula is too long, the maximum alone is right except for empty inputs, which
            // a run then refuses. If that is too long as well, `simplify` replaces it.
            exact.filter(is_light).or(Some(largest))
        }
    }
}

/// Returns the sizes to which all `shapes` broadcast by the rules of numpy, which are ONNX's.
pub(super) fn broadcast(shapes: &[&[Dim]]) -> Result<Vec<Dim>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut result = vec![Dim::from(1); rank];
    for (i, shape) in shapes.iter().enumerate() {
        let first = rank - shape.len();
        for (axis, (size, other)) in (first..).zip(result[first..].iter_mut().zip(*shape)) {
            // A formula that is too long is not extended: `simplify` replaces it.
            if size.weight() > MAX_WEIGHT {
                continue;
            }
            // A size that occurred before changes nothing, but would make the formula longer.
            let of_axis =
                |shape: &&[Dim]| shape.get((axis + shape.len()).checked_sub(rank)?).cloned();
            if shapes[..i].iter().filter_map(of_axis).any(|earlier| earlier == *other) {
                continue;
            }
            *size = broadcast_pair(size, other).ok_or_else(|| {
                Error::shape(format!(
                    "shapes {shapes:?} do not broadcast: sizes {size} and {other} meet, and \
                     neither is 1"
                ))
            })?;
        }
    }
    Ok(result)
}

/// Checks that `small` broadcasts to exactly `large`.
pub(super) fn broadcasts_to(what: &str, small: &[Dim], large: &[Dim]) -> Result<()> {
    let fits = |(a, b): (&Dim, &Dim)| may_equal(a, &1.into()) || may_equal(a, b);
    let aligned = large.len().checked_sub(small.len());
    if aligned.is_some_and(|offset| small.iter().zip(&large[offset..]).all(fits)) {
        return Ok(());
    }
    Err(Error::shape(format!("{what} of shape {small:?} does not broadcast to {large:?}")))
}

/// Replaces sizes whose formulas are too long by new symbols.
pub(super) fn simplify(ty: &mut TensorType, fresh: &Fresh) {
    for dim in ty.dims.iter_mut().filter(|dim| dim.weight() > MAX_WEIGHT) {
        *dim = fresh.dim();
    }
}

/// Returns whether the formulas of all `elements` are short enough to be followed.
pub(super) fn are_simple(elements: &[Dim]) -> bool {
    elements.iter().all(|dim| dim.weight() <= MAX_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_too_long_to_be_followed_broadcast() {
        let symbols = |letter: char| (0..300).map(move |i| Dim::symbol(&format!("{letter}{i}")));
        let largest = |letter| symbols(letter).reduce(|a, b| a.maximum(&b)).unwrap();
        let (a, b) = (largest('a'), largest('b'));
        let sizes = broadcast(&[&[a], &[b]]).unwrap();
        assert!(!are_simple(&sizes));
    }

    #[test]
    fn a_size_that_depends_on_data_may_be_zero() {
        let dim = add(&Dim::unknown(1), &3.into()).unwrap();
        assert_eq!(broadcast(&[&[dim], &[3.into()]]).unwrap(), [3.into()]);
        let dim = add(&Dim::symbol("N"), &3.into()).unwrap();
        assert!(broadcast(&[&[dim], &[3.into()]]).is_err());
    }

    #[test]
    fn sizes_that_meet_several_times_stay_short() {
        let (n, h, w) = (Dim::symbol("N"), Dim::symbol("H"), Dim::symbol("W"));
        let half = |dim: &Dim| add(dim, &1.into()).unwrap().floor_div(&2.into());
        let positions = n.checked_mul(&half(&h)).and_then(|d| d.checked_mul(&half(&w))).unwrap();
        let rows = [positions.floor_div(&20.into())];
        let batch = [n];
        let both = broadcast(&[&rows, &batch]).unwrap();
        let all = broadcast(&[&rows, &both, &rows, &batch]).unwrap();
        let sizes = [("N", 3), ("H", 9), ("W", 7)].map(|(name, size)| (name.into(), size));
        assert_eq!(all[0].evaluate(&sizes.into_iter().collect()).unwrap(), 3);
    }
}
