//! The rules by which the axis of the images is followed through each operator.
//!
//! A rule may state an axis of the output only if entry `i` along it depends on entry `i` along the
//! axis of the images in the inputs, and on nothing else that differs between images.

use crate::graph::infer::Types;
use crate::graph::{
    AspectRatioPolicy, CoordinateTransform, Dim, Gemm, Graph, Node, Op, Reduce, Resize, Softmax,
    geometry,
};

/// The position of the images of a batch in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Images {
    /// The value does not depend on the images.
    Absent,
    /// The images lie along this axis, one entry per image.
    Along(usize),
    /// The images lie one after another along this axis, each with as many entries as the axis has for
    /// a batch of one.
    Merged(usize),
}

/// A change that a node needs for a free batch size.
pub(super) enum Rewrite {
    /// A `Reshape` gets this shape.
    Shape(Vec<i64>),
    /// A `Shape` keeps returning the sizes of a batch of one.
    SizesOfOne,
    /// A `Resize` is limited to these axes, with these sizes.
    Sizes { axes: Vec<i64>, sizes: Vec<i64> },
}

/// The axis of the images, or the reason why it is not known.
type Place = Result<usize, String>;

pub(super) const UNCLEAR: &str = "how it treats images cannot be told";
const SIZES: &str = "its sizes depend on the data";

/// A node, and what is known about its inputs.
pub(super) struct Scope<'g> {
    pub graph: &'g Graph,
    pub types: &'g Types,
    /// The position of the images in each value that has been computed so far.
    pub images: &'g [Images],
    pub node: &'g Node,
}

