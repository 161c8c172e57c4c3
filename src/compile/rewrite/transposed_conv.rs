//! Rewrites transposed convolutions as convolutions whose outputs alternate.
//!
//! With a stride of `s`, the output positions that leave the same remainder modulo `s` are one *phase*.
//! A phase is a convolution with stride 1 of the taps that reach it, in reverse order. Phases that read
//! the same positions of the input become one convolution: all of them where the window is as large as
//! the stride. An [`Interleave`] composes the output.

use crate::error::Result;
use crate::graph::geometry::{WindowAxis, is_row, transposed_spec, transposed_window};
use crate::graph::{Conv, ConvTranspose, Dim, Interleave, NodeId, Op, Padding, Rewriter};
use crate::tensor::{DType, Tensor};

/// Rewrites every transposed convolution over two axes that has constant weights.
///
/// # Errors
/// [`Graph`](crate::ErrorKind::Graph) or [`Shape`](crate::ErrorKind::Shape) if the graph
/// contradicts itself.
pub fn transposed_conv(graph: &mut Rewriter) -> Result<()> {
    for id in graph.node_ids() {
        rewrite(graph, id);
    }
    graph.commit().map(|_| ())
}

/// The most convolutions that a transposed one becomes.
const MOST_PARTS: usize = 12;

/// The most phases, which bounds the work for a hostile stride.
const MOST_PHASES: usize = 1 << 10;

/// Phases along one axis that read the same positions of the input.
struct Class {
    phases: Vec<usize>,
    /// For every tap of the convolution, in order, the position of the input relative to that of the
    /// output.
    offsets: Vec<i64>,
    /// The padding before and after the axis.
    padding: [i64; 2],
}

/// How a transposed convolution falls apart along one axis.
struct Axis {
    window: WindowAxis,
    classes: Vec<Class>,
    /// The distance of the taps of each convolution.
    dilation: usize,
    /// The positions by which the phases together exceed the output.
    crop: usize,
}

/// Returns the greatest common divisor.
fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl Axis {
    fn of(i: usize, size: &Dim, kernel: &[usize], op: &ConvTranspose) -> Option<Axis> {
        // What follows depends on the size only if the network states the size of the output.
        const ANY_SIZE: usize = 1 << 10;
        let size = size.as_size().or_else(|| op.output_shape.is_empty().then_some(ANY_SIZE))?;
        let spec = transposed_spec(kernel, op, 2).ok()?;
        let window = transposed_window(i, size, spec, op).ok()?;
        let WindowAxis { kernel, stride, dilation, before, output, .. } = window;
        let signed = |n: usize| i64::try_from(n).ok();
        let (step, size) = (signed(stride)?, signed(size)?);
        // The output has `step * size + longer` positions.
        let longer = signed(output)? - step * size;
        let mut classes: Vec<Class> = Vec::new();
        for phase in 0..stride {
            let mut offsets = Vec::new();
            for tap in (0..kernel).rev() {
                let distance = signed(phase)? + before - signed(tap.checked_mul(dilation)?)?;
                if distance.rem_euclid(step) == 0 {
                    offsets.push(distance / step);
                }
            }
            let (&first, &last) = (offsets.first()?, offsets.last()?);
            // One position per position of the input at least, so that none is of size 0.
            let more = (longer - signed(phase)?).div_euclid(step)
                + i64::from((longer - signed(phase)?).rem_euclid(step) > 0);
            let after = more.max(0) + last;
            match classes.iter_mut().find(|class| class.offsets == offsets) {
                Some(class) => {
                    class.phases.push(phase);
                    class.padding[1] = class.padding[1].max(after);
                }
                None => {
                    classes.push(Class { phases: vec![phase], offsets, padding: [-first, after] });
                }
            }
        }
        let first = classes.first()?;
        let positions = size + first.padding[1] - *first.offsets.last()?;
        let crop = usize::try_from(positions * step - size * step - longer).ok()?;
        let dilation = dilation / common_divisor(dilation, stride);
        (crop < stride).then_some(Axis { window, classes, dilation, crop })
    }

    /// The tap of the transposed convolution that carries an input to a phase.
    fn tap(&self, phase: usize, offset: i64) -> usize {
        let WindowAxis { stride, dilation, before, .. } = self.window;
        let distance = phase as i64 + before - stride as i64 * offset;
        (distance / dilation as i64) as usize
    }
}

