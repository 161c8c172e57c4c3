"""Trains MoveNet with DY-ReLU-C on crops of persons: `python -m dyrelu_tools.distil_movenet --help`.

Every activation of the student is a dynamic ReLU of form C, clipped where MoveNet has ReLU6. It first computes what
MoveNet computes: the last layers of the hyperfunctions and the attentions start at zero, the clip is at 6 times the
uniform attention of 1/3, and the weights beside an activation are 3 times MoveNet's. Only hyperfunctions and
attentions are trained. The targets are those of `poses`: first run that. They were computed from clean crops, while
the student often sees blurred ones in other colours. The kept weights are an average over recent steps, from the
evaluation at which their loss on the kept-out crops was smallest.

A run is a directory: last.pt (resumed if present), checkpoint.pt (the kept weights), log.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .activations import DyReLU
from .distil import Average, Fused, fuse, whiten
from .models.movenet import InvertedResidual, MoveNet, Separable
from .poses import KEYPOINTS, NORMALISE, SIZE, SPLIT, mirror, outputs
from .train import keep_memory, save


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="directory of the run")
    parser.add_argument("--weights", type=Path, required=True, help="MoveNet's weights, safetensors")
    parser.add_argument("--cache", type=Path, required=True, help="folder with the crops and targets of `poses`")
    parser.add_argument("--views", type=int, default=1, help="as in `poses`")
    start = "checkpoint of a run whose hyperfunctions and attentions this one starts with"
    parser.add_argument("--start", type=Path, help=start)
    parser.add_argument("--reduction", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="ends the run after this time")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate, constant after 50 steps")
    anneal = "lowers the learning rates evenly to zero at the end, for a second run with --start"
    parser.add_argument("--anneal", action="store_true", help=anneal)
    hidden = "learning rate of the first layers of hyperfunctions, as a multiple of --lr"
    parser.add_argument("--hidden-lr", type=float, default=0.01, help=hidden)
    attention = "the largest change of an attention's logits by a step, on average over positions"
    parser.add_argument("--attention-step", type=float, default=0.02, help=attention)
    parser.add_argument("--average", type=float, default=0.98, help="decay of the average of the weights, per step")
    parser.add_argument("--kept-out", type=int, default=96, help="photos that are not trained on")
    parser.add_argument("--every", type=int, default=50, help="steps between evaluations and checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def dynamic(reduction: int, channels: int, clipped: bool) -> DyReLU:
    return DyReLU(channels, "C", reduction=reduction, limit=6 / 3 if clipped else None)


def following(network: MoveNet) -> list[nn.Conv2d]:
    """The convolutions that read the output of a clipped activation."""
    blocks = [block for block in network.blocks if isinstance(block, InvertedResidual)]
    layers = [network.top, *(b.project for b in blocks), *(b.depthwise for b in blocks)]
    return [layer.conv for layer in layers]


@torch.no_grad()
def student(weights: dict[str, Tensor], reduction: int) -> MoveNet:
    """MoveNet with dynamic ReLUs, which computes what MoveNet computes, up to rounding."""
    network = MoveNet(partial(dynamic, reduction))
    loaded = network.load_state_dict(weights, strict=False)
    assert not loaded.unexpected_keys
    # The attention is 1/3 everywhere. A convolution behind it makes up for that, or one before it where nothing is
    # clipped.
    for conv in following(network):
        conv.weight.mul_(3)
    for module in network.modules():
        if isinstance(module, Separable):
            module.pointwise.conv.weight.mul_(3)
            module.pointwise.conv.bias.mul_(3)
        elif isinstance(module, DyReLU):
            nn.init.zeros_(module.fc2.weight)
    return network.eval()


def between(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.empty(count, 1, 1, 1).uniform_(low, high, generator=generator)


def degrade(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Makes most crops of uint8 [N, 3, 192, 192] less sharp, and changes the brightness, contrast and saturation of
    all. The values are from 0 to 255."""
    x, count = pixels.float(), len(pixels)
    for i, draw in enumerate(torch.rand(count, generator=generator).tolist()):
        # A quarter stays sharp. The others have from 32 to 192 pixels per side, evenly in the logarithm.
        side = round(32 * 6 ** (draw / 0.75)) if draw < 0.75 else SIZE
        if side < SIZE:
            small = F.interpolate(x[i : i + 1], (side, side), mode="bilinear", antialias=True)
            x[i : i + 1] = F.interpolate(small, (SIZE, SIZE), mode="bilinear")
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * between(count, 0.5, 1.3, generator)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * between(count, 0.7, 1.3, generator) + mean * between(count, 0.7, 1.3, generator)
    return x.clamp(0, 255)


