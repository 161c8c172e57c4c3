//! From the elements of the coefficients to the two fully connected layers that compute them.

use super::coefficients::{Axes, Piece, as_elements, in_order};
use super::elements::{Element, Elements, Executor, Term};
use super::scope::Scope;
use crate::graph::geometry::{is_dense_pointwise, is_row};
use crate::graph::{HiddenActivation, Hyperfunction, Op, Rewriter, Squash, Unary, ValueId};
use crate::tensor::Tensor;

/// `weight [rows, columns]` and `bias [rows]` applied to `input [N, columns]`.
struct Linear {
    input: ValueId,
    weight: Vec<f32>,
    bias: Vec<f32>,
    rows: usize,
    columns: usize,
}

/// The hyperfunction behind the coefficients of an activation.
pub(super) struct Found {
    context: ValueId,
    fc1: Option<Linear>,
    fc2: Linear,
    op: Hyperfunction,
}

/// How far numbers that should be equal may be apart after an exporter has folded them in f32.
const ROUNDING: f64 = 2e-6;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= ROUNDING * a.abs().max(b.abs()).max(1.0)
}

/// Reads the hyperfunction off the coefficients of `pieces`; `Err` says why there is none of the
/// usual form.
pub(super) fn find(
    scope: &Scope,
    axes: Axes,
    channels: usize,
    pieces: &[Piece],
) -> Result<Found, &'static str> {
    let mut executor = Executor::new(scope);
    let matrices: Vec<Elements> = in_order(pieces)
        .map(|(piece, c)| as_elements(&mut executor, axes, piece, c))
        .collect::<Option<_>>()
        .ok_or("the coefficients are computed in a way that is not understood")?;
    let shared = matrices.iter().all(|m| m.shape[1] == 1);
    let width = if shared { 1 } else { channels };

    let mut op = Hyperfunction {
        k: pieces.len(),
        hidden: HiddenActivation::None,
        squash: Squash::None,
        init: Vec::new(),
        lambda: Vec::new(),
    };
    let mut rows: Vec<Option<Term>> = Vec::new();
    let mut squash = None;
    for matrix in &matrices {
        let coefficient = read_coefficient(scope, matrix, width)?;
        op.init.push(coefficient.init as f32);
        op.lambda.push(coefficient.lambda as f32);
        if let Some(term) = coefficient.rows[0]
            && *squash.get_or_insert(term.squash) != term.squash
        {
            return Err("the coefficients pass through different squashing functions");
        }
        rows.extend(coefficient.rows);
    }
    op.squash = squash.ok_or("the coefficients are constants")?;

    let fc2 = second_layer(scope, &rows)?;
    let (fc1, hidden, context) = match first_layer(scope, &mut executor, fc2.input) {
        Some((fc1, hidden)) => {
            let context = fc1.input;
            (Some(fc1), hidden, context)
        }
        None => (None, HiddenActivation::None, fc2.input),
    };
    op.hidden = hidden;
    Ok(Found { context, fc1, fc2, op })
}

/// `init + lambda * squash(row of the second layer)` for every channel; rows are absent where the
/// coefficient is a constant.
struct CoefficientRows {
    init: f64,
    lambda: f64,
    rows: Vec<Option<Term>>,
}

fn read_coefficient(
    scope: &Scope,
    matrix: &Elements,
    width: usize,
) -> Result<CoefficientRows, &'static str> {
    let (images, columns) = (matrix.shape[0], matrix.shape[1]);
    let varies = "init or lambda differ from channel to channel";
    let mut init_lambda: Option<(f64, f64)> = None;
    let mut rows = Vec::with_capacity(width);
    for c in 0..width {
        let mut row: Option<Option<Term>> = None;
        for n in 0..images {
            let element = matrix.elements[n * columns + c.min(columns - 1)];
            let (init, lambda, term) = match element {
                Element::Number(x) => (x, 0.0, None),
                Element::Term(t) => (t.shift, t.scale, Some(source_row(scope, t, n, images)?)),
            };
            let (first_init, first_lambda) = *init_lambda.get_or_insert((init, lambda));
            if !close(first_init, init) || !close(first_lambda, lambda) {
                return Err(varies);
            }
            if *row.get_or_insert(term) != term {
                return Err("images use each other's coefficients");
            }
        }
        rows.push(row.flatten());
    }
    if rows.iter().any(|r| r.is_some() != rows[0].is_some()) {
        return Err(varies);
    }
    let (init, lambda) = init_lambda.unwrap_or_default();
    Ok(CoefficientRows { init, lambda, rows })
}

