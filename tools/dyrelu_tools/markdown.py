"""Tables in Markdown, and their place in a document that is otherwise written by hand."""

from __future__ import annotations

from pathlib import Path


def lines(rows: list[list[str]]) -> list[str]:
    """A Markdown table whose first row is the heading; all but the first column are numbers."""
    heading, *body = rows
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return [f"| {' | '.join(row)} |" for row in (heading, rule, *body)]


def insert(path: Path, name: str, text: str) -> None:
    """Puts the text between the two marks of a document that have the name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no {begin} with {end} after it")
    path.write_text(f"{before}{begin}\n{text}{end}{after}")
