//! The true classes of photos.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::cli::support::photos::Sources;
use crate::cli::support::{labels, messages};
use dyrelu::format::read_text;
use dyrelu::{Error, Result};

/// The identifiers of ImageNet's 1000 classes in WordNet, one per line.
const SYNSETS: &str = include_str!("synsets.txt");

/// The true classes of photos.
pub enum Truth {
    /// By the name of the folder that a photo is in.
    Folders(HashMap<String, usize>),
    /// By the name of the file, or the path as it is written in the table.
    Files(HashMap<PathBuf, usize>),
}

/// Finds classes by what people call them.
struct Classes {
    by_name: HashMap<String, Option<usize>>,
    by_synset: HashMap<&'static str, usize>,
    count: usize,
}

impl Classes {
    fn new(names: &[String]) -> Self {
        let mut by_name = HashMap::new();
        let mut insert = |name: &str, class: usize| {
            // A name of several classes names none.
            let known = by_name.entry(plain(name)).or_insert(Some(class));
            if *known != Some(class) {
                *known = None;
            }
        };
        for (class, name) in names.iter().enumerate() {
            insert(name, class);
            name.split(',').for_each(|synonym| insert(synonym, class));
        }
        let name_of_synset = labels::IMAGENET.lines().enumerate();
        let by_synset = SYNSETS.lines().zip(name_of_synset).filter_map(|(synset, (i, name))| {
            let class = if names.len() == 1000 { Some(i) } else { *by_name.get(&plain(name))? };
            Some((synset, class?))
        });
        Classes { by_synset: by_synset.collect(), by_name, count: names.len() }
    }

    fn find(&self, text: &str) -> Option<usize> {
        let number = || text.parse::<usize>().ok().filter(|&class| class < self.count);
        let name = || self.by_name.get(&plain(text)).copied().flatten();
        self.by_synset.get(text).copied().or_else(name).or_else(number)
    }
}

/// A name in the spelling in which names are compared.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '-'], " ")
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn unknown(text: &str) -> Error {
    Error::input(format!(
        "{text:?} is no class of the network: expected its name, its number or a synset"
    ))
}

impl Truth {
    /// The classes that the subfolders of the named folders are named after, or those in which photos are
    /// that a pattern names. Hidden ones are no classes.
    pub fn of_folders(sources: &Sources, names: &[String]) -> Result<Self> {
        let mut found = BTreeSet::new();
        for folder in sources.paths.iter().filter(|folder| folder.is_dir()) {
            for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
                let path = entry.map_err(|e| Error::io(folder, e))?.path();
                if path.is_dir() {
                    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                    found.extend(name.filter(|name| !name.starts_with('.')));
                }
            }
        }
        let classes = Classes::new(names);
        if found.is_empty() {
            found = sources.folders();
            if !found.iter().any(|name| classes.find(name).is_some()) {
                let is_named = |path: &&PathBuf| !is_pattern(path) && **path != *"-";
                for path in sources.paths.iter().filter(is_named) {
                    std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
                }
                return Err(Error::input(
                    "expected a folder with a subfolder per class, or --index with a table of classes",
                ));
            }
        }
        let known: HashMap<_, _> =
            found.iter().filter_map(|name| Some((name.clone(), classes.find(name)?))).collect();
        if known.is_empty() && found.len() == names.len() {
            messages::note(
                "no folder is named after a class, so their order is that of the classes",
            );
            let numbered = found.into_iter().enumerate();
            return Ok(Truth::Folders(numbered.map(|(class, name)| (name, class)).collect()));
        }
        match found.iter().find(|name| !known.contains_key(*name)) {
            Some(name) => Err(unknown(name)),
            None => Ok(Truth::Folders(known)),
        }
    }

    /// The classes that a table states.
    pub fn of_table(path: &Path, names: &[String]) -> Result<Self> {
        let text = read_text(path)?;
        Self::of_rows(&text, names).map_err(|e| e.in_file(path))
    }

    fn of_rows(text: &str, names: &[String]) -> Result<Self> {
        let invalid = |e: csv::Error| Error::format(e.to_string());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let titles = reader.headers().map_err(invalid)?.clone();
        let column = |wanted: &[&str]| {
            let at = wanted.iter().find_map(|name| titles.iter().position(|title| title == *name));
            at.ok_or_else(|| Error::input(format!("expected a column {}", wanted.join(" or "))))
        };
        let (file, class) = (
            column(&["file", "path", "filename", "image"])?,
            column(&["class", "label", "label0", "synset"])?,
        );
        let classes = Classes::new(names);
        let mut files = HashMap::new();
        for (row, record) in reader.records().enumerate() {
            let record = record.map_err(invalid)?;
            let class = &record[class];
            let known = classes.find(class).ok_or_else(|| {
                Error::input(format!("row {}: {}", row + 1, unknown(class).message()))
            })?;
            let before = files.insert(PathBuf::from(&record[file]), known);
            if before.is_some_and(|before| before != known) {
                return Err(Error::input(format!(
                    "row {}: {:?} has another class in a row before",
                    row + 1,
                    &record[file]
                )));
            }
        }
        Ok(Truth::Files(files))
    }

    /// The class of the photo at `path`.
    pub fn of(&self, path: &Path) -> Result<usize> {
        match self {
            Truth::Folders(classes) => {
                let name = path.parent().and_then(Path::file_name).unwrap_or_default();
                let name = name.to_string_lossy();
                classes.get(&*name).copied().ok_or_else(|| unknown(&name))
            }
            Truth::Files(classes) => {
                let by_name = || classes.get(Path::new(path.file_name()?));
                let class = classes.get(path).or_else(by_name).copied();
                class.ok_or_else(|| Error::input("the table of classes does not have this photo"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split('|').map(str::to_string).collect()
    }

    #[test]
    fn classes_are_found_by_name_number_and_synset() {
        let ten = Classes::new(&names("tench|Golf Ball|church, church building"));
        for (text, class) in [
            ("tench", Some(0)),
            ("golf_ball", Some(1)),
            ("church building", Some(2)),
            ("n01440764", Some(0)),
            ("2", Some(2)),
            ("3", None),
            ("crane", None),
        ] {
            assert_eq!(ten.find(text), class, "{text}");
        }
        let all = Classes::new(&labels::IMAGENET.lines().map(str::to_string).collect::<Vec<_>>());
        assert_eq!(all.find("n15075141"), Some(999));
        // Two classes of ImageNet are called crane.
        assert_eq!(all.find("crane"), None);
    }

    #[test]
    fn a_table_states_classes() {
        let rows = "file,label0\na.png,1\nsub/b.png,cat\n";
        let truth = Truth::of_rows(rows, &names("cat|dog")).unwrap();
        assert_eq!(truth.of(Path::new("photos/a.png")).unwrap(), 1);
        assert_eq!(truth.of(Path::new("sub/b.png")).unwrap(), 0);
        assert!(truth.of(Path::new("c.png")).is_err());
        assert!(Truth::of_rows("file,class\na,cat\na,0\n", &names("cat|dog")).is_ok());
        for (rows, words) in [
            ("file,class\na,cat\nb,dog\na,dog\n", "row 3: \"a\" has another class in a row before"),
            ("file,x\na,1\n", "expected a column class or label"),
            ("file,class\na,owl\n", "row 1: \"owl\" is no class of the network"),
        ] {
            let error = Truth::of_rows(rows, &names("cat|dog")).err().unwrap();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
