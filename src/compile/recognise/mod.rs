//! Finds dynamic activations by what they compute and not by how they are written.
//!
//! A dynamic ReLU is a maximum over pieces `a_k * x + b_k` of one feature map `x` whose
//! coefficients do not depend on the position. [`pieces`] takes a maximum apart, [`paths`] walks
//! each piece back to a feature map that all have in common, [`hyperfunction`] reads the two fully
//! connected layers off the coefficients with the help of [`elements`], and [`attention`] finds the
//! spatial factor of DY-ReLU-C. What computes coefficients in an unusual way is left as it is
//! ([`coefficients`] stacks whatever it gives); what is no dynamic ReLU stays untouched.

mod attention;
mod coefficients;
mod context;
mod elements;
mod hyperfunction;
mod paths;
mod pieces;
mod two_slopes;

use std::collections::HashMap;

use coefficients::{Axes, Piece};
use paths::{Labels, Path, Visit, is_one};

use crate::error::Result;
use crate::graph::infer::{Types, infer, may_equal};
use crate::graph::{
    Binary, Bindings, Dim, Graph, Links, MaxAffine, Node, NodeId, Op, PoolKind, ValueId, Variadic,
};
use crate::tensor::{DType, Tensor};

/// A place that looks like a dynamic activation and is not one, or not one that we understand.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unrecognised {
    /// The name of the node.
    pub name: String,
    /// Why it was left to the general operators.
    pub reason: String,
}

/// Replaces what computes a dynamic activation by `Hyperfunction`, `MaxAffine` and
/// `SpatialAttention`. Gives the places that look like one and were left alone.
///
/// # Errors
/// `Shape` where the graph contradicts itself.
pub fn recognise(graph: &mut Graph) -> Result<Vec<Unrecognised>> {
    let unrecognised = maxima(graph)?;
    super::simplify::simplify(graph)?;
    two_slopes::recognise(graph)?;
    single_pieces(graph)?;
    super::simplify::simplify(graph)?;
    attention::absorb(graph)?;
    Ok(unrecognised)
}

/// What the matchers know about a graph besides the graph.
pub(super) struct Facts {
    types: Types,
    links: Links,
    bindings: Bindings,
}

impl Facts {
    fn of(graph: &Graph) -> Result<Self> {
        Ok(Facts { types: infer(graph)?, links: graph.links(), bindings: probe_sizes(graph) })
    }

    fn scope<'g>(&'g self, graph: &'g Graph) -> Scope<'g> {
        Scope { graph, types: &self.types, links: &self.links, bindings: &self.bindings }
    }
}

/// A graph and the facts about it.
pub(super) struct Scope<'g> {
    graph: &'g Graph,
    types: &'g Types,
    links: &'g Links,
    bindings: &'g Bindings,
}

/// Sizes to try symbols out with: two images, so that a mix-up between images shows, and maps of a
/// size that survives the strides of most networks.
fn probe_sizes(graph: &Graph) -> Bindings {
    const IMAGES: usize = 2;
    const PIXELS: usize = 64;
    let mut bindings = Bindings::new();
    for &input in graph.inputs() {
        let Some(ty) = &graph.value(input).input else { continue };
        for (axis, dim) in ty.dims.iter().enumerate() {
            if let Some(symbol) = dim.as_symbol() {
                let size = if axis == 0 { IMAGES } else { PIXELS };
                bindings.entry(symbol.into()).or_insert(size);
            }
        }
    }
    bindings
}