def losses(found: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The differences of maps [N, 86, 48, 48]: the divergence of the probabilities of centres and key points, and the
    distances of vectors in cells, weighted by the probability that the vector is read."""
    heats, regress, offset = found.split((SPLIT[0] + SPLIT[1], *SPLIT[2:]), 1)
    known, known_regress, known_offset = target.split((SPLIT[0] + SPLIT[1], *SPLIT[2:]), 1)
    probability = known.sigmoid()
    divergence = F.binary_cross_entropy_with_logits(heats, probability, reduction="none")
    divergence = divergence - F.binary_cross_entropy_with_logits(known, probability, reduction="none")
    # Most cells are far from every key point.
    heat = ((0.1 + probability) * divergence).sum((2, 3)).mean()

    def distance(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        apart = F.smooth_l1_loss(a, b, reduction="none", beta=0.5).unflatten(1, (KEYPOINTS, 2)).sum(2)
        return (apart * weight).sum() / weight.sum().clamp(min=1e-6)

    centre, points = probability.split(SPLIT[:2], 1)
    centre = centre.square().expand_as(points)
    return {
        "heat": heat,
        "regress": distance(regress, known_regress, centre),
        "offset": distance(offset, known_offset, points.square()),
    }


SHARES = {"heat": 1.0, "regress": 0.3, "offset": 2.0}


def total(parts: dict[str, Tensor]) -> Tensor:
    return sum(SHARES[name] * part for name, part in parts.items())


@torch.inference_mode()
def magnitudes(network: nn.Module, x: Tensor) -> dict[str, float]:
    """The sum over channels of the mean magnitude of the input of every activation, by the names of modules."""
    found: dict[str, float] = {}

    def record(name: str) -> object:
        return lambda _, inputs: found.update({name: inputs[0].abs().mean((0, 2, 3)).sum().item()})

    hooks = [m.register_forward_pre_hook(record(n)) for n, m in network.named_modules() if isinstance(m, Fused)]
    network(x)
    for hook in hooks:
        hook.remove()
    return found


def parameter_groups(network: nn.Module, x: Tensor, args: argparse.Namespace) -> list[dict]:
    """The parameter groups of the optimiser, each with its learning rate."""
    acts = {name: m.act for name, m in network.named_modules() if isinstance(m, Fused)}
    for act in acts.values():
        act.requires_grad_(True)
    first = [p for act in acts.values() for p in act.fc1.parameters()]
    second = [p for act in acts.values() for p in act.fc2.parameters()]
    groups = [{"params": first, "rate": args.lr * args.hidden_lr}, {"params": second, "rate": args.lr}]
    # The inputs of the pyramid's activations are a thousand times those of the blocks.
    for name, sum_of_channels in magnitudes(network, x).items():
        parameters = list(acts[name].attention.parameters())
        groups.append({"params": parameters, "rate": args.attention_step / max(sum_of_channels, 1e-3)})
    return groups


class Run:
    """A training with its directory."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.began = args, time.monotonic()
        args.run.mkdir(parents=True, exist_ok=True)
        self.last, self.log = args.run / "last.pt", args.run / "log.jsonl"
        self.pixels = np.load(args.cache / "pixels.npy", mmap_mode="r")
        self.targets = np.load(args.cache / "targets.npy", mmap_mode="r")
        # The views of a photo are apart by the number of photos.
        photos = len(self.pixels) // args.views
        self.kept_out = torch.arange(args.kept_out)
        self.rows = torch.cat([torch.arange(args.kept_out, photos) + v * photos for v in range(args.views)])
        self.student = student(load_file(args.weights), args.reduction)
        if args.start:
            self.student.load_state_dict(torch.load(args.start, weights_only=True)["network"])
        self.network = copy.deepcopy(self.student).requires_grad_(False)
        fuse(self.network)
        self.network.to(memory_format=torch.channels_last)
        some = self.images(self.rows[:: len(self.rows) // 256][:256])
        self.optimiser = torch.optim.Adam(parameter_groups(self.network, some[:64], args), betas=(0.9, 0.99))
        self.step, self.best, self.parts = 0, float("inf"), []
        if self.last.exists():
            state = torch.load(self.last, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.best = state["step"], state["best"]
            self.average = Average(self.network, args.average)
            self.average.parameters, self.average.steps = state["average"], self.step
            return
        whiten(self.network, some)
        self.average = Average(self.network, args.average)
        self.evaluate()

    def images(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Crops, ready for the network. Without a generator, they are as sharp as the photos."""
        pixels = torch.from_numpy(self.pixels[rows.numpy()]).permute(0, 3, 1, 2)
        x = NORMALISE(pixels if generator is None else degrade(pixels, generator))
        return x.contiguous(memory_format=torch.channels_last)

    def maps(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self.targets[rows.numpy()]).float()

    def train(self) -> None:
        """Takes steps in passes over all crops, each in a new order."""
        args = self.args
        while self.step < args.steps:
            generator = torch.Generator().manual_seed(args.seed * 10**6 + self.step)
            order = self.rows[torch.randperm(len(self.rows), generator=generator)]
            for chosen in order.split(args.batch)[: len(order) // args.batch]:
                self.learn(chosen, generator)
                over = self.step >= args.steps or time.monotonic() - self.began > 60 * args.minutes
                if self.step % args.every == 0 or over:
                    self.evaluate()
                if over:
                    return

    def learn(self, rows: Tensor, generator: torch.Generator) -> None:
        """Takes one step. Half of the steps see mirrored crops."""
        x, target = self.images(rows, generator), self.maps(rows)
        if torch.rand((), generator=generator) < 0.5:
            x, target = x.flip(-1).contiguous(memory_format=torch.channels_last), mirror(target)
        parts = losses(outputs(self.network, x), target)
        self.optimiser.zero_grad(set_to_none=True)
        total(parts).backward()
        for group in self.optimiser.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 5.0)
            group["lr"] = group["rate"] * self.share_of_rate()
        self.optimiser.step()
        self.average.update(self.network)
        self.step += 1
        self.parts.append(total(parts).item())

    def share_of_rate(self) -> float:
        """The learning rate of the next step as a share of the largest."""
        if self.args.anneal:
            minutes = (time.monotonic() - self.began) / 60
            return max(0.0, 1 - max(self.step / self.args.steps, minutes / self.args.minutes))
        return min(1.0, (self.step + 1) / 50)

    @torch.inference_mode()
    def kept_out_losses(self, network: nn.Module) -> dict[str, float]:
        """The losses on the crops that are not trained on, each once as it is and once degraded."""
        sums: dict[str, list[float]] = {}
        generator = torch.Generator().manual_seed(self.args.seed)
        for rows in self.kept_out.split(16):
            target = self.maps(rows)
            for kind, x in {"sharp": self.images(rows), "degraded": self.images(rows, generator)}.items():
                parts = losses(outputs(network, x), target)
                for name, value in parts.items():
                    sums.setdefault(f"{kind}_{name}", []).append(value.item())
                sums.setdefault("kept_out_loss", []).append(total(parts).item())
        return {name: round(float(np.mean(values)), 5) for name, values in sums.items()}

    def evaluate(self) -> None:
        """Evaluates the averaged weights, writes a line of the log and the checkpoints."""
        averaged = self.average.applied(self.network)
        loss = round(float(np.mean(self.parts)), 4) if self.parts else None
        row = {"step": self.step, "loss": loss, **self.kept_out_losses(averaged)}
        row["seconds"] = round(time.monotonic() - self.began, 1)
        self.parts = []
        if row["kept_out_loss"] < self.best:
            self.best = row["kept_out_loss"]
            for name, module in averaged.named_modules():
                if isinstance(module, Fused):
                    self.student.get_submodule(name).load_state_dict(module.act.state_dict())
            weights = self.student.state_dict()
            save(self.args.run / "checkpoint.pt", network=weights, step=self.step, reduction=self.args.reduction)
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}
        save(self.last, **state, average=self.average.parameters, step=self.step, best=self.best)
        with self.log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def main() -> None:
    args = parse_arguments()
    keep_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    Run(args).train()


if __name__ == "__main__":
    main()
