//! Scaled dot-product attention of several heads:
//! `y = softmax(scale * q k^T + bias) v`, for each head of each image.
//!
//! Vaswani et al., *Attention Is All You Need*, arXiv 1706.03762, section 3.2. Tokens are pixels, and
//! a head is a range of their channels. The keys of a head are transposed into the workspace, so that
//! a vector holds the scores of several tokens; the rows of scores never leave the nearest caches.
#![allow(unsafe_code)]

use super::block::Block;
use super::sizes::product_of;
use crate::simd::{Isa, LANES, Simd, Vectorised, exp, padded};

/// One of the operands `q`, `k` and `v` of an image.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// The image: rows of tokens.
    pub tokens: &'a [f32],
    /// Elements of a row, padding included.
    pub width: usize,
    /// The first channel of the first head.
    pub first: usize,
    /// Channels from one head to the next.
    pub step: usize,
}

/// The sizes of attention.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// The number of heads.
    pub count: usize,
    /// The number of tokens that are attended to.
    pub keys: usize,
    /// The channels of a query and of a key.
    pub depth: usize,
    /// The channels of a value.
    pub channels: usize,
    /// The factor of the products of queries and keys.
    pub scale: f32,
}

/// What is added to the scores of an image: `[heads][tokens][padded(keys)]`, where one head may stand
/// for all.
#[derive(Clone, Copy)]
pub struct Bias<'a> {
    /// The numbers.
    pub scores: &'a [f32],
    /// The number of heads: one, or all.
    pub heads: usize,
    /// The number of tokens.
    pub tokens: usize,
}

impl Heads {
    /// Returns the elements of workspace that a block of `rows` tokens needs.
    pub fn workspace(&self, rows: usize) -> usize {
        let [keys, values] = [self.keys, self.channels].map(padded);
        product_of([self.depth + rows, keys]) + product_of([self.keys + rows, values])
    }
}

/// Computes the rows of `block`, each of them a token, from the operands of the same image.
///
/// # Panics
/// Panics if the operands do not have the tokens and channels of `heads`, if the block does not consist
/// of whole rows that have the channels of all values, or if the workspace is too small.
pub fn attend<'a>(
    isa: Isa,
    [q, k, v]: [Operand; 3],
    heads: Heads,
    biases: impl Iterator<Item = Bias<'a>> + Clone,
    block: &mut Block,
    workspace: &mut [f32],
) {
    assert!(heads.count > 0 && heads.keys > 0 && heads.depth > 0 && heads.channels > 0);
    let rows = block.rows();
    for (operand, tokens, channels) in
        [(q, rows.end, heads.depth), (k, heads.keys, heads.depth), (v, heads.keys, heads.channels)]
    {
        let last = operand.first + product_of([heads.count - 1, operand.step]) + channels;
        assert!(last <= operand.width, "the heads have channels of a token");
        assert!(
            operand.tokens.len() >= product_of([tokens, operand.width]),
            "tokens of an operand"
        );
    }
    for bias in biases.clone() {
        assert!(bias.heads == 1 || bias.heads == heads.count, "heads of the bias");
        assert!(bias.tokens >= rows.end, "tokens of the bias");
        let count = product_of([bias.heads, bias.tokens, padded(heads.keys)]);
        assert_eq!(bias.scores.len(), count, "numbers of the bias");
    }
    assert_eq!(block.columns().len(), block.width(), "the block does not consist of whole rows");
    assert!(product_of([heads.count, heads.channels]) <= block.width(), "channels of the result");
    assert!(workspace.len() >= heads.workspace(rows.len()), "workspace");
    isa.run(Attend { operands: [q, k, v], heads, biases, block, workspace });
}

struct Attend<'a, 'b, 'c, I> {
    operands: [Operand<'a>; 3],
    heads: Heads,
    biases: I,
    block: &'c mut Block<'b>,
    workspace: &'c mut [f32],
}

