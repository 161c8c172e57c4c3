//! What an evaluation found, as text, Markdown and JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::support::print::count;
use crate::cli::support::table::sentences;
use dyrelu::{Error, Result};

/// The number of ranges of the score in which it is compared with the accuracy.
const BINS: usize = 15;

/// The number of best classes among which the true one counts for the second accuracy.
pub const TOP: usize = 5;

/// The format of a report.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Markdown,
    Json,
}

/// Counts over the photos so far.
pub struct Tally {
    /// The photos of each true class that were taken for each class.
    confusion: BTreeMap<(usize, usize), u64>,
    /// The photos of each true class that have it among the best five.
    top5: BTreeMap<usize, u64>,
    bins: [Bin; BINS],
    /// The worst first.
    mistakes: Vec<Mistake>,
    most_mistakes: usize,
}

#[derive(Clone, Copy, Default)]
struct Bin {
    photos: u64,
    correct: u64,
    score: f64,
}

/// A class for which a photo was taken, and its probability.
#[derive(Clone, Copy, Deserialize)]
pub struct Guess {
    pub class: usize,
    pub score: f32,
}

/// A photo that was taken for another class.
#[derive(Clone, Serialize)]
pub struct Mistake {
    pub path: String,
    /// The classes by their numbers and, once these are known, by their names.
    #[serde(skip)]
    classes: [usize; 2],
    #[serde(rename = "class")]
    name: String,
    predicted: String,
    score: f32,
}

/// The result.
#[derive(Serialize)]
pub struct Evaluation {
    pub photos: u64,
    failed: u64,
    top1: f64,
    /// The interval of Wilson for the first accuracy, which holds the true one with a probability of 95%.
    top1_interval: [f64; 2],
    top5: f64,
    /// The mean distance between the score of the best class and the accuracy, over ranges of the score.
    calibration_error: f64,
    pub calibration: Vec<Calibration>,
    classes: Vec<Class>,
    pub mistakes: Vec<Mistake>,
    #[serde(skip)]
    confusion: BTreeMap<(usize, usize), u64>,
}

/// The photos whose best score is in one range.
#[derive(Serialize)]
pub struct Calibration {
    score_from: f64,
    score_to: f64,
    pub photos: u64,
    pub mean_score: f64,
    pub accuracy: f64,
}

/// The photos of one class.
#[derive(Serialize)]
struct Class {
    class: usize,
    name: String,
    photos: u64,
    top1: f64,
    top5: f64,
    /// The other class that most of its photos were taken for.
    most_often_taken_for: Option<String>,
}

impl Tally {
    pub fn new(most_mistakes: usize) -> Self {
        let (confusion, top5) = Default::default();
        Tally { confusion, top5, bins: Default::default(), mistakes: Vec::new(), most_mistakes }
    }

    pub fn photos(&self) -> u64 {
        self.confusion.values().sum()
    }

    /// Adds a photo of class `class`. `guesses` are its best classes, of which five count.
    pub fn add(&mut self, path: PathBuf, class: usize, guesses: &[Guess]) {
        let Some(best) = guesses.first() else { return };
        *self.confusion.entry((class, best.class)).or_default() += 1;
        let is_among = guesses.iter().take(TOP).any(|guess| guess.class == class);
        *self.top5.entry(class).or_default() += u64::from(is_among);
        let bin = ((f64::from(best.score) * BINS as f64) as usize).min(BINS - 1);
        let bin = &mut self.bins[bin];
        bin.photos += 1;
        bin.correct += u64::from(best.class == class);
        bin.score += f64::from(best.score);
        if best.class != class {
            let at = self.mistakes.partition_point(|mistake| mistake.score >= best.score);
            if at < self.most_mistakes {
                let path = path.to_string_lossy().into_owned();
                let (name, predicted) = (String::new(), String::new());
                let (classes, score) = ([class, best.class], best.score);
                self.mistakes.insert(at, Mistake { path, classes, name, predicted, score });
                self.mistakes.truncate(self.most_mistakes);
            }
        }
    }

