"""Top-1 of a checkpoint, or of what dyrelu printed: `python -m dyrelu_tools.evaluate --help`."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from . import data
from .export import load_network
from .train import accuracy


def accuracy_of_csv(table: Path, classes: list[str]) -> float:
    """Share of first guesses that equal the folder of the photo, in `dyrelu classify --format csv`."""
    with table.open() as file:
        first = [row for row in csv.DictReader(file) if row["rank"] == "1"]
    right = sum(classes[int(row["class"])] == Path(row["path"]).parent.name for row in first)
    print(f"{right} of {len(first)} right")
    return right / len(first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--csv", type=Path, help="what dyrelu printed for a folder of photos, a folder a class")
    parser.add_argument("--val", type=Path, help="tar of validation photos, for PyTorch's own accuracy")
    parser.add_argument("--cache", type=Path, help="where decoded photos are kept")
    parser.add_argument("--size", type=int, help="input size; that of the end of training by default")
    args = parser.parse_args()
    network, state = load_network(args.checkpoint)
    if args.val:
        torch.set_num_threads(2)
        photos = data.load(args.val, args.size or state["size"], args.cache)
        print(f"PyTorch top-1 {100 * accuracy(network, photos):.2f}%")
    if args.csv:
        print(f"dyrelu top-1 {100 * accuracy_of_csv(args.csv, state['classes']):.2f}%")


if __name__ == "__main__":
    main()
