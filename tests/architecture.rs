//! The rooms of the crate and which may import which: a drawing that is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A room imports rooms of lower lines only, and so none of its own line.
const LINES: &[(&[&str], &str)] = &[
    (&["main"], "the program"),
    (&["cli"], "what people type"),
    (&["explain", "vision"], "what activations do with photos; photos to tensors, scores to names"),
    (&["session"], "runs of a network for one caller"),
    (&["model", "dynamic_relu"], "open and compile; the operation alone"),
    (&["compile"], "graph to plan"),
    (&["format", "plan"], "files to graph and back; steps, memory, threads"),
    (&["reference"], "the plain executor"),
    (&["graph", "kernels"], "what a network means; how one operation runs fast"),
    (&["simd", "tensor"], "vectors; numbers in memory"),
    (&["error", "pictures"], "what can go wrong; lines, text and colours"),
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

/// A path of names, such as `crate::plan::Team`.
type Names = Vec<String>;

/// A module of the crate: its path without `crate`, and its code.
struct Module {
    path: Names,
    code: String,
}

impl Module {
    /// The folders that it is in, the outermost first.
    fn folders(&self) -> impl Iterator<Item = &[String]> {
        (1..self.path.len()).map(|end| &self.path[..end])
    }
}

/// All modules but the tests, read from `src`.
fn modules() -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let module = |file: &PathBuf| {
        let inside = file.strip_prefix(&root).unwrap().with_extension("");
        let mut path: Names = inside.iter().map(|name| name.to_str().unwrap().into()).collect();
        path.retain(|name| name != "mod");
        Module { path, code: code(&std::fs::read_to_string(file).unwrap()) }
    };
    let is_test = |module: &Module| module.path.iter().any(|name| name == "tests");
    files.iter().map(module).filter(|module| !is_test(module)).collect()
}

/// All paths in `code` that begin with one of `roots`, with the lists of `use` taken apart.
fn paths(code: &str, roots: &[&str]) -> BTreeSet<Names> {
    let mut found = BTreeSet::new();
    for root in roots {
        for (at, _) in code.match_indices(&format!("{root}::")) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':') {
                let rest = &mut &code[at + root.len() + 2..];
                take_apart(rest, vec![root.to_string()], &mut found);
            }
        }
    }
    found
}

