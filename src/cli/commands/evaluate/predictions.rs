//! Reads the predictions that `dyrelu classify` wrote.

use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::report::Guess;

use dyrelu::format::open_regular;
use dyrelu::{Error, Result};

/// A line of JSON. One of the optional fields is present.
#[derive(Deserialize)]
struct Line {
    path: PathBuf,
    predictions: Option<Vec<Guess>>,
    error: Option<String>,
}

/// A row of CSV. A photo that failed has empty cells.
#[derive(Deserialize)]
struct Row {
    path: PathBuf,
    rank: Option<usize>,
    class: Option<usize>,
    score: Option<f32>,
    error: Option<String>,
}

/// Calls `each` with the photos in a file of CSV or JSON, in order, and their predictions. The network has
/// `classes` classes.
///
/// # Errors
/// [`ErrorKind::Io`](dyrelu::ErrorKind::Io) or [`ErrorKind::Format`](dyrelu::ErrorKind::Format) if the file
/// cannot be read, or the first error of `each`.
pub fn read(
    path: &Path,
    classes: usize,
    each: impl FnMut(PathBuf, Result<Vec<Guess>>) -> Result<()>,
) -> Result<()> {
    let mut file = BufReader::new(open_regular(path)?);
    let io = |e| Error::io(path, e);
    let is_json = file.fill_buf().map_err(io)?.first() == Some(&b'{');
    file.rewind().map_err(io)?;
    let read = if is_json { json(file, classes, each) } else { csv(file, classes, each) };
    read.map_err(|e| e.in_file(path))
}

fn json(
    file: impl BufRead,
    classes: usize,
    mut each: impl FnMut(PathBuf, Result<Vec<Guess>>) -> Result<()>,
) -> Result<()> {
    for (number, line) in (1..).zip(file.lines()) {
        let invalid = |e: String| Error::format(format!("line {number} is no result: {e}"));
        let line = line.map_err(|e| invalid(e.to_string()))?;
        let line: Line = serde_json::from_str(&line).map_err(|e| invalid(e.to_string()))?;
        let result = match line.predictions {
            Some(guesses) => {
                guesses.iter().try_for_each(|guess| check(guess, classes))?;
                Ok(guesses)
            }
            None => Err(failure(line.error)),
        };
        each(line.path, result)?;
    }
    Ok(())
}

fn csv(
    file: impl BufRead,
    classes: usize,
    mut each: impl FnMut(PathBuf, Result<Vec<Guess>>) -> Result<()>,
) -> Result<()> {
    let mut reader = csv::Reader::from_reader(file);
    let titles = reader.headers().map_err(|e| Error::format(e.to_string()))?;
    if !["path", "rank", "class", "score"].iter().all(|wanted| titles.iter().any(|t| t == *wanted))
    {
        return Err(Error::format(
            "expected the columns path, rank, class and score, as `dyrelu classify --output` writes them",
        ));
    }
    let mut current: Option<(PathBuf, Vec<Guess>)> = None;
    for row in reader.deserialize() {
        let row: Row = row.map_err(|e| Error::format(e.to_string()))?;
        let guess = row.class.zip(row.score).map(|(class, score)| Guess { class, score });
        guess.iter().try_for_each(|guess| check(guess, classes))?;
        match (row.rank, guess, &mut current) {
            (Some(2..), Some(guess), Some((_, guesses))) => guesses.push(guess),
            (rank, guess, _) => {
                if let Some((path, guesses)) = current.take() {
                    each(path, Ok(guesses))?;
                }
                match guess.filter(|_| rank.is_some()) {
                    Some(guess) => current = Some((row.path, vec![guess])),
                    None => each(row.path, Err(failure(row.error)))?,
                }
            }
        }
    }
    match current {
        Some((path, guesses)) => each(path, Ok(guesses)),
        None => Ok(()),
    }
}

fn check(guess: &Guess, classes: usize) -> Result<()> {
    let Guess { class, score } = *guess;
    if class >= classes {
        let message = format!("class {class} is none of the network, which has {classes}");
        return Err(Error::format(message));
    }
    // Some networks compute the probabilities themselves, and round up.
    if !(0.0..=1.001).contains(&score) {
        let message = format!("the score {score} of class {class} is no probability, from 0 to 1");
        return Err(Error::format(message));
    }
    Ok(())
}

fn failure(error: Option<String>) -> Error {
    let error = error.filter(|error| !error.is_empty());
    Error::input(error.unwrap_or_else(|| "the photo was not classified".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<(String, Option<Vec<usize>>)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        std::fs::write(&path, text).unwrap();
        let mut found = Vec::new();
        read(&path, 3, |path, result| {
            let classes = result.ok().map(|all| all.iter().map(|p| p.class).collect());
            found.push((path.to_str().unwrap().to_string(), classes));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn both_formats_give_the_same_photos() {
        let csv = "path,rank,class,label,score\na,1,0,red,0.75\na,2,2,blue,0.25\nb,,,,\nc,1,1,green,1\n\
                   c,1,2,blue,1\n";
        let json = r#"{"path":"a","predictions":[{"class":0,"label":"red","score":0.75},{"class":2,"score":0.25}]}
{"path":"b","error":"this is no photo"}
{"path":"c","predictions":[{"class":1,"score":1}]}
{"path":"c","predictions":[{"class":2,"score":1}]}
"#;
        let of = |path: &str, classes: Option<Vec<usize>>| (path.to_string(), classes);
        let expected = [
            of("a", Some(vec![0, 2])),
            of("b", None),
            of("c", Some(vec![1])),
            of("c", Some(vec![2])),
        ];
        assert_eq!(all(csv).unwrap(), expected);
        assert_eq!(all(json).unwrap(), expected);
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for (text, words) in [
            ("path,score\na,1\n", "expected the columns path, rank, class and score"),
            ("path,rank,class,score\na,1,3,0.5\n", "class 3 is none of the network, which has 3"),
            ("path,rank,class,score\na,1,2,-inf\n", "the score -inf of class 2 is no probability"),
            ("path,rank,class,score\na,1,0,NaN\n", "the score NaN of class 0 is no probability"),
            (
                "{\"path\":\"a\",\"predictions\":[{\"class\":1,\"score\":2}]}",
                "the score 2 of class 1",
            ),
            ("path,rank,class,score\na,1,0", "found record with 3 fields"),
            ("{\"path\":\"a\",\"predictions\":[]}\n{\"pa", "line 2 is no result"),
        ] {
            let error = all(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
