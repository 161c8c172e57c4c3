//! Calculations with sizes, as exporters write them.

use super::*;
use crate::graph::*;

/// A graph that calculates with the shape of its input `x`.
struct Net {
    graph: Graph,
    x: ValueId,
    count: usize,
}

impl Net {
    fn new(x: &str) -> Self {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", TensorType { dtype: DType::F32, dims: dims(x) });
        Net { graph, x, count: 0 }
    }

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

    fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.name();
        self.graph.apply(name, op, inputs)
    }

    fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Op::Binary(op), &[a, b])
    }

    /// The shape of the input.
    fn shape(&mut self) -> ValueId {
        self.apply(Op::Shape { start: 0, end: None }, &[self.x])
    }

    /// The size of one axis of the input, as a scalar.
    fn size(&mut self, axis: i64) -> ValueId {
        let shape = self.shape();
        let axis = self.constant(Tensor::scalar(axis));
        self.apply(Op::Gather { axis: 0 }, &[shape, axis])
    }

    /// The size of one axis of the input, as a vector.
    fn entry(&mut self, axis: i64) -> ValueId {
        let (size, zero) = (self.size(axis), self.ints(&[0]));
        self.apply(Op::Unsqueeze, &[size, zero])
    }

    fn types(&mut self, output: ValueId) -> Types {
        self.graph.set_outputs(vec![output]);
        self.graph.validate().unwrap();
        infer(&self.graph).unwrap()
    }

    /// What is known of the elements of `value`, as text.
    fn contents(mut self, value: ValueId) -> String {
        self.types(value).contents(value).map_or("unknown".to_string(), |c| format!("{c:?}"))
    }

    fn dims(mut self, value: ValueId) -> String {
        format!("{:?}", self.types(value).get(value).unwrap().dims)
    }
}

#[test]
fn a_flatten_as_the_first_exporter_writes_it() {
    let mut net = Net::new("N 8 H W");
    let (batch, rest) = (net.entry(0), net.ints(&[-1]));
    let shape = net.apply(Op::Concat { axis: 0 }, &[batch, rest]);
    let y = net.apply(Op::Reshape { allow_zero: false }, &[net.x, shape]);
    assert_eq!(net.dims(y), "[N, 8*H*W]");
}

#[test]
fn a_view_that_divides_the_channels() {
    // x.view(N, C // 4, 4, -1)
    let mut net = Net::new("N C H W");
    let (batch, channels) = (net.entry(0), net.entry(1));
    let (four, rest) = (net.ints(&[4]), net.ints(&[-1]));
    let quarter = net.binary(Binary::Div, channels, four);
    let shape = net.apply(Op::Concat { axis: 0 }, &[batch, quarter, four, rest]);
    let y = net.apply(Op::Reshape { allow_zero: false }, &[net.x, shape]);
    let text = net.dims(y);
    assert!(text.starts_with("[N, floor(C/4), 4, "), "{text}");
}

#[test]
fn coefficients_viewed_by_the_channels_of_the_map() {
    // theta.view(N, 4, C) with theta [N, 4 * 16] and C read from the map
    let mut net = Net::new("N 16 H W");
    let theta = net.graph.add_input("t", TensorType { dtype: DType::F32, dims: dims("N 64") });
    let (batch, channels, rest) = (net.entry(0), net.entry(1), net.ints(&[-1]));
    let shape = net.apply(Op::Concat { axis: 0 }, &[batch, rest, channels]);
    let y = net.apply(Op::Reshape { allow_zero: false }, &[theta, shape]);
    assert_eq!(net.dims(y), "[N, 4, 16]");
}

