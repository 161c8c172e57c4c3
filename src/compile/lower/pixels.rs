//! Nodes that put pixels of a map into another order, leave some out, or join parts again.
//!
//! Windows, and the shifts of images along their axes, take several such nodes. Each of them becomes
//! a step that copies the pixels of the map before the first of them. No step remains for those in
//! between.

use super::layouts::is_view;
use super::network::Network;
use super::rearranged::Batch;
use crate::graph::geometry;
use crate::graph::predicates::axis_from_front;
use crate::graph::{Dim, Node, Op, ValueId};
use crate::plan::PixelsPrimitive;

/// The step that copies pixels.
pub(super) struct PixelsStep {
    pub input: ValueId,
    pub primitive: PixelsPrimitive,
}

/// Returns the step of `node`, if its output has pixels of an earlier map only.
pub(super) fn step(net: &Network, node: &Node) -> Option<PixelsStep> {
    let pixels = Pixels::of_node(net, node, &mut Budget(MOST_COPIED))?;
    let (before, sizes) = sample(net, pixels.source)?;
    let (after, _) = sample(net, node.output())?;
    let Pixels { source, group, table } = pixels;
    let pixels = before.images * sizes.iter().product::<usize>();
    let primitive = PixelsPrimitive { table, group, pixels };
    let fits = before.samples == after.samples && net.graph.constant(source).is_none();
    fits.then_some(PixelsStep { input: source, primitive })
}

/// The batch of a map, and the sizes of the axes of its pixels.
fn sample(net: &Network, value: ValueId) -> Option<(Batch, Vec<usize>)> {
    let (maps, dims) = (&net.maps, net.maps.dims(value)?);
    let batch = Batch::of(dims.first()?, maps.ones())?;
    let sizes = dims[maps.pixel_axes(value)?].iter().map(Dim::as_size);
    Some((batch, sizes.collect::<Option<_>>()?))
}

/// The most pixels of tables that are computed for one step, where a table counts for at least
/// [`LEAST_COUNTED`]. Each node of a long chain would otherwise follow it to its beginning.
const MOST_COPIED: usize = 1 << 20;

/// What a small table counts for, so that few nodes are followed.
const LEAST_COUNTED: usize = 1 << 14;

/// The pixels of tables that may still be computed.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, pixels: usize) -> Option<()> {
        self.0 = self.0.checked_sub(pixels.max(LEAST_COUNTED))?;
        Some(())
    }
}

/// A map that has pixels of another one.
struct Pixels {
    source: ValueId,
    /// The number of pixels of the source whose channels lie side by side.
    group: usize,
    /// The pixels of the source, for a sample.
    table: Vec<u32>,
}

impl Pixels {
    /// The pixels of a map as those of the earliest map that has them.
    fn of(net: &Network, value: ValueId, budget: &mut Budget) -> Option<Self> {
        let producer = net.links.producer(value).map(|id| net.graph.node(id));
        producer.and_then(|node| Self::of_node(net, node, budget)).or_else(|| {
            let (batch, sizes) = sample(net, value)?;
            let count = sizes.iter().try_fold(batch.images, |n, &size| n.checked_mul(size))?;
            let count = u32::try_from(count).ok().filter(|&count| count as usize <= MOST_COPIED)?;
            Some(Pixels { source: value, group: 1, table: (0..count).collect() })
        })
    }

    fn of_node(net: &Network, node: &Node, budget: &mut Budget) -> Option<Self> {
        budget.spend(0)?;
        let pixels = match &node.op {
            op if is_view(op) || matches!(op, Op::Transpose { .. }) => {
                Self::rearranged(net, node, budget)
            }
            Op::Slice => Self::slice(net, node, budget),
            Op::Concat { axis } => Self::concat(net, node, *axis, budget),
            _ => None,
        }?;
        budget.spend(pixels.table.len())?;
        Some(pixels)
    }

