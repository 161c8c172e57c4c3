//! Nodes that put lines of feature maps below one another, or take some of them, and products with
//! gates of lines and columns.

use super::network::Network;
use crate::graph::predicates::{axis_from_front, is_one};
use crate::graph::{Binary, Dim, Node, NodeId, Op, ReduceKind, ValueId, geometry};
use crate::kernels::pool::Pooling;
use crate::plan::{LinesPrimitive, MOST_INPUTS, PoolPrimitive, WindowShape};

/// A step for one output of a node.
pub(super) struct LinesStep {
    pub output: ValueId,
    /// The maps that the primitive reads.
    pub inputs: Vec<ValueId>,
    pub primitive: LinesPrimitive,
}

/// Returns a step per output of `node`, if `node` concatenates maps along their height, splits or
/// slices one there, or turns a line into a column or a column into a line.
pub(super) fn steps(net: &Network, node: &Node) -> Option<Vec<LinesStep>> {
    let is_height = |axis: i64| axis_from_front(axis, 4) == Some(2);
    match &node.op {
        Op::Concat { axis } if is_height(*axis) => concat(net, node),
        Op::Split { axis } if is_height(*axis) => split(net, node),
        Op::Slice => slice(net, node),
        Op::Transpose { perm } if perm[..] == [0, 1, 3, 2] => turn(net, node),
        _ => None,
    }
}

/// Returns the sizes of a map with four axes that can lie in the arena.
fn map<'g>(net: &Network<'g>, value: ValueId) -> Option<&'g [Dim; 4]> {
    let is_map = net.maps.is_nchw(value) && net.graph.constant(value).is_none();
    net.maps.dims(value).filter(|_| is_map)?.try_into().ok()
}

fn concat(net: &Network, node: &Node) -> Option<Vec<LinesStep>> {
    let inputs: Vec<ValueId> = node.inputs.iter().copied().collect::<Option<_>>()?;
    let [images, channels, _, width] = map(net, node.output())?;
    let fits = |&input: &ValueId| {
        map(net, input).is_some_and(|[n, c, _, w]| [n, c, w] == [images, channels, width])
    };
    let all_fit = inputs.len() <= MOST_INPUTS && inputs.iter().all(fits);
    let (output, primitive) = (node.output(), LinesPrimitive { first: 0 });
    all_fit.then(|| vec![LinesStep { output, inputs, primitive }])
}

/// Returns the step that copies lines of `x` from number `line` on.
fn part(net: &Network, x: ValueId, output: ValueId, line: usize) -> Option<LinesStep> {
    let ([.., height, width], [.., count, _]) = (map(net, x)?, map(net, output)?);
    let is_inside = line.checked_add(count.as_size()?)? <= height.as_size()?;
    let first = line.checked_mul(width.as_size()?)?;
    let primitive = LinesPrimitive { first };
    is_inside.then(|| LinesStep { output, inputs: vec![x], primitive })
}

fn split(net: &Network, node: &Node) -> Option<Vec<LinesStep>> {
    let mut line = 0;
    let mut steps = Vec::with_capacity(node.outputs.len());
    for &output in &node.outputs {
        let step = part(net, node.input(0)?, output?, line)?;
        line += map(net, step.output)?[2].as_size()?;
        steps.push(step);
    }
    Some(steps)
}

fn slice(net: &Network, node: &Node) -> Option<Vec<LinesStep>> {
    let number = |input: usize| -> Option<i64> {
        match net.types.contents(node.input(input)?)? {
            [number] => number.as_const(),
            _ => None,
        }
    };
    let x = node.input(0)?;
    let (start, end, axis) = (number(1)?, number(2)?, number(3)?);
    let is_height = axis_from_front(axis, 4) == Some(2);
    if !is_height || node.input(4).is_some() && number(4)? != 1 {
        return None;
    }
    let range = geometry::slice(map(net, x)?[2].as_size()?, start, end, 1).ok()?;
    Some(vec![part(net, x, node.output(), range.start)?])
}

fn turn(net: &Network, node: &Node) -> Option<Vec<LinesStep>> {
    let (x, output) = (node.input(0)?, node.output());
    let [.., height, width] = map(net, x)?;
    map(net, output)?;
    let primitive = LinesPrimitive { first: 0 };
    let is_line = is_one(height) || is_one(width);
    is_line.then(|| vec![LinesStep { output, inputs: vec![x], primitive }])
}

/// Returns the pooling that `node` is, if it computes the means of the lines or of the columns of a map
/// of known size.
pub(super) fn mean(net: &Network, node: &Node) -> Option<PoolPrimitive> {
    let Op::Reduce(reduce) = &node.op else { return None };
    if reduce.kind != ReduceKind::Mean || !reduce.keep_dims {
        return None;
    }
    let [.., height, width] = map(net, node.input(0)?)?;
    let [axis] = net.types.contents(node.input(1)?)? else { return None };
    let kernel = match axis_from_front(axis.as_const()?, 4) {
        Some(2) => [height.as_size()?, 1],
        Some(3) => [1, width.as_size()?],
        _ => return None,
    };
    let window = WindowShape { kernel, ..WindowShape::pointwise() };
    (kernel[0] * kernel[1] > 0).then_some(PoolPrimitive { kind: Pooling::Average, window })
}

/// The product of a map and of gates of its lines and columns.
pub(super) struct Gates {
    pub x: ValueId,
    /// `[N,C,H,1]`
    pub lines: Option<ValueId>,
    /// `[N,C,1,W]`
    pub columns: Option<ValueId>,
}

