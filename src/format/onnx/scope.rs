//! A scope of names, and the functions of a file.

use std::collections::{HashMap, HashSet};

use super::proto;
use super::schema::domain;
use crate::graph::ValueId;

/// The most nodes that functions and branches may add to a network. Functions that call functions multiply
/// them.
pub(super) const MAX_INLINED: usize = 1 << 20;

/// The names in a network, in a branch or in the body of a function.
#[derive(Default)]
pub(super) struct Scope<'m> {
    pub(super) values: HashMap<&'m str, Option<ValueId>>,
    /// The names that the outputs need. Nothing else is read.
    pub(super) live: HashSet<&'m str>,
    pub(super) opsets: HashMap<&'m str, i64>,
    /// What precedes names, so that those of the graph differ.
    pub(super) prefix: String,
    /// The attributes that the call of a function states, `None` in a branch, which sees the scope around
    /// it.
    pub(super) attributes: Option<Vec<proto::Attribute>>,
}

impl<'m> Scope<'m> {
    pub(super) fn of_network(opsets: HashMap<&'m str, i64>) -> Self {
        Scope { opsets, attributes: Some(Vec::new()), ..Scope::default() }
    }

    /// Returns the version of an operator set, if the file states one.
    pub(super) fn opset(&self, domain: &str) -> Option<i64> {
        self.opsets.get(domain).copied()
    }

    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Gives `name` to `value`, or to an absent optional input.
    pub(super) fn define(&mut self, name: &'m str, value: Option<ValueId>) {
        self.values.insert(name, value);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.attributes.is_some()
    }
}

/// The functions that a file defines, by domain, name and overload.
pub(super) struct Functions<'m>(HashMap<[&'m str; 3], &'m proto::Function>);

impl<'m> Functions<'m> {
    pub(super) fn of(model: &'m proto::Model) -> Self {
        let key = |f: &'m proto::Function| [domain(&f.domain), &f.name, &f.overload];
        Functions(model.functions.iter().map(|f| (key(f), f)).collect())
    }

    pub(super) fn called_by(&self, node: &proto::Node) -> Option<&'m proto::Function> {
        let key = [domain(&node.domain), node.op_type.as_str(), node.overload.as_str()];
        self.0.get(&key).copied()
    }
}
