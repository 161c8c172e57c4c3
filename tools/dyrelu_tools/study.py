"""Trains one network with the activations of the paper's comparison, with several seeds each:
`python -m dyrelu_tools.study --help`.

    python -m dyrelu_tools.study mini --runs RUNS --train TRAIN.tar --val VAL.tar --cache CACHE
    python -m dyrelu_tools.study mini --runs RUNS --copy-logs results/study-mini
    python -m dyrelu_tools.study mini --runs results/study-mini --document ../docs/activations.md \
        --picture ../docs/activations-mini.png --dyrelu ../target/release/dyrelu

The studies are described in `studies`.

A run is a directory NAME-seedN, as `train` writes it. Finished runs are skipped and interrupted runs are resumed. All
variants are trained with the first seed before any with the second. The tables are made from the logs of the runs or
from copies of them, as far as they exist.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from . import data, markdown
from .check_networks import export
from .studies import PAPERS_RELU, STUDIES, Row, Study
from .train import fit, keep_memory

def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES, metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--runs", type=Path, required=True, help="directory of the runs, or of copied logs")
    parser.add_argument("--train", type=Path, help="tar of training photos, one folder per class")
    parser.add_argument("--val", type=Path, help="tar of validation photos")
    parser.add_argument("--cache", type=Path, help="folder for decoded photos")
    parser.add_argument("--only", help="variants to train, separated by commas; by default all of the study")
    parser.add_argument("--seeds", type=int, default=3, help="number of runs per variant, with seeds 0, 1, ...")
    parser.add_argument("--epochs", type=int, help="number of epochs per run, if not that of the study")
    parser.add_argument("--threads", type=int, default=2, help="number of threads")
    parser.add_argument("--copy-logs", type=Path, metavar="DIR", help="copy the log of each finished run to DIR/NAME-seedN.jsonl")
    parser.add_argument("--table", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--document", type=Path, help="write the tables between the marks <!-- study-STUDY:begin --> and <!-- study-STUDY:end --> of a file")
    parser.add_argument("--picture", type=Path, help="draw the first table")
    parser.add_argument("--dyrelu", type=Path, help="the dyrelu program, to measure costs for the tables")
    args = parser.parse_args()
    args.trains = not (args.table or args.document or args.copy_logs or args.picture)
    if args.trains and not (args.train and args.val and args.cache):
        parser.error("training needs --train, --val and --cache")
    variants = STUDIES[args.study].variants
    unknown = set(args.only.split(",")) - set(variants) if args.only else set()
    if unknown:
        parser.error(f"unknown variants {', '.join(sorted(unknown))}; expected some of {', '.join(variants)}")
    return args


def train(study: Study, args: argparse.Namespace) -> None:
    """Trains all runs that are not finished."""
    keep_memory()
    torch.set_num_threads(args.threads)
    photos = data.load(args.train, study.recipe.final_size, args.cache)
    validation = data.load(args.val, study.recipe.final_size, args.cache)
    chosen = args.only.split(",") if args.only else list(study.variants)
    for seed in range(args.seeds):
        for name in chosen:
            run = args.runs / f"{name}-seed{seed}"
            if (run / "curve.png").exists():
                continue
            print(run.name, flush=True)
            torch.manual_seed(seed)
            recipe = study.settings(name, seed)
            recipe = replace(recipe, epochs=args.epochs or recipe.epochs)
            network = study.build(name, len(photos.classes))
            fit(network, photos, validation, recipe, run, study.options(name))


def finished(runs: Path) -> Iterator[tuple[str, Path]]:
    """The names and logs of finished runs, from their directories or from copied logs."""
    for log in sorted(runs.glob("*/log.jsonl")):
        if (log.parent / "curve.png").exists():
            yield log.parent.name, log
    yield from ((log.stem, log) for log in sorted(runs.glob("*.jsonl")))


def results(runs: Path) -> dict[str, list[float]]:
    """The top-1 accuracy of every finished run, in per cent, by variant."""
    by_variant: dict[str, list[float]] = {}
    for name, log in finished(runs):
        last = json.loads(log.read_text().splitlines()[-1])
        by_variant.setdefault(name.rpartition("-seed")[0], []).append(100 * last["top1"])
    return by_variant


@dataclass(frozen=True)
class Cost:
    """The cost of one image in dyrelu, on one thread."""

    macs: int
    microseconds: float


def costs(study: Study, binary: Path, seconds: float = 2.0) -> dict[str, Cost]:
    """The cost of every variant, with initial weights."""
    by_variant = {}
    size = study.recipe.final_size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        for name in tqdm(study.variants, desc="costs"):
            export(study.build(name).eval(), torch.zeros(2, 3, size, size), path, dynamo=False)

            def dyrelu(*command: str) -> dict:
                done = subprocess.run([binary, *command, "--format", "json", path], check=True, stdout=subprocess.PIPE)
                return json.loads(done.stdout)

            macs = dyrelu("inspect", "--shape", f"1,3,{size},{size}")["macs"]
            ms = dyrelu("bench", "--threads", "1", "--seconds", str(seconds), "--size", str(size))["median_ms"]
            by_variant[name] = Cost(macs, 1000 * ms)
    return by_variant


def table(study: Study, title: str, rows: list[Row], accuracies: dict[str, list[float]], known: dict[str, Cost]) -> str:
    """A Markdown table with the mean, deviation and number of runs, the paper's figure, and costs if they are known."""
    heading = [title, "parameters", "runs", "top-1", "standard deviation", "over ReLU", "paper", "over ReLU there"]
    if known:
        heading += ["multiply-adds", "µs in dyrelu"]
    lines = [heading]
    plain = statistics.mean(accuracies["relu"]) if "relu" in accuracies else None
    for row in rows:
        top1 = accuracies.get(row.variant, [])
        parameters = sum(p.numel() for p in study.build(row.variant).parameters())
        mean = statistics.mean(top1) if top1 else None
        ours = ["–" if mean is None else f"{mean:.1f}", f"{statistics.stdev(top1):.1f}" if len(top1) > 1 else "–"]
        over = "–" if mean is None or plain is None else f"{mean - plain:+.1f}"
        paper = ["–", "–"] if row.paper is None else [f"{row.paper:.1f}", f"{row.paper - PAPERS_RELU:+.1f}"]
        cells = [row.title, f"{parameters / 1000:.0f} k", str(len(top1)), *ours, over, *paper]
        if known:
            cost = known[row.variant]
            cells += [f"{cost.macs / 1e6:.2f} M", f"{cost.microseconds:.0f}"]
        lines.append(cells)
    return "\n".join(markdown.lines(lines))


