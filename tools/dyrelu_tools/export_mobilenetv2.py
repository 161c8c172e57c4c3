"""Exports MobileNetV2 x1.0 with weights of ImageNet to ONNX: `python -m dyrelu_tools.export_mobilenetv2 --help`.

    python -m dyrelu_tools.export_mobilenetv2 --weights WEIGHTS.safetensors --out OUT
    dyrelu convert OUT/network.onnx net.safetensors --preprocess OUT/preprocess.json

The weights have torchvision's names and folded batch norm.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from .check_networks import export
from .imagenet_check import SIZE, preprocess
from .models.imagenet import FoldedMobileNetV2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of the weights")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    network = FoldedMobileNetV2(load_file(args.weights)).eval()
    args.out.mkdir(parents=True, exist_ok=True)
    export(network, torch.zeros(2, 3, SIZE, SIZE), args.out / "network.onnx", dynamo=False)
    (args.out / "preprocess.json").write_text(json.dumps(preprocess(127.5, 127.5)))


if __name__ == "__main__":
    main()
