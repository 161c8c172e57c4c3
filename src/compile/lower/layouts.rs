//! Where the channels of each value are.
//!
//! A map has its channels last in memory. In the graph they may be second, as in the feature maps
//! `[N,C,H,W]` of convolutions, or last, as in tokens `[N,L,C]` and in the maps `[N,H,W,C]` of
//! layers that work on the last axis. A transposition from one to the other leaves the map as it is.

use std::collections::{HashMap, HashSet};

use super::rearranged::{PixelOrder, Rearranged};
use crate::graph::infer::Types;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Bindings, Dim, Graph, Node, Op, ValueId};
use crate::plan::default_layout;
use crate::tensor::{DType, Layout};

/// The layout of each value whose operators tell it. Of other values with four axes it is not known
/// whether the second one is that of the channels: the scores of attention have four axes, too.
pub(super) struct Layouts {
    layouts: Vec<Option<Layout>>,
    /// The values that have the elements of a map in another order.
    rearranged: HashMap<ValueId, Rearranged>,
    /// Those of them that are maps.
    orders: HashMap<ValueId, PixelOrder>,
    /// Values `[N,L,heads,C]` that were `[N,heads,L,C]`. Joining the last two axes gives tokens.
    heads: HashSet<ValueId>,
}

impl Layouts {
    /// Follows the layouts from the inputs of the graph on.
    ///
    /// All symbols of the inputs are 1 in `ones`.
    pub fn new(graph: &Graph, types: &Types, ones: &Bindings) -> Self {
        let (rearranged, orders, heads) = (HashMap::new(), HashMap::new(), HashSet::new());
        let layouts = vec![None; graph.values().len()];
        let mut layouts = Layouts { layouts, rearranged, orders, heads };
        for &input in graph.inputs() {
            let is_grid = |node: &Node| is_grid_of(node, input);
            let layout = match graph.nodes().iter().any(is_grid) {
                true => Some(Layout::Nhwc),
                false => dims(types, input).and_then(by_rank),
            };
            layouts.layouts[input.index()] = layout;
        }
        for node in graph.nodes() {
            layouts.settle_grid(node);
            for &output in node.outputs.iter().flatten() {
                let known = layouts.of_output(graph, types, node, output);
                let layout = known.or_else(|| layouts.rearrange(types, node, ones));
                layouts.layouts[output.index()] = layout;
                if layout.is_none()
                    && matches!(&node.op, Op::Transpose { perm } if perm == &[0, 2, 1, 3])
                {
                    layouts.heads.insert(output);
                }
                if is_elementwise(&node.op) && layout.is_some() {
                    layouts.settle_constants(graph, types, node, output);
                }
            }
        }
        layouts
    }

    /// Returns the layout of a value, or `None` if it is not known.
    pub fn get(&self, value: ValueId) -> Option<Layout> {
        self.layouts[value.index()]
    }

    /// Returns the map whose pixels a map has in another order, and the order.
    pub fn order(&self, value: ValueId) -> Option<(ValueId, &PixelOrder)> {
        Some((self.rearranged.get(&value)?.source, self.orders.get(&value)?))
    }

    /// Follows a change of the shape or of the order of axes that the other rules do not. Returns the
    /// layout of the output if it is a map.
    fn rearrange(&mut self, types: &Types, node: &Node, ones: &Bindings) -> Option<Layout> {
        let perm = match &node.op {
            Op::Transpose { perm } => Some(perm),
            op if is_view(op) => None,
            _ => return None,
        };
        let x = node.input(0)?;
        let before = match (self.rearranged.get(&x), self.get(x)) {
            (_, Some(layout)) => Rearranged::of_map(x, dims(types, x)?, layout, ones)?,
            (Some(rearranged), None) => rearranged.clone(),
            (None, None) => return None,
        };
        let after = match perm {
            Some(perm) => before.transposed(perm)?,
            None => before.reshaped(dims(types, node.output())?, ones)?,
        };
        let order = after.order();
        let layout = order.as_ref().map(|order| order.layout);
        self.rearranged.insert(node.output(), after);
        self.orders.extend(order.map(|order| (node.output(), order)));
        layout
    }