def draw(rows: list[Row], accuracies: dict[str, list[float]], picture: Path) -> None:
    """Draws the gain of each activation over ReLU, with a dot per run, beside the gain in the paper."""
    if "relu" not in accuracies:
        raise SystemExit("error: no run of relu is finished, so there is nothing to compare with")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [row for row in rows if row.variant in accuracies][::-1]
    plain = statistics.mean(accuracies["relu"])
    figure, axes = plt.subplots(figsize=(8, 1.3 + 0.3 * len(rows)))
    for y, row in enumerate(rows):
        gains = [top1 - plain for top1 in accuracies[row.variant]]
        ours = axes.barh(y + 0.2, statistics.mean(gains), 0.36, color="tab:blue")
        axes.plot(gains, [y + 0.2] * len(gains), ".", color="black")
        if row.paper is not None:
            paper = axes.barh(y - 0.2, row.paper - PAPERS_RELU, 0.36, color="tab:gray")
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.set_xlabel("top-1 over ReLU (points)")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.legend([ours, paper], ["here (each run a dot)", "the paper"], loc="upper right")
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


def main() -> None:
    args = parse_arguments()
    study = STUDIES[args.study]
    if args.copy_logs:
        args.copy_logs.mkdir(parents=True, exist_ok=True)
        for name, log in finished(args.runs):
            shutil.copyfile(log, args.copy_logs / f"{name}.jsonl")
    if args.table or args.document:
        accuracies = results(args.runs)
        known = costs(study, args.dyrelu) if args.dyrelu else {}
        text = "\n\n".join(table(study, title, rows, accuracies, known) for title, rows in study.tables.items())
        if args.table:
            print(text)
        if args.document:
            markdown.insert(args.document, f"study-{args.study}", text + "\n")
    if args.picture:
        draw(next(iter(study.tables.values())), results(args.runs), args.picture)
    if args.trains:
        train(study, args)


if __name__ == "__main__":
    main()
