//! The rooms of the crate and which may import which: a drawing that is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A room imports rooms of lower lines only, and so none of its own line.
const LINES: &[(&[&str], &str)] = &[
    (&["main"], "the program"),
    (&["cli"], "what people type"),
    (&["vision"], "photos to tensors, scores to names"),
    (&["model", "dynamic_relu"], "open, compile, run; the operation alone"),
    (&["compile"], "graph to plan"),
    (&["format", "plan"], "files to graph and back; steps, memory, threads"),
    (&["reference"], "the plain executor"),
    (&["graph", "kernels"], "what a network means; how one operation runs fast"),
    (&["simd", "tensor"], "vectors; numbers in memory"),
    (&["error"], "what can go wrong"),
];

/// The crate's front page, which names every room.
const DOOR: &str = "lib";

fn line_of(room: &str) -> Option<usize> {
    LINES.iter().position(|(rooms, _)| rooms.contains(&room))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without comments and without its tests, which may look at every room.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let uncommented = |line: &str| line.split("//").next().unwrap_or_default().to_string();
    code.lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

/// The names that follow `crate::` or, in the program, `dyrelu::`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in ["crate::", "dyrelu::"] {
        for (at, _) in code.match_indices(path) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + path.len()..];
            match rest.strip_prefix('{') {
                // A list of rooms, each perhaps with a list of its own.
                Some(list) => {
                    let mut depth = 1;
                    let mut item = String::new();
                    for c in list.chars() {
                        match c {
                            '{' => depth += 1,
                            '}' => depth -= 1,
                            ',' if depth == 1 => {
                                found.insert(first_name(&std::mem::take(&mut item)));
                                continue;
                            }
                            _ => {}
                        }
                        if depth == 0 {
                            break;
                        }
                        item.push(c);
                    }
                    found.insert(first_name(&item));
                }
                None => {
                    found.insert(first_name(rest));
                }
            }
        }
    }
    found.remove("");
    found
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_go_to_lower_lines_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in &files {
        let inside = path.strip_prefix(&root).unwrap();
        let names: Vec<_> = inside.iter().map(|name| name.to_str().unwrap()).collect();
        let is_test = names.iter().any(|name| matches!(*name, "tests" | "tests.rs"));
        let room = names[0].trim_end_matches(".rs");
        if is_test || room == DOOR {
            continue;
        }
        let Some(own) = line_of(room) else {
            wrong.push(format!("{} is in no room that the table knows", inside.display()));
            continue;
        };
        for name in imports(&code(&std::fs::read_to_string(path).unwrap())) {
            if name == room {
                continue;
            }
            match line_of(&name) {
                Some(line) if line > own => *seen.entry((room.into(), name)).or_default() += 1,
                // The door's own names are for those above all rooms.
                None if own <= 1 => {}
                Some(_) => wrong
                    .push(format!("{} imports {name}, which is no lower room", inside.display())),
                None => {
                    wrong.push(format!("{} imports crate::{name}: name its room", inside.display()))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The test reads imports: without these it would have read nothing.
    for (from, to) in [("compile", "plan"), ("plan", "kernels"), ("kernels", "simd")] {
        assert!(seen.contains_key(&(from.into(), to.into())), "{from} imports {to}");
    }
}

#[test]
fn imports_are_found_in_every_spelling() {
    let found = |text: &str| imports(&code(text)).into_iter().collect::<Vec<_>>();
    assert_eq!(found("use crate::graph::infer;\n// crate::plan\n"), ["graph"]);
    assert_eq!(found("pub(crate) use crate::{graph::{Op, Dim}, tensor};"), ["graph", "tensor"]);
    assert_eq!(
        found("fn f() -> crate::error::Result<()> { dyrelu::plan::f() }"),
        ["error", "plan"]
    );
    assert_eq!(found("use super::x;\n#[cfg(test)]\nmod tests { use crate::cli; }"), [""; 0]);
}
