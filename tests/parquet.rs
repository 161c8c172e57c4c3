//! `dyrelu classify --format parquet`, read by the crate that writes it.
#![cfg(feature = "parquet")]

use std::fs::File;
use std::path::Path;

use assert_cmd::Command;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

const PHOTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/photos");

fn classify(photos: &[&Path], arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("dyrelu").unwrap();
    let output = command.arg("classify").args(photos).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn rows(path: &Path) -> Vec<Row> {
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    file.get_row_iter(None).unwrap().map(|row| row.unwrap()).collect()
}

/// The cell of a column, as CSV would have it.
fn cell(row: &Row, column: &str) -> String {
    let (_, field) = row.get_column_iter().find(|(name, _)| *name == column).unwrap();
    match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Int(number) => number.to_string(),
        Field::Float(number) => number.to_string(),
        other => panic!("{column} is {other}"),
    }
}

#[test]
fn rows_and_columns_are_those_of_csv() {
    let folder = tempfile::tempdir().unwrap();
    let (text, path) = (folder.path().join("text.jpg"), folder.path().join("out.parquet"));
    std::fs::write(&text, b"this is no photo").unwrap();
    let photos = [Path::new(PHOTOS), &text];
    let names = "path,rank,class,label,score,error";
    let options = ["--top", "3", "--columns", names];
    let output = ["--output", path.to_str().unwrap()];
    let (code, _, errors) = classify(&photos, &[&options[..], &output].concat());
    assert_eq!(code, Some(1), "{errors}");
    let (_, csv, _) = classify(&photos, &[&options[..], &["--format", "csv"]].concat());
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    let records: Vec<_> = csv.records().map(Result::unwrap).collect();
    let rows = rows(&path);
    assert_eq!((rows.len(), records.len()), (7, 7));
    for (row, record) in rows.iter().zip(&records) {
        let cells: Vec<String> = names.split(',').map(|name| cell(row, name)).collect();
        assert_eq!(cells, record.iter().collect::<Vec<_>>());
    }
}

#[test]
fn an_embedding_is_a_list_in_the_row_of_the_first_rank() {
    let folder = tempfile::tempdir().unwrap();
    let (text, path) = (folder.path().join("text.jpg"), folder.path().join("out.parquet"));
    std::fs::write(&text, b"this is no photo").unwrap();
    let photos = [Path::new(PHOTOS), &text];
    let options = ["--top", "2", "--embed"];
    let output = ["--output", path.to_str().unwrap()];
    assert_eq!(classify(&photos, &[&options[..], &output].concat()).0, Some(1));
    let (_, json, _) = classify(&photos, &[&options[..], &["--format", "json"]].concat());
    let mut expected = Vec::new();
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let embedding: Option<Vec<f32>> = line.get("embedding").map(|list| {
            list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
        });
        let others = line.get("predictions").map_or(0, |all| all.as_array().unwrap().len() - 1);
        expected.push(embedding);
        expected.extend(std::iter::repeat_n(None, others));
    }
    let list = |row: &Row| {
        let (_, field) = row.get_column_iter().find(|(name, _)| *name == "embedding").unwrap();
        let number = |field: &Field| match field {
            Field::Float(number) => *number,
            other => panic!("{other}"),
        };
        match field {
            Field::ListInternal(list) => Some(list.elements().iter().map(number).collect()),
            Field::Null => None,
            other => panic!("{other}"),
        }
    };
    let found: Vec<Option<Vec<f32>>> = rows(&path).iter().map(list).collect();
    assert_eq!(found.iter().flatten().count(), 2);
    assert_eq!(found, expected);
}

#[test]
fn a_file_with_contents_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.parquet");
    std::fs::write(&path, b"something").unwrap();
    let photos = [Path::new(PHOTOS)];
    let output = path.to_str().unwrap();
    for (options, words) in [
        (&["--output", output][..], "old.parquet: the file has contents"),
        (&["--output", output, "--resume"], "--resume needs --format csv, json or npy"),
        (&["--format", "parquet"], "this format needs a file: add --output FILE"),
    ] {
        let (code, _, errors) = classify(&photos, options);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(words), "{words} in {errors}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"something");
}