#[test]
fn an_expand_as_the_first_exporter_writes_it() {
    // Where(shape == -1, ones, shape)
    let mut net = Net::new("N 8 H W");
    let shape = net.shape();
    let count = net.ints(&[4]);
    let one = Scalar { dtype: DType::I64, value: 1.0 };
    let ones = net.apply(Op::ConstantOfShape { value: one }, &[count]);
    let minus = net.constant(Tensor::scalar(-1i64));
    let negated = net.binary(Binary::Mul, ones, minus);
    let same = net.binary(Binary::Equal, shape, negated);
    let wanted = net.apply(Op::Where, &[same, ones, shape]);
    let seed = net.constant(Tensor::new(&[1, 8, 1, 1], vec![0f32; 8]).unwrap());
    let y = net.apply(Op::Expand, &[seed, wanted]);
    assert_eq!(net.dims(y), "[N, 8, H, W]");
}

#[test]
fn an_upsampling_by_sizes() {
    // sizes = cat(shape[:2], floor(cast_float(shape[2:] * 2)))
    let mut net = Net::new("N 8 H W");
    let shape = net.shape();
    let (zero, two, end) = (net.ints(&[0]), net.ints(&[2]), net.ints(&[i64::MAX]));
    let outer = net.apply(Op::Slice, &[shape, zero, two]);
    let inner = net.apply(Op::Slice, &[shape, two, end]);
    let inner = net.apply(Op::Cast { to: DType::F32 }, &[inner]);
    let factor = net.constant(Tensor::scalar(2f32));
    let inner = net.binary(Binary::Mul, inner, factor);
    let inner = net.apply(Op::Unary(Unary::Floor), &[inner]);
    let inner = net.apply(Op::Cast { to: DType::I64 }, &[inner]);
    let sizes = net.apply(Op::Concat { axis: 0 }, &[outer, inner]);
    assert_eq!(net.contents(sizes), "[N, 8, 2*H, 2*W]");
}

#[test]
fn the_number_of_positions() {
    let mut net = Net::new("N 8 H W");
    let shape = net.shape();
    let (two, end) = (net.ints(&[2]), net.ints(&[4]));
    let inner = net.apply(Op::Slice, &[shape, two, end]);
    let prod = Reduce { kind: ReduceKind::Prod, keep_dims: false, noop_with_empty_axes: false };
    let positions = net.apply(Op::Reduce(prod), &[inner]);
    assert_eq!(net.contents(positions), "[H*W]");
}

#[test]
fn elementwise_arithmetic() {
    type Operands = fn(&mut Net) -> (ValueId, ValueId);
    let table: [(Binary, Operands, &str); 12] = [
        (Binary::Add, |n| (n.size(2), n.size(2)), "[2*H]"),
        (Binary::Sub, |n| (n.size(2), n.size(2)), "[0]"),
        (Binary::Sub, |n| (n.size(1), n.size(2)), "[-H+8]"),
        (Binary::Mul, |n| (n.shape(), n.size(3)), "[N*W, 8*W, H*W, W*W]"),
        (Binary::Div, |n| (n.size(2), n.ints(&[2, 4])), "[floor(H/2), floor(H/4)]"),
        (Binary::Div, |n| (n.ints(&[-7, 7]), n.ints(&[2, -2])), "[-3, -3]"),
        (Binary::Div, |n| (n.ints(&[7]), n.ints(&[0])), "unknown"),
        (Binary::Mod { fmod: false }, |n| (n.size(2), n.ints(&[4])), "[-4*floor(H/4)+H]"),
        (Binary::Mod { fmod: false }, |n| (n.size(1), n.ints(&[3])), "[2]"),
        (Binary::Pow, |n| (n.size(1), n.ints(&[2])), "[64]"),
        (Binary::Mul, |n| (n.ints(&[i64::MAX]), n.ints(&[2])), "unknown"),
        (Binary::Div, |n| (n.ints(&[i64::MIN]), n.ints(&[-1])), "unknown"),
    ];
    for (row, (op, operands, expected)) in table.into_iter().enumerate() {
        let mut net = Net::new("N 8 H W");
        let (a, b) = operands(&mut net);
        let result = net.binary(op, a, b);
        assert_eq!(net.contents(result), expected, "row {row}");
    }
}

