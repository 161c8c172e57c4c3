//! Tensors of integers that stand for numbers with a scale.

use super::attributes::Attributes;
use super::operators::NodeReader;
use super::tensors::dtype;
use crate::error::{Error, Result};
use crate::graph::{Binary, Op, ValueId};

impl NodeReader<'_> {
    /// Reads `DequantizeLinear`, `(x - zero_point) * scale`. Scale and zero point are numbers, or have an
    /// entry per index of `axis`.
    pub(super) fn dequantize_linear(&mut self, a: &Attributes) -> Result<()> {
        if a.int("block_size", 0)? != 0 {
            return Err(Error::unsupported("scales of blocks (block_size)"));
        }
        let (x, scale) = (self.input(0)?, self.input(1)?);
        let to = match a.int("output_dtype", 0)? {
            0 => self.element_type(scale)?,
            to => dtype(i32::try_from(to).unwrap_or_default())?,
        };
        let axis = a.int("axis", 1)?;
        let mut number = self.apply("number", Op::Cast { to }, &[x]);
        if let Some(zero) = self.inputs.get(2).copied().flatten() {
            let zero = self.along_axis("zero_point", zero, x, axis)?;
            let zero = self.apply("zero", Op::Cast { to }, &[zero]);
            number = self.apply("difference", Op::Binary(Binary::Sub), &[number, zero]);
        }
        let scale = self.along_axis("scale", scale, x, axis)?;
        let scale = self.apply("factor", Op::Cast { to }, &[scale]);
        self.finish(Op::Binary(Binary::Mul), vec![Some(number), Some(scale)]);
        Ok(())
    }

    /// Adds axes to an entry per index of an axis of `x`, so that it is broadcast to `x`. A number stays.
    fn along_axis(
        &mut self,
        what: &str,
        entries: ValueId,
        x: ValueId,
        axis: i64,
    ) -> Result<ValueId> {
        match self.known_rank(entries)? {
            0 => return Ok(entries),
            1 => {}
            rank => return Err(Error::graph(format!("{what} has {rank} axes, expected 0 or 1"))),
        }
        let count = self.ty(entries).and_then(|ty| ty.dims[0].as_size());
        if count == Some(1) {
            return Ok(self.view(what, entries, &[]));
        }
        let rank = self.known_rank(x)?;
        let place = if axis < 0 { axis + rank as i64 } else { axis };
        let place = usize::try_from(place).ok().filter(|&place| place < rank);
        let place = place.ok_or_else(|| {
            Error::graph(format!("axis {axis} does not exist in an input of {rank} axes"))
        })?;
        let size = self.ty(x).and_then(|ty| ty.dims[place].as_size());
        if let (Some(count), Some(size)) = (count, size)
            && count != size
        {
            return Err(Error::shape(format!(
                "{what} has {count} entries, but axis {axis} of the input has size {size}"
            )));
        }
        Ok(self.with_axes_after(what, entries, rank - 1 - place))
    }
}
