"""Distils EfficientNet-Lite0 into the same network with dynamic ReLU: `python -m dyrelu_tools.distil --help`.

The student starts with the teacher's weights. In place of every ReLU6 it has a dynamic ReLU that initially computes a
plain ReLU. It learns the teacher's probabilities over the 1000 classes of ImageNet, on photos without labels. A maximum
of affine pieces cannot clip at 6. Therefore a clip is added at first, rises, and is removed halfway. The running
statistics of batch norm are kept from the teacher, because the photos here have few classes.

A run is a directory as in `train`: checkpoint.pt (resumed if present), log.jsonl, curve.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from . import data
from .activations import DyReLU
from .evaluate import synsets
from .imagenet_check import lite0
from .models import build
from .train import accuracy, draw_curve, keep_memory, learning_rate, parameter_groups, save, size_of_epoch

NORMALISE = data.Normalisation((127 / 255,) * 3, (128 / 255,) * 3)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="directory of the run")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="tars or folders of training photos")
    parser.add_argument("--val", type=Path, required=True, help="tar of validation photos, one folder per synset")
    parser.add_argument("--names", type=Path, required=True, help="table of index, synset and name, tab-separated")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded photos")
    parser.add_argument("--activation", default="dyrelu-b,reduction=16")
    parser.add_argument("--sizes", default="128:0,160:0.5", help="input sizes, each from a share of the epochs, as SIZE:SHARE,...")
    parser.add_argument("--test-size", type=int, default=224, help="input size of validation; larger than in training, where crops enlarge objects")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--hidden-lr", type=float, default=0.1, help="learning rate of the first layers of hyperfunctions, as a multiple of --lr")
    parser.add_argument("--coefficient-lr", type=float, default=20.0, help="learning rate of their second layers, as a multiple of --lr")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--temperature", type=float, default=2.0, help="temperature that softens the probabilities of both networks")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def student_of(teacher: nn.Module, act: str) -> nn.Module:
    """A network with the teacher's weights and another activation, which initially computes exactly a plain ReLU.

    Over so many layers, even second-layer weights of 0.01 would destroy the teacher's accuracy.
    """
    student = build("efficientnet-lite0", act)
    for module in student.modules():
        if isinstance(module, DyReLU):
            nn.init.zeros_(module.fc2.weight)
    missing = student.load_state_dict(teacher.state_dict(), strict=False)
    assert not missing.unexpected_keys
    return student.to(memory_format=torch.channels_last)


@torch.inference_mode()
def standardise(student: nn.Module, x: Tensor) -> None:
    """Scales the first layers so that hidden units have mean 0 and deviation 1 over the photos `x`, before their ReLU.

    The contexts of a trained network vary far less between photos than their mean differs from zero. Without scaling,
    hidden units depend mostly on what all photos share. The first steps of training then change the coefficients of
    all photos alike, which damages the network, and the next steps learn to keep the units at zero permanently.
    """

    def apply(module: DyReLU, inputs: tuple[Tensor]) -> None:
        z = F.linear(inputs[0].mean((2, 3)), module.fc1.weight)
        deviation = z.std(0)
        module.fc1.weight.div_(deviation[:, None])
        module.fc1.bias.copy_(-z.mean(0) / deviation)

    hooks = [m.register_forward_pre_hook(apply) for m in student.modules() if isinstance(m, DyReLU)]
    student.eval()(x)
    for hook in hooks:
        hook.remove()


def learning_groups(student: nn.Module, args: argparse.Namespace) -> list[dict]:
    """The parameter groups of `train`, with the first layers of hyperfunctions in a separate group.

    These layers sum hundreds of channels. At the learning rate of the second layers, a few steps would move a unit out
    of its range.
    """
    hidden = [p for m in student.modules() if isinstance(m, DyReLU) for p in m.fc1.parameters()]
    groups = parameter_groups(student, args.weight_decay, args.coefficient_lr)
    for group in groups:
        group["params"] = [p for p in group["params"] if p not in set(hidden)]
    first = {"params": hidden, "weight_decay": 0.0, "lr_share": args.hidden_lr}
    return [*groups, first]


class Clip:
    """Clips every activation at a limit that rises from 6 to infinity over the first half of training."""

    def __init__(self, network: nn.Module) -> None:
        self.limit = 6.0
        self.hooks = [m.register_forward_hook(self.apply) for m in network.modules() if isinstance(m, DyReLU)]

    def apply(self, _module: nn.Module, _inputs: tuple, y: Tensor) -> Tensor:
        return y.clamp(max=self.limit)

    def rise(self, progress: float) -> None:
        """Sets the limit. `progress` is the share of training that is done."""
        if progress < 0.5:
            self.limit = 6 / (1 - 2 * progress)
            return
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


def mixed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Applies mixup to half of the batches: each photo is blended with another one."""
    if torch.rand((), generator=generator) < 0.5:
        return x
    share = torch.empty(len(x), 1, 1, 1).uniform_(0.5, 1, generator=generator)
    other = torch.randperm(len(x), generator=generator)
    return x * share + x[other] * (1 - share)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The Kullback-Leibler divergence of the softened probabilities, scaled to temperature 1."""
    known = F.log_softmax(teacher / temperature, 1)
    guess = F.log_softmax(student / temperature, 1)
    return F.kl_div(guess, known, reduction="batchmean", log_target=True) * temperature**2


def thaw(network: nn.Module) -> None:
    """Sets training mode, but keeps the running statistics of batch norm."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def main() -> None:
    args = parse_arguments()
    keep_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    size = size_of_epoch(args.sizes, args.epochs - 1, args.epochs)
    pixels = np.concatenate([data.load(source, size, args.cache).pixels for source in args.photos])
    validation = data.load(args.val, args.test_size, args.cache).in_classes(synsets(args.names))
    teacher = lite0().eval().to(memory_format=torch.channels_last)
    student = student_of(teacher, args.activation)
    sample = torch.from_numpy(pixels[:: len(pixels) // 256].copy()).permute(0, 3, 1, 2)
    standardise(student, NORMALISE(sample))
    optimiser = torch.optim.AdamW(learning_groups(student, args), lr=args.lr)
    checkpoint, log = args.run / "checkpoint.pt", args.run / "log.jsonl"
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        student.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["epoch"]
    clip = Clip(student)
    for epoch in range(start, args.epochs):
        began = time.monotonic()
        generator = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        order = torch.randperm(len(pixels), generator=generator)
        batches = order.split(args.batch)[: len(order) // args.batch]
        total, epoch_size = 0.0, size_of_epoch(args.sizes, epoch, args.epochs)
        thaw(student)
        for i, chosen in enumerate(tqdm(batches, desc=f"epoch {epoch}", disable=not sys.stderr.isatty())):
            step, steps = epoch * len(batches) + i, args.epochs * len(batches)
            clip.rise(step / steps)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, steps, args.lr) * group["lr_share"]
            photos = torch.from_numpy(pixels[chosen.numpy()]).permute(0, 3, 1, 2)
            x = mixed(data.augment(photos, epoch_size, generator, (0.25, 1.0), NORMALISE), generator)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                known = teacher(x)
            loss = divergence(student(x), known.clone(), args.temperature)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            optimiser.step()
            total += loss.item()
        top1 = accuracy(student, validation, normalise=NORMALISE)
        row = {"epoch": epoch + 1, "size": epoch_size, "loss": round(total / len(batches), 4), "top1": top1}
        row["seconds"] = round(time.monotonic() - began, 1)
        save(
            checkpoint,
            network=student.state_dict(),
            optimiser=optimiser.state_dict(),
            epoch=epoch + 1,
            options={"network": "efficientnet-lite0", "activation": args.activation},
            classes=validation.classes,
            normalisation=dataclasses.asdict(NORMALISE),
            size=args.test_size,
        )
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
    draw_curve(log, args.run / "curve.png")


if __name__ == "__main__":
    main()