/// A term with its index made relative to image `n`.
fn source_row(scope: &Scope, term: Term, n: usize, images: usize) -> Result<Term, &'static str> {
    let shape = scope.probe_shape(term.source).unwrap_or_default();
    let (Some(&batch), Some(&features)) = (shape.first(), shape.get(1)) else {
        return Err("the coefficients do not come from a fully connected layer");
    };
    if shape[2..].iter().any(|&d| d != 1) || features == 0 {
        return Err("the coefficients do not come from a fully connected layer");
    }
    if images != batch || term.index / features != n {
        return Err("images use each other's coefficients");
    }
    Ok(Term { index: term.index % features, scale: 1.0, shift: 0.0, ..term })
}

/// Collects the rows of the second layer in the order of the coefficients. The layer may be split
/// over several matrices that read the same hidden units.
fn second_layer(scope: &Scope, rows: &[Option<Term>]) -> Result<Linear, &'static str> {
    let none = "the coefficients do not come from a fully connected layer";
    let mut layers: Vec<(ValueId, Linear)> = Vec::new();
    for term in rows.iter().flatten() {
        if layers.iter().all(|(source, _)| *source != term.source) {
            let layer = linear(scope, term.source).ok_or(none)?;
            layers.push((term.source, layer));
        }
    }
    let (_, first) = layers.first().ok_or(none)?;
    let (input, columns) = (first.input, first.columns);
    if layers.iter().any(|(_, l)| l.input != input || l.columns != columns) {
        return Err("the coefficients come from layers with different inputs");
    }
    let mut weight = Vec::with_capacity(rows.len() * columns);
    let mut bias = Vec::with_capacity(rows.len());
    for term in rows {
        let Some(term) = term else {
            weight.resize(weight.len() + columns, 0.0);
            bias.push(0.0);
            continue;
        };
        let (_, layer) = layers.iter().find(|(s, _)| *s == term.source).ok_or(none)?;
        layer.extend_scaled(term, &mut weight, &mut bias);
    }
    Ok(Linear { input, weight, bias, rows: rows.len(), columns })
}

impl Linear {
    /// Appends row `term.index`, with the term's inner scale and shift folded in.
    fn extend_scaled(&self, term: &Term, weight: &mut Vec<f32>, bias: &mut Vec<f32>) {
        let row = &self.weight[term.index * self.columns..][..self.columns];
        let offset = self.bias[term.index];
        // A scale that is one but for rounding leaves the stored weights as they are.
        if close(term.inner_scale, 1.0) && term.inner_shift.abs() <= ROUNDING {
            weight.extend_from_slice(row);
            bias.push(offset);
        } else {
            weight.extend(row.iter().map(|&w| (f64::from(w) * term.inner_scale) as f32));
            bias.push((f64::from(offset) * term.inner_scale + term.inner_shift) as f32);
        }
    }
}

/// The layer that computes the hidden units, with the activation after it.
fn first_layer(
    scope: &Scope,
    executor: &mut Executor,
    hidden: ValueId,
) -> Option<(Linear, HiddenActivation)> {
    let node = scope.graph.node(scope.links.producer(hidden)?);
    let activation = match &node.op {
        Op::Unary(Unary::Relu) => HiddenActivation::Relu,
        Op::Unary(Unary::HardSwish) => HiddenActivation::HardSwish,
        Op::Unary(Unary::Gelu { tanh: false }) => HiddenActivation::Gelu,
        Op::Unary(Unary::Swish { alpha: 1.0 }) => HiddenActivation::Swish,
        Op::Clip => {
            let bounds = (scope.number(node.input(1)?)?, scope.number(node.input(2)?)?);
            (bounds == (0.0, 6.0)).then_some(HiddenActivation::Relu6)?
        }
        _ => return None,
    };
    let elements = executor.evaluate(node.input(0)?)?;
    let (&images, &units) = (elements.shape.first()?, elements.shape.get(1)?);
    if images == 0 || elements.elements.len() != images * units {
        return None;
    }
    let mut rows = Vec::with_capacity(units);
    for element in &elements.elements[..units] {
        match *element {
            Element::Term(t) if t.squash == Squash::None => {
                rows.push(Some(source_row(scope, t, 0, images).ok()?));
            }
            _ => return None,
        }
    }
    Some((second_layer(scope, &rows).ok()?, activation))
}

