"""Exports a trained network to ONNX: `python -m dyrelu_tools.export --help`.

Writes network.onnx, preprocess.json and labels.txt, from which `dyrelu convert` makes a native file.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import torch

from . import data
from .models import build


def preprocessing(size: int, normalisation: data.Normalisation = data.IMAGENET) -> dict:
    """The description of `data.prepare` and a normalisation that dyrelu reads."""
    return {
        "resize": {"exact": [size, size]},
        "interpolation": "bilinear",
        "center_crop": None,
        "mean": normalisation.mean,
        "std": normalisation.std,
        "color": "rgb",
    }


def load_network(checkpoint: Path) -> tuple[torch.nn.Module, dict]:
    """The network of a checkpoint, ready for inference, and the checkpoint itself."""
    state = torch.load(checkpoint, weights_only=True)
    options = state["options"]
    classes = len(state["classes"]) if "classes" in state else 1000
    network = build(options["network"], options["activation"], classes, **options.get("arguments", {}))
    network.load_state_dict(state["network"])
    return network.eval(), state


def normalisation(state: dict) -> data.Normalisation:
    """The normalisation that the network of a checkpoint was trained with, by default that of ImageNet."""
    return data.Normalisation(**state["normalisation"]) if "normalisation" in state else data.IMAGENET


def class_names(synsets: list[str], table: Path | None) -> list[str]:
    """The names of synsets, from a table of index, synset and name. Without a table, the synsets themselves."""
    if table is None:
        return synsets
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    names = {row[1]: row[2] for row in rows if len(row) > 2}
    return [names[synset] for synset in synsets]


def write(network: torch.nn.Module, size: int, path: Path) -> None:
    """Writes a classifier of photos of one size, with a free batch, as an ONNX file."""
    x = torch.zeros(2, 3, size, size)
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    names = {"input_names": ["input"], "output_names": ["logits"]}
    torch.onnx.export(network, (x,), path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of a run")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--names", type=Path, help="table of index, synset and name, tab-separated")
    parser.add_argument("--size", type=int, help="input size; by default that of the end of training")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    network, state = load_network(args.checkpoint)
    size = args.size or state["size"]
    args.out.mkdir(parents=True, exist_ok=True)
    write(network, size, args.out / "network.onnx")
    (args.out / "preprocess.json").write_text(json.dumps(preprocessing(size, normalisation(state))) + "\n")
    (args.out / "labels.txt").write_text("\n".join(class_names(state["classes"], args.names)) + "\n")


if __name__ == "__main__":
    main()
