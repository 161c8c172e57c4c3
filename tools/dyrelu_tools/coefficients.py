"""Measures how far the coefficients of a trained network vary with the image:
`python -m dyrelu_tools.coefficients --help`.

    python -m dyrelu_tools.coefficients RUN/checkpoint.pt --photos val.tar --picture spread.png

For each dynamic ReLU, prints the standard deviation of each coefficient between photos, and its mean distance from
its initial value, both averaged over channels. Both are zero if the dynamic ReLU learned nothing. The first is zero
if it became static.
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
from .export import load_network
from .teachers import NORMALISE


@dataclass
class Spread:
    """The spread of the coefficients of one dynamic ReLU, by their names (a1, ..., b1, ...)."""

    layer: str
    deviation: dict[str, float]
    distance: dict[str, float]


def photos(source: Path, count: int, size: int) -> np.ndarray:
    """Evenly spaced photos of a tar or a folder, uint8 NHWC."""
    files = list(data.files(source))
    if not files:
        raise SystemExit(f"error: no photos in {source}")
    chosen = np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)
    return np.stack([np.asarray(data.prepare(Image.open(files[i][1]), size)) for i in chosen])


@torch.inference_mode()
def spreads(network: nn.Module, x: Tensor, batch: int = 32) -> list[Spread]:
    """The spread of the coefficients of every dynamic ReLU over photos, in the order of execution."""
    recorded: dict[str, list[Tensor]] = {}
    layers = {name: module for name, module in network.named_modules() if isinstance(module, DyReLU)}

    def record(name: str) -> object:
        return lambda module, inputs: recorded.setdefault(name, []).append(module.coefficients(*inputs))

    hooks = [module.register_forward_pre_hook(record(name)) for name, module in layers.items()]
    for part in x.split(batch):
        network(part)
    for hook in hooks:
        hook.remove()
    return [spread(name, layers[name], torch.cat(coefficients)) for name, coefficients in recorded.items()]


def spread(name: str, act: DyReLU, coefficients: Tensor) -> Spread:
    names = [f"{letter}{k + 1}" for letter in "ab" for k in range(act.k)]
    deviation = coefficients.std(0).mean(-1).tolist()
    distance = (coefficients - act.start).abs().mean((0, 2)).tolist()
    return Spread(name, dict(zip(names, deviation)), dict(zip(names, distance)))


def columns(rows: list[Spread]) -> list[str]:
    """The names of the coefficients of all layers."""
    return sorted({name for row in rows for name in row.deviation})


def table(rows: list[Spread]) -> str:
    """A Markdown table with one row per layer."""
    names = columns(rows)
    head = ["layer", *(f"{name}, deviation" for name in names), *(f"{name}, distance" for name in names)]
    lines = [head]
    for row in rows:
        columns_of_row = (row.deviation, row.distance)
        cells = (f"{values[n]:.4f}" if n in values else "–" for values in columns_of_row for n in names)
        lines.append([row.layer, *cells])
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
    parser.add_argument("checkpoint", type=Path, help="checkpoint of train, study or distil")
    parser.add_argument("--photos", type=Path, required=True, help="tar or folder of photos")
    parser.add_argument("--count", type=int, default=256, help="number of photos, evenly spaced among all")
    parser.add_argument("--size", type=int, help="input size; by default that of the end of training")
    parser.add_argument("--picture", type=Path, default=Path("coefficients.png"), help="PNG to write, with curves over the layers")
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
