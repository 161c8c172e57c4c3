//! Finds the two fully connected layers that compute the coefficients of an activation.

use super::coefficients::{Axes, Piece, as_elements, in_order};
use super::elements::{Element, Elements, Executor, Term};
use super::scope::Scope;
use crate::graph::geometry::{is_dense_pointwise, is_row};
use crate::graph::{HiddenActivation, Hyperfunction, Op, Rewriter, Squash, Unary, ValueId};
use crate::tensor::{AlignedBuffer, DType, Tensor};

/// A fully connected layer: `weight [rows, columns]` and `bias [rows]` applied to
/// `input [N, columns]`.
struct Linear {
    input: ValueId,
    weight: Tensor,
    bias: Vec<f32>,
}

/// The hyperfunction behind the coefficients of an activation.
pub(super) struct Found {
    context: ValueId,
    fc1: Option<Linear>,
    fc2: Linear,
    op: Hyperfunction,
}

/// Maximum relative difference of equal numbers after an exporter has computed them in f32.
const ROUNDING: f64 = 2e-6;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= ROUNDING * a.abs().max(b.abs()).max(1.0)
}

/// Finds the hyperfunction that computes the coefficients of `pieces`.
///
/// # Errors
/// The reason if the coefficients are not computed by a hyperfunction of the usual form.
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

    let fc2 = match single_unit(scope, &mut executor, &rows) {
        Some(fc2) => fc2,
        None => second_layer(scope, &rows)?,
    };
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

/// A coefficient `init + lambda * squash(row of the second layer)`, with the row of each channel. The
/// rows are `None` if the coefficient is a constant.
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

/// Returns the row of the layer that a term of image `n` reads, as a term of scale 1 and shift 0.
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

/// Returns the second layer of coefficients that are functions of a single hidden unit without one, as the
/// factor of a whole map in DyHead (Dai et al., CVPR 2021).
fn single_unit(scope: &Scope, executor: &mut Executor, rows: &[Option<Term>]) -> Option<Linear> {
    let unit = rows.iter().flatten().next()?.source;
    let is_single = scope.probe_shape(unit)?.get(1..)?.iter().all(|&size| size == 1);
    if !is_single || rows.iter().flatten().any(|term| term.source != unit) {
        return None;
    }
    first_layer(scope, executor, unit)?;
    let numbers = |number: fn(&Term) -> f64| -> Vec<f32> {
        rows.iter().map(|row| row.as_ref().map_or(0.0, |term| number(term) as f32)).collect()
    };
    let weight = Tensor::new(&[rows.len(), 1], numbers(|term| term.inner_scale)).ok()?;
    Some(Linear { input: unit, weight, bias: numbers(|term| term.inner_shift) })
}

/// Assembles the second layer, with rows in the order of the coefficients. In the graph it may consist
/// of several layers that read the same hidden units.
fn second_layer(scope: &Scope, rows: &[Option<Term>]) -> Result<Linear, &'static str> {
    let none = "the coefficients do not come from a fully connected layer";
    let mut layers: Vec<(ValueId, StoredLinear)> = Vec::new();
    let mut sources = Vec::with_capacity(rows.len());
    let mut bias = Vec::with_capacity(rows.len());
    for term in rows {
        let Some(term) = term else {
            sources.push(None);
            bias.push(0.0);
            continue;
        };
        let known = layers.iter().position(|(source, _)| *source == term.source);
        let layer = match known {
            Some(layer) => layer,
            None => {
                layers.push((term.source, StoredLinear::of(scope, term.source).ok_or(none)?));
                layers.len() - 1
            }
        };
        let offset = layers[layer].1.bias[term.index];
        // A scale that differs from one by rounding only is not applied, so that weights keep their
        // bits.
        let is_plain = close(term.inner_scale, 1.0) && term.inner_shift.abs() <= ROUNDING;
        let scale = if is_plain { None } else { Some(term.inner_scale) };
        bias.push(match scale {
            None => offset,
            Some(scale) => (f64::from(offset) * scale + term.inner_shift) as f32,
        });
        sources.push(Some(Row { layer, index: term.index, scale }));
    }
    let (_, first) = layers.first().ok_or(none)?;
    let (input, columns) = (first.input, first.weight.columns);
    if layers.iter().any(|(_, l)| l.input != input || l.weight.columns != columns) {
        return Err("the coefficients come from layers with different inputs");
    }
    let layers: Vec<Matrix> = layers.into_iter().map(|(_, layer)| layer.weight).collect();
    let weight = assemble(layers, sources, columns).ok_or(none)?;
    Ok(Linear { input, weight, bias })
}

