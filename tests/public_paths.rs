//! The public paths of the crate are those in `public_paths.txt`.
//!
//! The test extracts the paths from the pages of rustdoc, which omit private and `#[doc(hidden)]`
//! items. It runs `cargo doc`, so it is ignored by default, and `.ci/run` runs it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = "tests/public_paths.txt";
const RUN: &str = "cargo test --test public_paths -- --ignored";
/// If this environment variable is set, the test writes the list.
const RENEW: &str = "DYRELU_RENEW_PUBLIC_PATHS";

#[test]
#[ignore = "runs cargo doc"]
fn the_public_paths_are_those_of_the_list() {
    let pages = documentation();
    let mut paths = BTreeSet::new();
    let mut unnamed = BTreeSet::new();
    let items = items(&pages);
    for module in items.iter().map(Item::module).collect::<BTreeSet<_>>() {
        let index = read(&pages.join(module.replace("::", "/")).join("index.html"));
        paths.extend(ids(&index, "reexport").map(|name| join(module, name)));
    }
    for item in &items {
        paths.insert(item.path.clone());
        let page = read(&pages.join(&item.page));
        // The page of a type alias repeats the members of the aliased type.
        let page = if item.page.contains("type.") { "" } else { own_part(&page) };
        for kind in MEMBERS {
            paths.extend(ids(page, kind).map(|name| join(&item.path, name)));
        }
        unnamed.extend(unlinked_types(page).map(|name| format!("{name}, in {}", item.path)));
    }
    // A type of another crate has no page here, but may be re-exported.
    unnamed.retain(|unnamed| {
        let name = unnamed.split(',').next().unwrap_or_default();
        !paths.iter().any(|path| path.rsplit("::").next() == Some(name))
    });
    assert!(paths.contains("Model::open"), "the pages of rustdoc have another form: {paths:?}");

    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
    if std::env::var_os(RENEW).is_some() {
        fs::write(&list, paths.iter().map(|path| format!("{path}\n")).collect::<String>()).unwrap();
    }
    let text = read(&list);
    let listed: BTreeSet<String> = text.lines().map(str::to_string).collect();
    let added = paths.difference(&listed).map(|path| format!("+ {path}"));
    let removed = listed.difference(&paths).map(|path| format!("- {path}"));
    let changes: Vec<_> = added.chain(removed).collect();
    assert!(
        changes.is_empty(),
        "the public paths differ from {LIST}:\n{}\nIf this is intended, write the list with\n    \
         {RENEW}=1 {RUN}",
        changes.join("\n")
    );
    assert!(
        unnamed.is_empty(),
        "public signatures contain types that have no public path:\n{}",
        unnamed.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// Documents the crate and returns the folder of its pages.
fn documentation() -> PathBuf {
    let target =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder contains it");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["doc", "--locked", "--quiet", "--no-deps", "--lib", "--target-dir"]).arg(target);
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(status.expect("cargo runs").success(), "cargo doc failed");
    target.join("doc/dyrelu")
}

struct Item {
    /// The path within the crate.
    path: String,
    /// The file of its page.
    page: String,
}

impl Item {
    fn module(&self) -> &str {
        self.path.rsplit_once("::").map_or("", |(module, _)| module)
    }
}

/// The types, traits, functions and constants of the crate.
fn items(pages: &Path) -> Vec<Item> {
    let index = read(&pages.join("all.html"));
    let links = index.split("<li><a href=\"").skip(1).filter_map(|link| {
        let (page, rest) = link.split_once("\">")?;
        let (path, _) = rest.split_once("</a>")?;
        let is_item = page.ends_with(".html") && !page.starts_with('#');
        is_item.then(|| Item { path: path.to_string(), page: page.to_string() })
    });
    links.collect()
}

/// The kinds of anchors on the page of an item that are members of the item.
const MEMBERS: [&str; 6] =
    ["method", "tymethod", "structfield", "variant", "associatedconstant", "associatedtype"];

/// The part of a page before the implementations of traits.
fn own_part(page: &str) -> &str {
    let ends =
        ["trait-implementations", "synthetic-implementations", "implementors", "foreign-impls"];
    let ends = ends.iter().filter_map(|id| page.find(&format!("id=\"{id}\"")));
    &page[..ends.min().unwrap_or(page.len())]
}

/// The names in the anchors of a kind.
fn ids<'p>(page: &'p str, kind: &str) -> impl Iterator<Item = &'p str> {
    let start = format!("id=\"{kind}.");
    let offsets: Vec<_> = page.match_indices(&start).map(|(at, id)| at + id.len()).collect();
    offsets.into_iter().filter_map(|at| page[at..].split('"').next())
}

/// The names of types in signatures that are not links. rustdoc links every type that has a page.
fn unlinked_types(page: &str) -> impl Iterator<Item = String> {
    let variants: BTreeSet<&str> = ids(page, "variant").collect();
    let mut names = BTreeSet::new();
    for (start, end) in [("<h4 class=\"code-header\">", "</h4>"), ("item-decl\"><code>", "</code>")]
    {
        for code in page.split(start).skip(1).filter_map(|rest| rest.split(end).next()) {
            let text = without(&without(&without(code, "<a ", "</a>"), "<", ">"), "&", ";");
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            let is_type = |word: &&str| {
                // Names of one letter are type parameters. `Item` of iterators has no page, and
                // sealed traits are meant to have no public path.
                word.len() > 1
                    && word.starts_with(char::is_uppercase)
                    && !["Self", "Item", "Sealed"].contains(word)
                    && !variants.contains(word)
            };
            names.extend(words.filter(is_type).map(String::from));
        }
    }
    names.into_iter()
}

/// Replaces every part of `text` from `start` to the next `end` by a space.
fn without(text: &str, start: &str, end: &str) -> String {
    let mut parts = text.split(start);
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| text + " " + part.split_once(end).map_or("", |(_, rest)| rest))
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_string() } else { format!("{module}::{name}") }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
