//! Shape inference: the type of every value, with free sizes as polynomials over symbols, and the
//! contents of small integer tensors that shapes are computed from.
//!
//! A size that depends on data gets a symbol of its own, `?1`, `?2` and so on. Where not even the
//! number of axes is known, the type is unknown, and so is what follows from it; that is no error.
//! A symbol is taken to stand for at least 1.

mod contents;
mod context;
mod create;
mod dynamic;
mod elementwise;
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

/// The types of all values of a graph, and the contents of those that shapes depend on.
#[derive(Clone, Debug)]
pub struct Types {
    types: Vec<Option<TensorType>>,
    /// Contents of tensors of any element type, as long as all elements are whole.
    elements: Vec<Option<Vec<Dim>>>,
}

impl Types {
    /// The type of a value; `None` for a value that nothing produces, or whose number of axes
    /// depends on data.
    pub fn get(&self, value: ValueId) -> Option<&TensorType> {
        self.types.get(value.index())?.as_ref()
    }

    /// The elements of an integer tensor with at most one axis, where they follow from constants
    /// and sizes alone.
    pub fn contents(&self, value: ValueId) -> Option<&[Dim]> {
        let integers = matches!(self.get(value)?.dtype, DType::I64 | DType::I32);
        self.elements(value).filter(|_| integers)
    }

    /// As [`contents`](Self::contents), of truth values (0 or 1) and of floating-point tensors of
    /// whole numbers too: sizes pass through them on their way from a shape to a shape.
    fn elements(&self, value: ValueId) -> Option<&[Dim]> {
        self.elements.get(value.index())?.as_deref()
    }
}

/// Finds the type of every value of a validated graph.
///
/// # Errors
/// `Shape`, naming the node whose inputs do not fit together.
pub fn infer(graph: &Graph) -> Result<Types> {
    Ok(Inference::of(graph)?.types)
}

/// Types that are kept current where a graph is edited.
#[derive(Clone, Debug)]
pub(crate) struct Inference {
    types: Types,
    fresh: Fresh,
    /// Which numbers a node's names for sizes that depend on data have, by its first output.
    names: HashMap<ValueId, Range<usize>>,
    /// How often a node has been looked at.
    visits: usize,
}

impl Inference {
    /// The types of all values of a validated graph.
    ///
    /// # Errors
    /// As [`infer`].
    pub fn of(graph: &Graph) -> Result<Self> {
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

    /// The types as they stand.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// The types, where nothing more will change.
    pub fn into_types(self) -> Types {
        self.types
    }

    /// How often a node has been looked at.
    pub fn visits(&self) -> usize {
        self.visits
    }

    /// Notes the type of an input or a constant.
    ///
    /// # Errors
    /// `Shape` where it cannot exist.
    pub fn given(&mut self, graph: &Graph, id: ValueId) -> Result<()> {
        let Types { types, elements } = &mut self.types;
        let count = types.len().max(id.0 + 1);
        types.resize(count, None);
        elements.resize(count, None);
        let value = graph.value(id);
        let ty = match (&value.constant, &value.input) {
            (Some(tensor), _) => TensorType::of(tensor),
            (None, Some(ty)) => ty.clone(),
            (None, None) => return Ok(()),
        };
        check_given(&value.name, &ty)?;
        types[id.0] = Some(ty);
        elements[id.0] = value.constant.as_ref().and_then(contents::of_constant);
        Ok(())
    }

    /// Finds the types of the outputs of `node` anew. Returns whether any of them has changed.
    ///
    /// # Errors
    /// `Shape` where its inputs do not fit together.
    pub fn node(&mut self, graph: &Graph, node: &Node) -> Result<bool> {
        self.visits += 1;
        let first_output = node.outputs.first().copied().flatten();
        let again = first_output.and_then(|output| self.names.get(&output)).cloned();
        let before = self.fresh.begin(again.unwrap_or_default());
        let cx = Context { graph, node, known: &self.types, fresh: &self.fresh };
        let answer = types(&cx).and_then(|types| checked(types, &self.fresh));
        let (types, elements) = match answer {
            Ok(types) => {
                let elements = contents::of_outputs(&cx, &types);
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
        let found = types.into_iter().map(Some).zip(elements);
        let found = found.chain(std::iter::repeat_with(|| (None, None)));
        for (output, (ty, elements)) in node.outputs.iter().zip(found) {
            let Some(ValueId(i)) = *output else { continue };
            changed |= self.types.types[i] != ty || self.types.elements[i] != elements;
            self.types.types[i] = ty;
            self.types.elements[i] = elements;
        }
        Ok(changed)
    }
}

/// Checks that an input or a constant can exist.
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

/// Checks that tensors of `types` can exist.
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

/// The types of the outputs of a node.
fn types(cx: &Context) -> Answer<Vec<TensorType>> {
    let one = match &cx.node.op {
        Op::Conv(conv) => windows::conv(cx, conv),
        Op::ConvTranspose(conv) => windows::conv_transpose(cx, conv),
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
        Op::Expand => resample::expand(cx),
        Op::Tile => resample::tile(cx),
        Op::Resize(resize) => resample::resize(cx, resize),
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
        Op::MaxAffine(max_affine) => dynamic::max_affine(cx, max_affine),
        Op::SpatialAttention(_) => dynamic::spatial_attention(cx),
    };
    Ok(vec![one?])
}