/// A row of one of several layers, and the factor that it is multiplied by, if any.
struct Row {
    layer: usize,
    index: usize,
    scale: Option<f64>,
}

/// Returns the matrix of `rows`, which are taken from `layers`. A row that is `None` is zero.
fn assemble(layers: Vec<Matrix>, rows: Vec<Option<Row>>, columns: usize) -> Option<Tensor> {
    let shape = [rows.len(), columns];
    if let [layer] = layers.as_slice()
        && layer.is_plain()
        && layer.rows == rows.len()
        && rows
            .iter()
            .enumerate()
            .all(|(i, row)| matches!(row, Some(Row { index, scale: None, .. }) if *index == i))
    {
        return layer.stored.reshape(&shape).ok();
    }
    // Computed when the layer is packed, and not kept beside the packed weights.
    let make = move |weight: &mut [f32]| {
        let mut scratch: Vec<_> = layers.iter().map(|_| AlignedBuffer::zeroed(0)).collect();
        let stored = layers.iter().zip(&mut scratch).map(|(layer, scratch)| {
            layer.stored.read_once::<f32>(scratch).expect("layers are found by their type")
        });
        let stored: Vec<&[f32]> = stored.collect();
        for (to, row) in weight.chunks_exact_mut(columns).zip(&rows) {
            let Some(row) = row else {
                to.fill(0.0);
                continue;
            };
            layers[row.layer].copy_row(stored[row.layer], row.index, to);
            if let Some(scale) = row.scale {
                to.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
            }
        }
    };
    Tensor::deferred(&shape, make).ok()
}

/// The product of `scale` and the f32 tensor `stored`, which is `[rows, columns]`, or
/// `[columns, rows]` if `transposed`.
struct Matrix {
    stored: Tensor,
    rows: usize,
    columns: usize,
    transposed: bool,
    scale: f32,
}

impl Matrix {
    /// Whether the matrix is equal to the stored tensor.
    fn is_plain(&self) -> bool {
        !self.transposed && self.scale == 1.0
    }

    /// Writes row `index`. `stored` are the elements of the tensor of that name.
    fn copy_row(&self, stored: &[f32], index: usize, to: &mut [f32]) {
        if self.transposed {
            let column = stored[index..].iter().step_by(self.rows);
            to.iter_mut().zip(column).for_each(|(to, w)| *to = self.scale * w);
        } else {
            let row = &stored[index * self.columns..][..self.columns];
            to.iter_mut().zip(row).for_each(|(to, w)| *to = self.scale * w);
        }
    }
}

/// Returns the layer that computes the hidden units, and the activation after it.
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

/// A fully connected layer as the graph stores it.
struct StoredLinear {
    input: ValueId,
    weight: Matrix,
    bias: Vec<f32>,
}

impl StoredLinear {
    /// Returns the layer that produces `value`, if that is a matrix product or a 1x1 convolution of a
    /// pooled map.
    fn of(scope: &Scope, value: ValueId) -> Option<Self> {
        let node = scope.graph.node(scope.links.producer(value)?);
        let input = node.input(0)?;
        let stored = scope.graph.constant(node.input(1)?).filter(|w| w.dtype() == DType::F32)?;
        let (rows, columns, transposed, scale, bias_scale) = match (&node.op, stored.shape()) {
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
        let weight = Matrix { stored: stored.clone(), rows, columns, transposed, scale };
        Some(StoredLinear { input: scope.peel(input), weight, bias })
    }
}

impl Found {
    /// The input of the hyperfunction.
    pub(super) fn context(&self) -> ValueId {
        self.context
    }

    /// Whether coefficient `j` is at most `bound` for every input.
    pub(super) fn never_exceeds(&self, j: usize, bound: f32) -> bool {
        let reach = match (self.op.squash, self.op.lambda[j]) {
            (_, 0.0) => 0.0,
            (Squash::Sigmoid | Squash::HardSigmoid, lambda) => lambda.abs(),
            (Squash::None, _) => f32::INFINITY,
        };
        self.op.init[j] + reach <= bound
    }

    /// Adds the hyperfunction to the graph. Returns its output, the coefficients `[N, 2K, C or 1]`.
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
        let weight = graph.add_constant(format!("{name}.weight"), self.weight);
        let bias = graph.add_constant(format!("{name}.bias"), Tensor::vector(self.bias));
        [Some(weight), Some(bias)]
    }
}
