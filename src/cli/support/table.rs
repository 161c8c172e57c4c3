//! Prints tables as text.
//!
//! Crates for tables break cells within words in a narrow terminal, also the names of layers and operators.

use std::fmt::Write;
use std::ops::Range;

use terminal_size::{Width, terminal_size_of};

/// What happens to a table that is wider than the terminal. Output that is no terminal has no width.
pub enum Narrow {
    /// The cells of this column lose their beginnings. If too little of them would be left, each row has
    /// several lines.
    Shorten(usize),
    /// Each row becomes a list of its cells.
    Records,
}

/// The least number of characters that are left of a cell.
const LEAST: usize = 18;

/// Formats a table whose columns are as wide as their contents. The columns whose indices are in
/// `right` are aligned to the right.
pub fn table<const N: usize>(
    header: [String; N],
    rows: Vec<[String; N]>,
    right: &[usize],
    narrow: Narrow,
) -> String {
    fitted(header, rows, right, narrow, terminal())
}

/// The width of the terminal in characters, if the output is one.
fn terminal() -> Option<usize> {
    terminal_size_of(std::io::stdout()).map(|(Width(columns), _)| columns.into())
}

/// Lines of text, each of which ends between words where the terminal is narrower and goes on with an
/// indented line.
pub fn sentences(text: &str) -> String {
    let indent = |line: &str| INDENT + line.len() - line.trim_start().len();
    text.lines().map(|line| wrapped(line, indent(line), terminal()) + "\n").collect()
}

