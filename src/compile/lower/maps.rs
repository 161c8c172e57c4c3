//! The sizes of values, as far as kernels need them.

use super::layouts::{Layouts, is_view, transposed, viewed};
use super::rearranged::PixelOrder;
use crate::graph::infer::Types;
use crate::graph::predicates::is_one;
use crate::graph::{Bindings, Dim, Graph, Node, Op, TensorType, ValueId};
use crate::plan::{MapShape, default_layout};
use crate::tensor::{DType, Layout};

/// Tells which values can lie in the arena, and their sizes.
pub(super) struct Maps<'g> {
    types: &'g Types,
    layouts: Layouts,
    /// A size for every symbol of the graph's inputs.
    bindings: Bindings,
    /// The size 1 for every such symbol.
    ones: Bindings,
}

impl<'g> Maps<'g> {
    pub fn new(graph: &Graph, types: &'g Types) -> Self {
        let declared = graph.inputs().iter().filter_map(|&id| graph.value(id).input.as_ref());
        let symbols = declared.flat_map(|ty| &ty.dims).filter_map(Dim::as_symbol);
        let bindings: Bindings = symbols.map(|name| (name.into(), 1 << 12)).collect();
        let ones = bindings.keys().map(|name| (name.clone(), 1)).collect();
        Maps { types, layouts: Layouts::new(graph, types, &ones), bindings, ones }
    }

    /// The size 1 for every symbol of the graph's inputs.
    pub fn ones(&self) -> &Bindings {
        &self.ones
    }

    /// The map whose pixels a map has in another order, and the order.
    pub fn order(&self, value: ValueId) -> Option<(ValueId, &PixelOrder)> {
        self.layouts.order(value)
    }

