"""Exports MoveNet, or a student of `distil_movenet`, to ONNX: `python -m dyrelu_tools.export_movenet --help`.

Writes network.onnx, preprocess.json and keypoints.json, from which `dyrelu convert` makes a native file. `--dynamics`
keeps a share of the deviation of the coefficients from their means over crops of `poses`: 0 fixes them, which shows
what the dynamic ones contribute.
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
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .activations import DyReLU
from .distil_movenet import degrade, dynamic
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
def damped(network: nn.Module, x: Tensor, share: float, batch: int = 16) -> nn.Module:
    """A copy of a network that keeps a share of the deviation of the coefficients, before they are squashed, from their
    means over the images x. With a share of 0, they are fixed."""
    network = copy.deepcopy(network)
    found: dict[DyReLU, list[Tensor]] = {}

    def record(module: DyReLU, inputs: tuple[Tensor]) -> None:
        found.setdefault(module, []).append(F.relu(module.fc1(inputs[0].mean((2, 3)))))

    hooks = [m.register_forward_pre_hook(record) for m in network.modules() if isinstance(m, DyReLU)]
    for part in x.split(batch):
        network(part)
    for hook in hooks:
        hook.remove()
    for module, hidden in found.items():
        module.fc2.bias.add_((1 - share) * module.fc2.weight @ torch.cat(hidden).mean(0))
        module.fc2.weight.mul_(share)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, help="MoveNet's weights, safetensors")
    source.add_argument("--checkpoint", type=Path, help="checkpoint of distil_movenet")
    share = "share of the deviation that is kept"
    parser.add_argument("--dynamics", type=float, default=1, metavar="SHARE", help=share)
    parser.add_argument("--cache", type=Path, help="folder of `poses`, for --dynamics")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    network = load(args.weights, args.checkpoint)
    if args.dynamics != 1:
        pixels = np.load(args.cache / "pixels.npy", mmap_mode="r")[::16]
        x = degrade(torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2), torch.Generator().manual_seed(0))
        network = damped(network, NORMALISE(x), args.dynamics)
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
