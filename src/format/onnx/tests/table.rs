//! The table of operators, and the list of them in the documentation.

use std::path::PathBuf;

use super::*;
use crate::format::onnx::schema::{NEWEST_OPSET, OLDEST_OPSET};
use crate::format::onnx::table::{CONTRIBUTED, Operator, STANDARD};

fn place() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "docs", "operators.md"].iter().collect()
}

fn row(operator: &Operator) -> String {
    let since = operator.since.max(OLDEST_OPSET);
    format!("| {} | {since} | {} |\n", operator.name, operator.remark)
}

/// Returns the contents of the list.
fn list() -> String {
    let standard: String = STANDARD.iter().map(row).collect();
    let contributed = CONTRIBUTED.iter();
    let contributed: String =
        contributed.map(|o| format!("| {} | {} |\n", o.name, o.remark)).collect();
    format!(
        "# Operators\n\nThe operators of ONNX that are read, each from the opset in which it appeared, or \
         from opset {OLDEST_OPSET}, to opset\n{NEWEST_OPSET}. A node with another operator is refused, \
         unless no output of the network needs it.\n\nThe list is made from the table by which files are \
         read:\n`cargo test --lib -- --ignored write_the_list_of_operators`.\n\n\
         | operator | from opset | what of it |\n|---|---:|---|\n{standard}\n\
         The operators of the domain `com.microsoft` that are read. ONNX Runtime's optimiser writes them \
         at its levels \"basic\"\nand \"extended\".\n\n\
         | operator | what of it |\n|---|---|\n{contributed}"
    )
}

#[test]
#[ignore = "writes docs/operators.md"]
fn write_the_list_of_operators() {
    std::fs::write(place(), list()).unwrap();
}

#[test]
fn the_list_of_operators_is_current() {
    let written = std::fs::read_to_string(place()).unwrap().replace("\r\n", "\n");
    assert!(
        written == list(),
        "docs/operators.md differs from the table; \
         `cargo test --lib -- --ignored write_the_list_of_operators` writes it"
    );
}

#[test]
fn operators_are_listed_once_and_in_order() {
    for operators in [STANDARD, CONTRIBUTED] {
        assert!(operators.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}

/// Every listed operator is read: with inputs of no sense it may be refused, but not as unknown.
#[test]
fn every_listed_operator_is_read() {
    let domains = [("", STANDARD), ("com.microsoft", CONTRIBUTED)];
    for (domain, operator) in domains.iter().flat_map(|(d, list)| list.iter().map(move |o| (d, o)))
    {
        let node =
            proto::Node { domain: (*domain).into(), ..node(operator.name, &["x", "x", "x"], "y") };
        let mut model = model(vec![node], vec![]);
        model.opset_import[0].version = operator.since.max(OLDEST_OPSET);
        if let Err(error) = open(&model) {
            assert!(!error.to_string().contains("docs/operators.md"), "{error}");
        }
    }
}

#[test]
fn a_missing_operator_is_named_with_node_and_opset() {
    let unknown = proto::Node { name: "stem".into(), ..node("Det", &["x"], "y") };
    let words = "node \"stem\" (Det): operator Det of ai.onnx opset 17 is not supported; \
                 docs/operators.md lists";
    refused(&model(vec![unknown.clone()], vec![]), ErrorKind::Unsupported, words);
    let elsewhere = proto::Node { domain: "com.microsoft".into(), ..unknown };
    let words = "operator Det of com.microsoft opset 1 is not supported; docs/operators.md lists";
    refused(&model(vec![elsewhere], vec![]), ErrorKind::Unsupported, words);
}
