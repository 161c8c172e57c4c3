"""Compares whole networks in `dyrelu run` and in PyTorch: `python -m dyrelu_tools.check_networks --help`.

Weights and batch-norm statistics are random, so that every operator affects the result.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .activations import DyReLU
from .models import build

TOLERANCE = 1e-4
NETWORKS = ["mobilenetv2", "mobilenetv3-small", "mobilenetv3-large", "resnet18", "resnet50"]
ACTIVATIONS = ["relu", "dyrelu-a", "dyrelu-b", "dyrelu-c"]


def randomise(network: nn.Module) -> nn.Module:
    """Sets batch-norm statistics and hyperfunctions to random values instead of initial ones."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.0)
                module.bias.normal_(0, 0.1)
            if isinstance(module, DyReLU):
                module.fc2.weight.normal_(0, 0.5)
                if module.form == "C":
                    module.attention.weight.normal_(0, 1)
    return network.eval()


def export(network: nn.Module, x: torch.Tensor, path: Path, dynamo: bool, free_batch: bool = True) -> None:
    names = {"input_names": ["input"], "output_names": ["logits"]}
    if dynamo:
        shapes = ({0: torch.export.Dim("batch", min=1, max=1024)},)
        torch.onnx.export(network, (x,), path, dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
    else:
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}} if free_batch else None
        torch.onnx.export(network, (x,), path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)


def run(binary: Path, model: Path, x: torch.Tensor, work: Path) -> np.ndarray:
    np.save(work / "x.npy", x.numpy())
    command = [binary, "run", model, "--input", work / "x.npy", "--output", work / "y.npy"]
    subprocess.run(command, check=True)
    return np.load(work / "y.npy")


def recognised(binary: Path, model: Path) -> list[str]:
    done = subprocess.run([binary, "inspect", model, "--format", "json"], capture_output=True, check=True)
    return [a["form"] for a in json.loads(done.stdout)["dynamic_activations"]]


def check(name: str, act: str, dynamo: bool, binary: Path, size: int, work: Path) -> bool:
    torch.manual_seed(0)
    network = randomise(build(name, act))
    x, model = torch.randn(2, 3, size, size), work / "network.onnx"
    with torch.no_grad():
        y = network(x).numpy()
    export(network, x, model, dynamo)
    error = float(np.abs(run(binary, model, x, work) - y).max() / np.abs(y).max())
    expected = [m.form for m in network.modules() if isinstance(m, DyReLU)]
    forms = [form for form in recognised(binary, model) if form in "ABC"]
    passed = error <= TOLERANCE and sorted(forms) == sorted(expected)
    exporter = "dynamo" if dynamo else "script"
    result = f"error {error:.1e}  recognised {len(forms)} of {len(expected)}"
    print(f"{'ok  ' if passed else 'FAIL'} {name:18} {act:9} {exporter:7} {result}", flush=True)
    return passed


def check_parity(weights: Path, binary: Path, work: Path) -> bool:
    """Checks that dynamic ReLUs whose second layers are zero give the results of plain ReLUs."""
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    stored = {k.removeprefix("module."): v for k, v in stored.get("state_dict", stored).items()}
    plain, dynamic = build("cifar-resnet20", "relu", 10), build("cifar-resnet20", "dyrelu-b", 10)
    plain.load_state_dict(stored)
    missing, unexpected = dynamic.load_state_dict(stored, strict=False)
    assert not unexpected and all("act" in key for key in missing), (missing, unexpected)
    for module in dynamic.modules():
        if isinstance(module, DyReLU):
            nn.init.zeros_(module.fc2.weight)
            nn.init.zeros_(module.fc2.bias)
    x, model = torch.randn(2, 3, 32, 32), work / "network.onnx"
    with torch.no_grad():
        y = plain.eval()(x).numpy()
    export(dynamic.eval(), x, model, dynamo=False)
    error = float(np.abs(run(binary, model, x, work) - y).max() / np.abs(y).max())
    count = len(recognised(binary, model))
    passed = error <= TOLERANCE and count == 19
    print(f"{'ok  ' if passed else 'FAIL'} parity of ResNet-20: error {error:.1e}, {count} dynamic activations", flush=True)
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program")
    parser.add_argument("--resnet20", type=Path, help="weights of the CIFAR-10 ResNet-20, for the parity test")
    parser.add_argument("--size", type=int, default=96, help="height and width of the input")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="the networks to check, separated by commas")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.resnet20:
            passed &= check_parity(args.resnet20, args.dyrelu, work)
        for name in args.networks.split(","):
            for act in ACTIVATIONS:
                for dynamo in (False, True):
                    passed &= check(name, act, dynamo, args.dyrelu, args.size, work)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