    /// The sizes of a value; `None` unless it is of type f32 and its sizes follow from those of the
    /// inputs of the network.
    pub fn dims(&self, value: ValueId) -> Option<&'g [Dim]> {
        let TensorType { dtype, dims } = self.types.get(value)?;
        let known = dims.iter().all(|dim| dim.evaluate(&self.bindings).is_ok());
        (*dtype == DType::F32 && known).then_some(dims.as_slice())
    }

    /// The layout of a value that is taken for a map. A value with three axes is one only if that is
    /// known: coefficients of a dynamic activation have three axes, too.
    fn layout(&self, value: ValueId) -> Option<Layout> {
        let rank = self.dims(value)?.len();
        let known = self.layouts.get(value).filter(|_| rank <= 4);
        known.or_else(|| (rank == 4).then(|| default_layout(rank)))
    }

    /// The shape of a value as a map in the arena.
    pub fn shape(&self, value: ValueId) -> MapShape {
        let dims = self.dims(value).unwrap_or_default().to_vec();
        let layout = self.layouts.get(value).unwrap_or(default_layout(dims.len()));
        MapShape { dims, layout }
    }

    /// Whether a value is a map: `[N,C]`, `[N,C,H,W]`, or with the channels last `[N,L,C]` or
    /// `[N,H,W,C]`.
    pub fn is_feature_map(&self, value: ValueId) -> bool {
        self.layout(value).is_some()
    }

    /// Whether a value is `[N,C]` or `[N,C,H,W]`.
    pub fn has_channels_second(&self, value: ValueId) -> bool {
        match self.layout(value) {
            Some(Layout::Nchw) => true,
            Some(Layout::Nhwc) => self.dims(value).is_some_and(|dims| dims.len() == 2),
            None => false,
        }
    }

    /// Whether a value is `[N,C,H,W]`.
    pub fn is_nchw(&self, value: ValueId) -> bool {
        let is_plane = self.dims(value).is_some_and(|dims| dims.len() == 4);
        is_plane && self.layout(value) == Some(Layout::Nchw)
    }

    /// Whether a value is `[N,H,W,C]`.
    pub fn is_nhwc(&self, value: ValueId) -> bool {
        let is_plane = self.dims(value).is_some_and(|dims| dims.len() == 4);
        is_plane && self.layout(value) == Some(Layout::Nhwc)
    }

    /// Whether a value has its channels on its last axis, and is not known to have them elsewhere.
    pub fn has_channels_last(&self, value: ValueId) -> bool {
        let Some(dims) = self.dims(value) else { return false };
        match dims.len() {
            2 => true,
            3 => self.layout(value) != Some(Layout::Nchw),
            4 => self.layout(value) == Some(Layout::Nhwc),
            _ => false,
        }
    }

    /// The axes of the pixels of a map.
    pub fn pixel_axes(&self, value: ValueId) -> Option<std::ops::Range<usize>> {
        let rank = self.dims(value)?.len();
        Some(match self.layout(value)? {
            Layout::Nchw => 2..rank,
            Layout::Nhwc => 1..rank - 1,
        })
    }

    /// Whether a value has one pixel per image: `[N,C]`, `[N,C,1,1]`.
    pub fn is_vectors(&self, value: ValueId) -> bool {
        self.dims(value).is_some_and(|dims| match dims {
            [_, _] => true,
            [_, _, h, w] => is_one(h) && is_one(w),
            _ => false,
        })
    }

    /// The numbers of images and of channels of a value that has one pixel, or one row of coefficients,
    /// per image.
    fn vectors(&self, value: ValueId) -> Option<[&'g Dim; 2]> {
        match self.dims(value)? {
            [images, channels] => Some([images, channels]),
            [images, channels, h, w] if is_one(h) && is_one(w) => Some([images, channels]),
            [images, rows, channels] if is_one(rows) => Some([images, channels]),
            _ => None,
        }
    }

    /// Whether a value is `[N,2K,C]`.
    pub fn is_coefficients(&self, value: ValueId) -> bool {
        self.dims(value).is_some_and(|dims| dims.len() == 3)
            && self.layout(value) != Some(Layout::Nchw)
    }

    /// Whether `pi` has one channel and otherwise the sizes of `x`.
    pub fn is_attention(&self, pi: ValueId, x: ValueId) -> bool {
        if !self.is_nchw(pi) || !self.is_nchw(x) {
            return false;
        }
        match (self.dims(pi), self.dims(x)) {
            (Some([n, c, h, w]), Some([xn, _, xh, xw])) => {
                c.as_const() == Some(1) && (n, h, w) == (xn, xh, xw)
            }
            _ => false,
        }
    }

    /// Whether two values are maps of the same sizes.
    pub fn same_size(&self, a: ValueId, b: ValueId) -> bool {
        self.is_feature_map(a) && self.layout(a) == self.layout(b) && self.dims(a) == self.dims(b)
    }

    /// Whether `a` is a map of one image, and otherwise has the sizes of the map `b`.
    pub fn is_image_of(&self, a: ValueId, b: ValueId) -> bool {
        let (Some([images, one @ ..]), Some([_, other @ ..])) = (self.dims(a), self.dims(b)) else {
            return false;
        };
        self.is_feature_map(a) && self.layout(a) == self.layout(b) && is_one(images) && one == other
    }

    /// The number of channels, if it is known.
    pub fn channels(&self, value: ValueId) -> Option<usize> {
        let dims = self.dims(value)?;
        match self.shape(value).layout {
            Layout::Nhwc => dims.last()?.as_size(),
            Layout::Nchw => dims.get(1)?.as_size(),
        }
    }

    /// Whether the map of the output of `node` is that of its input: the same pixels in the same
    /// order, which at most form other lines and images.
    pub fn is_same_map(&self, node: &Node) -> bool {
        let Some(x) = node.input(0) else { return false };
        let y = node.output();
        let (Some(before), Some(after)) = (self.dims(x), self.dims(y)) else { return false };
        if is_view(&node.op)
            && let Some(vectors) = self.vectors(x)
            && self.vectors(y) == Some(vectors)
        {
            return true;
        }
        let Some(layout) = self.layouts.get(x) else { return false };
        let shown = match &node.op {
            Op::Transpose { perm } => transposed(layout, perm),
            op if is_view(op) => viewed(before, layout, after),
            _ => None,
        };
        shown.is_some() && shown == self.layouts.get(y)
    }
}