impl<'a, I: Iterator<Item = Bias<'a>> + Clone> Vectorised for Attend<'_, '_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Attend { operands: [q, k, v], heads, biases, block, workspace } = self;
        let Heads { count, keys, depth, channels, scale } = heads;
        let (columns, value_columns) = (padded(keys), padded(channels));
        let rows = block.rows();
        let (key_columns, workspace) = workspace.split_at_mut(depth * columns);
        let (values, workspace) = workspace.split_at_mut(keys * value_columns);
        let (scores, workspace) = workspace.split_at_mut(rows.len() * columns);
        let results = &mut workspace[..rows.len() * value_columns];
        for head in 0..count {
            let first = k.first + head * k.step;
            transpose_keys(s, &k.tokens[first..], k.width, [keys, depth], key_columns);
            let first = v.first + head * v.step;
            for (token, to) in values.chunks_exact_mut(value_columns).enumerate() {
                to[..channels].copy_from_slice(&v.tokens[token * v.width + first..][..channels]);
                to[channels..].fill(0.0);
            }
            let queries = &q.tokens[rows.start * q.width + q.first + head * q.step..];
            multiply(s, queries, q.width, key_columns, columns, scores);
            for (row, scores) in rows.clone().zip(scores.chunks_exact_mut(columns)) {
                softmax(s, scores, keys, scale, biases.clone(), [head, row]);
            }
            multiply(s, scores, columns, values, value_columns, results);
            for (row, result) in rows.clone().zip(results.chunks_exact(value_columns)) {
                let to = &mut block.row(row)[head * channels..][..channels];
                to.copy_from_slice(&result[..channels]);
            }
        }
        let written = count * channels;
        rows.for_each(|row| block.row(row)[written..].fill(0.0));
    }
}

/// Copies `keys` rows of `depth` numbers, which are `width` apart, to `depth` rows of `padded(keys)`.
#[inline(always)]
fn transpose_keys<S: Simd>(
    s: S,
    from: &[f32],
    width: usize,
    [keys, depth]: [usize; 2],
    to: &mut [f32],
) {
    let columns = padded(keys);
    assert!(to.len() == depth * columns && from.len() >= (keys - 1) * width + depth);
    let (whole_keys, whole_depth) = (keys - keys % LANES, depth - depth % LANES);
    for key in (0..whole_keys).step_by(LANES) {
        for i in (0..whole_depth).step_by(LANES) {
            // SAFETY: the tile lies within the whole tiles of both slices, whose lengths were asserted,
            // and a slice that is written overlaps no other.
            unsafe {
                let (from, to) = (from.as_ptr().add(key * width + i), to.as_mut_ptr());
                s.transpose(from, width, to.add(i * columns + key), columns);
            }
        }
    }
    for (i, to) in to.chunks_exact_mut(columns).enumerate() {
        let first = if i < whole_depth { whole_keys } else { 0 };
        for (key, to) in to.iter_mut().enumerate().skip(first) {
            *to = if key < keys { from[key * width + i] } else { 0.0 };
        }
    }
}

/// Turns a row of products into the weights of the values, in place. The padding becomes zero.
#[inline(always)]
fn softmax<'a, S: Simd>(
    s: S,
    row: &mut [f32],
    keys: usize,
    scale: f32,
    biases: impl Iterator<Item = Bias<'a>>,
    [head, token]: [usize; 2],
) {
    let whole = row.len() - row.len() % S::WIDTH;
    each(s, &mut row[..whole], Step::Scale(scale));
    each(s.narrow(), &mut row[whole..], Step::Scale(scale));
    for bias in biases {
        let head = if bias.heads == 1 { 0 } else { head };
        let bias = &bias.scores[(head * bias.tokens + token) * row.len()..][..row.len()];
        each(s, &mut row[..whole], Step::Add(&bias[..whole]));
        each(s.narrow(), &mut row[whole..], Step::Add(&bias[whole..]));
    }
    row[keys..].fill(f32::NEG_INFINITY);
    let (wide, narrow) = row.split_at(whole);
    let largest = largest(s, wide, largest(s.narrow(), narrow, f32::NEG_INFINITY));
    each(s, &mut row[..whole], Step::Exp(largest));
    each(s.narrow(), &mut row[whole..], Step::Exp(largest));
    row[keys..].fill(0.0);
    let (wide, narrow) = row.split_at(whole);
    let factor = 1.0 / (sum(s, wide) + sum(s.narrow(), narrow));
    each(s, &mut row[..whole], Step::Scale(factor));
    each(s.narrow(), &mut row[whole..], Step::Scale(factor));
}

