//! The rules for values in which the images lie one after another along an axis that has several entries
//! for each.
//!
//! Optimisers write a layer of tokens `[1, T, C]` as a matrix product of `[T, C]`. For a batch, the rows of
//! the matrix are the tokens of the first image, then those of the second, and so on.

use super::follow::{Images, MERGES, Rewrite, Scope, UNCLEAR};
use crate::graph::{Dim, Op};

type Followed = Result<(Images, Option<Rewrite>), String>;

impl Scope<'_> {
    /// As [`follow`](Self::follow), for a node of which an input has merged images.
    pub fn follow_merged(&self) -> Followed {
        let merged = |axis: usize| Ok((Images::Merged(axis), None));
        match &self.node.op {
            Op::Unary(_) | Op::Clip | Op::Cast { .. } | Op::Identity | Op::Dropout => {
                merged(self.only_merged()?)
            }
            Op::Binary(_) | Op::Variadic(_) | Op::Where | Op::PRelu => merged(self.joined()?),
            Op::Gemm(gemm) => {
                let rows = self.only_merged()? == usize::from(gemm.trans_a);
                // A bias with a row for each token would have to be repeated.
                let bias_fits = match self.node.input(2) {
                    Some(_) => {
                        let bias = self.dims(2)?;
                        bias.len() < 2 || bias[0].as_const() == Some(1)
                    }
                    None => true,
                };
                if rows && bias_fits { merged(0) } else { Err(UNCLEAR.into()) }
            }
            Op::MatMul => {
                let (axis, rank) = (self.only_merged()?, self.rank(0)?);
                let is_row = axis + 1 < rank && self.rank(1)? == 2;
                if is_row { merged(axis) } else { Err(UNCLEAR.into()) }
            }
            Op::LayerNormalization { axis, .. } => self.beyond(*axis),
            Op::Softmax(softmax) | Op::LogSoftmax(softmax) => {
                match softmax.flatten || self.axis(softmax.axis)? != self.only_merged()? {
                    true if softmax.flatten => self.beyond(softmax.axis),
                    true => merged(self.only_merged()?),
                    false => Err("it normalises over the images".into()),
                }
            }
            Op::Transpose { perm } => {
                let (axis, rank) = (self.only_merged()?, self.rank(0)?);
                let to = match perm.is_empty() {
                    true => Some(rank - 1 - axis),
                    false => perm.iter().position(|&from| from == axis),
                };
                merged(to.ok_or(UNCLEAR)?)
            }
            Op::Reshape { .. } => {
                let (images, shape) = self.part(self.only_merged()?).ok_or(MERGES)?;
                Ok((images, Some(Rewrite::Shape(shape))))
            }
            _ => Err("it has the images merged with another axis".into()),
        }
    }

    /// The merged axis of the first input. The other inputs must not depend on the images.
    fn only_merged(&self) -> Result<usize, String> {
        let place = |i: usize| self.node.input(i).map(|id| self.images[id.index()]);
        let is_absent = |i| matches!(place(i), None | Some(Images::Absent));
        match place(0) {
            Some(Images::Merged(axis)) if (1..self.node.inputs.len()).all(is_absent) => Ok(axis),
            _ => Err(UNCLEAR.into()),
        }
    }

    /// The merged axis of operands that are broadcast together.
    fn joined(&self) -> Result<usize, String> {
        let rank = self.output()?.len();
        let mut merged = None;
        for (i, input) in self.node.inputs.iter().enumerate() {
            let Some(input) = input else { continue };
            match self.images[input.index()] {
                Images::Absent => {}
                Images::Along(_) => return Err(MERGES.into()),
                Images::Merged(axis) => {
                    let axis = axis + rank - self.rank(i)?;
                    if merged.replace(axis).is_some_and(|other| other != axis) {
                        return Err("images lie along different axes of its inputs".into());
                    }
                }
            }
        }
        let merged = merged.ok_or(UNCLEAR)?;
        for (i, input) in self.node.inputs.iter().enumerate() {
            let Some(input) = input else { continue };
            let dims = self.dims(i)?;
            let own = (merged + dims.len()).checked_sub(rank).map(|axis| &dims[axis]);
            // What has an entry for each token of one image would have to be repeated.
            let is_one = own.is_none_or(|dim| dim.as_const() == Some(1));
            if self.images[input.index()] == Images::Absent && !is_one {
                return Err("it joins images and what is no image".into());
            }
        }
        Ok(merged)
    }

    /// Follows an operator that works on all axes from `axis` on.
    fn beyond(&self, axis: i64) -> Followed {
        match self.only_merged()? {
            merged if merged < self.axis(axis)? => Ok((Images::Merged(merged), None)),
            _ => Err("it normalises over the images".into()),
        }
    }

    /// Returns the axis with which a reshape merges that of the images, and a shape that leaves its size
    /// open; `None` if the images do not lie one after another.
    pub fn merge(&self, images: usize) -> Option<(Images, Vec<i64>)> {
        let (x, y) = (self.dims(0).ok()?, self.output().ok()?);
        let before = Dim::product(&x[..images])?;
        let fits = |&axis: &usize| {
            let end = |end: usize| Dim::product(&x[images..end]).is_some_and(|p| p == y[axis]);
            Dim::product(&y[..axis]).is_some_and(|p| p == before) && (images + 2..=x.len()).any(end)
        };
        let axis = (0..y.len()).find(fits)?;
        Some((Images::Merged(axis), open_at(y, axis)?))
    }

    /// Returns where the images lie after a reshape of a value with merged images, and a shape that leaves
    /// the size of that axis open.
    fn part(&self, merged: usize) -> Option<(Images, Vec<i64>)> {
        let (x, y) = (self.dims(0).ok()?, self.output().ok()?);
        let before = Dim::product(&x[..merged])?;
        let starts = |axis: usize| Dim::product(&y[..axis]).is_some_and(|p| p == before);
        let apart = |&axis: &usize| {
            let end = |end: usize| Dim::product(&y[axis..end]).is_some_and(|p| p == x[merged]);
            starts(axis) && y[axis].as_const() == Some(1) && (axis + 2..=y.len()).any(end)
        };
        if let Some(axis) = (0..y.len()).find(apart) {
            return Some((Images::Along(axis), open_at(y, axis)?));
        }
        let axis = (0..y.len()).find(|&axis| starts(axis) && y[axis] == x[merged])?;
        Some((Images::Merged(axis), open_at(y, axis)?))
    }
}

/// Returns the shape `sizes` with the size of `axis` open; `None` if another size is not known.
fn open_at(sizes: &[Dim], axis: usize) -> Option<Vec<i64>> {
    let size = |(i, dim): (usize, &Dim)| match dim.as_const() {
        _ if i == axis => Some(-1),
        // A zero would stand for the size in the input.
        Some(0) | None => None,
        size => size,
    };
    sizes.iter().enumerate().map(size).collect()
}
