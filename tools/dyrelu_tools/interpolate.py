"""Interpolates between the start of a distillation and its result: `python -m dyrelu_tools.interpolate --help`.

At the start, the last layers of the hyperfunctions are zero, so an interpolation scales them. A network between the
start and the result often is better than both on photos unlike those of training (Wortsman et al., 2022, arXiv
2109.01903). Prints the loss on the kept-out photos for each share, and writes the checkpoint with the smallest.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from torch import nn

from . import markdown, teachers
from .activations import DyReLU
from .distil import Tail, advance, fast_tail, kept_out, sharpened
from .export import load_network
from .train import save


@torch.no_grad()
def scaled(network: nn.Module, share: float) -> nn.Module:
    """A copy of a network in which the last layers of all hyperfunctions are multiplied by `share`."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, DyReLU):
            module.fc2.weight.mul_(share)
            module.fc2.bias.mul_(share)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="checkpoint of distil")
    parser.add_argument("--cache", type=Path, required=True, help="folder with the blocks of `teachers`")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75, 1.0])
    parser.add_argument("--sharpen", type=float, default=1.12, help="as in distil")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network, state = load_network(args.checkpoint)
    first = state["options"]["arguments"]["late_from"]
    tail = fast_tail(network, "dynamic", first)
    features, targets = teachers.read(args.cache, ["kept-out.npz"])
    photos = advance(features, network, first), sharpened(targets, args.sharpen)
    results = {share: kept_out(Tail(scaled(tail.network, share), first), *photos) for share in args.shares}
    rows = [["share", "loss", "agreement"]]
    for share, result in results.items():
        rows.append([f"{share:g}", f"{result['kept_out_loss']:.4f}", f"{100 * result['kept_out_agreement']:.1f}%"])
    print("\n".join(markdown.lines(rows)))
    best = min(results, key=lambda share: results[share]["kept_out_loss"])
    print(f"written: {best:g}")
    save(args.out, **state | {"network": scaled(network, best).state_dict(), "share": best})


if __name__ == "__main__":
    main()
