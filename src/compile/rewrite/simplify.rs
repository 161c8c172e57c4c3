//! Folds constants and removes nodes that do not change their input.

use crate::error::Result;
use crate::graph::infer::Types;
use crate::graph::{Dim, NodeId, Op, Rewriter, ValueId};
use crate::reference;
use crate::tensor::{DType, Tensor, num_elements};

/// Folds constants and removes identities, repeatedly until nothing changes.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn simplify(graph: &mut Rewriter) -> Result<()> {
    let mut open: Vec<NodeId> = graph.node_ids().collect();
    while !open.is_empty() {
        for &id in &open {
            let _ = fold(graph, id) || drop_identity(graph, id);
        }
        // New opportunities arise only where something has changed.
        open = graph.commit()?;
    }
    Ok(())
}

/// Maximum number of elements of a folded tensor that is larger than the tensors it is computed from.
/// Without a limit, a small file could demand a terabyte of zeros.
const MAX_FOLDED: usize = 1 << 22;

/// Replaces the outputs of a node by constants if all inputs are constants. Returns whether anything
/// changed.
fn fold(graph: &mut Rewriter, id: NodeId) -> bool {
    let node = graph.node(id);
    let mut folded = Vec::new();
    if let Some(tensor) = known_integers(graph.types(), node.output()) {
        folded.push((node.output(), tensor));
    } else {
        let inputs: Option<Vec<Option<&Tensor>>> = node
            .inputs
            .iter()
            .map(|input| input.map_or(Some(None), |id| graph.constant(id).map(Some)))
            .collect();
        let Some(inputs) = inputs else { return false };
        let given: usize = inputs.iter().flatten().map(|t| t.len()).sum();
        let fits = |output: &Option<ValueId>| {
            let size =
                output.map(|o| graph.types().get(o).and_then(|t| num_elements(&t.fixed_shape()?)));
            size.is_none_or(|n| n.is_some_and(|n| n <= given.max(MAX_FOLDED)))
        };
        if !node.outputs.iter().all(fits) {
            return false;
        }
        let Ok(tensors) = reference::evaluate(&node.op, &inputs, node.outputs.len()) else {
            return false;
        };
        let pairs = node.outputs.iter().zip(tensors);
        folded.extend(pairs.filter_map(|(output, tensor)| Some(((*output)?, tensor))));
    }
    let mut changed = false;
    for (value, tensor) in folded {
        // A value that is an output of the graph must have a node that produces it. It is not
        // counted as a change, which would repeat the pass without end.
        if !graph.links().is_output(value) && !graph.links().consumers(value).is_empty() {
            let name = graph.value(value).name.clone();
            let constant = graph.add_constant(name, tensor);
            let name = format!("{}.folded", graph.value(value).name);
            graph.rename(value, name);
            graph.replace_uses(value, constant);
            changed = true;
        }
    }
    changed
}

/// Returns the elements of an integer tensor that follow from shapes alone.
fn known_integers(types: &Types, value: ValueId) -> Option<Tensor> {
    let ty = types.get(value)?;
    let contents = types.contents(value)?;
    let numbers: Vec<i64> = contents.iter().map(Dim::as_const).collect::<Option<_>>()?;
    let tensor = Tensor::new(&ty.fixed_shape()?, numbers).ok()?;
    matches!(ty.dtype, DType::I64 | DType::I32).then(|| tensor.cast(ty.dtype).ok())?
}

/// Removes a node whose output is equal to its input, or merges it with the node before. Returns
/// whether anything changed.
fn drop_identity(graph: &mut Rewriter, id: NodeId) -> bool {
    let node = graph.node(id);
    let (Some(mut input), output) = (node.input(0), node.output()) else { return false };
    let (Some(before), Some(after)) = (graph.types().get(input), graph.types().get(output)) else {
        return false;
    };
    let same = match &node.op {
        Op::Identity => true,
        Op::Dropout => node.input(2).is_none() && node.outputs.iter().skip(1).all(Option::is_none),
        Op::Cast { to } => before.dtype == *to,
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Expand | Op::Squeeze | Op::Unsqueeze => {
            before.dims == after.dims
        }
        Op::Transpose { perm } if !perm.is_empty() => {
            if let Some((first, inner)) = transposed(graph, input)
                && !graph.links().is_output(output)
            {
                // Two transposes become one.
                let perm: Vec<usize> = perm.iter().map(|&p| first[p]).collect();
                input = inner;
                if !is_identity(&perm) {
                    graph.edit(id, |node| {
                        node.op = Op::Transpose { perm };
                        node.inputs[0] = Some(input);
                    });
                    return true;
                }
                true
            } else {
                is_identity(perm)
            }
        }
        Op::Concat { .. } => node.inputs.len() == 1,
        // A part that starts elsewhere, or backwards, has another size or another step.
        Op::Slice => before.dims == after.dims && consists_of(graph, node.input(4), 1),
        Op::Pad { .. } => node.input(1).is_some() && consists_of(graph, node.input(1), 0),
        _ => false,
    };
    if !same || graph.links().is_output(output) && !is_internal(graph, input) {
        return false;
    }
    if graph.links().is_output(output) {
        graph.take_over(output, input);
    } else {
        graph.replace_uses(output, input);
    }
    true
}