/// Reads what follows `::` from `text`: a name, perhaps with more names after it, or a list.
fn take_apart(text: &mut &str, mut path: Names, found: &mut BTreeSet<Names>) {
    *text = text.trim_start();
    if let Some(list) = text.strip_prefix('{') {
        *text = list;
        while !text.trim_start().is_empty() && !text.trim_start().starts_with('}') {
            take_apart(text, path.clone(), found);
            // An item may have another name here, after `as`.
            let end = text.find([',', '}']).unwrap_or(text.len());
            *text = text[end..].trim_start_matches(',');
        }
        *text = text.trim_start().strip_prefix('}').unwrap_or_default();
        return;
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    *text = rest;
    if !name.is_empty() {
        path.push(name.into());
        if let Some(rest) = rest.strip_prefix("::") {
            *text = rest;
            return take_apart(text, path, found);
        }
    }
    found.insert(path);
}

/// The rooms that a file names after `crate::` or, in the program, `dyrelu::`.
fn imports(code: &str) -> BTreeSet<String> {
    let paths = paths(code, &["crate", "dyrelu"]);
    paths.into_iter().filter_map(|path| path.into_iter().nth(1)).collect()
}

#[test]
fn imports_go_to_lower_lines_only() {
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for Module { path, code } in modules() {
        let (room, module) = (&path[0], path.join("::"));
        if room == DOOR {
            continue;
        }
        let Some(own) = line_of(room) else {
            wrong.push(format!("{module} is in no room that the table knows"));
            continue;
        };
        for name in imports(&code) {
            if name == *room {
                continue;
            }
            match line_of(&name) {
                Some(line) if line > own => {
                    *seen.entry((room.clone(), name)).or_default() += 1;
                }
                // The door's own names are for those above all rooms.
                None if own <= 1 => {}
                Some(_) => wrong.push(format!("{module} imports {name}, which is no lower room")),
                None => wrong.push(format!("{module} imports crate::{name}: name its room")),
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

/// What stands for the folder's own file, `mod.rs`, among the modules of a folder.
const FOLDER: &str = "mod.rs";

/// Which modules of a folder name which others of it. What the folder re-exports counts as its module's.
fn uses_inside(folder: &[String], modules: &[Module]) -> BTreeMap<String, BTreeSet<String>> {
    let inside = |path: &[String]| path.starts_with(folder);
    let child = |path: &[String]| path.get(folder.len()).cloned();
    let children: BTreeSet<String> =
        modules.iter().filter(|m| inside(&m.path)).filter_map(|m| child(&m.path)).collect();
    let own = modules.iter().find(|module| module.path == folder).map_or("", |m| &m.code);
    let names: Vec<&str> = children.iter().map(String::as_str).collect();
    let is_export = |item: &&str| {
        // An attribute may stand before it.
        let line = item.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
        line.is_some_and(|line| line.starts_with("pub") && line.contains(" use "))
    };
    let (exports, own_code): (Vec<&str>, Vec<&str>) = own.split_inclusive(';').partition(is_export);
    // A re-exported name, and the module that it is from.
    let origins: BTreeMap<String, String> = paths(&exports.concat(), &names)
        .into_iter()
        .map(|path| (path[path.len() - 1].clone(), path[0].clone()))
        .collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for module in modules.iter().filter(|module| inside(&module.path)) {
        let user = child(&module.path).unwrap_or(FOLDER.into());
        let targets: Vec<String> = if module.path == folder {
            paths(&own_code.concat(), &names).into_iter().map(|path| path[0].clone()).collect()
        } else {
            let paths = paths(&module.code, &["crate", "super"]);
            let absolute = paths.into_iter().map(|path| {
                let up = path.iter().take_while(|name| *name == "super").count();
                let start = if up == 0 { 0 } else { module.path.len().saturating_sub(up) };
                let rest = path[up.max(1)..].iter();
                module.path[..start].iter().chain(rest).cloned().collect::<Names>()
            });
            let target = |path: Names| {
                let name = child(&path).filter(|_| inside(&path))?;
                let is_child = children.contains(&name);
                Some(if is_child {
                    name
                } else {
                    origins.get(&name).cloned().unwrap_or(FOLDER.into())
                })
            };
            absolute.filter_map(target).collect()
        };
        uses.entry(user.clone()).or_default().extend(targets.into_iter().filter(|t| *t != user));
    }
    uses
}

/// The modules that import themselves by way of others.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let reaches_itself = |start: &&String| {
        let mut reached: BTreeSet<&String> = BTreeSet::new();
        let mut open: Vec<&String> = uses[*start].iter().collect();
        while let Some(module) = open.pop() {
            if reached.insert(module) {
                open.extend(uses.get(module).into_iter().flatten());
            }
        }
        reached.contains(*start)
    };
    uses.keys().filter(reaches_itself).cloned().collect()
}

#[test]
fn modules_of_a_folder_form_no_circle() {
    let modules = modules();
    let folders: BTreeSet<&[String]> = modules.iter().flat_map(Module::folders).collect();
    let (mut circles, mut drawing) = (BTreeMap::new(), String::new());
    for folder in folders {
        let uses = uses_inside(folder, &modules);
        let circle = circle(&uses);
        for user in &circle {
            let used: Vec<_> = uses[user].intersection(&circle).cloned().collect();
            drawing += &format!("{}: {user} imports {}\n", folder.join("/"), used.join(", "));
        }
        if !circle.is_empty() {
            circles.insert(folder.join("/"), circle);
        }
    }
    assert!(circles.is_empty(), "modules import each other in a circle:\n{drawing}");
    // The test reads imports: without these it would have read nothing.
    let plan = uses_inside(&["plan".to_string()], &modules);
    for (user, used) in [("run", "memory"), ("memory", "plan"), ("plan", "steps")] {
        assert!(plan[user].contains(used), "{user} imports {used}: {plan:?}");
    }
}

#[test]
fn circles_are_found_in_every_spelling() {
    let module = |path: &[&str], text: &str| Module {
        path: path.iter().map(|name| name.to_string()).collect(),
        code: code(text),
    };
    let circle_of = |a: &str, b: &str, folder: &str| {
        let modules = [module(&["r"], folder), module(&["r", "a"], a), module(&["r", "b"], b)];
        circle(&uses_inside(&["r".to_string()], &modules)).into_iter().collect::<Vec<_>>()
    };
    let door = "mod a;\nmod b;\npub use a::A;\npub(super) use b::{B, C};\n";
    assert_eq!(circle_of("use super::b::B;", "use crate::error::Result;", door), [""; 0]);
    assert_eq!(circle_of("use super::b::B;", "use crate::r::a::A;", door), ["a", "b"]);
    assert_eq!(circle_of("use super::{b::B};", "fn f() { crate::r::A::new() }", door), ["a", "b"]);
    assert_eq!(circle_of("use crate::{error, r::{B}};", "use super::A;", door), ["a", "b"]);
    assert_eq!(circle_of("// super::b", "use super::A;", door), [""; 0]);
    // A folder whose own file has more than a door uses the modules that use it.
    let furnished = "mod a;\nmod b;\npub struct S;\nfn f() { a::g() }";
    assert_eq!(circle_of("use super::S;", "", furnished), ["a", "mod.rs"]);
    assert_eq!(circle_of("", "use super::S;", furnished), [""; 0]);
}
