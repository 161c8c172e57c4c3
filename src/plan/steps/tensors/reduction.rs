//! Reductions over axes.

use super::{TensorInputs, TensorOperation};
use crate::error::Result;
use crate::graph::{Reduce, ReduceKind, geometry};
use crate::kernels::tensors::reduce::{self, reduce};
use crate::simd::Isa;
use crate::tensor::{DType, Tensor};

/// A reduction. Inputs `x`, `[axes]`.
#[derive(Clone, Copy, Debug)]
pub struct Reduction(Reduce);

impl Reduction {
    /// Returns the reduction; `None` if no kernel computes it.
    pub fn new(op: Reduce) -> Option<Self> {
        passes(op.kind).map(|_| Reduction(op))
    }
}

/// Returns what is computed from the elements, and from the results of that if the reduced axes are
/// not side by side.
fn passes(kind: ReduceKind) -> Option<[reduce::Reduction; 2]> {
    use reduce::Reduction::*;
    match kind {
        ReduceKind::Sum | ReduceKind::Mean => Some([Sum, Sum]),
        ReduceKind::L1 => Some([SumOfMagnitudes, Sum]),
        ReduceKind::L2 | ReduceKind::SumSquare => Some([SumOfSquares, Sum]),
        ReduceKind::Max => Some([Maximum, Maximum]),
        ReduceKind::Min => Some([Minimum, Minimum]),
        ReduceKind::Prod | ReduceKind::LogSum | ReduceKind::LogSumExp => None,
    }
}

impl TensorOperation for Reduction {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn run(&self, isa: Isa, inputs: TensorInputs, _: usize) -> Result<Vec<Tensor>> {
        let Reduction(op) = self;
        let x = inputs.required(0)?;
        let rank = x.shape().len();
        let axes = match inputs.integers(1)?.filter(|axes| !axes.is_empty()) {
            Some(axes) => geometry::axes(&axes, rank)?,
            None if op.noop_with_empty_axes => Vec::new(),
            None => (0..rank).collect(),
        };
        let is_reduced = |axis: usize| axes.contains(&axis);
        let mut sizes = x.shape().to_vec();
        let mut y = Partial::Input(x.as_f32()?);
        let [mut kind, next] = passes(op.kind).unwrap_or([reduce::Reduction::Sum; 2]);
        let mut end = rank;
        while let Some(last) = (0..end).rev().find(|&axis| is_reduced(axis)) {
            let first = (0..last).rev().find(|&axis| !is_reduced(axis)).map_or(0, |axis| axis + 1);
            let size = sizes[first..=last].iter().product();
            let inner = sizes[last + 1..].iter().product();
            sizes[first..=last].fill(1);
            let mut result = vec![0.0; geometry::element_count(&sizes, DType::F32)?];
            reduce(isa, kind, y.elements(), size, inner, &mut result);
            y = Partial::Result(result);
            (kind, end) = (next, first);
        }
        let mut y = match y {
            Partial::Result(y) => y,
            // Every element is a line of its own.
            Partial::Input(x) => {
                let mut y = vec![0.0; x.len()];
                reduce(isa, kind, x, 1, x.len(), &mut y);
                y
            }
        };
        match op.kind {
            ReduceKind::Mean => {
                let count = axes.iter().map(|&axis| x.shape()[axis]).product::<usize>() as f32;
                y.iter_mut().for_each(|y| *y /= count);
            }
            ReduceKind::L2 => y.iter_mut().for_each(|y| *y = y.sqrt()),
            _ => {}
        }
        let is_kept = |&axis: &usize| op.keep_dims || !is_reduced(axis);
        let shape: Vec<usize> = (0..rank).filter(is_kept).map(|axis| sizes[axis]).collect();
        Ok(vec![Tensor::new(&shape, y)?])
    }
}

/// The elements that the next pass reads.
enum Partial<'a> {
    Input(&'a [f32]),
    Result(Vec<f32>),
}

impl Partial<'_> {
    fn elements(&self) -> &[f32] {
        match self {
            Partial::Input(elements) => elements,
            Partial::Result(elements) => elements,
        }
    }
}
