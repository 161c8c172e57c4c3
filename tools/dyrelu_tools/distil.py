"""Trains the default network: `python -m dyrelu_tools.distil --help`.

The student is EfficientNet-Lite0 with its published weights. In its later blocks and its head, every ReLU6 is replaced
by a dynamic ReLU that is clipped at 6. The last layers of the hyperfunctions start at zero, so that the student first
computes what Lite0 computes. Only the hyperfunctions are trained, on the crops and targets of `teachers`: first run
that. The kept weights are an average over recent steps, from the evaluation at which their loss on the kept-out photos
was smallest.

A run is a directory: last.pt (resumed if present), checkpoint.pt (the kept weights), log.jsonl, curve.png. `--train`
chooses what is trained in the same layers instead, for comparison.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from . import teachers
from .activations import DyReLU
from .evaluate import synsets
from .models import build
from .models.imagenet import EfficientNetLite
from .teachers import FIRST_BLOCK, NORMALISE, SIZE
from .train import keep_memory, save


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="directory of the run")
    parser.add_argument("--cache", type=Path, required=True, help="folder with the blocks of `teachers`")
    parser.add_argument("--names", type=Path, required=True, help="table of index, synset and name, tab-separated")
    what = "the hyperfunctions; only their last biases, which gives static coefficients; or Lite0's weights, with ReLU6"
    parser.add_argument("--train", choices=["dynamic", "static", "weights"], default="dynamic", help=what)
    first = "the first block with dynamic ReLUs, from 6; 16 for the head alone, which trains in minutes"
    parser.add_argument("--first-block", type=int, default=FIRST_BLOCK, help=first)
    parser.add_argument("--start", type=Path, help="checkpoint of a run whose hyperfunctions this one starts with")
    parser.add_argument("--reduction", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate, constant after 50 steps")
    hidden = "learning rate of the first layers of hyperfunctions, as a multiple of --lr"
    parser.add_argument("--hidden-lr", type=float, default=0.01, help=hidden)
    parser.add_argument("--temperature", type=float, default=2.0, help="temperature that softens the probabilities")
    sharpen = "exponent of the targets, by which they become as confident as Lite0: Lite2 is less so"
    parser.add_argument("--sharpen", type=float, default=1.12, help=sharpen)
    parser.add_argument("--average", type=float, default=0.96, help="decay of the average of the weights, per step")
    parser.add_argument("--every", type=int, default=25, help="steps between evaluations and checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Fused(nn.Module):
    """A dynamic ReLU with K = 2 that is fused in evaluation mode, too."""

    def __init__(self, act: DyReLU) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act.forward_fused(x)


class Tail(nn.Module):
    """The blocks of a network from the first that is trained on, the head and the classifier."""

    def __init__(self, network: EfficientNetLite, first: int) -> None:
        super().__init__()
        self.network, self.first = network, first

    def forward(self, features: Tensor) -> Tensor:
        return self.network.tail(features.float().contiguous(memory_format=torch.channels_last), self.first)


def options_of(args: argparse.Namespace) -> dict:
    """The description of the student that a checkpoint stores."""
    late = "relu6" if args.train == "weights" else f"dyrelu-b,reduction={args.reduction},limit=6"
    arguments = {"late_act": late, "late_from": args.first_block}
    return {"network": "efficientnet-lite0", "activation": "relu6", "arguments": arguments}


def student(options: dict) -> nn.Module:
    """Lite0 with other activations, which computes what Lite0 computes."""
    network = build(options["network"], options["activation"], **options["arguments"])
    for module in network.modules():
        if isinstance(module, DyReLU):
            nn.init.zeros_(module.fc2.weight)
    loaded = network.load_state_dict(teachers.LITE0.network().state_dict(), strict=False)
    assert not loaded.unexpected_keys
    return network.eval()


def normalised(network: nn.Module) -> list[tuple[nn.Module, str, str]]:
    """Every convolution that a batch norm follows: the module that has both, and their names."""
    found = []
    for parent in network.modules():
        before = ""
        for name, module in parent.named_children():
            if isinstance(module, nn.BatchNorm2d):
                found.append((parent, before, name))
            elif isinstance(module, nn.Conv2d):
                before = name
    return found


def fold(network: nn.Module) -> None:
    """Multiplies every batch norm into the convolution before it."""
    for parent, conv, norm in normalised(network):
        setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
        setattr(parent, norm, nn.Identity())


@torch.no_grad()
def unfold(folded: nn.Module, network: nn.Module) -> None:
    """Copies the weights of a folded network. In place of the biases of convolutions, batch norms add them."""
    parents = dict(folded.named_modules())
    names = {module: name for name, module in network.named_modules()}
    for parent, conv, norm in normalised(network):
        source, batch_norm = getattr(parents[names[parent]], conv), getattr(parent, norm)
        getattr(parent, conv).weight.copy_(source.weight)
        batch_norm.bias.copy_(source.bias)
        batch_norm.weight.fill_(1)
        batch_norm.running_mean.zero_()
        batch_norm.running_var.fill_(1 - batch_norm.eps)
    network._fc.load_state_dict(folded._fc.state_dict())


def fuse(network: nn.Module) -> None:
    """Makes every dynamic ReLU a fused one."""
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, DyReLU):
                setattr(parent, name, Fused(module))


@torch.inference_mode()
def advance(features: Tensor, network: EfficientNetLite, first: int, batch: int = 32) -> Tensor:
    """The input of block `first`, from that of the first block whose input is stored."""
    if first == FIRST_BLOCK:
        return features
    blocks = nn.Sequential(*network._blocks[FIRST_BLOCK:first]).to(memory_format=torch.channels_last)
    return torch.cat([blocks(part.float()).half() for part in features.split(batch)])


def fast_tail(network: EfficientNetLite, train: str, first: int = FIRST_BLOCK) -> Tail:
    """A copy of the student's later blocks for training, without batch norm and with fused activations."""
    network = copy.deepcopy(network)
    fold(network)
    network.requires_grad_(False)
    if train == "weights":
        network._blocks[first:].requires_grad_(True)
        network._conv_head.requires_grad_(True)
        network._fc.requires_grad_(True)
    for module in network.modules():
        if isinstance(module, DyReLU):
            (module.fc2.bias if train == "static" else module).requires_grad_(True)
    fuse(network)
    return Tail(network, first).to(memory_format=torch.channels_last)


