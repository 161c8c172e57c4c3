//! Prints tables as text.

use std::fmt::Write;

use terminal_size::{Width, terminal_size_of};

/// What happens to a table that is wider than the terminal. Output that is no terminal has no width.
pub enum Narrow {
    /// The cells of this column lose their beginnings, unless too little of them would be left.
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
    let terminal = terminal_size_of(std::io::stdout()).map(|(Width(columns), _)| columns.into());
    fitted(header, rows, right, narrow, terminal)
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
        Narrow::Records if excess > 0 => return records(&header, &rows),
        Narrow::Shorten(column) if excess > 0 && widths[column] >= excess + LEAST => {
            widths[column] -= excess;
            for row in &mut rows {
                shorten(&mut row[column], widths[column]);
            }
        }
        _ => {}
    }
    let mut text = String::new();
    for line in std::iter::once(&header).chain(&rows) {
        let mut row = String::from(" ");
        for (i, cell) in line.iter().enumerate() {
            let width = widths[i];
            let _ = if right.contains(&i) {
                write!(row, " {cell:>width$} ")
            } else {
                write!(row, " {cell:<width$} ")
            };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// A list per row, which the first cell heads.
fn records<const N: usize>(header: &[String; N], rows: &[[String; N]]) -> String {
    let width = header[1..].iter().map(|title| title.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "  {}", row[0]);
        for (title, cell) in header.iter().zip(row).skip(1) {
            let _ = writeln!(text, "    {title:<width$}  {cell}");
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
        // Where too little of the names would be left, they stay whole.
        assert_eq!(example(Narrow::Shorten(0), Some(20)), whole);
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
