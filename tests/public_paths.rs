//! The paths that the crate promises, held in `public_paths.txt`.
//!
//! The list is read off the pages that rustdoc writes, which leave out whatever is private or
//! `#[doc(hidden)]`. The test runs `cargo doc`, so it is ignored by default and `.ci/run` asks for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = "tests/public_paths.txt";
const RUN: &str = "cargo test --test public_paths -- --ignored";
/// The variable that makes the test write the list.
const RENEW: &str = "DYRELU_RENEW_PUBLIC_PATHS";

#[test]
#[ignore = "runs cargo doc"]
fn the_public_paths_are_those_of_the_list() {
    let pages = documentation();
    let mut found = BTreeSet::new();
    let mut unnamed = BTreeSet::new();
    let items = items(&pages);
    for module in items.iter().map(Item::module).collect::<BTreeSet<_>>() {
        let index = read(&pages.join(module.replace("::", "/")).join("index.html"));
        found.extend(ids(&index, "reexport").map(|name| join(module, name)));
    }
    for item in &items {
        found.insert(item.path.clone());
        let page = read(&pages.join(&item.page));
        // The page of an alias repeats the members of the type behind it.
        let page = if item.page.contains("type.") { "" } else { own_part(&page) };
        for kind in MEMBERS {
            found.extend(ids(page, kind).map(|name| join(&item.path, name)));
        }
        unnamed.extend(unlinked_types(page).map(|name| format!("{name}, in {}", item.path)));
    }
    // Types of other crates have no page here; a name for them is enough.
    unnamed.retain(|unnamed| {
        let name = unnamed.split(',').next().unwrap_or_default();
        !found.iter().any(|path| path.rsplit("::").next() == Some(name))
    });
    assert!(found.contains("Model::open"), "the pages of rustdoc cannot be read: {found:?}");

    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
    if std::env::var_os(RENEW).is_some() {
        fs::write(&list, found.iter().map(|path| format!("{path}\n")).collect::<String>()).unwrap();
    }
    let text = read(&list);
    let listed: BTreeSet<String> = text.lines().map(str::to_string).collect();
    let new = found.difference(&listed).map(|path| format!("+ {path}"));
    let gone = listed.difference(&found).map(|path| format!("- {path}"));
    let changes: Vec<_> = new.chain(gone).collect();
    assert!(
        changes.is_empty(),
        "the public paths are not those of {LIST}:\n{}\nIf that is meant, renew the list with\n    \
         {RENEW}=1 {RUN}",
        changes.join("\n")
    );
    assert!(
        unnamed.is_empty(),
        "public signatures name types that users cannot name:\n{}",
        unnamed.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// Documents the crate and returns the folder of its pages.
fn documentation() -> PathBuf {
    let target =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["doc", "--locked", "--quiet", "--no-deps", "--lib", "--target-dir"]).arg(target);
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(status.expect("cargo runs").success(), "cargo doc failed");
    target.join("doc/dyrelu")
}

struct Item {
    /// The path inside of the crate.
    path: String,
    page: String,
}

impl Item {
    fn module(&self) -> &str {
        self.path.rsplit_once("::").map_or("", |(module, _)| module)
    }
}

/// The types, traits, functions and constants of the crate.
fn items(pages: &Path) -> Vec<Item> {
    let all = read(&pages.join("all.html"));
    let links = all.split("<li><a href=\"").skip(1).filter_map(|link| {
        let (page, rest) = link.split_once("\">")?;
        let (path, _) = rest.split_once("</a>")?;
        let is_item = page.ends_with(".html") && !page.starts_with('#');
        is_item.then(|| Item { path: path.to_string(), page: page.to_string() })
    });
    links.collect()
}

/// The kinds of anchors on an item's page that are part of it.
const MEMBERS: [&str; 6] =
    ["method", "tymethod", "structfield", "variant", "associatedconstant", "associatedtype"];

/// A page as far as it is about the item itself. What follows are implementations of traits.
fn own_part(page: &str) -> &str {
    let ends =
        ["trait-implementations", "synthetic-implementations", "implementors", "foreign-impls"];
    let ends = ends.iter().filter_map(|id| page.find(&format!("id=\"{id}\"")));
    &page[..ends.min().unwrap_or(page.len())]
}

/// The names in the anchors of a kind.
fn ids<'p>(page: &'p str, kind: &str) -> impl Iterator<Item = &'p str> {
    let start = format!("id=\"{kind}.");
    let found: Vec<_> = page.match_indices(&start).map(|(at, id)| at + id.len()).collect();
    found.into_iter().filter_map(|at| page[at..].split('"').next())
}

/// The type names in signatures that link nowhere: rustdoc links every type that has a page.
fn unlinked_types(page: &str) -> impl Iterator<Item = String> {
    let variants: BTreeSet<&str> = ids(page, "variant").collect();
    let mut names = BTreeSet::new();
    for (start, end) in [("<h4 class=\"code-header\">", "</h4>"), ("item-decl\"><code>", "</code>")]
    {
        for code in page.split(start).skip(1).filter_map(|rest| rest.split(end).next()) {
            let text = without(&without(&without(code, "<a ", "</a>"), "<", ">"), "&", ";");
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            let is_type = |word: &&str| {
                // A parameter has one letter. The associated type of iterators has no page, and a seal
                // is there so that nobody names it.
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

/// `text` without the parts from each `start` to the next `end`, in place of which there is a space.
fn without(text: &str, start: &str, end: &str) -> String {
    let mut parts = text.split(start);
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |kept, part| kept + " " + part.split_once(end).map_or("", |(_, rest)| rest))
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_string() } else { format!("{module}::{name}") }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
