//! `Einsum`, read as transpositions, products of matrices and sums.
//!
//! Operands are contracted from left to right. In each pair, a label that both operands have and that
//! nothing else needs is summed by `MatMul`, one that is needed later is an axis of the batch.

use std::collections::HashSet;

use super::attributes::Attributes;
use super::operators::NodeReader;
use crate::error::{Error, Result};
use crate::graph::{Binary, Dim, Op, Reduce, ReduceKind, TensorType, ValueId};
use crate::tensor::Tensor;

/// A value with a label for each axis.
struct Term {
    value: ValueId,
    labels: Vec<char>,
}

/// An axis of a reshaped value.
enum Part {
    /// The axis at the same place stays.
    Keep,
    /// The axes with these labels become one.
    Merge(Vec<char>),
    /// The axis with this label is restored.
    Split(char),
}

/// The labels of an equation. Those of an ellipsis are characters for private use, counted from the last
/// axis of the ellipsis.
struct Equation {
    operands: Vec<Vec<char>>,
    output: Vec<char>,
}

/// The first label of an ellipsis.
const ELLIPSIS: u32 = 0xE000;

/// The most axes of an operand.
pub(super) const MAX_AXES: usize = 64;

fn is_of_ellipsis(label: char) -> bool {
    (ELLIPSIS..ELLIPSIS + MAX_AXES as u32).contains(&u32::from(label))
}

/// Returns the labels of `axes` axes of an ellipsis.
fn ellipsis(axes: usize) -> impl Iterator<Item = char> {
    (0..axes as u32).rev().filter_map(|i| char::from_u32(ELLIPSIS + i))
}

impl Equation {
    fn parse(text: &str, ranks: &[Option<usize>]) -> Result<Self> {
        let wrong = |why: &str| Error::format(format!("equation {text:?}: {why}"));
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match plain.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (plain.as_str(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return Err(wrong(&format!("it names {} operands of {}", terms.len(), ranks.len())));
        }
        let labels = |term: &str, wide: usize| -> Result<Vec<char>> {
            let expanded: Vec<char> = match term.split_once("...") {
                Some((before, after)) => {
                    before.chars().chain(ellipsis(wide)).chain(after.chars()).collect()
                }
                None => term.chars().collect(),
            };
            match expanded.iter().find(|&&c| !c.is_ascii_alphabetic() && !is_of_ellipsis(c)) {
                Some(c) => Err(wrong(&format!("{c:?} is no label"))),
                None => Ok(expanded),
            }
        };
        let (mut operands, mut widest) = (Vec::new(), 0);
        for (term, rank) in terms.iter().zip(ranks) {
            let named = term.replace("...", "").chars().count();
            let wide = match (term.contains("..."), rank) {
                (true, Some(rank)) => rank
                    .checked_sub(named)
                    .filter(|&wide| wide <= MAX_AXES)
                    .ok_or_else(|| wrong(&format!("{term:?} does not fit {rank} axes")))?,
                (true, None) => {
                    let message = "an ellipsis needs an operand whose number of axes is known";
                    return Err(Error::unsupported(message));
                }
                (false, Some(rank)) if *rank != named => {
                    return Err(wrong(&format!("{term:?} does not fit {rank} axes")));
                }
                (false, _) => 0,
            };
            widest = widest.max(wide);
            operands.push(labels(term, wide)?);
        }
        let all: Vec<char> = operands.concat();
        let output = match right {
            Some(right) => labels(right, widest)?,
            None => {
                let once = |c: &char| all.iter().filter(|&other| other == c).count() == 1;
                let named = all.iter().copied().filter(|c| !is_of_ellipsis(*c));
                let mut named: Vec<char> = named.filter(once).collect();
                named.sort_unstable();
                ellipsis(widest).chain(named).collect()
            }
        };
        if let Some(label) = output.iter().find(|label| !all.contains(label)) {
            return Err(wrong(&format!("no operand has the label {label:?} of the result")));
        }
        if output.iter().collect::<HashSet<_>>().len() < output.len() {
            return Err(wrong("the result has a label twice"));
        }
        Ok(Equation { operands, output })
    }
}

/// Where the size of a label is found: an operand and its axis.
struct Sizes {
    operands: Vec<(ValueId, Vec<char>, Option<TensorType>)>,
}

impl Sizes {
    fn source(&self, label: char) -> Option<(ValueId, usize)> {
        self.operands.iter().find_map(|(value, labels, _)| {
            Some((*value, labels.iter().position(|&other| other == label)?))
        })
    }

