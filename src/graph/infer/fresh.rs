//! Symbols for sizes that depend on data.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;

use crate::graph::{Dim, Graph};

/// A source of symbols for sizes that depend on data.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    /// The number of the last symbol.
    last: Cell<usize>,
    /// Numbers of the node's symbols from an earlier inference, which are used again.
    again: RefCell<Range<usize>>,
    taken: HashSet<String>,
}

impl Fresh {
    /// Creates a source that avoids the symbols in the inputs of `graph`.
    pub fn new(graph: &Graph) -> Self {
        let types = graph.inputs().iter().filter_map(|&id| graph.value(id).input.as_ref());
        let names = types.flat_map(|ty| ty.dims.iter().filter_map(Dim::as_symbol));
        let taken = names.map(String::from).collect();
        Fresh { last: Cell::new(0), again: RefCell::new(0..0), taken }
    }

    /// Begins the inference of a node, whose symbols get the numbers in `again` first. Returns the
    /// number of the last symbol so far.
    pub fn begin(&self, again: Range<usize>) -> usize {
        self.again.replace(again);
        self.last.get()
    }

    /// Returns the number of the last symbol.
    pub fn last(&self) -> usize {
        self.last.get()
    }

    /// Returns the next symbol.
    pub fn dim(&self) -> Dim {
        loop {
            let number = self.again.borrow_mut().next().unwrap_or_else(|| {
                self.last.set(self.last.get() + 1);
                self.last.get()
            });
            let dim = Dim::unknown(number);
            if dim.as_symbol().is_none_or(|name| !self.taken.contains(name)) {
                return dim;
            }
        }
    }
}