    fn rearranged(net: &Network, node: &Node, budget: &mut Budget) -> Option<Self> {
        if net.maps.is_same_map(node) {
            let before = net.links.producer(node.input(0)?)?;
            return Self::of_node(net, net.graph.node(before), budget);
        }
        let (source, order) = net.maps.order(node.output())?;
        let inner = Self::of(net, source, budget)?;
        let mut table = Vec::with_capacity(order.table.len() * inner.group);
        for &pixel in &order.table {
            let first = pixel as usize * inner.group;
            table.extend(inner.table.get(first..first + inner.group)?);
        }
        Some(Pixels { source: inner.source, group: order.group * inner.group, table })
    }

    fn slice(net: &Network, node: &Node, budget: &mut Budget) -> Option<Self> {
        let x = node.input(0)?;
        let (batch, mut sizes) = sample(net, x)?;
        let pixel_axes = net.maps.pixel_axes(x)?;
        sizes.insert(0, batch.images);
        let numbers = |input: usize| -> Option<Option<Vec<i64>>> {
            let Some(value) = node.input(input) else { return Some(None) };
            net.types.contents(value)?.iter().map(Dim::as_const).collect::<Option<_>>().map(Some)
        };
        let (starts, ends) = (numbers(1)??, numbers(2)??);
        let axes = numbers(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = numbers(4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return None;
        }
        let mut kept: Vec<Vec<usize>> = sizes.iter().map(|&size| (0..size).collect()).collect();
        let rank = net.maps.dims(x)?.len();
        for (i, &axis) in axes.iter().enumerate() {
            let axis = axis_from_front(axis, rank).filter(|axis| pixel_axes.contains(axis))?;
            let axis = axis - pixel_axes.start + 1;
            let range = geometry::slice(sizes[axis], starts[i], ends[i], steps[i]).ok()?;
            let place = |i: usize| {
                range.start.checked_add_signed(isize::try_from(range.step).ok()? * i as isize)
            };
            kept[axis] = (0..range.len).map(place).collect::<Option<_>>()?;
        }
        let inner = Self::of(net, x, budget)?;
        let mut places = vec![0];
        for (size, kept) in sizes.iter().zip(&kept) {
            let next = |&place: &usize| kept.iter().map(move |i| place * size + i);
            places = places.iter().flat_map(next).collect();
        }
        let mut table = Vec::with_capacity(places.len() * inner.group);
        for place in places {
            let first = place * inner.group;
            table.extend(inner.table.get(first..first + inner.group)?);
        }
        Some(Pixels { table, ..inner })
    }

    fn concat(net: &Network, node: &Node, axis: i64, budget: &mut Budget) -> Option<Self> {
        let output = node.output();
        let pixel_axes = net.maps.pixel_axes(output)?;
        let axis = axis_from_front(axis, net.maps.dims(output)?.len())?;
        if !pixel_axes.contains(&axis) {
            return None;
        }
        let inputs: Vec<ValueId> = node.inputs.iter().copied().collect::<Option<_>>()?;
        let parts: Vec<Pixels> =
            inputs.iter().map(|&input| Self::of(net, input, budget)).collect::<Option<_>>()?;
        let Pixels { source, group, .. } = *parts.first()?;
        let (batch, sizes) = sample(net, output)?;
        let outer = batch.images * sizes[..axis - pixel_axes.start].iter().product::<usize>();
        let same = |part: &Pixels| {
            let is_whole = part.table.len().is_multiple_of(outer);
            part.source == source && part.group == group && is_whole
        };
        if outer == 0 || !parts.iter().all(same) {
            return None;
        }
        let run = |part: &Pixels, i: usize| {
            let len = part.table.len() / outer;
            part.table[i * len..][..len].to_vec()
        };
        let table =
            (0..outer).flat_map(|i| parts.iter().flat_map(move |part| run(part, i))).collect();
        Some(Pixels { source, group, table })
    }
}