fn rewrite(graph: &mut Rewriter, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let Op::ConvTranspose(op) = &node.op else { return None };
    let (x, output) = (node.input(0)?, node.output());
    let weight = graph.constant(node.input(1)?)?.clone();
    let bias = match node.input(2) {
        Some(bias) => Some(graph.constant(bias).filter(|bias| is_row(bias.shape()))?.clone()),
        None => None,
    };
    let &[_, _, height, width] = weight.shape() else { return None };
    let [_, _, lines, columns] = graph.types().get(x)?.dims.as_slice() else { return None };
    if weight.dtype() != DType::F32 || weight.is_empty() || op.groups == 0 {
        return None;
    }
    let is_short = |strides: &[usize]| strides.iter().all(|&stride| stride <= MOST_PHASES);
    let kernel = [height, width];
    if !is_short(&op.strides) || height.max(width) > MOST_PHASES {
        return None;
    }
    let axes = [Axis::of(0, lines, &kernel, op)?, Axis::of(1, columns, &kernel, op)?];
    let [down, across] = &axes;
    let parts = down.classes.len() * across.classes.len();
    let steps = [down.window.stride, across.window.stride];
    let phases = steps[0] * steps[1];
    // Several phases of a group would not lie side by side.
    if parts > MOST_PARTS || phases > MOST_PHASES || (op.groups > 1 && parts != phases) {
        return None;
    }
    let (groups, name) = (op.groups, node.name.clone());
    let channels = weight.shape()[1].checked_mul(groups)?;
    let mut inputs = Vec::with_capacity(parts);
    let mut places = vec![[0; 2]; phases];
    for i in 0..parts {
        let (rows, columns) = (i / across.classes.len(), i % across.classes.len());
        let classes = [&down.classes[rows], &across.classes[columns]];
        let chosen = classes[0].phases.iter();
        let chosen: Vec<[usize; 2]> =
            chosen.flat_map(|&y| classes[1].phases.iter().map(move |&x| [y, x])).collect();
        for (k, [y, x]) in chosen.iter().enumerate() {
            places[y * steps[1] + x] = [i, k * channels];
        }
        let part = weights_of(&weight, groups, &axes, classes, &chosen)?;
        let mut operands = vec![x, graph.add_constant(format!("{name}.{i}.weight"), part)];
        if let Some(bias) = &bias {
            let bias = Tensor::vector(bias.as_f32().ok()?.repeat(chosen.len()));
            operands.push(graph.add_constant(format!("{name}.{i}.bias"), bias));
        }
        let [above, left] = classes.map(|class| class.padding[0]);
        let [below, right] = classes.map(|class| class.padding[1]);
        let conv = Conv {
            padding: Padding::Explicit(vec![above, left, below, right]),
            strides: Vec::new(),
            dilations: vec![down.dilation, across.dilation],
            groups,
        };
        inputs.push(graph.apply(format!("{name}.{i}"), Op::Conv(conv), &operands));
    }
    let crop = [down.crop, across.crop];
    let interleave = Interleave { steps, phases: places, channels, crop };
    let composed = match (phases, crop) {
        (1, [0, 0]) => inputs[0],
        _ => graph.apply(name, Op::Interleave(interleave), &inputs),
    };
    graph.take_over(output, composed);
    Some(())
}