    /// Returns the size of a label that one operand has, if it is known.
    fn known(&self, label: char) -> Option<i64> {
        self.operands.iter().find_map(|(_, labels, ty)| {
            let axis = labels.iter().position(|&other| other == label)?;
            ty.as_ref()?.dims.get(axis).and_then(Dim::as_const).filter(|&size| size > 0)
        })
    }
}

impl NodeReader<'_> {
    pub(super) fn einsum(&mut self, a: &Attributes) -> Result<()> {
        let values = (0..self.inputs.len()).map(|i| self.input(i)).collect::<Result<Vec<_>>>()?;
        if values.is_empty() {
            return Err(Error::graph("it needs at least one input"));
        }
        let types: Vec<Option<TensorType>> = values.iter().map(|&id| self.ty(id)).collect();
        let ranks: Vec<_> = types.iter().map(|ty| ty.as_ref().map(|ty| ty.dims.len())).collect();
        let equation = Equation::parse(a.string("equation", "")?, &ranks)?;
        let labelled = values.iter().copied().zip(equation.operands.iter().cloned());
        let sizes = labelled.clone().zip(types).map(|((value, labels), ty)| (value, labels, ty));
        let sizes = Sizes { operands: sizes.collect() };
        let mut result: Option<Term> = None;
        for (i, (value, labels)) in labelled.enumerate() {
            let term = self.diagonal(i, Term { value, labels })?;
            let later = equation.operands[i + 1..].concat();
            let needed: HashSet<char> = later.into_iter().chain(equation.output.clone()).collect();
            result = Some(match result {
                None => term,
                Some(left) => self.contract(i, left, term, (&needed, &equation.output), &sizes)?,
            });
            if i == 0 {
                let first = result.take();
                result = first.map(|term| self.sum_out("sum_0", term, &needed));
            }
        }
        let Some(result) = result else { return Err(Error::graph("it has no input")) };
        let perm = order(&result.labels, &equation.output);
        let op = if is_sorted(&perm) { Op::Identity } else { Op::Transpose { perm } };
        self.finish(op, vec![Some(result.value)]);
        Ok(())
    }

    /// Takes the diagonal of axes that have the same label.
    fn diagonal(&mut self, i: usize, mut term: Term) -> Result<Term> {
        loop {
            let rank = term.labels.len();
            let twice = (0..rank).find_map(|second| {
                let first = term.labels[..second].iter().position(|&l| l == term.labels[second])?;
                Some((first, second))
            });
            let Some((first, second)) = twice else { return Ok(term) };
            let name = |what: &str| format!("diagonal_{i}_{rank}.{what}");
            let rows = self.positions(&name("rows"), term.value, rank, first);
            let columns = self.positions(&name("columns"), term.value, rank, second);
            let equal = self.apply(&name("mask"), Op::Binary(Binary::Equal), &[rows, columns]);
            let zero = self.typed_number(term.value, &name("zero"), 0.0)?;
            let masked = self.apply(&name("masked"), Op::Where, &[equal, term.value, zero]);
            term.value = self.sum(&name("sum"), masked, &[second as i64]);
            term.labels.remove(second);
        }
    }

    fn sum(&mut self, what: &str, x: ValueId, axes: &[i64]) -> ValueId {
        let axes = self.constant_named(&format!("{what}.axes"), Tensor::vector(axes.to_vec()));
        let kind = ReduceKind::Sum;
        let op = Op::Reduce(Reduce { kind, keep_dims: false, noop_with_empty_axes: false });
        self.apply(what, op, &[x, axes])
    }