    /// The result for a network with classes of these names, if `failed` photos could not be classified.
    /// There is at least one photo.
    pub fn evaluation(mut self, names: &[String], failed: u64) -> Evaluation {
        let photos = self.photos();
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let hits = |confusion: &BTreeMap<_, u64>, class| confusion.get(&(class, class)).copied();
        let correct = (0..names.len()).filter_map(|class| hits(&self.confusion, class)).sum();
        for mistake in &mut self.mistakes {
            let [class, predicted] = mistake.classes;
            mistake.name.clone_from(&names[class]);
            mistake.predicted.clone_from(&names[predicted]);
        }
        let class = |(&class, &top5): (&usize, &u64)| {
            let row = self.confusion.range((class, 0)..(class + 1, 0));
            let photos = row.clone().map(|(_, count)| count).sum();
            let others = row.filter(|((_, predicted), _)| *predicted != class);
            let worst =
                others.max_by_key(|((_, predicted), count)| (**count, usize::MAX - predicted));
            Class {
                class,
                name: names[class].clone(),
                photos,
                top1: share(hits(&self.confusion, class).unwrap_or(0), photos),
                top5: share(top5, photos),
                most_often_taken_for: worst.map(|((_, predicted), _)| names[*predicted].clone()),
            }
        };
        let classes = self.top5.iter().map(class).collect();
        let calibration = self.bins.iter().enumerate().filter(|(_, bin)| bin.photos > 0);
        let calibration: Vec<_> = calibration
            .map(|(i, bin)| Calibration {
                score_from: i as f64 / BINS as f64,
                score_to: (i + 1) as f64 / BINS as f64,
                photos: bin.photos,
                mean_score: bin.score / bin.photos as f64,
                accuracy: share(bin.correct, bin.photos),
            })
            .collect();
        let distance = |c: &Calibration| c.photos as f64 * (c.mean_score - c.accuracy).abs();
        Evaluation {
            photos,
            failed,
            top1: share(correct, photos),
            top1_interval: wilson(correct, photos),
            top5: share(self.top5.values().sum(), photos),
            calibration_error: calibration.iter().map(distance).sum::<f64>() / photos as f64,
            calibration,
            classes,
            mistakes: self.mistakes,
            confusion: self.confusion,
        }
    }
}

/// The interval of Wilson for a probability, at 95%.
fn wilson(hits: u64, count: u64) -> [f64; 2] {
    let (n, z) = (count as f64, 1.96);
    let p = hits as f64 / n;
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    [centre - half, centre + half].map(|end| (end / (1.0 + z * z / n)).clamp(0.0, 1.0))
}

