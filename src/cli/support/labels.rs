//! Reads class names from the files in which they are published.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::messages;
use dyrelu::format::read_text;
use dyrelu::graph::TensorType;
use dyrelu::vision::class_count;
use dyrelu::{Error, Result};

/// The names of ImageNet's 1000 classes, one per line.
pub const IMAGENET: &str = include_str!("imagenet.txt");

/// A class name, and where it stands.
struct Name {
    text: String,
    /// Such as `line 5`.
    place: String,
}

/// The number of classes in scores of this type, if it is stated.
pub fn count(scores: Option<&TensorType>) -> Option<usize> {
    let dims = &scores?.dims;
    let shape: Vec<usize> = dims.iter().map(|dim| dim.as_size().unwrap_or(1)).collect();
    class_count(&shape, 1)
}

/// Reads the class names in the file at `path`, or those of ImageNet, one per line. `column` is that of a
/// table. There must be as many names as classes in `scores`, the type of the network's first output.
pub fn read(path: &Path, column: Option<&str>, scores: Option<&TensorType>) -> Result<String> {
    let in_file = |e: Error| if path == Path::new("imagenet") { e } else { e.in_file(path) };
    let names = if path == Path::new("imagenet") {
        lines(IMAGENET)
    } else {
        parse(&read_text(path)?, path, column).map_err(in_file)?
    };
    let names = fit(names, count(scores)).map_err(in_file)?;
    // A name has one line in the result.
    let names = names.into_iter().map(|name| name.text.replace(['\n', '\r'], " "));
    Ok(names.collect::<Vec<_>>().join("\n"))
}

fn parse(text: &str, path: &Path, column: Option<&str>) -> Result<Vec<Name>> {
    if text.trim_start().starts_with(['{', '[']) {
        return json(text);
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("csv") => table(text, b',', column),
        Some("tsv") => table(text, b'\t', column),
        _ if column.is_some() => {
            table(text, if text.contains('\t') { b'\t' } else { b',' }, column)
        }
        _ => Ok(lines(text)),
    }
}

fn lines(text: &str) -> Vec<Name> {
    let lines = text.trim_end().lines().enumerate();
    let name = |(i, line): (usize, &str)| Name {
        text: line.trim().to_string(),
        place: format!("line {}", i + 1),
    };
    lines.map(name).collect()
}

/// The names in a list, in a map from numbers, or in such a map under `id2label`.
fn json(text: &str) -> Result<Vec<Name>> {
    let value: Value = serde_json::from_str(text)
        .map_err(|e| Error::format(format!("the class names are no valid JSON: {e}")))?;
    let name = |(key, value): (usize, &Value)| {
        // Keras writes an identifier and a name.
        let value = value.as_array().and_then(|parts| parts.last()).unwrap_or(value);
        let text = value.as_str().map(str::to_string);
        let text = text.ok_or_else(|| Error::format(format!("class {key} has no name")))?;
        Ok(Name { text, place: format!("class {key}") })
    };
    match &value {
        Value::Array(names) => names.iter().enumerate().map(name).collect(),
        Value::Object(map) => {
            let map = map.get("id2label").and_then(Value::as_object).unwrap_or(map);
            let number = |key: &String| {
                key.parse::<usize>().map_err(|_| {
                    Error::format(format!("expected numbers of classes as keys, found {key:?}"))
                })
            };
            let numbered = map.iter().map(|(key, value)| Ok((number(key)?, value)));
            let mut numbered = numbered.collect::<Result<Vec<_>>>()?;
            numbered.sort_by_key(|&(number, _)| number);
            if let Some((i, _)) = numbered.iter().enumerate().find(|(i, (number, _))| i != number) {
                return Err(Error::format(format!("class {i} has no name")));
            }
            numbered.into_iter().map(name).collect()
        }
        _ => Err(Error::format("expected a list or a map of class names")),
    }
}

/// The usual titles of a column of names, the best first, and those of a column of numbers.
const NAMES: [&str; 6] = ["name", "label", "class_name", "description", "names", "labels"];
const NUMBERS: [&str; 6] = ["index", "class_index", "class_id", "id", "class", "idx"];

/// The names in a column of a table, which may have titles.
fn table(text: &str, delimiter: u8, column: Option<&str>) -> Result<Vec<Name>> {
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader.delimiter(delimiter).has_headers(false).flexible(true);
    let records =
        reader.from_reader(text.as_bytes()).into_records().collect::<csv::Result<Vec<_>>>();
    let records = records.map_err(|e| Error::format(e.to_string()))?;
    let Some(first) = records.first() else { return Ok(Vec::new()) };
    let titled =
        |wanted: &str| first.iter().position(|title| title.trim().eq_ignore_ascii_case(wanted));
    let usual = |titles: &[&str]| titles.iter().find_map(|title| titled(title));
    let numbers = usual(&NUMBERS);
    let (names, has_titles) = match column {
        Some(column) => match (titled(column), column.parse::<usize>()) {
            (Some(at), _) => (at, true),
            (None, Ok(number)) if (1..=first.len()).contains(&number) => {
                (number - 1, numbers.is_some() || usual(&NAMES).is_some())
            }
            _ => {
                let titles = first.iter().collect::<Vec<_>>().join(", ");
                return Err(Error::input(format!("there is no column {column:?}: found {titles}")));
            }
        },
        None => match usual(&NAMES) {
            Some(at) => (at, true),
            // Numbers and identifiers come before names.
            None => (first.len() - 1, numbers.is_some()),
        },
    };
    let rows = &records[usize::from(has_titles)..];
    let name = |record: &csv::StringRecord| Name {
        text: record.get(names).unwrap_or_default().trim().to_string(),
        place: format!("line {}", record.position().map_or(0, csv::Position::line)),
    };
    let Some(numbers) = numbers.filter(|&at| has_titles && at != names) else {
        return Ok(rows.iter().map(name).collect());
    };
    let mut numbered = HashMap::new();
    for record in rows {
        let name = name(record);
        let number = record.get(numbers).and_then(|number| number.trim().parse::<usize>().ok());
        let number =
            number.ok_or_else(|| Error::format(format!("{} has no number", name.place)))?;
        if let Some(other) = numbered.insert(number, name) {
            return Err(Error::format(format!("{} has number {number} too", other.place)));
        }
    }
    let ordered = (0..rows.len()).map(|number| {
        numbered.remove(&number).ok_or_else(|| Error::format(format!("class {number} has no name")))
    });
    ordered.collect()
}

