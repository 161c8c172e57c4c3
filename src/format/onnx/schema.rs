//! The opsets and attributes that are valid in an ONNX file.

use std::collections::HashMap;

use super::proto;
use super::table::{CONTRIBUTED, Operator, STANDARD};
use crate::error::{Error, Result};

/// The oldest opset that is read.
pub(super) const OLDEST_OPSET: i64 = 6;

/// The newest opset that is read.
pub(super) const NEWEST_OPSET: i64 = 28;

/// Reads the version of each operator set.
pub(super) fn opsets(imports: &[proto::OperatorSet]) -> Result<HashMap<&str, i64>> {
    let mut opsets = HashMap::new();
    for set in imports {
        let (domain, version) = (domain(&set.domain), set.version);
        if opsets.insert(domain, version).is_some_and(|other| other != version) {
            return Err(Error::format(format!("the file states two opsets of {domain:?}")));
        }
    }
    match opsets.get("") {
        Some(&opset) if opset < OLDEST_OPSET => Err(Error::unsupported(format!(
            "opset {opset} is too old; convert the file to opset {OLDEST_OPSET} or newer"
        ))),
        Some(&opset) if opset > NEWEST_OPSET => Err(Error::unsupported(format!(
            "opset {opset} is newer than any that this engine knows; convert the file to opset \
             {NEWEST_OPSET} or older"
        ))),
        _ => Ok(opsets),
    }
}

/// Returns the opset of ONNX's own operators. Every file that uses one has to state it.
pub(super) fn stated(opset: Option<i64>) -> Result<i64> {
    opset.ok_or_else(|| {
        Error::format("the file does not state its opset, without which operators have no meaning")
    })
}

/// Returns what is known of the operator of a node.
fn operator(node: &proto::Node) -> Option<&'static Operator> {
    let operators = match domain(&node.domain) {
        "" => STANDARD,
        "com.microsoft" => CONTRIBUTED,
        _ => return None,
    };
    operators.iter().find(|operator| operator.name == node.op_type)
}

/// Returns whether the table has the operator of a node, or nothing on its domain.
pub(super) fn is_known(node: &proto::Node) -> bool {
    !matches!(domain(&node.domain), "" | "com.microsoft") || operator(node).is_some()
}

/// Checks that a node has no attribute twice, and none that no version of its operator has.
pub(super) fn check_attributes(node: &proto::Node) -> Result<()> {
    for (i, attribute) in node.attribute.iter().enumerate() {
        let name = attribute.name.as_str();
        if node.attribute[..i].iter().any(|other| other.name == name) {
            return Err(Error::format(format!("attribute {name:?} is there twice")));
        }
    }
    let Some(known) = operator(node).map(|operator| operator.attributes) else { return Ok(()) };
    // Attributes that begin with two underscores are private to the program that wrote the file.
    let is_known = |name: &str| known.contains(&name) || name.starts_with("__");
    match node.attribute.iter().find(|a| !is_known(&a.name)) {
        Some(other) => Err(Error::format(format!(
            "operator {} has no attribute {:?}",
            node.op_type, other.name
        ))),
        None => Ok(()),
    }
}

/// Returns the name of an operator set, empty for ONNX's own.
pub(super) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}
