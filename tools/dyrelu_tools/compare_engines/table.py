"""The comparison in Markdown, and its place in a document."""

from __future__ import annotations

from pathlib import Path

from .results import Cell, Results

BEGIN, END = "<!-- comparison:begin -->", "<!-- comparison:end -->"
OURS = "dyrelu"


def milliseconds(entry: dict | None) -> str:
    """A time to three figures; a dash for what was not measured, a cross for what does not run."""
    if entry is None:
        return "–"
    if "median_ms" not in entry:
        return "✗"
    value = entry["median_ms"]
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def medians(entries: dict[str, dict]) -> dict[str, float]:
    return {name: entry["median_ms"] for name, entry in entries.items() if "median_ms" in entry}


def to_best_peer(entries: dict[str, dict]) -> str:
    """Our time over that of the fastest of the others."""
    found = medians(entries)
    peers = [value for name, value in found.items() if name != OURS]
    return f"{found[OURS] / min(peers):.2f}" if OURS in found and peers else "–"


def lines(rows: list[list[str]]) -> list[str]:
    """A Markdown table whose first row is the heading; all but the first column are numbers."""
    heading, *body = rows
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return [f"| {' | '.join(row)} |" for row in (heading, rule, *body)]


def times(results: Results, titles: dict[str, str], engines: dict[str, str], threads: int, batch: int) -> list[str]:
    """Milliseconds for one image, a row a network and a column an engine."""
    rows = [["ms an image", *engines.values(), "dyrelu / best other"]]
    for network, title in titles.items():
        entries = {name: entry for name, entry in results.of(Cell(network, threads, batch)).items() if name in engines}
        if entries:
            rows.append([title, *(milliseconds(entries.get(name)) for name in engines), to_best_peer(entries)])
    return lines(rows) if len(rows) > 1 else []


def price(
    results: Results, titles: dict[str, str], plain: dict[str, str], engines: dict[str, str], threads: int, batch: int
) -> list[str]:
    """What the dynamic activation costs: time over that of the plain network, in each engine."""
    rows = [["time over that of the plain network", *engines.values()]]
    for network, of in plain.items():
        dynamic = medians(results.of(Cell(network, threads, batch)))
        static = medians(results.of(Cell(of, threads, batch)))
        ratios = [f"{dynamic[name] / static[name]:.2f}" if name in dynamic.keys() & static.keys() else "–" for name in engines]
        if set(ratios) != {"–"}:
            rows.append([titles[network], *ratios])
    return lines(rows) if len(rows) > 1 else []


def document(
    results: Results,
    titles: dict[str, str],
    plain: dict[str, str],
    engines: dict[str, str],
    settings: list[tuple[int, int]],
) -> str:
    """Both tables for each number of threads and batch size, and what they were measured on.

    `titles` names networks and `engines` engines, in the order of rows and columns; `plain` has the
    plain network of each dynamic one.
    """
    text: list[str] = []
    for threads, batch in settings:
        tables = [
            times(results, titles, engines, threads, batch),
            price(results, titles, plain, engines, threads, batch),
        ]
        if any(tables):
            text += [f"{threads} thread{'s' if threads != 1 else ''}, batch {batch}:", ""]
            for table in filter(None, tables):
                text += [*table, ""]
    versions = ", ".join(f"{title} {results.versions[name]}" for name, title in engines.items() if name in results.versions)
    text.append(f"{results.cpu}; f32; medians of runs that took turns; ✗ does not run. {versions}.")
    return "\n".join(text) + "\n"


def insert(path: Path, text: str) -> None:
    """Puts the text between the two marks of a document."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no {BEGIN} with {END} after it")
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