/// Returns the weights `[phases * outputs][channels of a group][taps]` of a convolution that computes
/// the phases `chosen`. They are computed when the layer is packed.
fn weights_of(
    weight: &Tensor,
    groups: usize,
    axes: &[Axis; 2],
    classes: [&Class; 2],
    chosen: &[[usize; 2]],
) -> Option<Tensor> {
    let &[inputs, outputs, height, width] = weight.shape() else { return None };
    let depth = inputs.checked_div(groups).filter(|depth| depth * groups == inputs)?;
    // For every element of a filter, where it lies in the filter of the transposed convolution.
    let taps = |&[y, x]: &[usize; 2]| -> Vec<usize> {
        let row = |&offset: &i64| axes[0].tap(y, offset) * width;
        let column = |&offset: &i64| axes[1].tap(x, offset);
        let rows = classes[0].offsets.iter().map(row);
        rows.flat_map(|row| classes[1].offsets.iter().map(move |offset| row + column(offset)))
            .collect()
    };
    let taps: Vec<Vec<usize>> = chosen.iter().map(taps).collect();
    let shape = [
        chosen.len().checked_mul(groups.checked_mul(outputs)?)?,
        depth,
        classes[0].offsets.len(),
        classes[1].offsets.len(),
    ];
    let (plain, filter) = (weight.clone(), height * width);
    let deferred = Tensor::deferred(&shape, move |to: &mut [f32]| {
        let plain = plain.as_f32().expect("the type was checked above");
        let mut to = to.iter_mut();
        for taps in &taps {
            for output in 0..groups * outputs {
                let (group, output) = (output / outputs, output % outputs);
                for channel in group * depth..(group + 1) * depth {
                    let from = &plain[(channel * outputs + output) * filter..][..filter];
                    to.by_ref().zip(taps).for_each(|(to, &tap)| *to = from[tap]);
                }
            }
        }
    });
    deferred.ok()
}

#[cfg(test)]
mod tests {
    use super::super::alone;
    use super::*;
    use crate::graph::{Graph, TensorType};
    use crate::reference;