impl Evaluation {
    /// The classes that have photos or were predicted, in order.
    pub fn confused_classes(&self) -> Vec<usize> {
        let both = self.confusion.keys().flat_map(|&(class, predicted)| [class, predicted]);
        both.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The number of photos of a class that were taken for another one, or for itself.
    pub fn count(&self, class: usize, predicted: usize) -> u64 {
        self.confusion.get(&(class, predicted)).copied().unwrap_or(0)
    }

    /// The confusion matrix as CSV. Classes that have no photos and were not predicted are left out.
    pub fn confusion(&self, names: &[String]) -> Result<Vec<u8>> {
        let failed = |e: csv::Error| Error::format(e.to_string());
        let predicted = self.confused_classes();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = predicted.iter().map(|&class| names[class].as_str());
        writer.write_record(std::iter::once("class").chain(header)).map_err(failed)?;
        for row in &self.classes {
            let counts = predicted.iter().map(|&class| self.count(row.class, class).to_string());
            let record = std::iter::once(row.name.clone()).chain(counts);
            writer.write_record(record).map_err(failed)?;
        }
        writer.into_inner().map_err(|e| Error::format(e.to_string()))
    }

    pub fn as_text(&self) -> String {
        let text = self.described("", text_table);
        // The tables have lines of their own width.
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        sentences(first) + rest
    }

    pub fn as_markdown(&self) -> String {
        self.described("# Evaluation\n\n", markdown_table)
    }

    /// The report, with tables as `table` writes them.
    fn described(&self, title: &str, table: impl Fn(&str, Vec<Vec<String>>) -> String) -> String {
        let percent = |share: f64| format!("{:.1}%", 100.0 * share);
        let mut text = title.to_string();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} of {} {}: top-1 {} (95% interval {} to {}), top-5 {}, calibration \
             error {}",
            count(self.photos as usize, "photo"),
            self.classes.len(),
            if self.classes.len() == 1 { "class" } else { "classes" },
            percent(self.top1),
            percent(self.top1_interval[0]),
            percent(self.top1_interval[1]),
            percent(self.top5),
            percent(self.calibration_error)
        );
        if self.failed > 0 {
            let _ = writeln!(text, "not evaluated: {}", count(self.failed as usize, "photo"));
        }
        let row = |cells: &[&str]| cells.iter().map(|cell| cell.to_string()).collect::<Vec<_>>();
        let mut rows = vec![row(&["class", "photos", "top-1", "top-5", "most often taken for"])];
        rows.extend(self.classes.iter().map(|class| {
            let taken_for = class.most_often_taken_for.as_deref().unwrap_or("-");
            let (photos, top1, top5) = (class.photos, percent(class.top1), percent(class.top5));
            row(&[&class.name, &photos.to_string(), &top1, &top5, taken_for])
        }));
        text.push_str(&table("Classes", rows));
        let mut rows = vec![row(&["score", "photos", "mean score", "accuracy"])];
        rows.extend(self.calibration.iter().map(|bin| {
            let range = format!("{} to {}", percent(bin.score_from), percent(bin.score_to));
            let (score, accuracy) = (percent(bin.mean_score), percent(bin.accuracy));
            row(&[&range, &bin.photos.to_string(), &score, &accuracy])
        }));
        text.push_str(&table("Calibration", rows));
        if !self.mistakes.is_empty() {
            let mut rows = vec![row(&["photo", "class", "taken for", "score"])];
            rows.extend(
                self.mistakes
                    .iter()
                    .map(|m| row(&[&m.path, &m.name, &m.predicted, &percent(f64::from(m.score))])),
            );
            text.push_str(&table("Worst mistakes", rows));
        }
        text
    }
}

/// A titled table as text. The first row is the header.
pub fn text_table(title: &str, rows: Vec<Vec<String>>) -> String {
    format!("\n{title}\n{}", columns(&rows))
}

/// A titled table as Markdown. The first row is the header.
pub fn markdown_table(title: &str, rows: Vec<Vec<String>>) -> String {
    let mut text = format!("\n## {title}\n\n");
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if i == 0 {
            let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
        }
    }
    text
}

/// Aligns the cells of a table.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(i, cell)| match widths[i] {
            width if is_of_numbers(rows, i) => format!("{cell:>width$}"),
            width => format!("{cell:<width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}

/// Whether all cells below the header of a column are numbers or percentages.
fn is_of_numbers(rows: &[Vec<String>], column: usize) -> bool {
    let is_number = |row: &Vec<String>| row[column].trim_end_matches('%').parse::<f64>().is_ok();
    rows.len() > 1 && rows[1..].iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        let rows = [row(["class", "top-1", "taken for"]), row(["a", "5.0%", "-"])];
        let text = columns(&[rows.as_slice(), &[row(["church", "100.0%", "b"])]].concat());
        assert_eq!(text, "  class    top-1  taken for\n  a         5.0%  -\n  church  100.0%  b\n");
    }

    #[test]
    fn the_interval_is_wilsons() {
        let [low, high] = wilson(8, 10);
        assert!((low - 0.4902).abs() < 1e-3 && (high - 0.9433).abs() < 1e-3, "{low} {high}");
        assert_eq!(wilson(0, 3)[0], 0.0);
    }
}
