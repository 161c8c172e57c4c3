//! Shape inference on networks with free sizes gives the shapes of a run of the reference executor.

use dyrelu::graph::infer::infer;
use dyrelu::graph::*;
use dyrelu::{DType, Tensor, reference};

/// A network under construction.
struct Net {
    graph: Graph,
    count: usize,
}

impl Net {
    fn name(&mut self) -> String {
        self.count += 1;
        format!("v{}", self.count)
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = self.name();
        self.graph.add_constant(name, tensor)
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::vector(values.to_vec()))
    }

    fn zeros(&mut self, shape: &[usize]) -> ValueId {
        self.constant(Tensor::new(shape, vec![0f32; shape.iter().product()]).unwrap())
    }

    fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.name();
        self.graph.apply(name, op, inputs)
    }

    fn conv(&mut self, x: ValueId, kernel: usize, stride: usize, padding: Padding) -> ValueId {
        let weight = self.zeros(&[8, 8, kernel, kernel]);
        let strides = vec![stride; 2];
        let op = Conv { padding, strides, dilations: vec![], groups: 1 };
        self.apply(Op::Conv(op), &[x, weight])
    }

    fn transposed(&mut self, x: ValueId, padding: Padding, output_padding: usize) -> ValueId {
        let weight = self.zeros(&[8, 8, 3, 3]);
        let op = ConvTranspose {
            padding,
            strides: vec![2, 2],
            dilations: vec![],
            groups: 1,
            output_padding: vec![output_padding; 2],
            output_shape: vec![],
        };
        self.apply(Op::ConvTranspose(op), &[x, weight])
    }

    fn pool(&mut self, x: ValueId, kernel: usize, pads: &[i64], ceil_mode: bool) -> ValueId {
        let op = Pool {
            kind: PoolKind::Max,
            kernel: vec![kernel; 2],
            strides: vec![2, 2],
            dilations: vec![],
            padding: Padding::Explicit(pads.to_vec()),
            ceil_mode,
            count_include_pad: false,
            column_major: false,
        };
        self.apply(Op::Pool(op), &[x])
    }

    fn slice(&mut self, x: ValueId, start: i64, end: i64, step: i64) -> ValueId {
        let inputs = [&[start], &[end], &[2], &[step]].map(|v| self.ints(v));
        self.apply(Op::Slice, &[x, inputs[0], inputs[1], inputs[2], inputs[3]])
    }

    fn reshape(&mut self, x: ValueId, shape: ValueId) -> ValueId {
        self.apply(Op::Reshape { allow_zero: false }, &[x, shape])
    }

    fn shape(&mut self, x: ValueId) -> ValueId {
        self.apply(Op::Shape { start: 0, end: None }, &[x])
    }

    fn resize(&mut self, x: ValueId, scale: f32) -> ValueId {
        let scales = self.constant(Tensor::vector(vec![1.0, 1.0, scale, scale]));
        let (name, output) = (self.name(), self.name());
        let output = self.graph.add_value(output);
        let op = Op::Resize(Resize {
            mode: ResizeMode::Linear,
            coordinates: CoordinateTransform::HalfPixel,
            axes: vec![],
            antialias: false,
            exclude_outside: false,
            extrapolation_value: 0.0,
            keep_aspect_ratio: AspectRatioPolicy::Stretch,
        });
        let inputs = vec![Some(x), None, Some(scales)];
        self.graph.add_node(Node { name, op, inputs, outputs: vec![Some(output)] });
        output
    }
}

/// Adds the operators of a test to a network with an input of shape `[N, 8, H, W]`.
type Build = fn(&mut Net, ValueId) -> ValueId;

