//! What conversion does ahead of loading: the passes have run, weights are packed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Options, Unrecognised};
use crate::error::Result;
use crate::graph::infer::infer;
use crate::graph::{Graph, ValueId};
use crate::tensor::Tensor;

/// The version of the passes and of the layouts of packed weights. A file that was prepared by
/// another one is compiled like any other.
pub const PREPARATION: u32 = 1;

/// Packed weights, by the value that the packed layer gives and what the layer is.
#[derive(Debug, Default)]
pub struct Packs {
    parts: RefCell<BTreeMap<(ValueId, String), Vec<Tensor>>>,
    /// Whether layers that are made are kept.
    collects: bool,
}

impl Packs {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// Has `parts` stand for the layer of a `kind` that gives `value`.
    pub fn insert(&mut self, value: ValueId, kind: impl Into<String>, parts: Vec<Tensor>) {
        self.parts.get_mut().insert((value, kind.into()), parts);
    }

    /// All of them, in order.
    pub fn into_parts(self) -> impl Iterator<Item = (ValueId, String, Vec<Tensor>)> {
        let parts = self.parts.into_inner().into_iter();
        parts.map(|((value, kind), parts)| (value, kind, parts))
    }

    /// The layer of a `kind` that gives `value`: `read` from its parts where they are there and
    /// are its own, otherwise what `make` makes.
    pub(super) fn layer<W>(
        &self,
        (value, kind): (ValueId, &str),
        read: impl FnOnce(&[Tensor]) -> Option<W>,
        make: impl FnOnce() -> Option<W>,
        parts: impl FnOnce(&W) -> Vec<Tensor>,
    ) -> Option<W> {
        let key = (value, kind.to_string());
        let found = self.parts.borrow().get(&key).and_then(|parts| read(parts));
        if found.is_some() {
            return found;
        }
        let made = make()?;
        if self.collects {
            self.parts.borrow_mut().insert(key, parts(&made));
        }
        Some(made)
    }
}

/// What a native file knows about the compilation of its network.
#[derive(Debug, Default)]
pub struct Prepared {
    /// What [`recognise`](super::recognise) left alone.
    pub unrecognised: Vec<Unrecognised>,
    /// Weights in the layouts that kernels read.
    pub packs: Packs,
}

/// Packs the weights of a graph that [`optimise`](super::optimise) has rewritten, as it will be
/// stored.
///
/// # Errors
/// `Shape` where the graph contradicts itself.
pub fn prepare(graph: &Graph, unrecognised: Vec<Unrecognised>) -> Result<Prepared> {
    let packs = Packs { collects: true, ..Packs::none() };
    super::lower(graph, &infer(graph)?, Options::default(), &packs);
    Ok(Prepared { unrecognised, packs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(packs: &Packs, make: impl FnOnce() -> Option<f32>) -> Option<f32> {
        let read = |parts: &[Tensor]| parts.first()?.as_f32().ok()?.first().copied();
        packs.layer((ValueId(3), "dense"), read, make, |&w| vec![Tensor::vector(vec![w])])
    }

    #[test]
    fn a_layer_is_made_once() {
        let collecting = Packs { collects: true, ..Packs::none() };
        assert_eq!(layer(&collecting, || Some(5.0)), Some(5.0));
        let mut kept = Packs::none();
        for (value, kind, parts) in collecting.into_parts() {
            kept.insert(value, kind, parts);
        }
        assert_eq!(layer(&kept, || unreachable!()), Some(5.0));
    }

    #[test]
    fn parts_that_are_not_a_layers_own_are_passed_over() {
        let mut packs = Packs::none();
        packs.insert(ValueId(3), "dense", vec![Tensor::vector(vec![1i64])]);
        assert_eq!(layer(&packs, || Some(2.0)), Some(2.0));
    }
}
