//! Packed weights: kept in a file, so that loading finds them, or made while loading.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Options, Unrecognised};
use crate::error::Result;
use crate::graph::infer::{Types, infer};
use crate::graph::{Graph, ValueId};
use crate::tensor::{ALIGNMENT, AlignedBuffer, Storage, Tensor};

/// The version of the passes and of the layouts of packed weights. A file that was prepared by
/// another one is compiled like any other.
pub const PREPARATION: u32 = 1;

/// Packed weights, by the value that the packed layer gives and what the layer is.
///
/// Tensors of a file come in with [`insert`](Self::insert), whatever they are, and are used nowhere but in
/// `layer`, which makes a layer of the graph from them. The constructor of its weights checks them
/// against the layer: how many there are, their element types and lengths. Those that do not fit are
/// passed over, and the layer is made from its plain weights.
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

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.borrow().is_empty()
    }

    /// Has `parts` stand for the layer of a `kind` that gives `value`; false where others did.
    pub fn insert(&mut self, value: ValueId, kind: impl Into<String>, parts: Vec<Tensor>) -> bool {
        self.parts.get_mut().insert((value, kind.into()), parts).is_none()
    }

    /// All of them, in order.
    pub fn into_parts(self) -> impl Iterator<Item = (ValueId, String, Vec<Tensor>)> {
        let parts = self.parts.into_inner().into_iter();
        parts.map(|((value, kind), parts)| (value, kind, parts))
    }

    /// The same in one piece of memory, which has large pages where the system has them: a run
    /// reads all weights, and finding thousands of small pages costs a few per cent of its time.
    fn gathered(self) -> Self {
        let mut parts = self.parts.into_inner();
        let room = |part: &Tensor| part.bytes().len().next_multiple_of(ALIGNMENT);
        let mut together = AlignedBuffer::zeroed(parts.values().flatten().map(room).sum());
        let mut rest = together.as_mut_bytes();
        for part in parts.values().flatten() {
            let (here, after) = rest.split_at_mut(room(part));
            here[..part.bytes().len()].copy_from_slice(part.bytes());
            rest = after;
        }
        let together = Storage::new(Arc::new(together));
        let mut start = 0;
        for part in parts.values_mut().flatten() {
            let end = start + room(part);
            let storage = together.slice(start..start + part.bytes().len());
            let copy =
                storage.and_then(|s| Tensor::from_storage(part.dtype(), part.shape(), s).ok());
            *part = copy.expect("a copy is as long");
            start = end;
        }
        Packs { parts: RefCell::new(parts), ..self }
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
    let packs = collect(graph, &infer(graph)?, &Options::default());
    Ok(Prepared { unrecognised, packs })
}

/// Packs the weights of a graph that [`optimise`](super::optimise) has rewritten, as they are best
/// read.
pub fn pack(graph: &Graph, types: &Types, options: &Options) -> Packs {
    collect(graph, types, options).gathered()
}

fn collect(graph: &Graph, types: &Types, options: &Options) -> Packs {
    let packs = Packs { collects: true, ..Packs::none() };
    super::lower(graph, types, options, &packs);
    packs
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

    #[test]
    fn gathered_parts_lie_one_after_another() {
        let parts = [Tensor::vector(vec![1.0f32; 5]), Tensor::vector(vec![2i64; 9])];
        let mut packs = Packs::none();
        for (value, part) in parts.iter().enumerate() {
            packs.insert(ValueId(value), "dense", vec![part.clone()]);
        }
        let gathered: Vec<_> = packs.gathered().into_parts().map(|(_, _, parts)| parts).collect();
        for (part, copy) in parts.iter().zip(&gathered) {
            let [copy] = &copy[..] else { panic!("{} parts", copy.len()) };
            assert_eq!(
                (copy.dtype(), copy.shape(), copy.bytes()),
                (part.dtype(), part.shape(), part.bytes())
            );
        }
        let start = |i: usize| gathered[i][0].bytes().as_ptr().addr();
        assert_eq!(start(1) - start(0), ALIGNMENT);
        assert!(start(0).is_multiple_of(ALIGNMENT));
    }
}
