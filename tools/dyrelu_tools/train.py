"""Trains a classifier on folders of photos: `python -m dyrelu_tools.train --help`.

A run is a directory: checkpoint.pt (resumed if present), log.jsonl (one line per epoch), curve.png.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from . import data
from .activations import Dynamic
from .models import build


@dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    `sizes` are input sizes, each with the share of the epochs from which it is used. The layers that compute
    coefficients learn at `hyperfunction_lr` times the rate of the others. Those of them that have more inputs than
    `hyperfunction_fan_in` learn more slowly, in inverse proportion to their inputs. Zero gives all the same rate.
    """

    sizes: str = "96:0,128:0.5,160:0.85"
    epochs: int = 30
    batch: int = 64
    lr: float = 4e-3
    hyperfunction_lr: float = 1.0
    hyperfunction_fan_in: int = 16
    weight_decay: float = 0.05
    smoothing: float = 0.1
    seed: int = 0
    bf16: bool = False

    @property
    def final_size(self) -> int:
        return size_of_epoch(self.sizes, self.epochs - 1, self.epochs)


def parse_arguments() -> argparse.Namespace:
    defaults = Recipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="directory of the run")
    parser.add_argument("--train", type=Path, required=True, help="tar of training photos, one folder per class")
    parser.add_argument("--val", type=Path, required=True, help="tar of validation photos")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded photos")
    parser.add_argument("--network", default="mobilenetv2", help="a network of dyrelu_tools.models")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--activation", default="dyrelu-b", help="name and options, such as relu or dyrelu-b,k=3,reduction=16")
    parser.add_argument(
        "--sizes", default=defaults.sizes, help="input sizes, each from a share of the epochs, as SIZE:SHARE,..."
    )
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--lr", type=float, default=defaults.lr)
    parser.add_argument(
        "--hyperfunction-lr",
        type=float,
        default=defaults.hyperfunction_lr,
        help="learning rate of the layers that compute coefficients, as a multiple of --lr",
    )
    parser.add_argument(
        "--hyperfunction-fan-in",
        type=int,
        default=defaults.hyperfunction_fan_in,
        help="number of inputs above which these layers learn more slowly, in inverse proportion; 0 for the same rate for "
        "all, which in a deep network has to be lower than that of the convolutions, such as --hyperfunction-lr 0.1",
    )
    parser.add_argument("--weight-decay", type=float, default=defaults.weight_decay)
    parser.add_argument("--smoothing", type=float, default=defaults.smoothing, help="label smoothing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--bf16", action="store_true", help="train with bfloat16 convolutions")
    return parser.parse_args()


def size_of_epoch(sizes: str, epoch: int, epochs: int) -> int:
    """The input size of an epoch under a schedule such as 96:0,128:0.5."""
    steps = [step.split(":") for step in sizes.split(",")]
    return [int(size) for size, share in steps if epoch >= float(share) * epochs][-1]


def learning_rate(step: int, steps: int, peak: float, warm_up: float = 0.05) -> float:
    """The learning rate of a step: a linear warm-up, then a cosine to zero."""
    if step < warm_up * steps:
        return peak * (step + 1) / (warm_up * steps)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up * steps) / ((1 - warm_up) * steps)))


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict]:
    """The parameter groups of the optimiser.

    Weight decay applies to matrices and kernels, not to biases and normalisation. The layers that compute coefficients
    have a learning rate of their own, because a step of theirs changes a whole feature map. A step of AdamW moves every
    weight by about the learning rate, so it moves the output of a layer in proportion to its inputs. At the learning
    rate of the convolutions, the layers with many inputs saturate their sigmoid within some hundred steps, and the loss
    does not decrease.
    """
    dynamic = {p for m in network.modules() if isinstance(m, Dynamic) for p in m.parameters()}
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    # Groups in a fixed order: the optimiser of a stored checkpoint finds its state by position.
    for p in sorted(network.parameters(), key=lambda p: (p in dynamic, p.ndim == 1)):
        share = hyperfunction_lr(p, recipe) if p in dynamic else 1.0
        groups.setdefault((p in dynamic, p.ndim == 1, share), []).append(p)
    return [
        {"params": parameters, "weight_decay": 0.0 if vectors else recipe.weight_decay, "lr_share": share}
        for (_, vectors, share), parameters in groups.items()
    ]


def hyperfunction_lr(p: nn.Parameter, recipe: Recipe) -> float:
    """The learning rate of a parameter of a hyperfunction, as a multiple of that of the convolutions."""
    if recipe.hyperfunction_fan_in == 0 or p.ndim == 1:
        return recipe.hyperfunction_lr
    return recipe.hyperfunction_lr * min(1.0, recipe.hyperfunction_fan_in / p[0].numel())


