"""How far the coefficients of a trained network vary with the image:
`python -m dyrelu_tools.coefficients --help`.

    python -m dyrelu_tools.coefficients RUN/checkpoint.pt --photos val.tar --picture spread.png

For each dynamic ReLU, over some photos: the standard deviation of each coefficient between images,
and its mean distance from where it started, both averaged over channels. Dynamic ReLUs that learned
nothing have zeros in both; those that became static have them in the first.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from . import data, markdown
from .activations import DyReLU
from .distil import NORMALISE
from .export import load_network


@dataclass
class Spread:
    """One dynamic ReLU's coefficients, by name (a1, ..., b1, ...)."""

    layer: str
    deviation: dict[str, float]
    distance: dict[str, float]


def photos(source: Path, count: int, size: int) -> np.ndarray:
    """Photos at equal distances in a tar or a folder, uint8 NHWC."""
    found = list(data.files(source))
    if not found:
        raise SystemExit(f"error: no photos in {source}")
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)
    return np.stack([np.asarray(data.prepare(Image.open(found[i][1]), size)) for i in chosen])


@torch.inference_mode()
def spreads(network: nn.Module, x: Tensor, batch: int = 32) -> list[Spread]:
    """What the photos make of every dynamic ReLU, in the order in which they run."""
    seen: dict[str, list[Tensor]] = {}
    layers = {name: module for name, module in network.named_modules() if isinstance(module, DyReLU)}

    def look(name: str) -> object:
        return lambda module, inputs: seen.setdefault(name, []).append(module.coefficients(*inputs))

    hooks = [module.register_forward_pre_hook(look(name)) for name, module in layers.items()]
    for part in x.split(batch):
        network(part)
    for hook in hooks:
        hook.remove()
    return [spread(name, layers[name], torch.cat(coefficients)) for name, coefficients in seen.items()]


def spread(name: str, act: DyReLU, coefficients: Tensor) -> Spread:
    names = [f"{letter}{k + 1}" for letter in "ab" for k in range(act.k)]
    deviation = coefficients.std(0).mean(-1).tolist()
    distance = (coefficients - act.start).abs().mean((0, 2)).tolist()
    return Spread(name, dict(zip(names, deviation)), dict(zip(names, distance)))


def columns(rows: list[Spread]) -> list[str]:
    """The coefficients that any layer has."""
    return sorted({name for row in rows for name in row.deviation})


def table(rows: list[Spread]) -> str:
    """A Markdown table, a line a layer."""
    names = columns(rows)
    head = ["layer", *(f"{name}, deviation" for name in names), *(f"{name}, distance" for name in names)]
    lines = [head]
    for row in rows:
        of = (row.deviation, row.distance)
        lines.append([row.layer, *(f"{values[n]:.4f}" if n in values else "–" for values in of for n in names)])
    return "\n".join(markdown.lines(lines))


def draw(rows: list[Spread], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6), sharex=True)
    for name in columns(rows):
        numbers = [i for i, row in enumerate(rows) if name in row.deviation]
        top.plot(numbers, [rows[i].deviation[name] for i in numbers], marker=".", label=name)
        bottom.plot(numbers, [rows[i].distance[name] for i in numbers], marker=".", label=name)
    top.set_ylabel("deviation between images")
    bottom.set(xlabel="dynamic ReLU, from input to output", ylabel="distance from the start")
    top.set_ylim(bottom=0)
    bottom.set_ylim(bottom=0)
    top.legend(ncols=4)
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="as train, study and distil write it")
    parser.add_argument("--photos", type=Path, required=True, help="tar or folder of photos")
    parser.add_argument("--count", type=int, default=256, help="photos to look at, at equal distances among all")
    parser.add_argument("--size", type=int, help="input size; that of the end of training by default")
    parser.add_argument("--picture", type=Path, default=Path("coefficients.png"), help="curves over the layers, a PNG")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network, state = load_network(args.checkpoint)
    normalise = NORMALISE if state["options"]["network"] == "efficientnet-lite0" else data.IMAGENET
    pixels = torch.from_numpy(photos(args.photos, args.count, args.size or state["size"]))
    rows = spreads(network, normalise(pixels.permute(0, 3, 1, 2)))
    if not rows:
        raise SystemExit("error: the network has no dynamic ReLU")
    print(table(rows))
    draw(rows, args.picture)


if __name__ == "__main__":
    main()