#[test]
fn parts_of_a_shape() {
    type Step = fn(&mut Net, ValueId) -> ValueId;
    let table: [(Step, &str); 9] = [
        (|_, s| s, "[N, 8, H, W]"),
        (
            |n, s| {
                let (start, end, axis, step) =
                    (n.ints(&[-1]), n.ints(&[i64::MIN]), n.ints(&[0]), n.ints(&[-2]));
                n.apply(Op::Slice, &[s, start, end, axis, step])
            },
            "[W, 8]",
        ),
        (
            |n, s| {
                let indices = n.ints(&[-1, 0]);
                n.apply(Op::Gather { axis: 0 }, &[s, indices])
            },
            "[W, N]",
        ),
        (|n, s| n.apply(Op::Variadic(Variadic::Max), &[s]), "[N, 8, H, W]"),
        (
            |n, s| {
                let five = n.ints(&[5]);
                n.apply(Op::Variadic(Variadic::Min), &[s, five])
            },
            "[min(5, N), 5, min(5, H), min(5, W)]",
        ),
        (|n, s| n.apply(Op::Cast { to: DType::I32 }, &[s]), "[N, 8, H, W]"),
        (|n, s| n.apply(Op::Cast { to: DType::U8 }, &[s]), "unknown"),
        (|n, s| n.apply(Op::Unary(Unary::Neg), &[s]), "[-N, -8, -H, -W]"),
        (|n, _| n.apply(Op::Size, &[n.x]), "[8*H*N*W]"),
    ];
    for (row, (step, expected)) in table.into_iter().enumerate() {
        let mut net = Net::new("N 8 H W");
        let shape = net.shape();
        let result = step(&mut net, shape);
        assert_eq!(net.contents(result), expected, "row {row}");
    }
}

#[test]
fn a_split_shape() {
    let mut net = Net::new("N 8 H W");
    let shape = net.shape();
    let (name, parts) = (net.name(), net.ints(&[1, 3]));
    let outputs: Vec<ValueId> = (0..2).map(|n| net.graph.add_value(format!("part{n}"))).collect();
    net.graph.add_node(Node {
        name,
        op: Op::Split { axis: 0 },
        inputs: vec![Some(shape), Some(parts)],
        outputs: outputs.iter().copied().map(Some).collect(),
    });
    assert_eq!(net.contents(outputs[1]), "[8, H, W]");
}

#[test]
fn a_range_of_numbers() {
    let mut net = Net::new("N 3 H W");
    let zero = net.constant(Tensor::scalar(0i64));
    let (size, two) = (net.size(1), net.constant(Tensor::scalar(2i64)));
    let range = net.apply(Op::Range, &[zero, size, two]);
    assert_eq!(net.contents(range), "[0, 2]");
}

#[test]
fn a_range_over_an_axis() {
    let mut net = Net::new("N 3 H W");
    let zero = net.constant(Tensor::scalar(0i64));
    let (size, one) = (net.size(2), net.constant(Tensor::scalar(1i64)));
    let range = net.apply(Op::Range, &[zero, size, one]);
    assert_eq!(net.dims(range), "[H]");
}

#[test]
fn the_unknown_spreads_without_an_error() {
    let mut net = Net::new("N 4");
    let shape = net.graph.add_input("s", TensorType { dtype: DType::I64, dims: dims("R") });
    let y = net.apply(Op::Reshape { allow_zero: false }, &[net.x, shape]);
    let z = net.binary(Binary::Add, y, net.x);
    let size = net.apply(Op::Shape { start: 0, end: None }, &[z]);
    let types = net.types(size);
    assert!(types.get(y).is_none() && types.get(z).is_none() && types.get(size).is_none());
}

#[test]
fn names_of_inputs_are_not_given_twice() {
    let (graph, results) = single(Op::Reshape { allow_zero: false }, &[x("?1 4"), i("2")], 1);
    let types = infer(&graph).unwrap();
    assert_eq!(format!("{:?}", types.get(results[0]).unwrap().dims), "[?2, ?3]");
}
