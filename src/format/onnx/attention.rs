//! `Attention` of opset 23, read as products of matrices around a softmax.

use super::attributes::Attributes;
use super::operators::NodeReader;
use crate::error::{Error, Result};
use crate::graph::{Binary, Dim, Node, Op, Reduce, ReduceKind, Softmax, Unary, ValueId};
use crate::tensor::{DType, Tensor};

impl NodeReader<'_> {
    pub(super) fn attention(&mut self, a: &Attributes) -> Result<()> {
        let optional = |reader: &Self, i: usize| reader.inputs.get(i).copied().flatten();
        if optional(self, 6).is_some() {
            return Err(Error::unsupported("lengths of padded sequences (nonpad_kv_seqlen)"));
        }
        for window in ["left_window_size", "right_window_size"] {
            if a.int(window, -1)? != -1 {
                return Err(Error::unsupported(format!("a sliding window ({window})")));
            }
        }
        let output_mode = a.int("qk_matmul_output_mode", 0)?;
        let scores_output = self.outputs.get(3).copied().flatten();
        if scores_output.is_some() && ![0, 3].contains(&output_mode) {
            let message = format!("qk_matmul_output_mode {output_mode} is not supported");
            return Err(Error::unsupported(message));
        }
        let mut query = self.input(0)?;
        let (mut key, mut value) = (self.input(1)?, self.input(2)?);
        let is_flat = match self.known_rank(query)? {
            3 => true,
            4 => false,
            rank => return Err(Error::graph(format!("expected 3 or 4 axes, found {rank}"))),
        };
        let (query_heads, heads) = (a.int("q_num_heads", 0)?, a.int("kv_num_heads", 0)?);
        if is_flat {
            if query_heads <= 0 || heads <= 0 {
                return Err(Error::format("the numbers of heads are missing"));
            }
            query = self.heads("query", query, query_heads);
            key = self.heads("key", key, heads);
            value = self.heads("value", value, heads);
        }
        let past = (optional(self, 4), optional(self, 5));
        if let (Some(past_key), Some(past_value)) = past {
            key = self.apply("present_key", Op::Concat { axis: 2 }, &[past_key, key]);
            value = self.apply("present_value", Op::Concat { axis: 2 }, &[past_value, value]);
        } else if past != (None, None) {
            return Err(Error::graph("past keys and past values must be given together"));
        }
        for (i, present) in [(1, key), (2, value)] {
            self.also_output(i, present);
        }

        let size = |reader: &Self, id: ValueId, axis: usize| {
            reader.ty(id)?.dims.get(axis).and_then(Dim::as_const)
        };
        let (query_heads, heads) = (size(self, query, 1), size(self, key, 1));
        if let (Some(query_heads), Some(heads)) = (query_heads, heads)
            && query_heads != heads
        {
            key = self.repeated("key", key, query_heads, heads)?;
            value = self.repeated("value", value, query_heads, heads)?;
        }

        let scale = if a.has("scale") {
            self.number_like(Some(query), "scale", a.float("scale", 1.0)?)?
        } else if let Some(size) = size(self, query, 3).filter(|&size| size > 0) {
            self.number_like(Some(query), "scale", (1.0 / (size as f64).sqrt()) as f32)?
        } else {
            let to = self.element_type(query)?;
            let size = self.size("head", query, 0);
            let size = self.apply("head_size", Op::Cast { to }, &[size]);
            let root = self.apply("head_root", Op::Unary(Unary::Sqrt), &[size]);
            self.apply("scale", Op::Unary(Unary::Reciprocal), &[root])
        };
        let scaled = self.apply("scaled", Op::Binary(Binary::Mul), &[query, scale]);
        let columns = self.apply("columns", Op::Transpose { perm: vec![0, 1, 3, 2] }, &[key]);
        let mut scores = self.apply("scores", Op::MatMul, &[scaled, columns]);
        if output_mode == 0 {
            self.also_output(3, scores);
        }
        let cap = a.float("softcap", 0.0)?;
        if cap > 0.0 {
            let cap = self.number_like(Some(query), "softcap", cap)?;
            let small = self.apply("small", Op::Binary(Binary::Div), &[scores, cap]);
            let bounded = self.apply("bounded", Op::Unary(Unary::Tanh), &[small]);
            scores = self.apply("capped", Op::Binary(Binary::Mul), &[bounded, cap]);
        }
        let bias = self.attention_bias(a, optional(self, 3), optional(self, 4), scores)?;
        if let Some(bias) = bias {
            scores = self.apply("biased", Op::Binary(Binary::Add), &[scores, bias]);
        }
        let softmax = Op::Softmax(Softmax { axis: -1, flatten: false });
        let mut weights = self.apply("weights", softmax, &[scores]);
        // Where the mask leaves nothing, the softmax has no value and the result is 0.
        if let (Some(bias), Some(_)) = (bias, optional(self, 3)) {
            let axes = self.constant_named("last", Tensor::vector(vec![-1i64]));
            let kind = ReduceKind::Max;
            let op = Op::Reduce(Reduce { kind, keep_dims: true, noop_with_empty_axes: false });
            let most = self.apply("most", op, &[bias, axes]);
            let nothing = self.typed_number(query, "nothing", f64::NEG_INFINITY)?;
            let is_empty = self.apply("is_empty", Op::Binary(Binary::Equal), &[most, nothing]);
            let zero = self.typed_number(query, "zero", 0.0)?;
            weights = self.apply("guarded", Op::Where, &[is_empty, zero, weights]);
        }
        if output_mode == 3 {
            self.also_output(3, weights);
        }
        self.outputs.truncate(1);
        if !is_flat {
            self.finish(Op::MatMul, vec![Some(weights), Some(value)]);
            return Ok(());
        }
        let mixed = self.apply("mixed", Op::MatMul, &[weights, value]);
        let tokens = self.apply("tokens", Op::Transpose { perm: vec![0, 2, 1, 3] }, &[mixed]);
        let shape = self.constant_named("shape", Tensor::vector(vec![0i64, 0, -1]));
        self.finish(Op::Reshape { allow_zero: false }, vec![Some(tokens), Some(shape)]);
        Ok(())
    }

    /// Cuts the last of three axes into heads, which come before the sequence.
    fn heads(&mut self, what: &str, x: ValueId, count: i64) -> ValueId {
        let parts = self.view(&format!("{what}_parts"), x, &[0, 0, count, -1]);
        let perm = Op::Transpose { perm: vec![0, 2, 1, 3] };
        self.apply(&format!("{what}_heads"), perm, &[parts])
    }

    /// Repeats every head, so that `wanted` queries have one each.
    fn repeated(&mut self, what: &str, x: ValueId, wanted: i64, heads: i64) -> Result<ValueId> {
        if heads == 0 || wanted % heads != 0 {
            let message = format!("{wanted} heads of queries do not share {heads} heads of keys");
            return Err(Error::graph(message));
        }
        let axes = self.constant_named(&format!("{what}.axis"), Tensor::vector(vec![2i64]));
        let single = self.apply(&format!("{what}_single"), Op::Unsqueeze, &[x, axes]);
        let times = Tensor::vector(vec![1, 1, wanted / heads, 1, 1]);
        let times = self.constant_named(&format!("{what}.times"), times);
        let several = self.apply(&format!("{what}_several"), Op::Tile, &[single, times]);
        // The axis of the repetitions makes room for sizes that are kept.
        let perm = Op::Transpose { perm: vec![0, 3, 4, 1, 2] };
        let last = self.apply(&format!("{what}_last"), perm, &[several]);
        let joined = self.view(&format!("{what}_joined"), last, &[0, 0, 0, wanted]);
        let perm = Op::Transpose { perm: vec![0, 3, 1, 2] };
        Ok(self.apply(&format!("{what}_repeated"), perm, &[joined]))
    }

    /// Adds what the mask and the order of the sequence add to the scores.
    fn attention_bias(
        &mut self,
        a: &Attributes,
        mask: Option<ValueId>,
        past_key: Option<ValueId>,
        scores: ValueId,
    ) -> Result<Option<ValueId>> {
        let query = self.input(0)?;
        let zero = self.typed_number(query, "allowed", 0.0)?;
        let never = self.typed_number(query, "never", f64::NEG_INFINITY)?;
        let mut bias = match mask {
            Some(mask) if self.element_type(mask)? == DType::Bool => {
                Some(self.apply("mask", Op::Where, &[mask, zero, never]))
            }
            other => other,
        };
        if a.flag("is_causal", false)? {
            let mut rows = self.positions("query_positions", scores, 2, 0);
            let columns = self.positions("key_positions", scores, 2, 1);
            if let Some(past_key) = past_key {
                let past = self.size("past", past_key, 1);
                rows = self.apply("later", Op::Binary(Binary::Add), &[rows, past]);
            }
            let allowed =
                self.apply("is_past", Op::Binary(Binary::GreaterOrEqual), &[rows, columns]);
            let causal = self.apply("causal", Op::Where, &[allowed, zero, never]);
            bias = Some(match bias {
                Some(bias) => self.apply("both", Op::Binary(Binary::Add), &[bias, causal]),
                None => causal,
            });
        }
        Ok(bias)
    }

    /// Gives `value` to output `i` of the file's node, if that is used.
    fn also_output(&mut self, i: usize, value: ValueId) {
        if let Some(output) = self.outputs.get_mut(i).and_then(Option::take) {
            let name = format!("{}.output_{i}", self.name);
            let (inputs, outputs) = (vec![Some(value)], vec![Some(output)]);
            self.graph.add_node(Node { name, op: Op::Identity, inputs, outputs });
        }
    }
}
