"""Times networks in dyrelu and in other engines side by side: `python -m dyrelu_tools.compare_engines --help`."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from .. import markdown
from . import cell, published, table
from .contenders import FOR_OPERATIONS, FOR_SUMMARY, TITLES, contenders
from .engines import Job
from .networks import SUMMARY, Network, networks, operations, prepare
from .results import Cell, Cpu, Results


def names(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for exported networks, kept between runs")
    parser.add_argument("--results", type=Path, help="file to merge the figures into; by default WORK/results.json")
    parser.add_argument("--dyrelu", type=Path, help="the dyrelu program, built with --release")
    parser.add_argument("--peers-rust", type=Path, help="the program of tools/peers-rust")
    parser.add_argument("--only", type=names, help="networks, separated by commas; by default all")
    parser.add_argument("--engines", type=names, help="engines, separated by commas; by default all")
    parser.add_argument("--published", action="store_true", help="measure published networks instead of ours")
    parser.add_argument("--operations", action="store_true", help="measure the activation alone, at batch 1, instead of networks")
    parser.add_argument("--threads", type=numbers, default=[1], help="numbers of threads, separated by commas")
    parser.add_argument("--batch", type=numbers, default=[1], help="batch sizes, separated by commas")
    parser.add_argument("--seconds", type=float, default=15, help="time per network and setting, for all engines together")
    parser.add_argument("--again", action="store_true", help="repeat measurements that are in the file already")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the tables")
    parser.add_argument("--document", type=Path, help="measure nothing, write the tables between the marks `comparison`")
    parser.add_argument("--summary", type=Path, help="measure nothing, write the short table between the marks `summary`")
    return parser.parse_args()


def chosen(known: dict[str, Network], only: list[str] | None) -> dict[str, Network]:
    if unknown := [name for name in only or [] if name not in known]:
        raise SystemExit(f"unknown network {unknown[0]!r}, expected some of {', '.join(known)}")
    return {name: network for name, network in known.items() if only is None or name in only}


def among(args: argparse.Namespace) -> dict[str, Network]:
    """The networks that `--only` selects from."""
    return published.networks() if args.published else networks()


def measure(args: argparse.Namespace, path: Path, results: Results) -> None:
    """Measures cell by cell, and writes the results after each."""
    engine_names = args.engines
    if args.operations and engine_names is None:
        engine_names = [name for name in FOR_OPERATIONS if name != "dyrelu" or args.dyrelu]
    engines = contenders(engine_names, args.dyrelu, args.peers_rust)
    versions = {name: engine.version() for name, engine in engines.items()}
    for network in chosen(operations() if args.operations else among(args), args.only):
        folder = args.work.resolve() / network
        for batch in [1] if args.operations else args.batch:
            for threads in args.threads:
                current = Cell(network, threads, batch)
                if not args.again and engines.keys() <= results.of(current).keys():
                    continue
                prepare(network, batch, folder)
                entries = cell.measure(Job(folder, threads, batch), engines, args.seconds)
                results.merge(current, entries, versions, args.seconds)
                results.write(path)
                for name in engines:
                    print(f"{current}  {name:22} {entries[name]}", flush=True)


def main() -> None:
    args = arguments()
    logging.disable(logging.WARNING)
    # An exception lets `finally` blocks end the workers, which are stopped most of the time.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    path = args.results or args.work / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    results = Results.read(path) if path.exists() else Results(Cpu.here())
    if not (args.table or args.document or args.summary):
        if results.cpu != Cpu.here():
            raise SystemExit(f"{path} has figures of another CPU, {results.cpu}; choose another file with --results")
        measure(args, path, results)
        return
    shown = chosen(among(args), args.only)
    columns = {name: title for name, title in TITLES.items() if args.engines is None or name in args.engines}
    alone = {name: operation.title for name, operation in operations().items()}
    titles = {name: network.title for name, network in shown.items()}
    plain = {name: network.plain for name, network in shown.items() if network.plain}
    settings = [(threads, batch) for threads in args.threads for batch in args.batch]
    text = table.document(results, titles, plain, columns, settings, alone)
    if args.document:
        markdown.insert(args.document, "comparison", text)
    if args.summary:
        rows = {name: titles[name] for name in SUMMARY if name in titles}
        columns = {name: title for name, title in columns.items() if name in FOR_SUMMARY}
        markdown.insert(args.summary, "summary", table.summary(results, rows, columns))
    if args.table:
        print(text, end="")


if __name__ == "__main__":
    main()
