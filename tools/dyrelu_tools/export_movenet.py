"""Exports MoveNet, or a student of `distil_movenet`, to ONNX: `python -m dyrelu_tools.export_movenet --help`.

Writes network.onnx, preprocess.json and keypoints.json, from which `dyrelu convert` makes a native file. `--fix DIR`
fixes all coefficients at their means over crops of `poses`, which shows what the dynamic ones contribute.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .ablation import fix
from .activations import DyReLU
from .distil_movenet import dynamic
from .export import preprocessing
from .models.movenet import MoveNet
from .poses import NORMALISE, SIZE

OUTPUTS = ["centre", "keypoints", "regress", "offset"]


def load(weights: Path | None, checkpoint: Path | None) -> MoveNet:
    """MoveNet with published weights, or the student of a checkpoint."""
    if checkpoint is None:
        network, state = MoveNet(), load_file(weights)
    else:
        saved = torch.load(checkpoint, weights_only=True)
        network, state = MoveNet(partial(dynamic, saved["reduction"])), saved["network"]
    network.load_state_dict(state)
    return network.eval()


@torch.no_grad()
def fixed(network: nn.Module, x: Tensor, batch: int = 16) -> nn.Module:
    """A copy of a network whose coefficients are their means over the images x."""
    network = copy.deepcopy(network)
    found: dict[DyReLU, list[Tensor]] = {}

    def record(module: DyReLU, inputs: tuple[Tensor]) -> None:
        found.setdefault(module, []).append(module.coefficients(*inputs))

    hooks = [m.register_forward_pre_hook(record) for m in network.modules() if isinstance(m, DyReLU)]
    for part in x.split(batch):
        network(part)
    for hook in hooks:
        hook.remove()
    for module, coefficients in found.items():
        fix(module, torch.cat(coefficients).mean(0))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, help="MoveNet's weights, safetensors")
    source.add_argument("--checkpoint", type=Path, help="checkpoint of distil_movenet")
    parser.add_argument("--fix", type=Path, metavar="DIR", help="folder of `poses`: fixes all coefficients")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    network = load(args.weights, args.checkpoint)
    if args.fix:
        pixels = np.load(args.fix / "pixels.npy", mmap_mode="r")[::8]
        network = fixed(network, NORMALISE(torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2)))
    args.out.mkdir(parents=True, exist_ok=True)
    axes = {name: {0: "batch"} for name in ["image", *OUTPUTS]}
    names = {"input_names": ["image"], "output_names": OUTPUTS}
    x = torch.zeros(2, 3, SIZE, SIZE)
    torch.onnx.export(
        network, (x,), args.out / "network.onnx", dynamo=False, opset_version=17, dynamic_axes=axes, **names
    )
    (args.out / "preprocess.json").write_text(json.dumps(preprocessing(SIZE, NORMALISE)) + "\n")
    (args.out / "keypoints.json").write_text(json.dumps({"decoder": "movenet", "scale": 1.0}) + "\n")


if __name__ == "__main__":
    main()
