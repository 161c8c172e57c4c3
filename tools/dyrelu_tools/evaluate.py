"""Computes the top-1 accuracy of a checkpoint, or of predictions of dyrelu: `python -m dyrelu_tools.evaluate --help`.

    dyrelu classify --model NAME --format csv --top 1 val/ > predictions.csv
    python -m dyrelu_tools.evaluate --csv predictions.csv
    python -m dyrelu_tools.evaluate --csv predictions.csv --names imagenet1k-classes.tsv
    python -m dyrelu_tools.evaluate --csv predictions.csv --index index.csv
    python -m dyrelu_tools.evaluate --checkpoint RUN/checkpoint.pt --val val.tar --cache CACHE

By default there is one folder of photos per class, and the classes of the network are the folders sorted by name. For a
network of ImageNet's 1000 classes, `--names` is a table of index and synset. For photos of several classes in one folder,
`--index` is a CSV file with the columns `file` and `label0`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from . import data
from .export import load_network, normalisation
from .train import accuracy


def top1_predictions(table: Path) -> list[tuple[Path, str]]:
    """The photos, each with the class that `dyrelu classify --format csv` ranks first."""
    with table.open() as file:
        predictions = [(Path(row["path"]), row["class"]) for row in csv.DictReader(file) if row["rank"] == "1"]
    if not predictions:
        raise SystemExit(f"error: {table} has no prediction")
    return predictions


def share(correct: list[bool]) -> float:
    """Prints and returns the share of correct predictions."""
    print(f"{sum(correct)} of {len(correct)} correct")
    return sum(correct) / len(correct)


def accuracy_by_folder(table: Path, names: Path | None) -> float:
    """The share of top-1 predictions that equal the folder of the photo."""
    predictions = top1_predictions(table)
    classes = synsets(names) if names else sorted({photo.parent.name for photo, _ in predictions})
    return share([classes[int(predicted)] == photo.parent.name for photo, predicted in predictions])


def accuracy_by_index(table: Path, index: Path) -> float:
    """The share of top-1 predictions that equal the class of the file in `index`."""
    with index.open() as file:
        labels = {row["file"]: row["label0"] for row in csv.DictReader(file)}
    predictions = top1_predictions(table)
    missing = [photo.name for photo, _ in predictions if photo.name not in labels]
    if missing:
        raise SystemExit(f"error: {index} has no class for {missing[0]} and {len(missing) - 1} other photos of {table}")
    return share([predicted == labels[photo.name] for photo, predicted in predictions])


def synsets(names: Path) -> list[str]:
    """The synset of each class, from a table of index, synset and name."""
    rows = [line.split("\t") for line in names.read_text().splitlines()]
    return [row[1] for row in rows if row[0].isdigit()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="output of dyrelu classify --format csv")
    parser.add_argument("--names", type=Path, help="table of index, synset and name, tab-separated")
    parser.add_argument("--index", type=Path, help="classes of photos in one folder, a CSV file with file and label0")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint of a run, for the accuracy in PyTorch")
    parser.add_argument("--val", type=Path, help="tar of validation photos, for the accuracy in PyTorch")
    parser.add_argument("--cache", type=Path, help="folder for decoded photos")
    parser.add_argument("--size", type=int, help="input size; by default that of the end of training")
    args = parser.parse_args()
    if not args.csv and not (args.checkpoint and args.val and args.cache):
        parser.error("expected either --csv, or --checkpoint with --val and --cache")
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