/// Whether all elements of an optional input are known to be `number`. They are if it is absent.
fn consists_of(graph: &Rewriter, input: Option<ValueId>, number: i64) -> bool {
    let Some(input) = input else { return true };
    let elements = graph.types().contents(input);
    elements.is_some_and(|elements| elements.iter().all(|e| e.as_const() == Some(number)))
}

fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &p)| i == p)
}

/// Returns the permutation and the input of the transpose that produces `value`.
fn transposed(graph: &Rewriter, value: ValueId) -> Option<(Vec<usize>, ValueId)> {
    let node = graph.node(graph.links().producer(value)?);
    match &node.op {
        Op::Transpose { perm } if !perm.is_empty() => Some((perm.clone(), node.input(0)?)),
        _ => None,
    }
}

/// Whether a value may become an output of the graph: it is neither an input nor a constant nor an
/// output already.
fn is_internal(graph: &Rewriter, value: ValueId) -> bool {
    let v = graph.value(value);
    v.input.is_none() && v.constant.is_none() && !graph.links().is_output(value)
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{Binary, Graph, TensorType, Unary};

    fn image() -> TensorType {
        TensorType { dtype: DType::F32, dims: vec![Dim::symbol("N"), 3.into(), 4.into(), 5.into()] }
    }

    #[test]
    fn constants_fold_and_identities_vanish() {
        let mut g = Graph::new("t");
        let x = g.add_input("x", image());
        let one = g.add_constant("one", Tensor::scalar(1f32));
        let two = g.apply("two", Op::Binary(Binary::Add), &[one, one]);
        let same = g.apply("same", Op::Identity, &[x]);
        let there = g.apply("there", Op::Transpose { perm: vec![0, 2, 3, 1] }, &[same]);
        let back = g.apply("back", Op::Transpose { perm: vec![0, 3, 1, 2] }, &[there]);
        let y = g.apply("y", Op::Binary(Binary::Mul), &[back, two]);
        g.set_outputs(vec![y]);
        alone(&mut g, simplify);
        let names: Vec<_> = g.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["y"]);
        assert_eq!(g.nodes()[0].input(0), Some(x));
        let two = g.constant(g.nodes()[0].input(1).unwrap()).unwrap();
        assert_eq!(two.as_f32().unwrap(), [2.0]);
    }

    #[test]
    fn parts_that_are_the_whole_and_padding_of_zero_vanish() {
        let mut g = Graph::new("t");
        let x = g.add_input("x", image());
        let mut ints =
            |name: &str, numbers: &[i64]| g.add_constant(name, Tensor::vector(numbers.to_vec()));
        let (start, end, axis) = (ints("start", &[0]), ints("end", &[4]), ints("axis", &[2]));
        let (pads, step) = (ints("pads", &[0; 8]), ints("step", &[-1]));
        let (last, before) = (ints("last", &[-1]), ints("before", &[-9]));
        let whole = g.apply("whole", Op::Slice, &[x, start, end, axis]);
        let mode = crate::graph::PadMode::Constant;
        let padded = g.apply("padded", Op::Pad { mode }, &[whole, pads]);
        let y = g.apply("reversed", Op::Slice, &[padded, last, before, axis, step]);
        g.set_outputs(vec![y]);
        alone(&mut g, simplify);
        let names: Vec<_> = g.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["reversed"]);
    }

    #[test]
    fn outputs_keep_their_names() {
        let mut g = Graph::new("t");
        let x = g.add_input("x", image());
        let a = g.apply("a", Op::Unary(Unary::Relu), &[x]);
        let y = g.apply("y", Op::Identity, &[a]);
        g.set_outputs(vec![y]);
        alone(&mut g, simplify);
        assert_eq!(g.nodes().len(), 1);
        assert_eq!(g.value(g.outputs()[0]).name, "y");
    }

    #[test]
    fn a_constant_of_which_one_part_is_an_output_folds_once() {
        let mut g = Graph::new("t");
        let two = g.add_constant("two", Tensor::vector(vec![1f32, 2.0]));
        let outputs = [g.add_value("a"), g.add_value("b")];
        g.add_node(crate::graph::Node {
            name: "split".into(),
            op: Op::Split { axis: 0 },
            inputs: vec![Some(two)],
            outputs: outputs.map(Some).to_vec(),
        });
        let y = g.apply("y", Op::Unary(Unary::Relu), &[outputs[1]]);
        g.set_outputs(vec![outputs[0], y]);
        alone(&mut g, simplify);
        let names: Vec<_> = g.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["split", "y"]);
        let relu = g.nodes()[1].input(0).unwrap();
        assert_eq!(g.constant(relu).unwrap().as_f32().unwrap(), [2.0]);
    }

    #[test]
    fn an_input_that_is_an_output_stays_apart() {
        let mut g = Graph::new("t");
        let x = g.add_input("x", image());
        let y = g.apply("y", Op::Identity, &[x]);
        g.set_outputs(vec![y]);
        alone(&mut g, simplify);
        assert_eq!(g.nodes().len(), 1);
    }
}