impl Scope<'_> {
    /// The number that a constant of one element holds.
    fn number(&self, value: ValueId) -> Option<f64> {
        let constant = self.graph.constant(value).filter(|c| c.len() == 1)?;
        match constant.dtype() {
            DType::F32 => constant.as_f32().ok().map(|x| as_written(x[0])),
            DType::Bool => None,
            _ => constant.cast(DType::F64).ok()?.as_slice::<f64>().ok().map(|x| x[0]),
        }
    }

    /// Integers that are known whatever the free sizes are.
    fn integers(&self, value: ValueId) -> Option<Vec<i64>> {
        match self.graph.constant(value) {
            Some(constant) => constant.to_i64s().ok(),
            None => self.types.contents(value)?.iter().map(|d| d.as_const()).collect(),
        }
    }

    /// An integer tensor at the probe sizes.
    fn probe_integers(&self, value: ValueId) -> Option<Tensor> {
        if let Some(constant) = self.graph.constant(value) {
            return Some(constant.clone());
        }
        let contents = self.types.contents(value)?;
        let numbers: Vec<i64> =
            contents.iter().map(|d| d.evaluate(self.bindings).ok()).collect::<Option<_>>()?;
        Tensor::new(&self.probe_shape(value)?, numbers).ok()
    }

    /// The shape of a value at the probe sizes.
    fn probe_shape(&self, value: ValueId) -> Option<Vec<usize>> {
        let dims = &self.types.get(value)?.dims;
        dims.iter().map(|d| usize::try_from(d.evaluate(self.bindings).ok()?).ok()).collect()
    }

    /// The axis and the entry, where a slice takes one entry of one axis.
    fn single_slice(&self, node: &Node, output: ValueId) -> Option<(usize, usize)> {
        let starts = self.integers(node.input(1)?)?;
        let axes = match node.input(3) {
            Some(axes) => self.integers(axes)?,
            None => vec![0],
        };
        let (&[start], &[axis]) = (starts.as_slice(), axes.as_slice()) else { return None };
        let dims = &self.types.get(node.input(0)?)?.dims;
        let axis = paths::normalise(axis, dims.len())?;
        let start = paths::normalise(start, dims[axis].as_size()?)?;
        is_one(&self.types.get(output)?.dims[axis]).then_some((axis, start))
    }

    /// The value behind reshapes that only add or remove trailing axes of size one.
    fn peel(&self, value: ValueId) -> ValueId {
        let features = |v| self.types.get(v).map(|ty| ty.dims.as_slice());
        let mut value = value;
        while let Some(node) = self.links.producer(value).map(|id| self.graph.node(id)) {
            let moves = matches!(
                node.op,
                Op::Identity
                    | Op::Dropout
                    | Op::Reshape { .. }
                    | Op::Flatten { .. }
                    | Op::Squeeze
                    | Op::Unsqueeze
            );
            let Some(input) = node.input(0).filter(|_| moves) else { break };
            let (Some(outer), Some(inner)) = (features(value), features(input)) else { break };
            let plain = |dims: &[_]| dims.len() >= 2 && dims[2..].iter().all(is_one);
            if !plain(outer) || !plain(inner) || outer[..2] != inner[..2] {
                break;
            }
            value = input;
        }
        value
    }
}

/// The number that was written where f32 has lost it: 0.16666667 is 1/6.
fn as_written(x: f32) -> f64 {
    for denominator in [1.0, 3.0, 6.0, 7.0, 9.0, 10.0, 12.0] {
        let fraction = (f64::from(x) * denominator).round() / denominator;
        if fraction as f32 == x {
            return fraction;
        }
    }
    f64::from(x)
}

/// A maximum over pieces of one feature map.
struct Match {
    anchor: NodeId,
    map: ValueId,
    /// Output axis `i` is axis `perm[i]` of the map.
    perm: Vec<usize>,
    axes: Axes,
    channels: usize,
    pieces: Vec<Piece>,
}

