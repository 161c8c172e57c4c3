"""Exports MicroNet-M0 with its published weights to ONNX: `python -m dyrelu_tools.export_micronet --help`.

    python -m dyrelu_tools.export_micronet --weights micronet-m0.pth --out micronet-m0.onnx
    dyrelu convert micronet-m0.onnx micronet-m0.safetensors --preprocess imagenet
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .check_networks import export
from .models.micronet import micronet_m0


def load_in_order(network: nn.Module, published: Mapping[str, Tensor]) -> None:
    """Gives a network the weights of another that has the same modules in the same order under other names."""
    is_counter = lambda name: name.endswith("num_batches_tracked")
    ours = {name: tensor for name, tensor in network.state_dict().items() if not is_counter(name)}
    theirs = {name: tensor for name, tensor in published.items() if not is_counter(name)}
    if len(ours) != len(theirs):
        raise ValueError(f"the weights have {len(theirs)} tensors, expected {len(ours)}")
    for (name, tensor), (other, weights) in zip(ours.items(), theirs.items()):
        if tensor.shape != weights.shape or name.rsplit(".", 1)[1] != other.rsplit(".", 1)[1]:
            raise ValueError(f"{other} has shape {list(weights.shape)}, expected {list(tensor.shape)} as {name} has")
        tensor.copy_(weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="micronet-m0.pth of the published code")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    args = parser.parse_args()
    network = micronet_m0().eval()
    load_in_order(network, torch.load(args.weights, map_location="cpu", weights_only=True))
    export(network, torch.zeros(2, 3, 224, 224), args.out, dynamo=False)


if __name__ == "__main__":
    main()