impl Scope<'_> {
    /// Returns the position of the images in the outputs, and the change that the node needs, if any.
    pub fn follow(&self) -> Result<(Images, Option<Rewrite>), String> {
        let inputs = self.node.inputs.iter().flatten();
        if inputs.clone().all(|id| self.images[id.index()] == Images::Absent) {
            return Ok((Images::Absent, None));
        }
        if inputs.clone().any(|id| matches!(self.images[id.index()], Images::Merged(_))) {
            return self.follow_merged();
        }
        let along = |place: Place| Ok((Images::Along(place?), None));
        match &self.node.op {
            Op::Unary(_) | Op::Clip | Op::Cast { .. } | Op::Identity | Op::Dropout => {
                along(self.only_first())
            }
            Op::Binary(_) | Op::Variadic(_) | Op::Where | Op::PRelu => along(self.broadcast()),
            Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::BatchNormalization { .. }
            | Op::InstanceNormalization { .. }
            | Op::GroupNormalization { .. }
            | Op::Lrn(_)
            | Op::GlobalPool(_)
            | Op::DepthToSpace { .. }
            | Op::Hyperfunction(_)
            | Op::GroupCoefficients { .. }
            | Op::SpatialAttention(_) => along(self.first_axis_of_first()),
            // The second output counts positions through the whole batch.
            Op::Pool(_) if self.node.outputs.iter().flatten().count() > 1 => Err(UNCLEAR.into()),
            Op::Pool(_) => along(self.first_axis_of_first()),
            Op::DynamicConv(_) => along(self.dynamic_conv()),
            Op::MaxAffine(_) | Op::ChannelActivation(_) | Op::ShiftMax(_) => {
                along(self.max_affine())
            }
            Op::LayerNormalization { axis, .. } => along(self.normalise_from(*axis)),
            Op::Softmax(softmax) | Op::LogSoftmax(softmax) => along(self.softmax(softmax)),
            Op::Gemm(gemm) => along(self.gemm(gemm)),
            Op::MatMul => along(self.matmul()),
            Op::Reduce(reduce) => along(self.reduce(reduce)),
            Op::ArgMax(arg_max) => along(self.arg_max(arg_max.axis, arg_max.keep_dims)),
            Op::Concat { axis } => along(self.concat(*axis)),
            Op::Interleave(_) => along(self.concat(1)),
            Op::Split { axis } => along(self.not_along(*axis, "it cuts the images apart")),
            Op::Gather { axis } => along(self.gather(*axis)),
            Op::TopK(top_k) => {
                along(self.not_along(top_k.axis, "it compares images with one another"))
            }
            Op::CumSum(_) => along(self.cum_sum()),
            Op::GatherElements { axis } | Op::ScatterElements { axis, .. } => {
                along(self.elements(*axis))
            }
            Op::GatherNd { .. } | Op::ScatterNd { .. } => along(self.positions()),
            Op::DeformConv(_) | Op::DeformedWindows(_) | Op::GridSample(_) => along(self.sampled()),
            Op::Slice => along(self.slice()),
            Op::Transpose { perm } => along(self.transpose(perm)),
            Op::Flatten { axis } => along(self.flatten(*axis)),
            Op::Squeeze => along(self.squeeze()),
            Op::Unsqueeze => along(self.unsqueeze()),
            Op::Expand => along(self.expand()),
            Op::Tile => along(self.tile()),
            Op::Pad { .. } => along(self.pad()),
            Op::Reshape { .. } => {
                let (images, shape) = match self.reshape() {
                    Ok((axis, shape)) => (Images::Along(axis), shape),
                    Err(reason) => self.merge(self.only_first()?).ok_or(reason)?,
                };
                Ok((images, Some(Rewrite::Shape(shape))))
            }
            Op::Resize(resize) => {
                let (axis, rewrite) = self.resize(resize)?;
                Ok((Images::Along(axis), rewrite))
            }
            Op::Shape { start, end } => Ok((Images::Absent, self.shape(*start, *end)?)),
            Op::Size | Op::ConstantOfShape { .. } | Op::Range => Err(UNCLEAR.into()),
            Op::NonZero | Op::NonMaxSuppression(_) | Op::RoiAlign(_) => Err(UNCLEAR.into()),
        }
    }

    /// The axis of the images in input `i`; `None` if the input is absent or does not depend on them.
    fn place(&self, i: usize) -> Option<usize> {
        match self.images[self.node.input(i)?.index()] {
            Images::Absent | Images::Merged(_) => None,
            Images::Along(axis) => Some(axis),
        }
    }

    pub(super) fn dims(&self, i: usize) -> Result<&[Dim], String> {
        let ty = self.node.input(i).and_then(|id| self.types.get(id));
        ty.map(|ty| ty.dims.as_slice()).ok_or_else(|| SIZES.into())
    }

    pub(super) fn rank(&self, i: usize) -> Result<usize, String> {
        self.dims(i).map(<[Dim]>::len)
    }

    pub(super) fn output(&self) -> Result<&[Dim], String> {
        let ty = self.types.get(self.node.output());
        ty.map(|ty| ty.dims.as_slice()).ok_or_else(|| SIZES.into())
    }

    /// The elements of input `i`, which must be a constant.
    fn integers(&self, i: usize) -> Result<Vec<i64>, String> {
        let constant = self.node.input(i).and_then(|id| self.graph.constant(id));
        constant.and_then(|c| c.to_i64s().ok()).ok_or_else(|| SIZES.into())
    }

    pub(super) fn axis(&self, axis: i64) -> Result<usize, String> {
        geometry::axis(axis, self.rank(0)?).map_err(|e| e.message().into())
    }

    fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
        geometry::axes(axes, rank).map_err(|e| e.message().into())
    }

    /// The axis of the images in the first input. The other inputs must not depend on the images.
    fn only_first(&self) -> Place {
        let others = (1..self.node.inputs.len()).any(|i| self.place(i).is_some());
        let first = self.place(0).filter(|_| !others);
        first.ok_or_else(|| "its weights or sizes depend on the image".into())
    }

    /// As [`only_first`](Self::only_first), for operators whose first axis is the batch.
    fn first_axis_of_first(&self) -> Place {
        match self.only_first()? {
            0 => Ok(0),
            _ => Err("it takes another axis for that of the images".into()),
        }
    }

    /// The axis of an output of `rank` axes with which axis `axis` of input `i` is aligned.
    fn aligned(&self, i: usize, axis: usize, rank: usize) -> Place {
        (axis + rank).checked_sub(self.rank(i)?).ok_or_else(|| UNCLEAR.into())
    }

    /// Returns `axis` if the output has size 1 along it, so that nothing but the images lies there.
    fn single(&self, axis: usize) -> Place {
        match self.output()?.get(axis).and_then(Dim::as_const) {
            Some(1) => Ok(axis),
            _ => Err("it repeats images, or has something else along their axis".into()),
        }
    }

    fn broadcast(&self) -> Place {
        let rank = self.output()?.len();
        let mut images = None;
        for i in 0..self.node.inputs.len() {
            let Some(axis) = self.place(i) else { continue };
            let axis = self.aligned(i, axis, rank)?;
            if images.replace(axis).is_some_and(|other| other != axis) {
                return Err("images lie along different axes of its inputs".into());
            }
        }
        self.single(images.ok_or(UNCLEAR)?)
    }

    fn dynamic_conv(&self) -> Place {
        match [0, 1, 2].map(|input| self.place(input)) {
            [Some(0), Some(0), None | Some(0)] => Ok(0),
            _ => Err(UNCLEAR.into()),
        }
    }

    fn max_affine(&self) -> Place {
        let coefficients_fit = matches!(self.place(1), None | Some(0));
        let attention_fits = self.node.input(2).is_none() || self.place(2) == Some(0);
        match self.place(0) {
            Some(0) if coefficients_fit && attention_fits => Ok(0),
            _ => Err(UNCLEAR.into()),
        }
    }

    fn normalise_from(&self, axis: i64) -> Place {
        match self.only_first()? {
            images if images < self.axis(axis)? => Ok(images),
            _ => Err("it normalises over the images".into()),
        }
    }

    fn softmax(&self, softmax: &Softmax) -> Place {
        if softmax.flatten {
            return self.normalise_from(softmax.axis);
        }
        self.not_along(softmax.axis, "it normalises over the images")
    }

    /// The axis of the images if it differs from `axis`, along which the operator works.
    fn not_along(&self, axis: i64, otherwise: &str) -> Place {
        let images = self.only_first()?;
        if self.axis(axis)? == images { Err(otherwise.into()) } else { Ok(images) }
    }

    fn gemm(&self, gemm: &Gemm) -> Place {
        match self.only_first()? {
            images if images == usize::from(gemm.trans_a) => Ok(0),
            _ => Err("it sums over the images".into()),
        }
    }

    fn matmul(&self) -> Place {
        let (left, right) = (self.rank(0)?, self.rank(1)?);
        if left < 2 || right < 2 {
            return Err(UNCLEAR.into());
        }
        let rank = left.max(right);
        let summed = "it sums over the images";
        let from_left = match self.place(0) {
            Some(axis) if axis + 1 == left => return Err(summed.into()),
            Some(axis) => Some(self.aligned(0, axis, rank)?),
            None => None,
        };
        let from_right = match self.place(1) {
            Some(axis) if axis + 2 == right => return Err(summed.into()),
            Some(axis) => Some(self.aligned(1, axis, rank)?),
            None => None,
        };
        match (from_left, from_right) {
            (Some(axis), None) | (None, Some(axis)) => self.single(axis),
            (Some(a), Some(b)) if a == b && a + 2 < rank => self.single(a),
            _ => Err("it multiplies images with one another".into()),
        }
    }

    /// The axis of the images after the axes `removed` have been removed.
    fn without(&self, images: usize, removed: &[usize]) -> usize {
        images - removed.iter().filter(|&&axis| axis < images).count()
    }

    fn reduce(&self, reduce: &Reduce) -> Place {
        let images = self.only_first()?;
        let given = match self.node.input(1) {
            Some(_) => self.integers(1)?,
            None => vec![],
        };
        let axes = match (given.is_empty(), reduce.noop_with_empty_axes) {
            (true, true) => vec![],
            (true, false) => (0..self.rank(0)?).collect(),
            (false, _) => self.axes(&given, self.rank(0)?)?,
        };
        if axes.contains(&images) {
            return Err("it reduces the images to one".into());
        }
        Ok(if reduce.keep_dims { images } else { self.without(images, &axes) })
    }

    fn arg_max(&self, axis: i64, keep_dims: bool) -> Place {
        let images = self.not_along(axis, "it compares images with one another")?;
        let gone = self.axis(axis)?;
        Ok(if keep_dims { images } else { self.without(images, &[gone]) })
    }

    fn concat(&self, axis: i64) -> Place {
        let images = self.place(0).ok_or(UNCLEAR)?;
        if self.axis(axis)? == images {
            return Err("it joins along the axis of the images".into());
        }
        match (0..self.node.inputs.len()).all(|i| self.place(i) == Some(images)) {
            true => Ok(images),
            false => Err("it joins images and what is no image".into()),
        }
    }

    fn gather(&self, axis: i64) -> Place {
        let images = self.not_along(axis, "it picks images")?;
        let axis = self.axis(axis)?;
        // The axes of the indices take the place of `axis`.
        Ok(if axis < images { images - 1 + self.rank(1)? } else { images })
    }

    fn cum_sum(&self) -> Place {
        match self.integers(1)?.as_slice() {
            [axis] => self.not_along(*axis, "it sums over the images"),
            _ => Err(UNCLEAR.into()),
        }
    }

    /// The axis of the images of an operator that reads or writes elements along `axis`. Inputs that
    /// do not depend on the images have one entry along their axis, which would not grow with them.
    fn elements(&self, axis: i64) -> Place {
        let images = self.place(0).ok_or(UNCLEAR)?;
        if self.axis(axis)? == images {
            return Err("it picks images".into());
        }
        match (0..self.node.inputs.len()).all(|i| self.place(i) == Some(images)) {
            true => Ok(images),
            false => Err("it joins images and what is no image".into()),
        }
    }

    /// The axis of the images of an operator that reads or writes at constant positions of the first
    /// axes.
    fn positions(&self) -> Place {
        let (images, indices) = (self.place(0).ok_or(UNCLEAR)?, self.dims(1)?);
        let depth = indices.last().and_then(Dim::as_size).ok_or(SIZES)?;
        let shared = match self.node.op {
            Op::GatherNd { batch_dims } => batch_dims,
            _ => 0,
        };
        if shared > 0 || images < depth || self.place(1).is_some() {
            return Err("it picks images".into());
        }
        let selected = images - depth + indices.len() - 1;
        match self.node.op {
            Op::GatherNd { .. } => Ok(selected),
            _ if self.place(2) == Some(selected) => Ok(images),
            _ => Err("it joins images and what is no image".into()),
        }
    }

    /// The axis of the images of an operator that reads a map at positions of its own for each image.
    fn sampled(&self) -> Place {
        let per_image: &[usize] = match self.node.op {
            Op::DeformConv(_) => &[0, 2, 4],
            _ => &[0, 1, 2],
        };
        let fits = |i: usize| match per_image.contains(&i) && self.node.input(i).is_some() {
            true => self.place(i) == Some(0),
            false => self.place(i).is_none(),
        };
        if (0..self.node.inputs.len()).all(fits) { Ok(0) } else { Err(UNCLEAR.into()) }
    }

    fn slice(&self) -> Place {
        let images = self.only_first()?;
        let (starts, ends) = (self.integers(1)?, self.integers(2)?);
        let axes = match self.node.input(3) {
            Some(_) => self.axes(&self.integers(3)?, self.rank(0)?)?,
            None => (0..starts.len()).collect(),
        };
        let steps = match self.node.input(4) {
            Some(_) => self.integers(4)?,
            None => vec![1; starts.len()],
        };
        for (i, axis) in axes.iter().enumerate() {
            let (start, end, step) = (starts.get(i), ends.get(i), steps.get(i));
            // Exporters write the largest integer for the end of the axis.
            let keeps_all = (start, step) == (Some(&0), Some(&1))
                && end.is_some_and(|&end| end >= i64::from(i32::MAX));
            if *axis == images && !keeps_all {
                return Err("it picks images".into());
            }
        }
        Ok(images)
    }

    fn transpose(&self, perm: &[usize]) -> Place {
        let images = self.only_first()?;
        if perm.is_empty() {
            return Ok(self.rank(0)? - 1 - images);
        }
        perm.iter().position(|&axis| axis == images).ok_or_else(|| UNCLEAR.into())
    }

    fn flatten(&self, axis: i64) -> Place {
        let images = self.only_first()?;
        let x = self.dims(0)?;
        let axis = if axis == x.len() as i64 { x.len() } else { self.axis(axis)? };
        let (side, others) = if images < axis { (0, 0..axis) } else { (1, axis..x.len()) };
        let alone = others.filter(|&i| i != images).all(|i| x[i].as_const() == Some(1));
        if alone { Ok(side) } else { Err(MERGES.into()) }
    }

    fn squeeze(&self) -> Place {
        let images = self.only_first()?;
        let gone = match self.node.input(1) {
            Some(_) => self.axes(&self.integers(1)?, self.rank(0)?)?,
            None => return Err("it takes away every axis of size 1".into()),
        };
        if gone.contains(&images) {
            return Err("it takes away the axis of the images".into());
        }
        Ok(self.without(images, &gone))
    }

    fn unsqueeze(&self) -> Place {
        let images = self.only_first()?;
        let given = self.integers(1)?;
        let rank = self.rank(0)? + given.len();
        let new = self.axes(&given, rank)?;
        (0..rank).filter(|axis| !new.contains(axis)).nth(images).ok_or_else(|| UNCLEAR.into())
    }

    fn expand(&self) -> Place {
        let images = self.only_first()?;
        self.single(self.aligned(0, images, self.output()?.len())?)
    }

    fn tile(&self) -> Place {
        let images = self.only_first()?;
        match self.integers(1)?.get(images) {
            Some(1) => Ok(images),
            _ => Err("it repeats images".into()),
        }
    }

    fn pad(&self) -> Place {
        let images = self.only_first()?;
        let amounts = self.integers(1)?;
        let axes = match self.node.input(3) {
            Some(_) => self.axes(&self.integers(3)?, self.rank(0)?)?,
            None => (0..self.rank(0)?).collect(),
        };
        let added = axes
            .iter()
            .position(|&axis| axis == images)
            .is_some_and(|i| [Some(&0), Some(&0)] != [amounts.get(i), amounts.get(i + axes.len())]);
        if added { Err("it adds or drops images".into()) } else { Ok(images) }
    }

    /// Returns the axis of the images, and a shape that leaves its size open.
    fn reshape(&self) -> Result<(usize, Vec<i64>), String> {
        let images = self.only_first()?;
        let (x, y) = (self.dims(0)?, self.output()?);
        // The images stay apart if the axis has as many elements before it as in the input, and
        // therefore also as many after it.
        let before = Dim::product(&x[..images]);
        let fits = |&axis: &usize| {
            y[axis].as_const() == Some(1) && before.is_some() && Dim::product(&y[..axis]) == before
        };
        let same = Some(images).filter(|&axis| axis < y.len());
        let axis = same.into_iter().chain(0..y.len()).find(fits).ok_or(MERGES)?;
        let mut open = false;
        let mut shape = Vec::with_capacity(y.len());
        for (i, size) in y.iter().enumerate() {
            let stays = if i == axis { i == images } else { x.get(i) == Some(size) };
            shape.push(match size.as_const().filter(|_| i != axis) {
                Some(0) => return Err(UNCLEAR.into()),
                Some(size) => size,
                None if stays => 0,
                None if !std::mem::replace(&mut open, true) => -1,
                None => return Err("too many of its sizes are free".into()),
            });
        }
        Ok((axis, shape))
    }

    fn resize(&self, resize: &Resize) -> Result<(usize, Option<Rewrite>), String> {
        let images = self.only_first()?;
        let rank = self.rank(0)?;
        let plain = resize.coordinates != CoordinateTransform::TfCropAndResize
            && resize.keep_aspect_ratio == AspectRatioPolicy::Stretch;
        if !plain {
            return Err(UNCLEAR.into());
        }
        if !resize.axes.is_empty() {
            let others = !self.axes(&resize.axes, rank)?.contains(&images);
            return if others { Ok((images, None)) } else { Err(UNCLEAR.into()) };
        }
        if self.node.input(3).is_none() {
            let scales = self.node.input(2).and_then(|id| self.graph.constant(id));
            let scales = scales.and_then(|c| c.as_f32().ok()).ok_or(SIZES)?;
            let keeps = scales.get(images) == Some(&1.0);
            return if keeps { Ok((images, None)) } else { Err("it repeats images".into()) };
        }
        let mut sizes = self.integers(3)?;
        if sizes.len() != rank || sizes.remove(images) != 1 {
            return Err("it repeats images".into());
        }
        let axes = (0..rank).filter(|&axis| axis != images).map(|axis| axis as i64).collect();
        Ok((images, Some(Rewrite::Sizes { axes, sizes })))
    }

    fn shape(&self, start: i64, end: Option<i64>) -> Result<Option<Rewrite>, String> {
        let images = self.only_first()?;
        let rank = self.rank(0)? as i64;
        let place = |at: i64| if at < 0 { at + rank } else { at }.clamp(0, rank);
        let range = place(start)..place(end.unwrap_or(rank));
        match images {
            images if !range.contains(&(images as i64)) => Ok(None),
            0 => Ok(Some(Rewrite::SizesOfOne)),
            _ => Err(UNCLEAR.into()),
        }
    }
}

pub(super) const MERGES: &str = "it merges the axis of the images with another";
