"""Measures what the dynamic coefficients of a distilled network contribute: `python -m dyrelu_tools.ablation --help`.

The coefficients of all layers are fixed at their mean over training crops. Prints the loss on the kept-out photos
before and after, and writes a checkpoint with fixed coefficients, whose accuracy can be measured like that of any other.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from . import markdown, teachers
from .activations import DyReLU
from .distil import Fused, Tail, advance, fast_tail, kept_out, sharpened
from .export import load_network
from .train import save


@torch.inference_mode()
def mean_coefficients(tail: Tail, features: Tensor, batch: int = 16) -> dict[str, Tensor]:
    """The mean of the coefficients of every dynamic ReLU over crops, of shape [2K, C], by the names of modules."""
    total: dict[str, Tensor] = {}

    def record(name: str) -> object:
        def add(module: Fused, inputs: tuple[Tensor]) -> None:
            total[name] = total.get(name, 0.0) + module.act.coefficients(*inputs).sum(0)

        return add

    layers = {name: m for name, m in tail.network.named_modules() if isinstance(m, Fused)}
    hooks = [module.register_forward_pre_hook(record(name)) for name, module in layers.items()]
    for part in features.split(batch):
        tail(part)
    for hook in hooks:
        hook.remove()
    return {name: sum_ / len(features) for name, sum_ in total.items()}


@torch.no_grad()
def fix(act: DyReLU, coefficients: Tensor) -> None:
    """Gives a dynamic ReLU with the squashing function sigmoid coefficients that do not depend on the input."""
    act.fc2.weight.zero_()
    act.fc2.bias.copy_(torch.logit(((coefficients - act.start[0]) / act.scale[0] + 1) / 2).flatten())


def fixed(network: nn.Module, means: dict[str, Tensor]) -> nn.Module:
    """A copy of a network in which the named layers have fixed coefficients."""
    network = copy.deepcopy(network)
    for name, mean in means.items():
        module = network.get_submodule(name)
        fix(module.act if isinstance(module, Fused) else module, mean)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="checkpoint of distil")
    parser.add_argument("--cache", type=Path, required=True, help="folder with the blocks of `teachers`")
    parser.add_argument("--blocks", type=int, default=4, help="number of blocks for the means")
    parser.add_argument("--sharpen", type=float, default=1.12, help="as in distil")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write, with all coefficients fixed")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network, state = load_network(args.checkpoint)
    first = state["options"]["arguments"]["late_from"]
    tail = fast_tail(network, "dynamic", first)
    features, _ = teachers.read(args.cache, teachers.blocks(args.cache)[: args.blocks])
    features = advance(features, network, first)
    means = mean_coefficients(tail, features)
    save(args.out, **state | {"network": fixed(network, means).state_dict()})
    features, targets = teachers.read(args.cache, ["kept-out.npz"])
    photos = advance(features, network, first), sharpened(targets, args.sharpen)
    rows = [["coefficients", "loss", "agreement"]]
    for name, form in {"dynamic": tail, "fixed": Tail(fixed(tail.network, means), first)}.items():
        result = kept_out(form, *photos)
        rows.append([name, f"{result['kept_out_loss']:.4f}", f"{100 * result['kept_out_agreement']:.1f}%"])
    print("\n".join(markdown.lines(rows)))


if __name__ == "__main__":
    main()
