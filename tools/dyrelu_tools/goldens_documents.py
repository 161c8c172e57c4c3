"""Writes the networks with which the tests run the commands of the documents.

    python -m dyrelu_tools.goldens_documents --out ../tests/documents

`net.onnx` is a classifier for the 1000 classes of ImageNet with a DY-ReLU-B, and `pose.onnx` gives heat maps of 17 key
points. Both are small, and their weights are random.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from .activations import DyReLU
from .goldens import export


def classifier() -> nn.Module:
    body = [nn.Conv2d(3, 8, 3, stride=8), DyReLU(8, "B"), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(8, 1000))


def pose() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), DyReLU(8, "B"), nn.Conv2d(8, 17, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name, net, size in [("net", classifier(), (224, 224)), ("pose", pose(), (256, 192))]:
        export(net.eval(), torch.zeros(1, 3, *size), out / f"{name}.onnx", dynamo=False, free=True, opset=17)


if __name__ == "__main__":
    main()
