//! Prints tables as text.

use std::fmt::Write;

/// Formats a table whose columns are as wide as their contents. The columns whose indices are in
/// `right` are aligned to the right.
pub fn table<const N: usize>(
    header: [String; N],
    rows: Vec<[String; N]>,
    right: &[usize],
) -> String {
    let lines = || std::iter::once(&header).chain(&rows);
    let widths: Vec<usize> =
        (0..N).map(|i| lines().map(|l| l[i].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines() {
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
