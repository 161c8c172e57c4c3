//! Normalisation and pooling by norms, composed of means, roots and products.

use super::attributes::Attributes;
use super::operators::NodeReader;
use crate::error::{Error, Result};
use crate::graph::{Binary, Lrn, Op, PoolKind, Reduce, ReduceKind, Unary, ValueId};
use crate::tensor::Tensor;

/// The largest window along the channels.
const MAX_CHANNEL_WINDOW: i64 = 1 << 24;

fn reduction(kind: ReduceKind) -> Op {
    Op::Reduce(Reduce { kind, keep_dims: true, noop_with_empty_axes: false })
}

impl NodeReader<'_> {
    pub(super) fn lrn(&self, a: &Attributes) -> Result<Op> {
        let size = a.int("size", 0)?;
        if !(1..=MAX_CHANNEL_WINDOW).contains(&size) {
            return Err(Error::format(format!(
                "attribute \"size\" must be from 1 to {MAX_CHANNEL_WINDOW}, found {size}"
            )));
        }
        Ok(Op::Lrn(Lrn {
            size: size as usize,
            alpha: a.float("alpha", 1e-4)?,
            beta: a.float("beta", 0.75)?,
            bias: a.float("bias", 1.0)?,
        }))
    }

    /// Reads `GroupNormalization` of opset 18, whose scale and bias have an entry per group.
    pub(super) fn group_normalization_by_groups(&mut self, a: &Attributes) -> Result<()> {
        let num_groups = a.size("num_groups", 0)?;
        let groups = i64::try_from(num_groups).ok().filter(|&groups| groups > 0);
        let groups = groups.ok_or_else(|| Error::format("attribute \"num_groups\" is missing"))?;
        let x = self.input(0)?;
        let channels = self.apply("channels", Op::Shape { start: 1, end: Some(2) }, &[x]);
        let count = self.constant_named("groups", Tensor::vector(vec![groups]));
        let depth = self.apply("depth", Op::Binary(Binary::Div), &[channels, count]);
        let shape = self.apply("shape", Op::Concat { axis: 0 }, &[count, depth]);
        let mut inputs = vec![Some(x)];
        for (i, name) in [(1, "scale"), (2, "bias")] {
            let column = self.view(&format!("{name}.column"), self.input(i)?, &[groups, 1]);
            let rows = self.apply(&format!("{name}.rows"), Op::Expand, &[column, shape]);
            inputs.push(Some(self.view(name, rows, &[-1])));
        }
        let epsilon = a.float("epsilon", 1e-5)?;
        self.finish(Op::GroupNormalization { num_groups, epsilon }, inputs);
        Ok(())
    }

    /// Reads `RMSNormalization`: `x / sqrt(mean(x^2) + epsilon) * scale`.
    pub(super) fn rms_normalization(&mut self, a: &Attributes) -> Result<()> {
        let (x, scale) = (self.input(0)?, self.input(1)?);
        let axis = a.int("axis", -1)?;
        let axes: Vec<i64> = match axis < 0 {
            true if axis >= -64 => (axis..0).collect(),
            true => return Err(Error::graph(format!("axis {axis} does not exist"))),
            false => (axis..self.known_rank(x)? as i64).collect(),
        };
        if axes.is_empty() {
            return Err(Error::graph(format!("axis {axis} does not exist")));
        }
        let squares = self.apply("squares", Op::Binary(Binary::Mul), &[x, x]);
        let axes = self.constant_named("axes", Tensor::vector(axes));
        let mean = self.apply("mean", reduction(ReduceKind::Mean), &[squares, axes]);
        let epsilon = self.number_like(Some(x), "epsilon", a.float("epsilon", 1e-5)?)?;
        let sum = self.apply("sum", Op::Binary(Binary::Add), &[mean, epsilon]);
        let root = self.apply("root", Op::Unary(Unary::Sqrt), &[sum]);
        let normal = self.apply("normal", Op::Binary(Binary::Div), &[x, root]);
        self.finish(Op::Binary(Binary::Mul), vec![Some(normal), Some(scale)]);
        Ok(())
    }

    /// Reads `LpPool` as the root of a mean of powers, times the size of the window.
    pub(super) fn lp_pool(&mut self, a: &Attributes) -> Result<()> {
        let (x, p) = (self.input(0)?, exponent(a)?);
        let mut pool = self.pool(a, PoolKind::Average)?;
        if pool.ceil_mode {
            return Err(Error::unsupported("windows that extend beyond the padding (ceil_mode)"));
        }
        pool.count_include_pad = true;
        let taps = pool.kernel.iter().map(|&size| size as f32).product();
        let powers = self.powers(x, p)?;
        let means = self.apply("means", Op::Pool(pool), &[powers]);
        let taps = self.number_like(Some(x), "taps", taps)?;
        let sums = self.apply("sums", Op::Binary(Binary::Mul), &[means, taps]);
        self.finish_root(sums, x, p)
    }

    /// Reads `GlobalLpPool` as the root of a sum of powers over all axes after the channel.
    pub(super) fn global_lp_pool(&mut self, a: &Attributes) -> Result<()> {
        let (x, p) = (self.input(0)?, exponent(a)?);
        let rank = self.known_rank(x)?;
        if rank < 3 {
            return Err(Error::graph("expected an input with at least 3 axes"));
        }
        let axes: Vec<i64> = (2..rank as i64).collect();
        let axes = self.constant_named("axes", Tensor::vector(axes));
        let powers = self.powers(x, p)?;
        let sums = self.apply("sums", reduction(ReduceKind::Sum), &[powers, axes]);
        self.finish_root(sums, x, p)
    }

    /// Adds `|x|^p`.
    fn powers(&mut self, x: ValueId, p: f32) -> Result<ValueId> {
        if p == 2.0 {
            return Ok(self.apply("powers", Op::Binary(Binary::Mul), &[x, x]));
        }
        let sizes = self.apply("sizes", Op::Unary(Unary::Abs), &[x]);
        if p == 1.0 {
            return Ok(sizes);
        }
        let exponent = self.number_like(Some(x), "p", p)?;
        Ok(self.apply("powers", Op::Binary(Binary::Pow), &[sizes, exponent]))
    }

    fn finish_root(&mut self, sums: ValueId, x: ValueId, p: f32) -> Result<()> {
        if p == 1.0 {
            self.finish(Op::Identity, vec![Some(sums)]);
        } else if p == 2.0 {
            self.finish(Op::Unary(Unary::Sqrt), vec![Some(sums)]);
        } else {
            let exponent = self.number_like(Some(x), "root", 1.0 / p)?;
            self.finish(Op::Binary(Binary::Pow), vec![Some(sums), Some(exponent)]);
        }
        Ok(())
    }
}

/// Returns the exponent of a norm.
fn exponent(a: &Attributes) -> Result<f32> {
    match a.int("p", 2)? {
        p if p > 0 => Ok(p as f32),
        p => Err(Error::format(format!("attribute \"p\" must be positive, found {p}"))),
    }
}