    /// Sums over the axes whose labels are not needed.
    fn sum_out(&mut self, what: &str, term: Term, needed: &HashSet<char>) -> Term {
        let gone = (0..term.labels.len()).filter(|&axis| !needed.contains(&term.labels[axis]));
        let gone: Vec<i64> = gone.map(|axis| axis as i64).collect();
        if gone.is_empty() {
            return term;
        }
        let value = self.sum(what, term.value, &gone);
        Term { value, labels: term.labels.into_iter().filter(|l| needed.contains(l)).collect() }
    }

    /// Multiplies two terms and sums over the labels that both have and nothing else needs.
    fn contract(
        &mut self,
        i: usize,
        left: Term,
        right: Term,
        (needed, output): (&HashSet<char>, &[char]),
        sizes: &Sizes,
    ) -> Result<Term> {
        let of = |term: &Term| term.labels.iter().copied().collect::<HashSet<char>>();
        let (in_left, in_right) = (of(&left), of(&right));
        let name = |what: &str| format!("{what}_{i}");
        let wanted_left = needed.union(&in_right).copied().collect();
        let wanted_right = needed.union(&in_left).copied().collect();
        let left = self.sum_out(&name("left_sum"), left, &wanted_left);
        let right = self.sum_out(&name("right_sum"), right, &wanted_right);
        let pick = |term: &Term, other: &HashSet<char>, shared: bool, stays: bool| {
            let fits = |l: &char| other.contains(l) == shared && needed.contains(l) == stays;
            term.labels.iter().copied().filter(fits).collect::<Vec<char>>()
        };
        let batch = pick(&left, &in_right, true, true);
        let summed = pick(&left, &in_right, true, false);
        let rows = pick(&left, &in_right, false, true);
        let columns = pick(&right, &in_left, false, true);
        if summed.is_empty() {
            // Element by element, in the order of the output as far as that has the labels.
            let has = |label: &&char| in_left.contains(label) || in_right.contains(label);
            let first: Vec<char> = output.iter().filter(has).copied().collect();
            let others = [batch, rows, columns].concat().into_iter();
            let others = others.filter(|label| !first.contains(label));
            let labels: Vec<char> = first.iter().copied().chain(others).collect();
            let x = self.aligned(&name("left"), &left, &labels);
            let y = self.aligned(&name("right"), &right, &labels);
            let value = self.apply(&name("product"), Op::Binary(Binary::Mul), &[x, y]);
            return Ok(Term { value, labels });
        }
        let labels = [batch.clone(), rows.clone(), columns.clone()].concat();
        let left_order = [batch.clone(), rows.clone(), summed.clone()].concat();
        let right_order = [batch.clone(), summed.clone(), columns.clone()].concat();
        let mut x = self.transposed(&name("left"), &left, &left_order);
        let mut y = self.transposed(&name("right"), &right, &right_order);
        let kept = batch.len();
        let keep = |count: usize| (0..count).map(|_| Part::Keep).collect::<Vec<Part>>();
        // Without a batch, the rows of the product may be any number of axes.
        let open_rows = kept == 0 && !rows.is_empty();
        if summed.len() > 1 || (!open_rows && rows.len() != 1) {
            let mut parts = keep(kept);
            match open_rows {
                true => parts.extend(keep(rows.len())),
                false => parts.push(Part::Merge(rows.clone())),
            }
            parts.push(Part::Merge(summed.clone()));
            x = self.reshaped(&name("left_matrix"), x, parts, sizes)?;
        }
        if summed.len() > 1 || columns.len() != 1 {
            let mut parts = keep(kept);
            parts.extend([Part::Merge(summed), Part::Merge(columns.clone())]);
            y = self.reshaped(&name("right_matrix"), y, parts, sizes)?;
        }
        let mut value = self.apply(&name("product"), Op::MatMul, &[x, y]);
        if (!open_rows && rows.len() != 1) || columns.len() != 1 {
            let mut parts = keep(kept);
            match open_rows {
                true => parts.extend(keep(rows.len())),
                false => parts.extend(rows.into_iter().map(Part::Split)),
            }
            parts.extend(columns.into_iter().map(Part::Split));
            value = self.reshaped(&name("axes"), value, parts, sizes)?;
        }
        Ok(Term { value, labels })
    }

