//! Operators that read a feature map between its elements, or rearrange it.

use super::attributes::Attributes;
use super::operators::{NodeReader, unknown};
use crate::error::{Error, Result};
use crate::graph::{
    DeformConv, Dim, GridSample, Op, PoolKind, RoiAlign, SampleMode, SamplePadding,
};
use crate::tensor::Tensor;

impl NodeReader<'_> {
    pub(super) fn grid_sample(&self, a: &Attributes) -> Result<Op> {
        let mode = match a.string("mode", "linear")? {
            "linear" | "bilinear" => SampleMode::Linear,
            "nearest" => SampleMode::Nearest,
            "cubic" | "bicubic" => SampleMode::Cubic,
            other => return Err(unknown("mode", other)),
        };
        let padding = match a.string("padding_mode", "zeros")? {
            "zeros" => SamplePadding::Zeros,
            "border" => SamplePadding::Border,
            "reflection" => SamplePadding::Reflection,
            other => return Err(unknown("padding_mode", other)),
        };
        let align_corners = a.flag("align_corners", false)?;
        Ok(Op::GridSample(GridSample { mode, padding, align_corners }))
    }

    pub(super) fn deform_conv(&self, a: &Attributes) -> Result<Op> {
        let offset_groups = a.size("offset_group", 1)?;
        Ok(Op::DeformConv(DeformConv { conv: self.conv(a)?, offset_groups }))
    }

    pub(super) fn roi_align(&self, a: &Attributes) -> Result<Op> {
        let kind = match a.string("mode", "avg")? {
            "avg" => PoolKind::Average,
            "max" => PoolKind::Max,
            other => return Err(unknown("mode", other)),
        };
        let default = if self.opset >= 16 { "half_pixel" } else { "output_half_pixel" };
        let half_pixel = match a.string("coordinate_transformation_mode", default)? {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => return Err(unknown("coordinate_transformation_mode", other)),
        };
        Ok(Op::RoiAlign(RoiAlign {
            kind,
            output: [a.size("output_height", 1)?, a.size("output_width", 1)?],
            sampling_ratio: a.size("sampling_ratio", 0)?,
            spatial_scale: a.float("spatial_scale", 1.0)?,
            half_pixel,
        }))
    }

    /// Reads `SpaceToDepth` as a transposition between two reshapes, or as several that need no sizes
    /// where those are not known.
    pub(super) fn space_to_depth(&mut self, a: &Attributes) -> Result<()> {
        let x = self.input(0)?;
        let block = a.int("blocksize", 0)?;
        let area = block.checked_mul(block).filter(|_| block > 0);
        let area = area.ok_or_else(|| Error::format(format!("the block size is {block}")))?;
        let depth_last = match a.string("mode", "DCR")? {
            "DCR" => true,
            "CRD" => false,
            other => return Err(unknown("mode", other)),
        };
        let ty = self.ty(x);
        if let Some(ty) = &ty
            && ty.dims.len() != 4
        {
            let message = format!("expected an input [N, C, H, W], found {:?}", ty.dims);
            return Err(Error::graph(message));
        }
        let known = |axis: usize| ty.as_ref()?.dims.get(axis).and_then(Dim::as_const);
        if let (Some(channels), Some(height), Some(width)) = (known(1), known(2), known(3))
            && let Some(depth) = channels.checked_mul(area)
            && [channels, height, width].iter().all(|&size| size > 0)
        {
            if height % block != 0 || width % block != 0 {
                return Err(Error::graph(format!(
                    "a map of {height} x {width} does not consist of blocks of {block} x {block}"
                )));
            }
            let (height, width) = (height / block, width / block);
            let blocks = self.view("blocks", x, &[0, channels, height, block, width, block]);
            let perm = if depth_last { vec![0, 3, 5, 1, 2, 4] } else { vec![0, 1, 3, 5, 2, 4] };
            let apart = self.apply("apart", Op::Transpose { perm }, &[blocks]);
            let shape = Tensor::vector(vec![0, depth, height, width]);
            let shape = self.constant_named("shape", shape);
            self.finish(Op::Reshape { allow_zero: false }, vec![Some(apart), Some(shape)]);
            return Ok(());
        }
        // An axis of size 1 makes room, so that every other size can be kept.
        let axes = self.constant_named("axes", Tensor::vector(vec![3i64]));
        let wide = self.apply("rows", Op::Unsqueeze, &[x, axes]);
        let rows = self.view("row_blocks", wide, &[0, 0, -1, block, 0]);
        let wide = self.with_axes_after("columns", rows, 1);
        let blocks = self.view("blocks", wide, &[0, 0, 0, 0, -1, block]);
        let perm = if depth_last { vec![0, 2, 4, 3, 5, 1] } else { vec![0, 2, 4, 1, 3, 5] };
        let apart = self.apply("apart", Op::Transpose { perm }, &[blocks]);
        let joined = self.view("joined", apart, &[0, 0, 0, -1]);
        self.finish(Op::Transpose { perm: vec![0, 3, 1, 2] }, vec![Some(joined)]);
        Ok(())
    }

    /// Adds a reshape to a constant shape, in which 0 keeps the size at its place.
    pub(super) fn view(
        &mut self,
        what: &str,
        x: crate::graph::ValueId,
        shape: &[i64],
    ) -> crate::graph::ValueId {
        let shape = self.constant_named(&format!("{what}.shape"), Tensor::vector(shape.to_vec()));
        self.apply(what, Op::Reshape { allow_zero: false }, &[x, shape])
    }
}