/// What is done to every number of a row.
#[derive(Clone, Copy)]
enum Step<'a> {
    /// It is multiplied.
    Scale(f32),
    /// The number at the same place is added.
    Add(&'a [f32]),
    /// It becomes the exponential of what is left after a subtraction.
    Exp(f32),
}

/// Takes a step in place, for a row of whole vectors.
#[inline(always)]
fn each<S: Simd>(s: S, row: &mut [f32], step: Step) {
    for (i, x) in row.chunks_exact_mut(S::WIDTH).enumerate() {
        // SAFETY: a chunk has the elements of a vector.
        let old = unsafe { s.load(x.as_ptr()) };
        let new = match step {
            Step::Scale(factor) => s.mul(old, s.splat(factor)),
            Step::Add(bias) => {
                let bias = &bias[i * S::WIDTH..][..S::WIDTH];
                // SAFETY: as above.
                s.add(old, unsafe { s.load(bias.as_ptr()) })
            }
            Step::Exp(largest) => exp(s, s.sub(old, s.splat(largest))),
        };
        // SAFETY: as above.
        unsafe { s.store(x.as_mut_ptr(), new) };
    }
}

/// Returns the largest of `least` and the numbers of a row of whole vectors. Whether one that is not
/// a number counts is unspecified.
#[inline(always)]
fn largest<S: Simd>(s: S, row: &[f32], least: f32) -> f32 {
    const MOST_LANES: usize = 16;
    let mut largest = s.splat(least);
    for x in row.chunks_exact(S::WIDTH) {
        // SAFETY: a chunk has the elements of a vector.
        largest = s.max(largest, unsafe { s.load(x.as_ptr()) });
    }
    let mut lanes = [least; MOST_LANES];
    assert!(S::WIDTH <= MOST_LANES);
    // SAFETY: there are as many elements as the widest vector has.
    unsafe { s.store(lanes.as_mut_ptr(), largest) };
    lanes.into_iter().fold(least, f32::max)
}