fn wrapped(text: &str, indent: usize, terminal: Option<usize>) -> String {
    let Some(terminal) = terminal else { return text.to_string() };
    let (mut wrapped, mut column) = (String::new(), 0);
    // Spaces at the beginning belong to the first word.
    let start = text.len() - text.trim_start().len();
    let (beginning, rest) = text.split_at(start);
    for (i, word) in rest.split(' ').enumerate() {
        let width = word.chars().count();
        if i == 0 {
            wrapped.push_str(beginning);
            column = beginning.len();
        } else if column + 1 + width > terminal {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
}

fn fitted<const N: usize>(
    header: [String; N],
    mut rows: Vec<[String; N]>,
    right: &[usize],
    narrow: Narrow,
    terminal: Option<usize>,
) -> String {
    let mut widths: [usize; N] = std::array::from_fn(|i| {
        let cells = std::iter::once(&header).chain(&rows).map(|row| row[i].chars().count());
        cells.max().unwrap_or(0)
    });
    let width = widths.iter().map(|width| width + 2).sum::<usize>();
    let excess = terminal.map_or(0, |terminal| width.saturating_sub(terminal));
    match narrow {
        Narrow::Records if excess > 0 => return records(&header, &rows, terminal),
        Narrow::Shorten(column) if excess > 0 && widths[column] >= excess + LEAST => {
            widths[column] -= excess;
            for row in &mut rows {
                shorten(&mut row[column], widths[column]);
            }
        }
        Narrow::Shorten(column) if excess > 0 => {
            let lines = fold(&mut widths, column, terminal.unwrap_or(usize::MAX));
            for row in &mut rows {
                shorten(&mut row[column], widths[column]);
            }
            return aligned(&header, &rows, &widths, right, &lines);
        }
        _ => {}
    }
    aligned(&header, &rows, &widths, right, std::slice::from_ref(&(0..N)))
}

/// Indentation of the lines of a row after the first.
const INDENT: usize = 4;

/// Shares the columns out to the lines of a row. The cells of `column` are made as narrow as their line.
fn fold(widths: &mut [usize], column: usize, terminal: usize) -> Vec<Range<usize>> {
    let (mut lines, mut first, mut used) = (Vec::new(), 0, 1);
    for (i, width) in widths.iter_mut().enumerate() {
        let least = if i == column { (*width).min(LEAST) } else { *width };
        if i > first && used + least + 2 > terminal {
            lines.push(first..i);
            (first, used) = (i, INDENT + 1);
        }
        if i == column {
            *width = (*width).min(terminal.saturating_sub(used + 2)).max(least);
        }
        used += *width + 2;
    }
    lines.push(first..widths.len());
    lines
}

/// Aligns cells. Each row has a line per range of columns.
fn aligned<const N: usize>(
    header: &[String; N],
    rows: &[[String; N]],
    widths: &[usize; N],
    right: &[usize],
    lines: &[Range<usize>],
) -> String {
    let mut text = String::new();
    for row in std::iter::once(header).chain(rows) {
        for (number, columns) in lines.iter().enumerate() {
            let mut line = " ".repeat(if number == 0 { 1 } else { INDENT + 1 });
            for i in columns.clone() {
                let (cell, width) = (&row[i], widths[i]);
                let _ = if right.contains(&i) {
                    write!(line, " {cell:>width$} ")
                } else {
                    write!(line, " {cell:<width$} ")
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// A list per row, which the first cell heads.
fn records<const N: usize>(
    header: &[String; N],
    rows: &[[String; N]],
    terminal: Option<usize>,
) -> String {
    let width = header[1..].iter().map(|title| title.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "  {}", row[0]);
        for (title, cell) in header.iter().zip(row).skip(1) {
            let line = format!("    {title:<width$}  {cell}");
            let _ = writeln!(text, "{}", wrapped(&line, width + 6, terminal));
        }
    }
    text
}

/// Shortens the name of a layer. Parts that the next part repeats, as PyTorch's exporter writes them in
/// `/layers/layers.5/Conv`, are left out first, then the beginning.
fn shorten(name: &mut String, width: usize) {
    if name.chars().count() > width {
        let parts: Vec<&str> = name.split('/').collect();
        let is_repeated = |i: usize| {
            let next = parts.get(i + 1).and_then(|next| next.strip_prefix(parts[i]));
            next.is_some_and(|rest| rest.starts_with('.'))
        };
        let kept: Vec<_> =
            (0..parts.len()).filter(|&i| !is_repeated(i)).map(|i| parts[i]).collect();
        *name = kept.join("/");
    }
    let excess = name.chars().count().saturating_sub(width);
    if excess > 0 {
        *name = std::iter::once('…').chain(name.chars().skip(excess + 1)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(narrow: Narrow, terminal: Option<usize>) -> String {
        let rows = [["/features/features.19/layers/layers.0/Conv", "12"], ["/last", "3"]];
        let rows = rows.map(|row| row.map(String::from)).to_vec();
        fitted(["layer", "weights"].map(String::from), rows, &[1], narrow, terminal)
    }

    #[test]
    fn names_are_shortened_to_the_width_of_the_terminal() {
        let whole = example(Narrow::Shorten(0), None);
        assert_eq!(example(Narrow::Shorten(0), Some(53)), whole);
        let narrow = example(Narrow::Shorten(0), Some(34));
        let lines: Vec<_> = narrow.lines().collect();
        assert_eq!(lines[0], "  layer                    weights");
        assert_eq!(lines[1], "  …tures.19/layers.0/Conv       12");
        assert_eq!(lines[2], "  /last                          3");
    }

    #[test]
    fn rows_have_several_lines_where_too_little_of_names_would_be_left() {
        let narrow = example(Narrow::Shorten(0), Some(22));
        let expected = "  layer\n      weights\n  …s.19/layers.0/Conv\n           12\n  /last\n            3\n";
        assert_eq!(narrow, expected);
        let widths = |terminal| {
            let mut widths = [4, 18, 19, 15, 50];
            (fold(&mut widths, 4, terminal), widths[4])
        };
        assert_eq!(widths(60), (vec![0..3, 3..5], 36));
        assert_eq!(widths(40), (vec![0..2, 2..3, 3..4, 4..5], 33));
    }

    #[test]
    fn sentences_end_lines_between_words() {
        assert_eq!(wrapped("one two three", 2, Some(8)), "one two\n  three");
        assert_eq!(wrapped("  one two", 4, Some(8)), "  one\n    two");
        assert_eq!(wrapped("one two", 4, None), "one two");
    }

    #[test]
    fn repeated_parts_are_left_out_before_others() {
        let shortened = |width| {
            let mut name = "/features/features.5/layers/layers.2/Max".to_string();
            shorten(&mut name, width);
            name
        };
        assert_eq!(shortened(40), "/features/features.5/layers/layers.2/Max");
        assert_eq!(shortened(39), "/features.5/layers.2/Max");
        assert_eq!(shortened(20), "…ures.5/layers.2/Max");
    }

    #[test]
    fn rows_become_records_in_a_narrow_terminal() {
        let expected = "  /features/features.19/layers/layers.0/Conv\n    weights  12\n  /last\n    weights  3\n";
        assert_eq!(example(Narrow::Records, Some(40)), expected);
        assert_eq!(example(Narrow::Records, Some(80)), example(Narrow::Records, None));
    }
}