/// Recognises maxima over two or more pieces.
fn maxima(graph: &mut Graph) -> Result<Vec<Unrecognised>> {
    let facts = Facts::of(graph)?;
    let scope = facts.scope(graph);
    let mut matches = Vec::new();
    let mut unrecognised = Vec::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        if !pieces::is_maximum(&node.op) || inside_another(&scope, id) {
            continue;
        }
        match match_maximum(&scope, id) {
            Outcome::Match(found) => {
                let hyper = hyperfunction::find(&scope, found.axes, found.channels, &found.pieces);
                matches.push((found, hyper.ok()));
            }
            Outcome::Unlike => {}
            Outcome::Refused(reason) => {
                unrecognised.push(Unrecognised { name: node.name.clone(), reason: reason.into() });
            }
        }
    }
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)?;
    Ok(unrecognised)
}

/// The feature maps behind the contexts, for contexts that are means.
fn pooled_maps<'a>(
    scope: &Scope,
    found: impl Iterator<Item = &'a hyperfunction::Found>,
) -> HashMap<ValueId, ValueId> {
    let context =
        |h: &hyperfunction::Found| Some((h.context(), context::pooled_map(scope, h.context())?));
    found.filter_map(context).collect()
}

enum Outcome {
    Match(Match),
    /// Nothing about it suggests a dynamic activation.
    Unlike,
    Refused(&'static str),
}

/// Whether a maximum is a piece of the maximum that reads it.
fn inside_another(scope: &Scope, id: NodeId) -> bool {
    let output = scope.graph.node(id).output();
    match scope.links.consumers(output) {
        &[consumer] => {
            !scope.graph.outputs().contains(&output)
                && scope.graph.node(consumer).op == Op::Variadic(Variadic::Max)
        }
        _ => false,
    }
}

fn match_maximum(scope: &Scope, anchor: NodeId) -> Outcome {
    let mut labels = Labels::default();
    let Some(starts) = pieces::pieces(scope, &mut labels, anchor) else { return Outcome::Unlike };
    let first = starts.first().and_then(|start| scope.types.get(start.value));
    if first.is_none_or(|ty| ty.dims.len() < 3) {
        return Outcome::Unlike;
    }
    let mut ways: Vec<Vec<Path>> = Vec::with_capacity(starts.len());
    for start in starts {
        ways.push(paths::paths(scope, &mut labels, start));
    }
    // Without a product or a sum this is a maximum of feature maps.
    let arithmetic = |path: &Path| path.iter().skip(1).any(|visit| !visit.by_movement);
    let scaled = ways.iter().flatten().any(arithmetic);
    let dynamic = |visit: &Visit| {
        visit.a.all_values(&|v| scope.graph.constant(v).is_some())
            && visit.b.all_values(&|v| scope.graph.constant(v).is_some())
    };
    if !scaled || ways.iter().flatten().flatten().all(dynamic) {
        return Outcome::Unlike;
    }
    if ways.len() > 8 {
        return Outcome::Refused("it has more than 8 pieces");
    }
    match common_map(scope, anchor, &ways) {
        Ok(found) => Outcome::Match(found),
        Err(reason) => Outcome::Refused(reason),
    }
}

/// The nearest feature map that all pieces are affine in, with coefficients that do not depend on
/// the position.
fn common_map(scope: &Scope, anchor: NodeId, ways: &[Vec<Path>]) -> Result<Match, &'static str> {
    let mut reason = "its pieces are not affine in one feature map";
    let mut best: Option<(usize, usize, Match)> = None;
    for path in &ways[0] {
        for (distance, visit) in path.iter().enumerate() {
            let others: Option<Vec<&Visit>> = ways[1..]
                .iter()
                .map(|paths| {
                    let visits = paths.iter().flatten();
                    visits.filter(|v| v.value == visit.value).find(|v| same_axes(scope, visit, v))
                })
                .collect();
            let Some(others) = others else { continue };
            let visits: Vec<&Visit> = std::iter::once(visit).chain(others).collect();
            // Moving on over transposes costs nothing and reaches the map as it was produced.
            let steps = path[..=distance].iter().filter(|v| !v.by_movement).count();
            let nearer =
                best.as_ref().is_none_or(|(s, d, _)| steps < *s || (steps == *s && distance > *d));
            if !nearer {
                continue;
            }
            match accept(scope, anchor, &visits) {
                Ok(found) => best = Some((steps, distance, found)),
                Err(why) => reason = why,
            }
        }
    }
    best.map(|(_, _, found)| found).ok_or(reason)
}