/// The fully connected layer that produces `value`, written as a matrix product or as a 1x1
/// convolution of a pooled map.
fn linear(scope: &Scope, value: ValueId) -> Option<Linear> {
    let node = scope.graph.node(scope.links.producer(value)?);
    let input = node.input(0)?;
    let weight = scope.graph.constant(node.input(1)?)?;
    let stored = weight.as_f32().ok()?;
    let (rows, columns, transposed, scale, bias_scale) = match (&node.op, weight.shape()) {
        (Op::Gemm(gemm), &[a, b]) if !gemm.trans_a => {
            let (rows, columns) = if gemm.trans_b { (a, b) } else { (b, a) };
            (rows, columns, !gemm.trans_b, gemm.alpha, gemm.beta)
        }
        (Op::MatMul, &[a, b]) => (b, a, true, 1.0, 1.0),
        (Op::Conv(conv), &[rows, columns, ref kernel @ ..]) => {
            let pooled = scope.probe_shape(input)?[2..].iter().all(|&d| d == 1);
            (is_dense_pointwise(conv, kernel) && pooled)
                .then_some((rows, columns, false, 1.0, 1.0))?
        }
        _ => return None,
    };
    if matches!(node.op, Op::MatMul | Op::Gemm(_)) && scope.probe_shape(input)?.len() != 2 {
        return None;
    }
    let at = |r: usize, c: usize| {
        if transposed { stored[c * rows + r] } else { stored[r * columns + c] }
    };
    let weight =
        (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).map(|(r, c)| scale * at(r, c));
    let bias = match node.input(2) {
        None => vec![0.0; rows],
        Some(bias) => {
            let bias = scope.graph.constant(bias).filter(|b| is_row(b.shape()))?;
            let stored = bias.as_f32().ok()?;
            match stored.len() {
                1 => vec![bias_scale * stored[0]; rows],
                n if n == rows => stored.iter().map(|b| bias_scale * b).collect(),
                _ => return None,
            }
        }
    };
    let weight = weight.collect();
    Some(Linear { input: scope.peel(input), weight, bias, rows, columns })
}

impl Found {
    /// Where the hyperfunction gets its context.
    pub(super) fn context(&self) -> ValueId {
        self.context
    }

    /// Whether coefficient `j` stays at or below `bound` whatever the input.
    pub(super) fn never_exceeds(&self, j: usize, bound: f32) -> bool {
        let reach = match (self.op.squash, self.op.lambda[j]) {
            (_, 0.0) => 0.0,
            (Squash::Sigmoid | Squash::HardSigmoid, lambda) => lambda.abs(),
            (Squash::None, _) => f32::INFINITY,
        };
        self.op.init[j] + reach <= bound
    }

    /// Adds the node; gives the coefficients `[N, 2K, C or 1]`.
    pub(super) fn emit(self, graph: &mut Rewriter, name: &str, context: ValueId) -> ValueId {
        let mut inputs = vec![Some(context), None, None];
        if let Some(fc1) = self.fc1 {
            inputs[1..].copy_from_slice(&fc1.emit(graph, &format!("{name}.fc1")));
        }
        inputs.extend(self.fc2.emit(graph, &format!("{name}.fc2")));
        let name = format!("{name}.hyperfunction");
        graph.apply_to(name, Op::Hyperfunction(self.op), inputs)
    }
}

impl Linear {
    fn emit(self, graph: &mut Rewriter, name: &str) -> [Option<ValueId>; 2] {
        let weight = Tensor::new(&[self.rows, self.columns], self.weight)
            .expect("as many weights as rows times columns");
        let weight = graph.add_constant(format!("{name}.weight"), weight);
        let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector(self.bias));
        [Some(weight), Some(bias)]
    }
}
