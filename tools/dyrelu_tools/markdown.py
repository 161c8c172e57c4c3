"""Formats tables in Markdown, and inserts them into documents that are otherwise written by hand."""

from __future__ import annotations

from pathlib import Path


def lines(rows: list[list[str]]) -> list[str]:
    """A Markdown table. The first row is the heading. All columns but the first are aligned to the right."""
    heading, *body = rows
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return [f"| {' | '.join(row)} |" for row in (heading, rule, *body)]


def insert(path: Path, name: str, text: str) -> None:
    """Replaces the text between the marks `name:begin` and `name:end` of a document."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no {begin} with {end} after it")
    path.write_text(f"{before}{begin}\n{text}{end}{after}")