    fn of_output(
        &self,
        graph: &Graph,
        types: &Types,
        node: &Node,
        output: ValueId,
    ) -> Option<Layout> {
        let y = dims(types, output)?;
        let x = node.input(0)?;
        if y.len() == 2 || has_channels_second(&node.op) {
            return by_rank(y);
        }
        let (before, layout) = (dims(types, x).unwrap_or_default(), self.get(x));
        match &node.op {
            Op::Transpose { perm } => layout.and_then(|layout| transposed(layout, perm)),
            op if is_view(op) && self.heads.contains(&x) && y.len() == 3 => Some(Layout::Nhwc),
            op if is_view(op) => layout.and_then(|layout| viewed(before, layout, y)),
            &Op::LayerNormalization { axis, .. } if before.len() == 3 => {
                let is_last = axis_from_front(axis, 3) == Some(2);
                layout.or(is_last.then_some(Layout::Nhwc))
            }
            Op::MatMul if before.len() == 3 && y.len() == 3 => {
                let by_constant = node.input(1).is_some_and(|weight| is_matrix(graph, weight));
                layout.or(by_constant.then_some(Layout::Nhwc))
            }
            op if is_elementwise(op) || matches!(op, Op::Concat { .. }) => {
                let same_rank =
                    |&input: &ValueId| dims(types, input).is_some_and(|dims| dims.len() == y.len());
                let inputs = node.inputs.iter().flatten().copied().filter(same_rank);
                let mut known = inputs.filter_map(|input| self.get(input));
                let first = known.next();
                // Of layouts that contradict each other, the unusual one is followed.
                known.fold(first, |a, b| if a == Some(b) { a } else { Some(Layout::Nhwc) })
            }
            _ if before.len() == y.len() => layout,
            _ => None,
        }
    }

    /// Gives the grid of a sampled map `[N,H,W,2]` channels that are last, unless it is computed from a map.
    fn settle_grid(&mut self, node: &Node) {
        let grid = node.input(1).filter(|&grid| is_grid_of(node, grid));
        if let Some(grid) = grid.filter(|&grid| self.get(grid).is_none()) {
            self.layouts[grid.index()] = Some(Layout::Nhwc);
        }
    }

    /// Gives constants that are combined with a map, element by element, the layout of the map.
    fn settle_constants(&mut self, graph: &Graph, types: &Types, node: &Node, output: ValueId) {
        let rank = dims(types, output).map(<[Dim]>::len);
        for &input in node.inputs.iter().flatten() {
            let is_open = graph.constant(input).is_some() && self.get(input).is_none();
            if is_open && dims(types, input).map(<[Dim]>::len) == rank {
                self.layouts[input.index()] = self.get(output);
            }
        }
    }
}

/// Whether `node` samples a map at the positions that `grid` states.
fn is_grid_of(node: &Node, grid: ValueId) -> bool {
    matches!(node.op, Op::GridSample(_)) && node.input(1) == Some(grid)
}

/// The sizes of an f32 value.
fn dims(types: &Types, value: ValueId) -> Option<&[Dim]> {
    types.get(value).filter(|ty| ty.dtype == DType::F32).map(|ty| ty.dims.as_slice())
}

/// The layout of a value that is a map, as far as its number of axes tells it.
fn by_rank(dims: &[Dim]) -> Option<Layout> {
    matches!(dims.len(), 2 | 4).then(|| default_layout(dims.len()))
}

/// Whether the second axis of the output is that of the channels, whatever the input is.
fn has_channels_second(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Pool(_)
            | Op::GlobalPool(_)
            | Op::BatchNormalization { .. }
            | Op::InstanceNormalization { .. }
            | Op::GroupNormalization { .. }
            | Op::Lrn(_)
            | Op::DynamicConv(_)
            | Op::MaxAffine(_)
            | Op::ChannelActivation(_)
            | Op::ShiftMax(_)
            | Op::DepthToSpace { .. }
            | Op::Interleave(_)
            | Op::DeformConv(_)
            | Op::DeformedWindows(_)
            | Op::GridSample(_)
    )
}

/// Whether an operator only changes the shape of its input.
pub(super) fn is_view(op: &Op) -> bool {
    matches!(op, Op::Flatten { .. } | Op::Reshape { .. } | Op::Squeeze | Op::Unsqueeze)
}

/// Whether an operator combines its inputs element by element.
fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Clip | Op::PRelu | Op::Binary(_) | Op::Variadic(_))
}

fn is_matrix(graph: &Graph, value: ValueId) -> bool {
    graph.constant(value).is_some_and(|constant| constant.shape().len() == 2)
}

/// The layout after a transposition that leaves the map as it is.
pub(super) fn transposed(layout: Layout, perm: &[usize]) -> Option<Layout> {
    match (layout, perm) {
        (Layout::Nchw, [0, 2, 3, 1] | [0, 2, 1]) => Some(Layout::Nhwc),
        (Layout::Nhwc, [0, 3, 1, 2] | [0, 2, 1]) => Some(Layout::Nchw),
        _ => None,
    }
}

/// The layout after a change of the shape from `x` to `y` that leaves the map as it is, except for
/// how its pixels form lines and images.
pub(super) fn viewed(x: &[Dim], layout: Layout, y: &[Dim]) -> Option<Layout> {
    let has_axes = |dims: &[Dim]| matches!(dims.len(), 3 | 4);
    if !has_axes(x) || !has_axes(y) {
        return None;
    }
    let keeps_channels = match layout {
        Layout::Nchw => x[..2] == y[..2],
        Layout::Nhwc => x.last() == y.last(),
    };
    keeps_channels.then_some(layout)
}