    fn transposed(&mut self, what: &str, term: &Term, wanted: &[char]) -> ValueId {
        let perm = order(&term.labels, wanted);
        if is_sorted(&perm) {
            return term.value;
        }
        self.apply(what, Op::Transpose { perm }, &[term.value])
    }

    /// Returns a term with an axis for each of `labels`, those of size 1 included that it does not have.
    fn aligned(&mut self, what: &str, term: &Term, labels: &[char]) -> ValueId {
        let has = |axis: &usize| term.labels.contains(&labels[*axis]);
        let (own, new): (Vec<usize>, Vec<usize>) = (0..labels.len()).partition(has);
        let own: Vec<char> = own.into_iter().map(|axis| labels[axis]).collect();
        let x = self.transposed(what, term, &own);
        if new.is_empty() {
            return x;
        }
        let axes = Tensor::vector(new.into_iter().map(|axis| axis as i64).collect::<Vec<i64>>());
        let axes = self.constant_named(&format!("{what}.axes"), axes);
        self.apply(&format!("{what}_axes"), Op::Unsqueeze, &[x, axes])
    }

    /// Reshapes to one axis per part. The shape is a constant if at most one size is unknown.
    fn reshaped(
        &mut self,
        what: &str,
        x: ValueId,
        parts: Vec<Part>,
        sizes: &Sizes,
    ) -> Result<ValueId> {
        let known = |part: &Part| match part {
            Part::Keep => Some(0),
            Part::Split(label) => sizes.known(*label),
            Part::Merge(labels) => {
                labels.iter().try_fold(1i64, |n, &label| n.checked_mul(sizes.known(label)?))
            }
        };
        let numbers: Vec<Option<i64>> = parts.iter().map(known).collect();
        if numbers.iter().filter(|size| size.is_none()).count() <= 1 {
            let shape: Vec<i64> = numbers.into_iter().map(|size| size.unwrap_or(-1)).collect();
            let shape = self.constant_named(&format!("{what}.shape"), Tensor::vector(shape));
            return Ok(self.apply(what, Op::Reshape { allow_zero: false }, &[x, shape]));
        }
        let mut entries = Vec::new();
        for (i, (part, number)) in parts.into_iter().zip(numbers).enumerate() {
            let name = format!("{what}.size_{i}");
            let labels = match (part, number) {
                (_, Some(number)) => {
                    entries.push(self.constant_named(&name, Tensor::vector(vec![number])));
                    continue;
                }
                (Part::Split(label), None) => vec![label],
                (Part::Merge(labels), None) => labels,
                (Part::Keep, None) => continue,
            };
            let mut product: Option<ValueId> = None;
            for (j, label) in labels.into_iter().enumerate() {
                let (value, axis) = sizes
                    .source(label)
                    .ok_or_else(|| Error::graph(format!("no operand has the label {label:?}")))?;
                let op = Op::Shape { start: axis as i64, end: Some(axis as i64 + 1) };
                let size = self.apply(&format!("{name}.{j}"), op, &[value]);
                product = Some(match product {
                    None => size,
                    Some(product) => {
                        let op = Op::Binary(Binary::Mul);
                        self.apply(&format!("{name}.product_{j}"), op, &[product, size])
                    }
                });
            }
            entries.extend(product);
        }
        let shape = self.apply(&format!("{what}.shape"), Op::Concat { axis: 0 }, &entries);
        Ok(self.apply(what, Op::Reshape { allow_zero: false }, &[x, shape]))
    }
}

/// Returns the axis of `labels` that each of `wanted` has.
fn order(labels: &[char], wanted: &[char]) -> Vec<usize> {
    wanted.iter().filter_map(|label| labels.iter().position(|other| other == label)).collect()
}

fn is_sorted(perm: &[usize]) -> bool {
    perm.iter().copied().eq(0..perm.len())
}