@torch.inference_mode()
def whiten(tail: nn.Module, features: Tensor, batch: int = 32) -> None:
    """Sets the first layers of hyperfunctions to the principal components of their contexts over photos, each scaled to
    deviation 1, with both signs. Hyperfunctions whose second layers are not zero have been trained, and are kept.

    The contexts of a trained network vary far less between photos than their mean differs from zero. From random
    weights, hidden units depend mostly on what all photos share, and training first changes the coefficients of all
    photos alike.
    """
    contexts: dict[Fused, list[Tensor]] = {}

    def record(module: Fused, inputs: tuple[Tensor]) -> None:
        contexts.setdefault(module, []).append(inputs[0].mean((2, 3)))

    hooks = [m.register_forward_pre_hook(record) for m in tail.modules() if isinstance(m, Fused)]
    for part in features.split(batch):
        tail(part)
    for hook in hooks:
        hook.remove()
    for module, parts in contexts.items():
        if module.act.fc2.weight.any():
            continue
        context, fc1 = torch.cat(parts), module.act.fc1
        mean, width = context.mean(0), fc1.out_features
        count = min(width // 2, len(context) - 1)
        _, scale, components = torch.linalg.svd(context - mean, full_matrices=False)
        rows = components[:count] * (len(context) ** 0.5 / scale[:count, None])
        rows = torch.cat([rows, -rows, torch.zeros(width - 2 * count, rows.shape[1])])
        fc1.weight.copy_(rows)
        fc1.bias.copy_(-rows @ mean)


def parameter_groups(network: nn.Module, hidden_lr: float) -> list[dict]:
    """The parameter groups of the optimiser. First layers of hyperfunctions sum hundreds of channels. At the learning
    rate of the second layers, a few steps would move a unit out of its range."""
    layers = [m.fc1 for m in network.modules() if isinstance(m, DyReLU)]
    hidden = [p for layer in layers for p in layer.parameters() if p.requires_grad]
    others = [p for p in network.parameters() if p.requires_grad and p not in set(hidden)]
    groups = [{"params": others, "lr_share": 1.0}, {"params": hidden, "lr_share": hidden_lr}]
    return [group for group in groups if group["params"]]


def sharpened(targets: Tensor, exponent: float) -> Tensor:
    """The powers of probabilities, scaled to sum 1."""
    powers = targets**exponent
    return powers / powers.sum(1, keepdim=True)


def divergence(scores: Tensor, probabilities: Tensor, temperature: float) -> Tensor:
    """The Kullback-Leibler divergence from the target, softened by the temperature and scaled back to temperature 1."""
    guess = F.log_softmax(scores / temperature, 1)
    known = F.log_softmax(probabilities.clamp(min=1e-9).log() / temperature, 1)
    return F.kl_div(guess, known, reduction="batchmean", log_target=True) * temperature**2


@torch.inference_mode()
def kept_out(tail: nn.Module, features: Tensor, targets: Tensor, batch: int = 16) -> dict[str, float]:
    """The divergence from the teachers, and the share of photos with the same first class."""
    parts = features.split(batch)
    scores = torch.cat([tail(part) for part in parts])
    agreement = (scores.argmax(1) == targets.argmax(1)).float().mean().item()
    loss = divergence(scores, targets, 1.0).item()
    return {"kept_out_loss": round(loss, 4), "kept_out_agreement": round(agreement, 4)}


class Average:
    """The exponential average of the trained parameters over steps."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.parameters = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        for name, p in network.named_parameters():
            if name in self.parameters:
                self.parameters[name].lerp_(p, 1 - decay)

    def applied(self, network: nn.Module) -> nn.Module:
        """A copy of the network with the averaged parameters."""
        network = copy.deepcopy(network)
        network.load_state_dict(self.parameters, strict=False)
        return network


def draw_curve(log: Path, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure, loss = plt.subplots(figsize=(7, 4))
    loss.plot([r["step"] for r in rows], [r["kept_out_loss"] for r in rows], color="tab:gray")
    loss.set(xlabel="step", ylabel="divergence from the teachers, on photos kept out")
    agreement = loss.twinx()
    agreement.plot([r["step"] for r in rows], [100 * r["kept_out_agreement"] for r in rows], color="tab:blue")
    agreement.set_ylabel("same first class as the teachers (%)", color="tab:blue")
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


class Run:
    """A training with its directory."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.options = args, options_of(args)
        args.run.mkdir(parents=True, exist_ok=True)
        self.last, self.log = args.run / "last.pt", args.run / "log.jsonl"
        self.student = student(self.options)
        if args.start:
            trained = torch.load(args.start, weights_only=True)["network"]
            self.student.load_state_dict({n: w for n, w in trained.items() if "fc1" in n or "fc2" in n}, strict=False)
        features, targets = teachers.read(args.cache, ["kept-out.npz"])
        self.kept_out = advance(features, self.student, args.first_block), sharpened(targets, args.sharpen)
        self.blocks: list[str] = []
        self.load_blocks()
        self.tail = fast_tail(self.student, args.train, args.first_block)
        groups = parameter_groups(self.tail, args.hidden_lr)
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=1e-4)
        self.step, self.best, self.losses, self.began = 0, float("inf"), [], time.monotonic()
        if self.last.exists():
            state = torch.load(self.last, weights_only=True)
            self.tail.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.best = state["step"], state["best"]
            self.average = Average(self.tail, args.average)
            self.average.parameters, self.average.steps = state["average"], self.step
            return
        if args.train == "dynamic":
            whiten(self.tail, self.features[:512])
        self.average = Average(self.tail, args.average)
        self.evaluate()

    def load_blocks(self) -> None:
        """Reads the blocks that were added."""
        added = [block for block in teachers.blocks(self.args.cache) if block not in self.blocks]
        features, targets = teachers.read(self.args.cache, added)
        features = advance(features, self.student, self.args.first_block)
        targets = sharpened(targets, self.args.sharpen)
        self.features = torch.cat([self.features, features]) if self.blocks else features
        self.targets = torch.cat([self.targets, targets]) if self.blocks else targets
        self.blocks += added

    def train(self) -> None:
        """Takes steps in passes over all crops, each in a new order. Blocks that are added meanwhile take part from the
        next pass on."""
        args = self.args
        while self.step < args.steps:
            if len(teachers.blocks(args.cache)) > len(self.blocks):
                self.load_blocks()
            generator = torch.Generator().manual_seed(args.seed * 10**6 + self.step)
            order = torch.randperm(len(self.features), generator=generator)
            for chosen in order.split(args.batch)[: len(order) // args.batch]:
                self.learn(self.features[chosen], self.targets[chosen])
                if self.step % args.every == 0:
                    self.evaluate()
                if self.step == args.steps:
                    break
        draw_curve(self.log, args.run / "curve.png")

    def learn(self, features: Tensor, targets: Tensor) -> None:
        """Takes one step."""
        scores = self.tail(features)
        loss = divergence(scores, targets, self.args.temperature)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.tail.parameters(), 5.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.args.lr * group["lr_share"] * min(1.0, (self.step + 1) / 50)
        self.optimiser.step()
        self.average.update(self.tail)
        self.step += 1
        self.losses.append(loss.item())

    def evaluate(self) -> None:
        """Evaluates the averaged weights, writes a line of the log and the checkpoints."""
        averaged = self.average.applied(self.tail)
        loss = round(float(np.mean(self.losses)), 4) if self.losses else None
        row = {"step": self.step, "crops": len(self.features), "loss": loss, **kept_out(averaged, *self.kept_out)}
        row["seconds"] = round(time.monotonic() - self.began, 1)
        self.losses, self.began = [], time.monotonic()
        if row["kept_out_loss"] < self.best:
            self.best = row["kept_out_loss"]
            self.keep(averaged)
        state = {"network": self.tail.state_dict(), "optimiser": self.optimiser.state_dict()}
        save(self.last, **state, average=self.average.parameters, step=self.step, best=self.best)
        with self.log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    def keep(self, averaged: nn.Module) -> None:
        """Writes the student with the averaged weights."""
        if self.args.train == "weights":
            unfold(averaged.network, self.student)
        else:
            for name, module in averaged.network.named_modules():
                if isinstance(module, Fused):
                    self.student.get_submodule(name).load_state_dict(module.act.state_dict())
        weights = self.student.state_dict()
        about = {"options": self.options, "train": self.args.train, "step": self.step, "size": SIZE}
        normalisation = dataclasses.asdict(NORMALISE)
        classes = synsets(self.args.names)
        save(self.args.run / "checkpoint.pt", network=weights, classes=classes, normalisation=normalisation, **about)


def main() -> None:
    args = parse_arguments()
    keep_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    Run(args).train()


if __name__ == "__main__":
    main()