    fn wave(shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|i: usize| (i as f32 * 0.7).sin()).collect()).unwrap()
    }

    fn plain() -> ConvTranspose {
        ConvTranspose {
            padding: Padding::Explicit(vec![]),
            strides: vec![2, 2],
            dilations: vec![],
            groups: 1,
            output_padding: vec![],
            output_shape: vec![],
        }
    }

    /// Checks that a transposed convolution with weights of `shape` keeps its results, on maps of
    /// several sizes, and returns the number of convolutions that it becomes.
    fn parts(op: ConvTranspose, shape: [usize; 4], fixed: bool) -> usize {
        let mut counts = Vec::new();
        for size in [[5, 4], [1, 2], [3, 1]] {
            let mut g = Graph::new("t");
            let dims = match fixed {
                true => size.map(Dim::from),
                false => ["H", "W"].map(Dim::symbol),
            };
            let dims = [&[Dim::symbol("N"), shape[0].into()][..], &dims].concat();
            let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
            let weight = g.add_constant("weight", wave(&shape));
            let bias = g.add_constant("bias", wave(&[shape[1] * op.groups]));
            let y = g.apply("y", Op::ConvTranspose(op.clone()), &[x, weight, bias]);
            g.set_outputs(vec![y]);
            let x = [wave(&[2, shape[0], size[0], size[1]])];
            let Ok(want) = reference::run(&g, &x) else { continue };
            alone(&mut g, transposed_conv);
            let got = reference::run(&g, &x).unwrap();
            assert_eq!(got[0].shape(), want[0].shape(), "{op:?} {size:?}");
            for (got, want) in got[0].as_f32().unwrap().iter().zip(want[0].as_f32().unwrap()) {
                assert!((got - want).abs() <= 1e-5, "{got}, expected {want}: {op:?} {size:?}");
            }
            let is_conv = |node: &&crate::graph::Node| matches!(node.op, Op::Conv(_));
            counts.push(g.nodes().iter().filter(is_conv).count());
        }
        assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
        counts[0]
    }

    #[test]
    fn phases_are_convolutions() {
        let pads =
            |pads: [i64; 4]| ConvTranspose { padding: Padding::Explicit(pads.to_vec()), ..plain() };
        for fixed in [true, false] {
            assert_eq!(parts(pads([1, 1, 1, 1]), [3, 2, 4, 4], fixed), 4);
            assert_eq!(parts(pads([1, 0, 0, 1]), [3, 2, 3, 3], fixed), 4);
            assert_eq!(parts(pads([2, 2, 1, 1]), [2, 3, 5, 6], fixed), 2);
            let op = ConvTranspose { output_padding: vec![1, 1], ..pads([1, 1, 1, 1]) };
            assert_eq!(parts(op, [3, 2, 3, 3], fixed), 4);
            let op = ConvTranspose { strides: vec![3, 1], ..pads([1, 1, 0, 1]) };
            assert_eq!(parts(op, [3, 2, 4, 3], fixed), 2);
            let op = ConvTranspose { padding: Padding::SameUpper, ..plain() };
            assert_eq!(parts(op, [3, 2, 3, 3], fixed), 4);
            let op = ConvTranspose { dilations: vec![3, 1], ..pads([1, 1, 1, 1]) };
            assert_eq!(parts(op, [3, 2, 3, 3], fixed), 4);
        }
    }

    #[test]
    fn phases_that_read_the_same_positions_are_one_convolution() {
        assert_eq!(parts(plain(), [3, 2, 2, 2], false), 1);
        let op = ConvTranspose {
            padding: Padding::Explicit(vec![2; 4]),
            strides: vec![4, 4],
            ..plain()
        };
        assert_eq!(parts(op, [3, 2, 8, 8], false), 4);
        let op = ConvTranspose { strides: vec![1, 1], ..plain() };
        assert_eq!(parts(op, [3, 2, 3, 3], false), 1);
    }

    #[test]
    fn groups_stay_groups() {
        let padding = Padding::Explicit(vec![1, 1, 1, 1]);
        for (groups, shape) in [(3, [3, 1, 4, 4]), (2, [4, 3, 4, 4])] {
            let op = ConvTranspose { groups, padding: padding.clone(), ..plain() };
            assert_eq!(parts(op, shape, false), 4);
        }
    }

    #[test]
    fn stated_sizes_are_reached() {
        let op = ConvTranspose { output_shape: vec![10, 9], ..plain() };
        for (fixed, count) in [(true, 4), (false, 0)] {
            let mut g = Graph::new("t");
            let size = match fixed {
                true => [5, 4].map(Dim::from),
                false => ["H", "W"].map(Dim::symbol),
            };
            let dims = [&[Dim::symbol("N"), 3.into()][..], &size].concat();
            let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
            let weight = g.add_constant("weight", wave(&[3, 2, 3, 3]));
            let y = g.apply("y", Op::ConvTranspose(op.clone()), &[x, weight]);
            g.set_outputs(vec![y]);
            let x = [wave(&[2, 3, 5, 4])];
            let want = reference::run(&g, &x).unwrap();
            alone(&mut g, transposed_conv);
            let got = reference::run(&g, &x).unwrap();
            for (got, want) in got[0].as_f32().unwrap().iter().zip(want[0].as_f32().unwrap()) {
                assert!((got - want).abs() <= 1e-5, "{got}, expected {want}");
            }
            let convs = g.nodes().iter().filter(|node| matches!(node.op, Op::Conv(_)));
            assert_eq!(convs.count(), count);
        }
    }

    #[test]
    fn phases_that_no_tap_reaches_stay() {
        let op = ConvTranspose { strides: vec![3, 3], ..plain() };
        assert_eq!(parts(op, [3, 2, 2, 2], false), 0);
    }
}