/// Whether two visits of one value see its axes in the same way.
fn same_axes(scope: &Scope, a: &Visit, b: &Visit) -> bool {
    let Some(ty) = scope.types.get(a.value) else { return false };
    let pairs = ty.dims.iter().zip(a.labels.iter().zip(&b.labels));
    a.labels.len() == b.labels.len() && { pairs }.all(|(d, (a, b))| is_one(d) || a == b)
}

/// Checks that `visits`, one for each piece, make an activation of the map that they visit.
fn accept(scope: &Scope, anchor: NodeId, visits: &[&Visit]) -> Result<Match, &'static str> {
    let none = "its pieces are not affine in one feature map";
    let first = visits[0];
    let map = scope.types.get(first.value).ok_or(none)?;
    let output = scope.types.get(scope.graph.node(anchor).output()).ok_or(none)?;
    if map.dtype != DType::F32 || map.dims.len() < 3 {
        return Err(none);
    }
    let channels = map.dims[1].as_size().ok_or("the number of channels is not known")?;
    if channels == 0 {
        return Err("it has no channels");
    }
    let axes = Axes { batch: first.labels[0], channel: first.labels[1] };
    for visit in visits {
        // A map of one image may be repeated for coefficients of several: that is no activation of it.
        let like_map = |value, axis: usize, of_map: &Dim| {
            let ty = scope.types.get(value);
            ty.is_none_or(|ty| is_one(&ty.dims[axis]) || may_equal(&ty.dims[axis], of_map))
        };
        let own = |value, axis, label| {
            if Some(label) == axes.batch {
                return like_map(value, axis, &map.dims[0]);
            }
            if Some(label) == axes.channel {
                return like_map(value, axis, &map.dims[1]);
            }
            visit.selected.iter().any(|(l, _)| *l == label)
        };
        if !visit.a.varies_only_along(&own) || !visit.b.varies_only_along(&own) {
            return Err("its coefficients depend on the position");
        }
        let taken = |label| visit.selected.iter().any(|(l, _)| *l == label);
        if visit.labels.iter().flatten().any(|&label| taken(label)) {
            return Err("it takes single entries of the feature map");
        }
    }
    let perm = permutation(scope, &output.dims, first).ok_or(none)?;
    let pieces = visits
        .iter()
        .map(|v| Piece { a: v.a.clone(), b: v.b.clone(), selected: v.selected.clone() })
        .collect();
    Ok(Match { anchor, map: first.value, perm, axes, channels, pieces })
}

/// Which axis of the visited map each axis of the anchor's output is.
fn permutation(scope: &Scope, output: &[Dim], visit: &Visit) -> Option<Vec<usize>> {
    let map = &scope.types.get(visit.value)?.dims;
    if output.len() != map.len() {
        return None;
    }
    // The output's axes were labelled in order, from one on.
    let first = 1;
    let mut perm: Vec<Option<usize>> = (0..output.len())
        .map(|i| visit.labels.iter().position(|&label| label == Some(first + i)))
        .collect();
    // What has no label has size one on both sides and may go anywhere.
    let mut free: Vec<usize> =
        (0..map.len()).filter(|axis| !perm.contains(&Some(*axis))).rev().collect();
    for (axis, from) in perm.iter_mut().enumerate() {
        if from.is_none() {
            let candidate = free.pop()?;
            if !is_one(&output[axis]) || !is_one(&map[candidate]) {
                return None;
            }
            *from = Some(candidate);
        }
    }
    let perm: Vec<usize> = perm.into_iter().collect::<Option<_>>()?;
    let fits = perm.iter().zip(output).all(|(&from, dim)| map[from] == *dim);
    fits.then_some(perm)
}