/// Returns the sum of a row of whole vectors.
#[inline(always)]
fn sum<S: Simd>(s: S, row: &[f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for x in row.chunks_exact(S::WIDTH) {
        // SAFETY: a chunk has the elements of a vector.
        sum = s.add(sum, unsafe { s.load(x.as_ptr()) });
    }
    s.sum(sum)
}

/// Computes `y [rows][columns]` as the product of rows of `x`, which are `x_row` apart, and
/// `w [inner][columns]`. Every sum is in the order of its terms.
#[inline(always)]
fn multiply<S: Simd>(s: S, x: &[f32], x_row: usize, w: &[f32], columns: usize, y: &mut [f32]) {
    let (rows, inner) = (y.len() / columns, w.len() / columns);
    assert!(columns.is_multiple_of(LANES) && y.len() == rows * columns);
    assert!(w.len() == inner * columns && x.len() >= (rows - 1) * x_row + inner);
    let operands =
        Operands { x: x.as_ptr(), x_row, inner, w: w.as_ptr(), y: y.as_mut_ptr(), columns };
    let mut column = 0;
    while column < columns {
        // SAFETY: the lengths were asserted, and as many columns are left as a panel has.
        unsafe {
            column += match columns - column {
                left if left >= 2 * S::WIDTH => operands.panel::<S, 2>(s, rows, column),
                left if left >= S::WIDTH => operands.panel::<S, 1>(s, rows, column),
                _ => operands.panel::<S::Narrow, 1>(s.narrow(), rows, column),
            };
        }
    }
}

/// The operands and the result of a product.
#[derive(Clone, Copy)]
struct Operands {
    x: *const f32,
    x_row: usize,
    inner: usize,
    w: *const f32,
    y: *mut f32,
    columns: usize,
}

impl Operands {
    /// Computes `V` vectors of columns. Returns their number.
    ///
    /// # Safety
    /// The operands have so many rows, and the columns from `column` on.
    #[inline(always)]
    unsafe fn panel<S: Simd, const V: usize>(self, s: S, rows: usize, column: usize) -> usize {
        s.vectorise(
            #[inline(always)]
            || {
                let mut row = 0;
                while row < rows {
                    // SAFETY: the caller guarantees the columns, and so many rows are left.
                    unsafe {
                        row += match rows - row {
                            12.. if const { S::WIDTH > LANES } => {
                                self.tile::<S, 12, V>(s, row, column)
                            }
                            6.. => self.tile::<S, 6, V>(s, row, column),
                            3.. => self.tile::<S, 3, V>(s, row, column),
                            _ => self.tile::<S, 1, V>(s, row, column),
                        };
                    }
                }
            },
        );
        V * S::WIDTH
    }

    /// Computes `M` rows of `V` vectors. Returns `M`.
    ///
    /// # Safety
    /// The operands have the rows from `row` on, and the columns from `column` on.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const V: usize>(
        self,
        s: S,
        row: usize,
        column: usize,
    ) -> usize {
        let Operands { x, x_row, inner, w, y, columns } = self;
        let mut sums = [[s.splat(0.0); V]; M];
        // SAFETY: the caller guarantees the rows and the columns, and all rows of `w` are `inner`.
        unsafe {
            let x = x.add(row * x_row);
            for i in 0..inner {
                let w = w.add(i * columns + column);
                // Not `from_fn`: its closure would be compiled without the instruction set's features.
                let mut line = [s.splat(0.0); V];
                for (v, vector) in line.iter_mut().enumerate() {
                    *vector = s.load(w.add(v * S::WIDTH));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = s.splat(*x.add(m * x_row + i));
                    for (sum, &w) in sums.iter_mut().zip(&line) {
                        *sum = s.mul_add(x, w, *sum);
                    }
                }
            }
            for (m, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    s.store(y.add((row + m) * columns + column + v * S::WIDTH), sum);
                }
            }
        }
        M
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::guarded::Guarded;
    use crate::kernels::{Blocks, Cut};
    use crate::simd::testing::isa_tests;

    isa_tests!(heads_of_awkward_sizes, a_masked_token_has_no_weight);

    fn wave(len: usize, frequency: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * frequency).sin()).collect()
    }

    /// The operands as they lie side by side in the channels of each token: the heads of `q`, those of
    /// `k`, those of `v`; or, interleaved, the three of each head.
    fn operands(x: &[f32], width: usize, heads: Heads, interleaved: bool) -> [Operand<'_>; 3] {
        let Heads { count, depth, channels, .. } = heads;
        let operand = |first, step| Operand { tokens: x, width, first, step };
        if interleaved {
            let step = 2 * depth + channels;
            return [operand(0, step), operand(depth, step), operand(2 * depth, step)];
        }
        let size = count * depth;
        [operand(0, depth), operand(size, depth), operand(2 * size, channels)]
    }

    /// The result for one channel of one head, by its definition.
    fn expected(
        [q, k, v]: [Operand; 3],
        heads: Heads,
        bias: impl Fn(usize) -> f64,
        [token, head, channel]: [usize; 3],
    ) -> f64 {
        let at = |operand: Operand, token: usize, channel: usize| {
            let first = operand.first + head * operand.step;
            f64::from(operand.tokens[token * operand.width + first + channel])
        };
        let score = |key: usize| {
            let product: f64 = (0..heads.depth).map(|i| at(q, token, i) * at(k, key, i)).sum();
            product * f64::from(heads.scale) + bias(key)
        };
        let terms: Vec<f64> = (0..heads.keys).map(|key| score(key).exp()).collect();
        let values = (0..heads.keys).map(|key| terms[key] * at(v, key, channel));
        values.sum::<f64>() / terms.iter().sum::<f64>()
    }

    fn heads_of_awkward_sizes(isa: Isa) {
        for (count, keys, depth, channels) in
            [(1, 1, 1, 1), (2, 3, 5, 7), (3, 17, 8, 8), (2, 49, 16, 20), (1, 70, 33, 40)]
        {
            let heads = Heads { count, keys, depth, channels, scale: 0.7 };
            let width = padded(count * (2 * depth + channels));
            let x = Guarded::from_numbers(&wave(keys * width, 0.37));
            let columns = padded(keys);
            let per_head = wave(count * keys * columns, 0.53);
            let shared = wave(keys * columns, 0.71);
            let biases = [
                Bias { scores: &per_head, heads: count, tokens: keys },
                Bias { scores: &shared, heads: 1, tokens: keys },
            ];
            for (interleaved, biases) in [(false, &biases[..]), (true, &[])] {
                let operands = operands(&x, width, heads, interleaved);
                let run = |row_blocks: usize| {
                    let result = padded(count * channels);
                    let cut = Cut {
                        images: 1,
                        rows: keys,
                        width: result,
                        row_blocks,
                        column_blocks: 1,
                        row_unit: 1,
                    };
                    let mut y = Guarded::unwritten(keys * result);
                    let blocks = Blocks::new(&mut y, cut);
                    while let Some(mut block) = blocks.next() {
                        let mut work = Guarded::unwritten(heads.workspace(block.rows().len()));
                        let biases = biases.iter().copied();
                        attend(isa, operands, heads, biases, &mut block, &mut work);
                    }
                    y.written(&format!("{heads:?} on {}", isa.name())).to_vec()
                };
                let y = run(1);
                let apart = run(keys);
                let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&y), bits(&apart), "{heads:?}: rows do not depend on their block");
                for (i, &found) in y.iter().enumerate() {
                    let (token, column) =
                        (i / padded(count * channels), i % padded(count * channels));
                    let (head, channel) = (column / channels, column % channels);
                    if head >= count {
                        continue;
                    }
                    let bias = |key: usize| {
                        let own = per_head[(head * keys + token) * columns + key];
                        let all = shared[token * columns + key];
                        if biases.is_empty() { 0.0 } else { f64::from(own) + f64::from(all) }
                    };
                    let expected = expected(operands, heads, bias, [token, head, channel]);
                    let close = (f64::from(found) - expected).abs() <= 1e-5;
                    assert!(close, "expected {expected}, found {found}: {heads:?} {interleaved}");
                }
            }
        }
    }

    fn a_masked_token_has_no_weight(isa: Isa) {
        let heads = Heads { count: 1, keys: 3, depth: 8, channels: 8, scale: 1.0 };
        let mut x = wave(3 * 24, 0.37);
        x[24 * 2 + 16..].fill(1e6);
        let mut mask = vec![0.0; 3 * 8];
        mask.iter_mut().skip(2).step_by(8).for_each(|x| *x = f32::NEG_INFINITY);
        let bias = [Bias { scores: &mask, heads: 1, tokens: 3 }];
        let mut y = [0.0; 3 * 8];
        let mut work = vec![0.0; heads.workspace(3)];
        let operands = operands(&x, 24, heads, false);
        let mut block = Block::whole(&mut y, 8);
        attend(isa, operands, heads, bias.into_iter(), &mut block, &mut work);
        assert!(y.iter().all(|y| y.abs() <= 1.0), "{y:?}");
    }

    #[test]
    #[should_panic(expected = "channels of a token")]
    fn heads_that_a_token_does_not_have_are_refused() {
        let heads = Heads { count: 2, keys: 1, depth: 8, channels: 8, scale: 1.0 };
        let operands = [Operand { tokens: &[0.0; 8], width: 8, first: 0, step: 8 }; 3];
        let (mut y, mut work) = ([0.0; 16], vec![0.0; heads.workspace(1)]);
        let mut block = Block::whole(&mut y, 16);
        attend(Isa::get(), operands, heads, [].into_iter(), &mut block, &mut work);
    }
}