const NETWORKS: &[(&str, Build)] = &[
    ("3x3, stride 2", |n, x| n.conv(x, 3, 2, Padding::Explicit(vec![1; 4]))),
    ("3x3, stride 2, padded after", |n, x| n.conv(x, 3, 2, Padding::Explicit(vec![0, 0, 1, 1]))),
    ("3x3, stride 3, cropped", |n, x| n.conv(x, 3, 3, Padding::Explicit(vec![-1, 0, 0, -1]))),
    ("same padding, stride 3", |n, x| n.conv(x, 5, 3, Padding::SameLower)),
    ("pools that round down", |n, x| n.pool(x, 3, &[1; 4], false)),
    ("pools that round up", |n, x| n.pool(x, 3, &[], true)),
    ("pools with padding that round up", |n, x| n.pool(x, 2, &[1; 4], true)),
    ("pools whose last window would begin in the padding", |n, x| {
        n.pool(x, 1, &[0, 0, 1, 1], true)
    }),
    ("transposed", |n, x| n.transposed(x, Padding::Explicit(vec![]), 0)),
    ("transposed, padded", |n, x| n.transposed(x, Padding::Explicit(vec![1; 4]), 1)),
    ("transposed, same padding", |n, x| n.transposed(x, Padding::SameUpper, 0)),
    ("halved four times", |n, x| {
        (0..4).fold(x, |x, _| n.conv(x, 3, 2, Padding::Explicit(vec![1; 4])))
    }),
    ("two branches that meet", |n, x| {
        let a = n.conv(x, 3, 2, Padding::Explicit(vec![1; 4]));
        let b = n.conv(x, 1, 2, Padding::Explicit(vec![]));
        n.apply(Op::Binary(Binary::Add), &[a, b])
    }),
    ("down, up and cut to size", |n, x| {
        let down = n.conv(x, 3, 2, Padding::SameUpper);
        let up = n.transposed(down, Padding::SameUpper, 0);
        let (shape, zero) = (n.shape(x), n.ints(&[0, 0, 0, 0]));
        let cut = n.apply(Op::Slice, &[up, zero, shape]);
        n.apply(Op::Binary(Binary::Add), &[cut, x])
    }),
    ("the first rows", |n, x| n.slice(x, 0, 5, 1)),
    ("all rows but the first", |n, x| n.slice(x, 1, i64::MAX, 1)),
    ("the last rows", |n, x| n.slice(x, -6, i64::MAX, 1)),
    ("rows in the middle", |n, x| n.slice(x, 3, -3, 1)),
    ("rows from the end to the middle", |n, x| n.slice(x, -2, 2, -2)),
    ("every row backward", |n, x| n.slice(x, i64::MAX, i64::MIN, -3)),
    ("rows beyond the end", |n, x| n.slice(x, -9, 6, 2)),
    ("thirds", |n, x| {
        let inputs = vec![Some(x)];
        let outputs: Vec<_> = (0..3).map(|i| n.graph.add_value(format!("third{i}"))).collect();
        let node_outputs = outputs.iter().copied().map(Some).collect();
        let op = Op::Split { axis: 2 };
        n.graph.add_node(Node { name: "split".into(), op, inputs, outputs: node_outputs });
        n.apply(Op::Concat { axis: 2 }, &[outputs[2], outputs[0]])
    }),
    ("scaled by 1.5", |n, x| n.resize(x, 1.5)),
    ("scaled by 0.7", |n, x| n.resize(x, 0.7)),
    ("flattened", |n, x| {
        let shape = n.ints(&[0, -1]);
        n.reshape(x, shape)
    }),
    ("channels shuffled", |n, x| {
        let (shape, groups) = (n.shape(x), n.ints(&[0, 2, 4, -1]));
        let grouped = n.reshape(x, groups);
        let transposed = n.apply(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[grouped]);
        n.reshape(transposed, shape)
    }),
    ("half the positions", |n, x| {
        let (shape, two, four) = (n.shape(x), n.ints(&[2]), n.ints(&[4]));
        let spatial = n.apply(Op::Slice, &[shape, two, four]);
        let half = n.apply(Op::Binary(Binary::Div), &[spatial, two]);
        let zero = Op::ConstantOfShape { value: Scalar { dtype: DType::F32, value: 0.0 } };
        n.apply(zero, &[half])
    }),
    ("positions counted", |n, x| {
        let shape = n.shape(x);
        let op = Reduce { kind: ReduceKind::Prod, keep_dims: false, noop_with_empty_axes: false };
        let count = n.apply(Op::Reduce(op), &[shape]);
        let (zero, step) = (n.constant(Tensor::scalar(0i64)), n.constant(Tensor::scalar(7i64)));
        n.apply(Op::Range, &[zero, count, step])
    }),
    ("padded and cropped", |n, x| {
        let pads = n.ints(&[0, 0, 2, -1, 0, 0, -1, 3]);
        n.apply(Op::Pad { mode: PadMode::Constant }, &[x, pads])
    }),
    ("a matrix product of positions", |n, x| {
        let rows = n.apply(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[x]);
        n.apply(Op::MatMul, &[x, rows])
    }),
    ("gathered by a table", |n, x| {
        let table = n.constant(Tensor::new(&[2, 2], vec![0i64, 7, -1, 3]).unwrap());
        n.apply(Op::Gather { axis: 1 }, &[x, table])
    }),
    ("pixels shuffled", |n, x| {
        n.apply(Op::DepthToSpace { block: 2, order: DepthOrder::Crd }, &[x])
    }),
];

const SIZES: [[usize; 3]; 6] =
    [[1, 7, 7], [2, 8, 9], [3, 9, 6], [3, 12, 13], [4, 31, 10], [6, 6, 17]];

#[test]
fn inference_agrees_with_execution() {
    let mut failures = Vec::new();
    for (name, build) in NETWORKS {
        let mut net = Net { graph: Graph::new("test"), count: 0 };
        let dims = vec![Dim::symbol("N"), 8.into(), Dim::symbol("H"), Dim::symbol("W")];
        let image = net.graph.add_input("x", TensorType { dtype: DType::F32, dims });
        let output = build(&mut net, image);
        let mut graph = net.graph;
        graph.set_outputs(vec![output]);
        graph.validate().unwrap();
        let types = match infer(&graph) {
            Ok(types) => types,
            Err(e) => {
                failures.push(format!("{name}: {e}"));
                continue;
            }
        };

        for [batch, height, width] in SIZES {
            let bindings =
                Bindings::from([("N".into(), batch), ("H".into(), height), ("W".into(), width)]);
            let zeros = vec![0f32; batch * 8 * height * width];
            let image = Tensor::new(&[batch, 8, height, width], zeros).unwrap();
            let case = format!("{name} at {batch}x{height}x{width}");
            let run = reference::trace(&graph, &[image], &mut |id, tensor| {
                let ty = types.get(id).expect("all ranks are known");
                let evaluate = |dim: &Dim| dim.evaluate(&bindings).map(|v| v as usize).ok();
                let inferred: Vec<_> = ty.dims.iter().map(evaluate).collect();
                let computed: Vec<_> = tensor.shape().iter().copied().map(Some).collect();
                if inferred != computed || ty.dtype != tensor.dtype() {
                    let inferred = format!("{ty} = {inferred:?}");
                    failures.push(format!("{case}: inferred {inferred}, computed {tensor:?}"));
                }
                let contents = types.contents(id).into_iter().flatten();
                for (inferred, computed) in contents.zip(tensor.to_i64s().unwrap_or_default()) {
                    if inferred.evaluate(&bindings).ok() != Some(computed) {
                        failures.push(format!("{case}: inferred {inferred}, computed {computed}"));
                    }
                }
            });
            if let Err(e) = run {
                failures.push(format!("{case}: {e}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