/// Drops a title, and checks that there are as many names as classes.
fn fit(mut names: Vec<Name>, classes: Option<usize>) -> Result<Vec<Name>> {
    let Some(classes) = classes.filter(|&classes| classes != names.len()) else { return Ok(names) };
    let is_title = |name: &Name| {
        let text = name.text.to_lowercase();
        NAMES.contains(&text.as_str()) || NUMBERS.contains(&text.as_str()) || text.starts_with('#')
    };
    if names.len() == classes + 1 && names.first().is_some_and(is_title) {
        messages::note(format_args!("{:?} was read as a title, not as a name", names[0].text));
        names.remove(0);
        return Ok(names);
    }
    let mut seen: HashMap<&str, &Name> = HashMap::new();
    let suspect = names.iter().find_map(|name| {
        if name.text.is_empty() {
            return Some(format!("{} is empty", name.place));
        }
        let twin = seen.insert(&name.text, name)?;
        Some(format!("{} repeats {:?} of {}", name.place, name.text, twin.place))
    });
    let suspect = suspect.or_else(|| {
        let extra = names.get(classes)?;
        Some(format!("the first one too many is {:?} in {}", extra.text, extra.place))
    });
    let suspect = suspect.map_or(String::new(), |suspect| format!("; {suspect}"));
    Err(Error::input(format!(
        "there are {} class names, and the network has {classes} classes{suspect}",
        names.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read_as(
        file: &str,
        text: &str,
        column: Option<&str>,
    ) -> std::result::Result<String, String> {
        let names = parse(text, Path::new(file), column).and_then(|names| fit(names, Some(3)));
        let texts = |names: Vec<Name>| names.into_iter().map(|name| name.text).collect::<Vec<_>>();
        names.map(|names| texts(names).join("|")).map_err(|e| e.to_string())
    }

    #[test]
    fn names_are_read_from_every_kind_of_file() {
        for (file, text, column) in [
            ("a.txt", "cat\r\ndog\nred fox\n\n", None),
            ("a.txt", "label\ncat\ndog\nred fox", None),
            ("a.csv", "cat\ndog\nred fox\n", None),
            ("a.csv", "0,n1,cat\n1,n2,dog\n2,n3,\"red fox\"\n", None),
            ("a.tsv", "index\tname\tnote\n2\tred fox\t-\n0\tcat\t-\n1\tdog\t-\n", None),
            ("a.tsv", "x\ty\ncat\t1\ndog\t2\nred fox\t3\n", Some("x")),
            ("a.txt", "1\tcat\n2\tdog\n3\tred fox\n", Some("2")),
            ("a.json", r#"["cat", "dog", "red fox"]"#, None),
            ("a.json", r#"{"0": "cat", "2": "red fox", "1": "dog"}"#, None),
            ("a.json", r#"{"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "red fox"]}"#, None),
            ("a.json", r#"{"x": 1, "id2label": {"0": "cat", "1": "dog", "2": "red fox"}}"#, None),
        ] {
            assert_eq!(
                read_as(file, text, column).as_deref(),
                Ok("cat|dog|red fox"),
                "{file} {text}"
            );
        }
    }

    #[test]
    fn what_looks_wrong_is_named() {
        for (file, text, column, words) in [
            (
                "a.txt",
                "cat\ndog\n\nfox",
                None,
                "4 class names, and the network has 3 classes; line 3 is",
            ),
            ("a.txt", "cat\ndog\ncat\nfox", None, "line 3 repeats \"cat\" of line 1"),
            ("a.txt", "cat\ndog\nfox\nowl", None, "the first one too many is \"owl\" in line 4"),
            ("a.txt", "cat", None, "1 class names"),
            ("a.csv", "x,y\n1,2\n", Some("name"), "no column \"name\": found x, y"),
            ("a.csv", "id,name\n0,cat\n2,fox\n3,dog\n", None, "class 1 has no name"),
            ("a.csv", "id,name\n0,cat\n0,fox\n3,dog\n", None, "line 2 has number 0 too"),
            ("a.csv", "id,name\nx,cat\n", None, "line 2 has no number"),
            ("a.json", r#"{"0": "cat", "2": "fox"}"#, None, "class 1 has no name"),
            ("a.json", r#"{"cat": 0}"#, None, "expected numbers of classes as keys, found \"cat\""),
            ("a.json", "[1, 2]", None, "class 0 has no name"),
            ("a.json", "[1", None, "no valid JSON"),
        ] {
            let error = read_as(file, text, column).unwrap_err();
            assert!(error.contains(words), "{words} in {error}");
        }
    }

    #[test]
    fn imagenet_has_a_thousand_names() {
        let names = lines(IMAGENET);
        assert_eq!((names.len(), names[0].text.as_str()), (1000, "tench"));
        assert!(names.iter().all(|name| !name.text.is_empty()));
    }
}
