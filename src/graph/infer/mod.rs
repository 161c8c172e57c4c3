//! Shape inference: the type of every value, with free sizes as polynomials over symbols, and the
//! elements of small integer tensors from which shapes are computed.
//!
//! A symbol stands for a size of at least 1. A size that depends on data gets a symbol of its own
//! (`?1`, `?2` and so on), which may stand for 0. If the number of axes depends on data, the type
//! of the value is unknown, as are the types that depend on it; that is no error.

mod contents;
mod context;
mod create;
mod dynamic;
mod elementwise;
mod indexing;
mod normalisation;
mod pieces;
mod products;
mod reduce;
mod resample;
mod sizes;
#[cfg(test)]
mod tests;
mod views;
mod windows;

use std::collections::HashMap;
use std::ops::Range;

use super::{Dim, Graph, Node, Op, TensorType, ValueId, geometry};
use crate::error::{Error, Result};
use crate::tensor::DType;
use context::{Answer, Context, Fresh, Stop};
pub(crate) use sizes::may_equal;

/// The types of all values of a graph, and the elements of those on which shapes depend.
#[derive(Clone, Debug)]
pub struct Types {
    types: Vec<Option<TensorType>>,
    /// The elements of tensors of any element type, if all of them are integers.
    elements: Vec<Option<Vec<Dim>>>,
}

impl Types {
    /// Returns the type of a value, or `None` if nothing produces it or its number of axes depends
    /// on data.
    pub fn get(&self, value: ValueId) -> Option<&TensorType> {
        self.types.get(value.index())?.as_ref()
    }

    /// Returns the elements of an integer tensor with at most one axis, if they depend on constants
    /// and sizes only.
    pub fn contents(&self, value: ValueId) -> Option<&[Dim]> {
        let integers = matches!(self.get(value)?.dtype, DType::I64 | DType::I32);
        self.elements(value).filter(|_| integers)
    }

    /// Returns the elements as [`contents`](Self::contents) does, also those of tensors of truth
    /// values (as 0 and 1) and of floating-point tensors that hold integers: exported calculations
    /// of sizes go through them.
    fn elements(&self, value: ValueId) -> Option<&[Dim]> {
        self.elements.get(value.index())?.as_deref()
    }
}

/// Infers the type of every value of a validated graph.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape), with the name of the node, if its inputs do not fit
/// together.
pub fn infer(graph: &Graph) -> Result<Types> {
    Ok(Inference::new(graph)?.types)
}

/// The types of a graph that is being edited.
#[derive(Clone, Debug)]
pub(crate) struct Inference {
    types: Types,
    fresh: Fresh,
    /// The numbers of the symbols for sizes that depend on data, by the first output of their node.
    names: HashMap<ValueId, Range<usize>>,
    /// The number of times that the types of a node were inferred.
    visits: usize,
}

impl Inference {
    /// Infers the types of all values of a validated graph.
    ///
    /// # Errors
    /// Those of [`infer`].
    pub fn new(graph: &Graph) -> Result<Self> {
        let types = Types { types: Vec::new(), elements: Vec::new() };
        let fresh = Fresh::new(graph);
        let mut inference = Inference { types, fresh, names: HashMap::new(), visits: 0 };
        for id in (0..graph.values().len()).map(ValueId) {
            inference.given(graph, id)?;
        }
        for node in graph.nodes() {
            inference.node(graph, node)?;
        }
        Ok(inference)
    }

    /// Returns the types.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// Returns the types and drops what is needed for updating them.
    pub fn into_types(self) -> Types {
        self.types
    }

    /// Returns the number of times that the types of a node were inferred.
    pub fn visits(&self) -> usize {
        self.visits
    }