@torch.inference_mode()
def accuracy(
    network: nn.Module, photos: data.Photos, batch: int = 128, normalise: data.Normalisation = data.IMAGENET
) -> float:
    """The share of photos whose top-1 prediction is correct."""
    network.eval()
    correct = 0
    for i in range(0, len(photos.labels), batch):
        x = normalise(torch.from_numpy(photos.pixels[i : i + batch].copy()).permute(0, 3, 1, 2))
        predicted = network(x.contiguous(memory_format=torch.channels_last)).argmax(1).numpy()
        correct += int((predicted == photos.labels[i : i + batch]).sum())
    return correct / len(photos.labels)


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    photos: data.Photos,
    recipe: Recipe,
    epoch: int,
) -> float:
    """Trains one pass over the photos, and returns the mean loss."""
    network.train()
    size = size_of_epoch(recipe.sizes, epoch, recipe.epochs)
    generator = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
    order = torch.randperm(len(photos.labels), generator=generator)
    batches = order.split(recipe.batch)[: len(order) // recipe.batch]
    total = 0.0
    for i, chosen in enumerate(tqdm(batches, desc=f"epoch {epoch}", disable=not sys.stderr.isatty())):
        lr = learning_rate(epoch * len(batches) + i, recipe.epochs * len(batches), recipe.lr)
        for group in optimiser.param_groups:
            group["lr"] = lr * group["lr_share"]
        pixels = torch.from_numpy(photos.pixels[chosen.numpy()]).permute(0, 3, 1, 2)
        labels = torch.from_numpy(photos.labels[chosen.numpy()])
        x = data.augment(pixels, size, generator, area=(0.35, 1.0))
        x = x.contiguous(memory_format=torch.channels_last)
        loss = loss_of(network, x, labels, recipe)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        total += loss.item()
    return total / len(batches)


def loss_of(network: nn.Module, x: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        logits = network(x)
    return F.cross_entropy(logits.float(), labels, label_smoothing=recipe.smoothing)


def keep_memory() -> None:
    """Makes the C library keep freed memory. Otherwise up to half of a training step on a CPU is spent on returning large
    buffers to the system and on page faults in new ones."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_max = -1, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def save(path: Path, **state: object) -> None:
    """Writes a temporary file and renames it, so that an interrupted run never leaves an incomplete checkpoint."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def draw_curve(log: Path, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure, loss = plt.subplots(figsize=(7, 4))
    epochs = [row["epoch"] for row in rows]
    loss.plot(epochs, [row["loss"] for row in rows], color="tab:gray", label="training loss")
    loss.set(xlabel="epoch", ylabel="training loss")
    top1 = loss.twinx()
    known = [(row["epoch"], 100 * row["top1"]) for row in rows if row["top1"] is not None]
    top1.plot(*zip(*known), color="tab:blue", marker=".", label="validation top-1")
    top1.set_ylabel("validation top-1 (%)", color="tab:blue")
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


def fit(
    network: nn.Module,
    photos: data.Photos,
    validation: data.Photos,
    recipe: Recipe,
    run: Path,
    options: dict[str, object],
) -> None:
    """Trains a network, or resumes its run. `options` describe how to build the network, and are stored in the
    checkpoint."""
    run.mkdir(parents=True, exist_ok=True)
    checkpoint, log = run / "checkpoint.pt", run / "log.jsonl"
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(parameter_groups(network, recipe), lr=recipe.lr, fused=True)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["epoch"]
    for epoch in range(start, recipe.epochs):
        began = time.monotonic()
        loss = train_epoch(network, optimiser, photos, recipe, epoch)
        last = epoch + 1 == recipe.epochs
        top1 = accuracy(network, validation) if last or epoch % 5 == 4 else None
        size = size_of_epoch(recipe.sizes, epoch, recipe.epochs)
        row = {"epoch": epoch + 1, "size": size, "loss": round(loss, 4), "top1": top1}
        row["seconds"] = round(time.monotonic() - began, 1)
        save(
            checkpoint,
            network=network.state_dict(),
            optimiser=optimiser.state_dict(),
            epoch=epoch + 1,
            options=options | {"recipe": asdict(recipe)},
            classes=photos.classes,
            size=recipe.final_size,
        )
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
    draw_curve(log, run / "curve.png")


def main() -> None:
    args = parse_arguments()
    recipe = Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe)})
    keep_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(recipe.seed)
    photos = data.load(args.train, recipe.final_size, args.cache)
    validation = data.load(args.val, recipe.final_size, args.cache)
    arguments = {"width": args.width}
    network = build(args.network, args.activation, len(photos.classes), **arguments)
    options = {"network": args.network, "activation": args.activation, "arguments": arguments}
    fit(network, photos, validation, recipe, args.run, options)


if __name__ == "__main__":
    main()