/// Returns the product with gates that `node` is, together with the nodes that compute it.
pub(super) fn gates(net: &Network, node: &Node, id: NodeId) -> Option<(Gates, Vec<NodeId>)> {
    let (x, lines, columns) = gated(net, node)?;
    let first = Gates { x, lines, columns };
    let further = || {
        let next = net.links.only_reader(node.output())?;
        let (x, lines, columns) = gated(net, net.graph.node(next))?;
        let both = x == node.output() && lines.is_none() && first.lines.is_some();
        both.then_some((Gates { x: first.x, lines: first.lines, columns }, vec![id, next]))
    };
    Some(further().unwrap_or((first, vec![id])))
}

/// The map, and the gates of its lines or of its columns, that `node` multiplies.
type Gated = (ValueId, Option<ValueId>, Option<ValueId>);

fn gated(net: &Network, node: &Node) -> Option<Gated> {
    if node.op != Op::Binary(Binary::Mul) {
        return None;
    }
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return None };
    let product = map(net, node.output())?;
    let multiplied = |x: ValueId, gates: ValueId| -> Option<Gated> {
        let (of_map, of_gates) = (map(net, x)?, map(net, gates)?);
        let [.., height, width] = of_gates;
        let is_product = of_map == product && of_map[..2] == of_gates[..2];
        match (is_one(height), is_one(width)) {
            (false, true) if is_product && *height == of_map[2] => Some((x, Some(gates), None)),
            (true, false) if is_product && *width == of_map[3] => Some((x, None, Some(gates))),
            _ => None,
        }
    };
    multiplied(a, b).or_else(|| multiplied(b, a))
}

#[cfg(test)]
mod tests {
    use crate::graph::{
        Binary, Conv, Dim, Graph, Node, Op, Padding, Reduce, ReduceKind, TensorType, Unary,
    };
    use crate::tensor::{DType, Tensor};
    use crate::{Model, Options, Session, reference};

    fn wave(shape: &[usize], frequency: f32) -> Tensor {
        let count = shape.iter().product();
        let data: Vec<f32> = (0..count).map(|i: usize| (i as f32 * frequency).sin()).collect();
        Tensor::new(shape, data).unwrap()
    }

    /// Coordinate attention: the means of lines and columns pass through a convolution together, and
    /// gate the map.
    fn coordinate_attention(channels: usize, height: usize, width: usize) -> Graph {
        let mut g = Graph::new("t");
        let dims = vec![Dim::symbol("N"), channels.into(), height.into(), width.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let integers = |g: &mut Graph, name: &str, numbers: &[i64]| {
            g.add_constant(name, Tensor::vector(numbers.to_vec()))
        };
        let conv = || {
            Op::Conv(Conv {
                padding: Padding::Explicit(vec![]),
                strides: vec![],
                dilations: vec![],
                groups: 1,
            })
        };
        let weight = g.add_constant("w", wave(&[channels, channels, 1, 1], 0.7));
        let x = g.apply("first", conv(), &[x, weight]);
        let mean = Op::Reduce(Reduce {
            kind: ReduceKind::Mean,
            keep_dims: true,
            noop_with_empty_axes: false,
        });
        let turn = || Op::Transpose { perm: vec![0, 1, 3, 2] };
        let (across, down) = (integers(&mut g, "across", &[3]), integers(&mut g, "down", &[-2]));
        let lines = g.apply("lines", mean.clone(), &[x, across]);
        let columns = g.apply("columns", mean, &[x, down]);
        let columns = g.apply("turned", turn(), &[columns]);
        let joint = g.apply("joint", Op::Concat { axis: 2 }, &[lines, columns]);
        let joint = g.apply("mixed", conv(), &[joint, weight]);
        let sizes = integers(&mut g, "sizes", &[height as i64, width as i64]);
        let parts = ["h", "w"].map(|name| g.add_value(name));
        g.add_node(Node {
            name: "split".into(),
            op: Op::Split { axis: 2 },
            inputs: vec![Some(joint), Some(sizes)],
            outputs: parts.map(Some).to_vec(),
        });
        let lines = g.apply("h.gate", Op::Unary(Unary::Tanh), &[parts[0]]);
        let columns = g.apply("back", turn(), &[parts[1]]);
        let columns = g.apply("w.gate", Op::Unary(Unary::Tanh), &[columns]);
        let y = g.apply("y", Op::Binary(Binary::Mul), &[x, lines]);
        let y = g.apply("z", Op::Binary(Binary::Mul), &[columns, y]);
        let [from, to] = [1, height as i64 + 5].map(|at| Tensor::vector(vec![at]));
        let (from, to) = (g.add_constant("from", from), g.add_constant("to", to));
        let axis = integers(&mut g, "axis", &[2]);
        let y = g.apply("cut", Op::Slice, &[y, from, to, axis]);
        g.set_outputs(vec![y]);
        g
    }

    #[test]
    fn coordinate_attention_has_kernels() {
        for (channels, height, width) in [(5, 3, 7), (24, 6, 2), (17, 9, 4)] {
            let graph = coordinate_attention(channels, height, width);
            let x = [wave(&[3, channels, height, width], 0.37)];
            let expected = reference::run(&graph, &x).unwrap();
            let model = Model::from_graph(graph, Options::default()).unwrap();
            let names: Vec<_> = model.plan().steps().iter().map(|s| s.kind.name()).collect();
            assert!(!names.contains(&"general"), "{names:?}");
            assert_eq!(names.iter().filter(|&&name| name == "gate").count(), 1, "{names:?}");
            let found = Session::with_threads(&model, 2).unwrap().run(&x).unwrap();
            assert_eq!(found[0].shape(), expected[0].shape());
            for (y, want) in found[0].as_f32().unwrap().iter().zip(expected[0].as_f32().unwrap()) {
                assert!((y - want).abs() <= 1e-4, "{y} and not {want} for {channels} channels");
            }
        }
    }
}
