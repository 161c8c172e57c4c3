//! Checks of a graph's structure, on which everything else relies.

use std::collections::HashSet;

use super::{ChannelActivation, Graph, MaxAffine, Op, ShiftMax};
use crate::error::{Error, Result};

impl Graph {
    /// Prunes the graph and checks its structure: the number of inputs and outputs of every node,
    /// that every value that is read exists, and that no value is produced twice. Shapes are
    /// checked by [`infer`](super::infer::infer).
    ///
    /// # Errors
    /// [`Graph`](crate::ErrorKind::Graph), with the name of the node.
    pub fn validate(&mut self) -> Result<()> {
        self.check_single_assignment()?;
        for node in self.nodes() {
            self.check_arity(node).map_err(|e| e.at_node(&node.name, node.op.name()))?;
        }
        if self.outputs().is_empty() {
            return Err(Error::graph("the network has no outputs"));
        }
        self.prune()?;
        self.check_everything_read_exists()
    }

    fn check_single_assignment(&self) -> Result<()> {
        let mut produced = HashSet::new();
        for node in self.nodes() {
            for &output in node.outputs.iter().flatten() {
                let value = self.value(output);
                if value.input.is_some() || value.constant.is_some() || !produced.insert(output) {
                    return Err(Error::graph(format!("{:?} is produced twice", value.name))
                        .at_node(&node.name, node.op.name()));
                }
            }
        }
        Ok(())
    }

    fn check_arity(&self, node: &super::Node) -> Result<()> {
        let arity = node.op.arity();
        let describe =
            |range: &std::ops::RangeInclusive<usize>| match (*range.start(), *range.end()) {
                (low, usize::MAX) => format!("{low} or more"),
                (low, high) if low == high => low.to_string(),
                (low, high) => format!("{low} to {high}"),
            };
        if !arity.inputs.contains(&node.inputs.len()) {
            let (expected, found) = (describe(&arity.inputs), node.inputs.len());
            return Err(Error::graph(format!("expected {expected} inputs, found {found}")));
        }
        if !arity.outputs.contains(&node.outputs.len()) || node.outputs[0].is_none() {
            let (expected, found) = (describe(&arity.outputs), node.outputs.len());
            return Err(Error::graph(format!("expected {expected} outputs, found {found}")));
        }
        let optional = node.op.optional_inputs();
        for (i, input) in node.inputs.iter().enumerate() {
            if input.is_none() && !optional.contains(&i) {
                return Err(Error::graph(format!("input {i} is missing")));
            }
        }
        if let Op::Hyperfunction(h) = &node.op {
            check_pieces(h.k)?;
            if h.init.len() != 2 * h.k || h.lambda.len() != 2 * h.k {
                return Err(Error::graph(format!(
                    "K = {} needs {} values of init and of lambda, found {} and {}",
                    h.k,
                    2 * h.k,
                    h.init.len(),
                    h.lambda.len()
                )));
            }
        }
        match &node.op {
            Op::MaxAffine(MaxAffine { k }) | Op::ShiftMax(ShiftMax { k, .. }) => check_pieces(*k)?,
            Op::ChannelActivation(ChannelActivation::MinAffine { k }) => check_pieces(*k)?,
            _ => {}
        }
        Ok(())
    }

    fn check_everything_read_exists(&self) -> Result<()> {
        let links = self.links();
        let exists = |id| {
            let value = self.value(id);
            value.input.is_some() || value.constant.is_some() || links.producer(id).is_some()
        };
        for node in self.nodes() {
            if let Some(&id) = node.inputs.iter().flatten().find(|id| !exists(**id)) {
                let name = &self.value(id).name;
                return Err(Error::graph(format!("it reads {name:?}, which nothing produces"))
                    .at_node(&node.name, node.op.name()));
            }
        }
        match self.outputs().iter().find(|id| !exists(**id)) {
            Some(&id) => {
                let name = &self.value(id).name;
                Err(Error::graph(format!("nothing produces the output {name:?}")))
            }
            None => Ok(()),
        }
    }
}

/// The largest number of affine pieces: kernels keep all coefficients of a channel in registers.
const MAX_PIECES: usize = 8;

fn check_pieces(k: usize) -> Result<()> {
    if (1..=MAX_PIECES).contains(&k) {
        return Ok(());
    }
    Err(Error::graph(format!("K must be 1 to {MAX_PIECES}, found {k}")))
}
