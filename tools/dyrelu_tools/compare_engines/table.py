"""Formats the comparison as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from ..markdown import lines
from .results import Cell, Results

OURS, YARDSTICK = "dyrelu", "memcpy"


def three_figures(entry: dict | None, unit: float = 1.0) -> str:
    """The median in milliseconds, times `unit`. A dash means not measured, a cross means that the engine failed."""
    if entry is None:
        return "–"
    if "median_ms" not in entry:
        return "✗"
    value = entry["median_ms"] * unit
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def medians(entries: dict[str, dict]) -> dict[str, float]:
    return {name: entry["median_ms"] for name, entry in entries.items() if "median_ms" in entry}


def to_best_peer(entries: dict[str, dict]) -> str:
    """The time of dyrelu divided by that of the fastest other engine."""
    values = medians(entries)
    peers = [value for name, value in values.items() if name != OURS]
    return f"{values[OURS] / min(peers):.2f}" if OURS in values and peers else "–"


def count(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def among(results: Results, names: Iterable[str], engines: dict[str, str], threads: int, batch: int) -> dict[str, str]:
    """The engines that have an entry for any of the named networks."""
    measured = {engine for name in names for engine in results.of(Cell(name, threads, batch))}
    return {engine: title for engine, title in engines.items() if engine in measured}


def times(results: Results, titles: dict[str, str], engines: dict[str, str], threads: int, batch: int) -> list[str]:
    """Milliseconds per image, with one row per network and one column per engine."""
    rows = [["ms per image", *engines.values(), "dyrelu / best other"]]
    for network, title in titles.items():
        entries = {name: entry for name, entry in results.of(Cell(network, threads, batch)).items() if name in engines}
        if entries:
            rows.append([title, *(three_figures(entries.get(name)) for name in engines), to_best_peer(entries)])
    return lines(rows) if len(rows) > 1 else []


def price(
    results: Results, titles: dict[str, str], plain: dict[str, str], engines: dict[str, str], threads: int, batch: int
) -> list[str]:
    """The cost of the dynamic activation: time divided by that of the plain network, in each engine."""
    rows = [["time over that of the plain network", *engines.values()]]
    for network, plain_network in plain.items():
        dynamic = medians(results.of(Cell(network, threads, batch)))
        static = medians(results.of(Cell(plain_network, threads, batch)))
        ratios = [f"{dynamic[name] / static[name]:.2f}" if name in dynamic.keys() & static.keys() else "–" for name in engines]
        if any(ratio != "–" for ratio in ratios):
            rows.append([titles[network], *ratios])
    return lines(rows) if len(rows) > 1 else []


def summary(results: Results, titles: dict[str, str], engines: dict[str, str]) -> str:
    """A short table for one thread and batch 1: some engines, and the ratio to the fastest of all other engines."""
    rows = [["ms per image", *engines.values(), "dyrelu / best other"]]
    for network, title in titles.items():
        entries = results.of(Cell(network, 1, 1))
        if entries:
            rows.append([title, *(three_figures(entries.get(name)) for name in engines), to_best_peer(entries)])
    return "\n".join([*lines(rows), "", f"One thread, measured on {results.measured_on}: {results.cpu.name}."]) + "\n"


def operations(results: Results, titles: dict[str, str], engines: dict[str, str], threads: int) -> list[str]:
    """Microseconds for the activation alone, and the time of dyrelu divided by the time of copying its input."""
    rows = [["µs", *engines.values(), "dyrelu / memcpy"]]
    for name, title in titles.items():
        entries = results.of(Cell(name, threads, 1))
        values = medians(entries)
        if values:
            both = {OURS, YARDSTICK} <= values.keys()
            ratio = f"{values[OURS] / values[YARDSTICK]:.2f}" if both else "–"
            rows.append([title, *(three_figures(entries.get(engine), 1e3) for engine in engines), ratio])
    return lines(rows) if len(rows) > 1 else []


def footer(results: Results, engines: dict[str, str], settings: list[tuple[int, int]]) -> list[str]:
    """The meaning of the figures, the CPU, the versions of the engines, and the command."""
    versions = ", ".join(f"{title} {results.versions[name]}" for name, title in engines.items() if name in results.versions)
    threads, batches = (",".join(str(n) for n in sorted(set(column))) for column in zip(*settings))
    return [
        f"Measured on {results.measured_on}: {results.cpu}. f32; medians of runs that took turns; ✗ does not run, or is wrong.",
        f"{versions}. Command, in `tools/` (its README says how to prepare):",
        "",
        "```sh",
        "python -m dyrelu_tools.compare_engines --work DIR --dyrelu ../target/release/dyrelu \\",
        "    --peers-rust peers-rust/target/release/peers-rust \\",
        f"    --threads {threads} --batch {batches} --seconds {results.seconds:g}",
        "```",
    ]


def section(title: str, body: list[str], is_open: bool) -> list[str]:
    """Text under a title. A section that is not open is folded."""
    if is_open:
        return [f"{title}:", "", *body]
    return ["<details>", f"<summary>{title}</summary>", "", *body, "</details>", ""]


def document(
    results: Results,
    titles: dict[str, str],
    plain: dict[str, str],
    engines: dict[str, str],
    settings: list[tuple[int, int]],
    alone: dict[str, str],
) -> str:
    """The tables for each number of threads and batch size, the tables of operations, and the footer.

    `titles`, `alone` and `engines` are the titles of networks, operations and engines, in the order of rows and
    columns. `plain` has the plain network of each dynamic one.
    """
    text: list[str] = []
    for threads, batch in settings:
        columns = among(results, titles, engines, threads, batch)
        tables = [
            times(results, titles, columns, threads, batch),
            price(results, titles, plain, columns, threads, batch),
        ]
        if any(tables):
            rows = [line for table in filter(None, tables) for line in (*table, "")]
            text += section(f"{count(threads)}, batch {batch}", rows, is_open=not text)
    for threads in dict.fromkeys(threads for threads, _ in settings):
        columns = among(results, alone, engines, threads, 1)
        if rows := operations(results, alone, columns, threads):
            text += [f"The activation alone, NCHW in and out, {count(threads)}:", "", *rows, ""]
            text += ["The command below measures it where it is given `--operations`.", ""]
    text += footer(results, engines, settings)
    return "\n".join(text) + "\n"