    /// Records the type of an input or a constant.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if no tensor can have the type.
    pub fn given(&mut self, graph: &Graph, id: ValueId) -> Result<()> {
        let Types { types, elements } = &mut self.types;
        let count = types.len().max(id.0 + 1);
        types.resize(count, None);
        elements.resize(count, None);
        let value = graph.value(id);
        let ty = match (&value.constant, &value.input) {
            (Some(tensor), _) => TensorType::from_tensor(tensor),
            (None, Some(ty)) => ty.clone(),
            (None, None) => return Ok(()),
        };
        check_given(&value.name, &ty)?;
        types[id.0] = Some(ty);
        elements[id.0] = value.constant.as_ref().and_then(contents::elements_of_constant);
        Ok(())
    }

    /// Infers the types of the outputs of `node`. Returns whether any of them has changed.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the inputs of the node do not fit together.
    pub fn node(&mut self, graph: &Graph, node: &Node) -> Result<bool> {
        self.visits += 1;
        let first_output = node.outputs.first().copied().flatten();
        let again = first_output.and_then(|output| self.names.get(&output)).cloned();
        let before = self.fresh.begin(again.unwrap_or_default());
        let cx = Context { graph, node, known: &self.types, fresh: &self.fresh };
        let answer = types(&cx).and_then(|types| checked(types, &self.fresh));
        let (types, elements) = match answer {
            Ok(types) => {
                let elements = contents::elements_of_outputs(&cx, &types);
                (types, elements)
            }
            Err(Stop::Unknown) => (Vec::new(), Vec::new()),
            Err(Stop::Contradiction(e)) => return Err(e.at_node(&node.name, node.op.name())),
        };
        if let Some(output) = first_output
            && self.fresh.last() > before
        {
            self.names.insert(output, before + 1..self.fresh.last() + 1);
        }
        let mut changed = false;
        let inferred = types.into_iter().map(Some).zip(elements);
        let inferred = inferred.chain(std::iter::repeat_with(|| (None, None)));
        for (output, (ty, elements)) in node.outputs.iter().zip(inferred) {
            let Some(ValueId(i)) = *output else { continue };
            changed |= self.types.types[i] != ty || self.types.elements[i] != elements;
            self.types.types[i] = ty;
            self.types.elements[i] = elements;
        }
        Ok(changed)
    }
}

/// Checks that a tensor can have the type of an input or a constant.
fn check_given(name: &str, ty: &TensorType) -> Result<()> {
    if let Some(dim) = ty.dims.iter().find(|dim| dim.as_const().is_some_and(|size| size < 0)) {
        return Err(Error::shape(format!("{name:?} has an axis of size {dim}")));
    }
    let too_large = |e: Error| Error::shape(format!("{name:?}: {}", e.message()));
    match ty.fixed_shape() {
        Some(shape) => geometry::element_count(&shape, ty.dtype).map(|_| ()).map_err(too_large),
        None => Ok(()),
    }
}

/// Checks that tensors can have `types`, and simplifies their sizes.
fn checked(mut types: Vec<TensorType>, fresh: &Fresh) -> Answer<Vec<TensorType>> {
    for ty in &mut types {
        sizes::simplify(ty, fresh);
        if let Some(dim) = ty.dims.iter().find(|dim| dim.bounds().1.is_some_and(|high| high < 0)) {
            return Err(Error::shape(format!("an axis of the result has size {dim}")).into());
        }
        if let Some(shape) = ty.fixed_shape() {
            geometry::element_count(&shape, ty.dtype)?;
        }
    }
    Ok(types)
}

