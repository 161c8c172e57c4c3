"""Top-1 of a checkpoint, or of what dyrelu printed: `python -m dyrelu_tools.evaluate --help`.

    dyrelu classify --model NAME --format csv --top 1 val/ > predictions.csv
    python -m dyrelu_tools.evaluate --csv predictions.csv
    python -m dyrelu_tools.evaluate --csv predictions.csv --names imagenet1k-classes.tsv
    python -m dyrelu_tools.evaluate --csv predictions.csv --index index.csv
    python -m dyrelu_tools.evaluate --checkpoint RUN/checkpoint.pt --val val.tar --cache CACHE

Photos lie in a folder a class. A network's classes are these folders in the order of their names,
or, of a network of ImageNet's thousand classes, what a table of index and synset says. Of photos in one
folder a CSV with the columns `file` and `label0` knows the classes.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from . import data
from .export import load_network, normalisation
from .train import accuracy


def first_guesses(table: Path) -> list[tuple[Path, str]]:
    """Photos and the class that `dyrelu classify --format csv` ranks first."""
    with table.open() as file:
        return [(Path(row["path"]), row["class"]) for row in csv.DictReader(file) if row["rank"] == "1"]


def share(right: list[bool]) -> float:
    print(f"{sum(right)} of {len(right)} right")
    return sum(right) / len(right)


def accuracy_by_folder(table: Path, names: Path | None) -> float:
    """Share of first guesses that equal the folder of the photo."""
    first = first_guesses(table)
    classes = synsets(names) if names else sorted({photo.parent.name for photo, _ in first})
    return share([classes[int(guess)] == photo.parent.name for photo, guess in first])


def accuracy_by_index(table: Path, index: Path) -> float:
    """Share of first guesses that equal the class which `index` has for the file."""
    with index.open() as file:
        known = {row["file"]: row["label0"] for row in csv.DictReader(file)}
    first = first_guesses(table)
    missing = [photo.name for photo, _ in first if photo.name not in known]
    if missing:
        raise SystemExit(f"error: {index} has no class for {missing[0]} and {len(missing) - 1} other photos of {table}")
    return share([guess == known[photo.name] for photo, guess in first])


def synsets(names: Path) -> list[str]:
    """The synset of each class, from a table of index, synset and name."""
    rows = [line.split("\t") for line in names.read_text().splitlines()]
    return [row[1] for row in rows if row[0].isdigit()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="what dyrelu printed for a folder of photos, a folder a class")
    parser.add_argument("--names", type=Path, help="table of index, synset and name, tab-separated")
    parser.add_argument("--index", type=Path, help="classes of photos that lie in one folder, a CSV with file and label0")
    parser.add_argument("--checkpoint", type=Path, help="a run's checkpoint, for PyTorch's own accuracy")
    parser.add_argument("--val", type=Path, help="tar of validation photos, for PyTorch's own accuracy")
    parser.add_argument("--cache", type=Path, help="where decoded photos are kept")
    parser.add_argument("--size", type=int, help="input size; that of the end of training by default")
    args = parser.parse_args()
    if not args.csv and not (args.checkpoint and args.val and args.cache):
        parser.error("either --csv, or --checkpoint with --val and --cache")
    if args.checkpoint:
        torch.set_num_threads(2)
        network, state = load_network(args.checkpoint)
        photos = data.load(args.val, args.size or state["size"], args.cache).in_classes(state["classes"])
        print(f"PyTorch top-1 {100 * accuracy(network, photos, normalise=normalisation(state)):.2f}%")
    if args.csv:
        top1 = accuracy_by_index(args.csv, args.index) if args.index else accuracy_by_folder(args.csv, args.names)
        print(f"dyrelu top-1 {100 * top1:.2f}%")


if __name__ == "__main__":
    main()