fn rewrite(
    graph: &mut Graph,
    matches: Vec<(Match, Option<hyperfunction::Found>)>,
    pooled: &HashMap<ValueId, ValueId>,
) -> Result<()> {
    let mut contexts: HashMap<ValueId, ValueId> = HashMap::new();
    for (found, hyper) in matches {
        let name = graph.node(found.anchor).name.clone();
        let output = graph.node(found.anchor).output();
        let coefficients = match hyper {
            Some(hyper) => {
                let context = match pooled.get(&hyper.context()) {
                    Some(&map) => *contexts.entry(map).or_insert_with(|| {
                        let name = format!("{name}.context");
                        graph.apply(name, Op::GlobalPool(PoolKind::Average), &[map])
                    }),
                    None => hyper.context(),
                };
                hyper.emit(graph, &name, context)
            }
            None => coefficients::emit(graph, &name, found.axes, found.channels, &found.pieces),
        };
        let op = Op::MaxAffine(MaxAffine { k: found.pieces.len() });
        let mut value = graph.apply(name.clone(), op, &[found.map, coefficients]);
        if found.perm.iter().enumerate().any(|(i, &p)| i != p) {
            let op = Op::Transpose { perm: found.perm };
            value = graph.apply(format!("{name}.transpose"), op, &[value]);
        }
        graph.take_over(output, value);
    }
    graph.prune()
}

/// Recognises `a * x + b` and `a * x` whose coefficients come from a hyperfunction: the K = 1
/// activation after a projection, and squeeze-and-excite.
fn single_pieces(graph: &mut Graph) -> Result<()> {
    let facts = Facts::of(graph)?;
    let scope = facts.scope(graph);
    let mut matches = Vec::new();
    for id in graph.node_ids() {
        if let Some(found) = match_single(&scope, id)
            && let Ok(hyper) =
                hyperfunction::find(&scope, found.axes, found.channels, &found.pieces)
        {
            matches.push((found, Some(hyper)));
        }
    }
    // Of a sum and the product inside it, the sum is the activation.
    let inner: Vec<ValueId> = matches
        .iter()
        .filter(|(m, _)| graph.node(m.anchor).op != Op::Binary(Binary::Mul))
        .flat_map(|(m, _)| graph.node(m.anchor).inputs.iter().flatten().copied())
        .collect();
    matches.retain(|(m, _)| !inner.contains(&graph.node(m.anchor).output()));
    let pooled = pooled_maps(&scope, matches.iter().filter_map(|(_, h)| h.as_ref()));
    rewrite(graph, matches, &pooled)
}

fn match_single(scope: &Scope, id: NodeId) -> Option<Match> {
    let node = scope.graph.node(id);
    let depth = match node.op {
        Op::Binary(Binary::Add | Binary::Sub) => 2,
        Op::Binary(Binary::Mul) => 1,
        _ => return None,
    };
    let output = node.output();
    let dims = &scope.types.get(output)?.dims;
    if dims.len() < 3 || dims[2..].iter().all(is_one) {
        return None;
    }
    let mut labels = Labels::default();
    let start = Visit {
        value: output,
        labels: dims.iter().map(|_| Some(labels.fresh())).collect(),
        a: paths::Coefficient::Number(1.0),
        b: paths::Coefficient::Number(0.0),
        selected: Vec::new(),
        by_movement: false,
    };
    let ways = paths::paths(scope, &mut labels, start);
    ways.iter().find_map(|path| {
        let visit = path.get(depth)?;
        let whole = scope.types.get(visit.value)?.dims == *dims && !visit.by_movement;
        let private = path[1..depth].iter().all(|v| scope.links.consumers(v.value).len() == 1);
        (whole && private).then(|| accept(scope, id, &[visit]).ok())?
    })
}