/// Returns the types of the outputs of a node.
fn types(cx: &Context) -> Answer<Vec<TensorType>> {
    let ty = match &cx.node.op {
        Op::Conv(conv) => windows::conv(cx, conv),
        Op::ConvTranspose(conv) => windows::conv_transpose(cx, conv),
        Op::DeformConv(conv) => windows::deform_conv(cx, conv),
        Op::Pool(pool) => {
            let values = windows::pool(cx, pool)?;
            let positions = TensorType { dtype: DType::I64, dims: values.dims.clone() };
            return Ok(vec![values, positions]);
        }
        Op::GlobalPool(_) => windows::global_pool(cx),
        Op::Gemm(gemm) => products::gemm(cx, gemm),
        Op::MatMul => products::matmul(cx),
        Op::BatchNormalization { .. } => normalisation::batch(cx),
        Op::InstanceNormalization { .. } => normalisation::instance(cx),
        Op::LayerNormalization { axis, .. } => normalisation::layer(cx, *axis),
        Op::GroupNormalization { num_groups, .. } => normalisation::group(cx, *num_groups),
        Op::Softmax(softmax) | Op::LogSoftmax(softmax) => normalisation::softmax(cx, softmax),
        Op::Unary(unary) => elementwise::unary(cx, *unary),
        Op::Clip => elementwise::clip(cx),
        Op::PRelu => elementwise::prelu(cx),
        Op::Binary(binary) => elementwise::binary(cx, *binary),
        Op::Variadic(_) => elementwise::variadic(cx),
        Op::Where => elementwise::select(cx),
        Op::Cast { to } => elementwise::cast(cx, *to),
        Op::Reduce(reduce) => reduce::reduce(cx, reduce),
        Op::ArgMax(arg_max) => reduce::arg_max(cx, arg_max),
        Op::TopK(top_k) => return indexing::top_k(cx, top_k),
        Op::CumSum(_) => indexing::cum_sum(cx),
        Op::GatherElements { axis } => indexing::gather_elements(cx, *axis),
        Op::GatherNd { batch_dims } => indexing::gather_nd(cx, *batch_dims),
        Op::ScatterElements { axis, .. } => indexing::scatter_elements(cx, *axis),
        Op::ScatterNd { .. } => indexing::scatter_nd(cx),
        Op::NonZero => indexing::non_zero(cx),
        Op::NonMaxSuppression(_) => indexing::non_max_suppression(cx),
        Op::Concat { axis } => pieces::concat(cx, *axis),
        Op::Split { axis } => return pieces::split(cx, *axis),
        Op::Slice => pieces::slice(cx),
        Op::Gather { axis } => pieces::gather(cx, *axis),
        Op::Reshape { allow_zero } => views::reshape(cx, *allow_zero),
        Op::Flatten { axis } => views::flatten(cx, *axis),
        Op::Squeeze => views::squeeze(cx),
        Op::Unsqueeze => views::unsqueeze(cx),
        Op::Transpose { perm } => views::transpose(cx, perm),
        Op::DepthToSpace { block, .. } => views::depth_to_space(cx, *block),
        Op::Interleave(interleave) => resample::interleave(cx, interleave),
        Op::Expand => resample::expand(cx),
        Op::Tile => resample::tile(cx),
        Op::Resize(resize) => resample::resize(cx, resize),
        Op::GridSample(_) => resample::grid_sample(cx),
        Op::RoiAlign(op) => resample::roi_align(cx, op),
        Op::Pad { .. } => resample::pad(cx),
        Op::Identity => cx.ty(0).cloned(),
        Op::Dropout => {
            let x = cx.ty(0)?;
            let mask = TensorType { dtype: DType::Bool, dims: x.dims.clone() };
            return Ok(vec![x.clone(), mask]);
        }
        Op::ConstantOfShape { value } => create::constant_of_shape(cx, value.dtype),
        Op::Range => create::range(cx),
        Op::Shape { start, end } => create::shape(cx, *start, *end),
        Op::Size => Ok(TensorType { dtype: DType::I64, dims: vec![] }),
        Op::Hyperfunction(hyperfunction) => dynamic::hyperfunction(cx, hyperfunction),
        Op::DynamicConv(conv) => windows::dynamic_conv(cx, conv),
        Op::MaxAffine(max_affine) => dynamic::max_affine(cx, max_affine),
        Op::ChannelActivation(activation) => dynamic::per_channel(cx, activation.rows().into()),
        Op::ShiftMax(shift_max) => dynamic::shift_max(cx, shift_max),
        Op::GroupCoefficients { num_groups, .. } => normalisation::coefficients(cx, *num_groups),
        Op::SpatialAttention(_) => dynamic::spatial_attention(cx),
    };
    Ok(vec![ty?])
}
