"""The networks that are compared, and the files that the engines read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..activations import DyReLU
from ..check_networks import export, randomise
from ..dialects import Interleaved
from ..models import build as build_model
from .engines import SIZE


@dataclass(frozen=True)
class Network:
    """How a network is made, what the table calls it, and the network that it makes dynamic."""

    title: str
    make: Callable[[], nn.Module]
    plain: str | None = None
    input: tuple[int, int, int] = (3, SIZE, SIZE)


def permuting(network: nn.Module) -> nn.Module:
    """The same weights, with each dynamic ReLU written as most published code writes it."""
    for name, child in network.named_children():
        if isinstance(child, DyReLU):
            setattr(network, name, interleaved(child))
        else:
            permuting(child)
    return network


@torch.no_grad()
def interleaved(act: DyReLU) -> Interleaved:
    """A dynamic ReLU of form B with its coefficients side by side for each channel."""
    other = Interleaved(act.form, act.k, channels=act.channels, hidden=act.fc1.out_features)
    other.fc1.load_state_dict(act.fc1.state_dict())
    for to, of in ((other.fc2.weight, act.fc2.weight), (other.fc2.bias, act.fc2.bias)):
        blocks = of.view(2 * act.k, act.channels, -1)
        to.copy_(blocks.transpose(0, 1).reshape(to.shape))
    return other


def randomised(name: str, act: str, **options: object) -> nn.Module:
    """Random weights and batch-norm statistics, always the same."""
    torch.manual_seed(0)
    return randomise(build_model(name, act, **options))


def networks() -> dict[str, Network]:
    """All networks by name; a dynamic one comes after its plain one."""
    found: dict[str, Network] = {}

    def add(name: str, title: str, model: str, act: str, plain: str | None = None, **options: object) -> None:
        found[name] = Network(title, lambda: randomised(model, act, **options), plain)

    v2 = "mobilenetv2"
    add(v2, "MobileNetV2, ReLU6", v2, "relu6")
    add(f"{v2}-b", "MobileNetV2, DY-ReLU-B", v2, "dyrelu-b", v2)
    found[f"{v2}-permuting"] = Network(
        "MobileNetV2, DY-ReLU-B, permuting", lambda: permuting(randomised(v2, "dyrelu-b")).eval(), v2
    )
    add(f"{v2}-a", "MobileNetV2, DY-ReLU-A", v2, "dyrelu-a", v2)
    add(f"{v2}-c", "MobileNetV2, DY-ReLU-C", v2, "dyrelu-c", v2)
    add(f"{v2}-paper", "MobileNetV2, DY-ReLU-B, paper placement", v2, "dyrelu-b", v2, last_act="dyrelu-b,k=1")
    add(f"{v2}-0.35", "MobileNetV2 x0.35, ReLU6", v2, "relu6", width=0.35)
    add(f"{v2}-0.35-b", "MobileNetV2 x0.35, DY-ReLU-B", v2, "dyrelu-b", f"{v2}-0.35", width=0.35)
    for model, title, act in (
        ("mobilenetv3-small", "MobileNetV3-Small", "relu"),
        ("mobilenetv3-large", "MobileNetV3-Large", "relu"),
        ("efficientnet-lite0", "EfficientNet-Lite0", "relu6"),
        ("resnet18", "ResNet-18", "relu"),
        ("resnet50", "ResNet-50", "relu"),
    ):
        own = {"relu": "ReLU", "relu6": "ReLU6"}[act] if "v3" not in model else "h-swish and SE"
        add(model, f"{title}, {own}", model, act)
        add(f"{model}-b", f"{title}, DY-ReLU-B", model, "dyrelu-b", model)
    return found


# What the README's first screen shows.
SUMMARY = (
    "mobilenetv2",
    "mobilenetv2-b",
    "mobilenetv2-permuting",
    "mobilenetv3-small-b",
    "efficientnet-lite0-b",
    "resnet18-b",
)


def operations() -> dict[str, Network]:
    """The dynamic ReLU alone, as networks of one activation."""
    found: dict[str, Network] = {}
    for channels, size in ((96, 112), (576, 14)):

        def make(channels: int = channels) -> nn.Module:
            torch.manual_seed(0)
            return randomise(DyReLU(channels))

        found[f"dyrelu-b-{channels}x{size}"] = Network(
            f"DY-ReLU-B on {channels}x{size}x{size}", make, input=(channels, size, size)
        )
    return found


def find(name: str) -> Network:
    """The network or operation of that name."""
    from . import published

    return (networks() | operations() | published.networks())[name]


def prepare(name: str, batch: int, folder: Path) -> None:
    """Writes `network.onnx`, a traced `network.pt`, and an input and output of the batch size, where missing."""
    model, x_path, y_path = folder / "network.onnx", folder / f"x{batch}.npy", folder / f"y{batch}.npy"
    if model.exists() and y_path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    chosen = find(name)
    network = chosen.make()
    x = torch.randn(batch, *chosen.input, generator=torch.Generator().manual_seed(batch))
    with torch.inference_mode():
        y = network(x)
    np.save(x_path, x.numpy())
    np.save(y_path, y.numpy())
    if not model.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = torch.zeros(1, *chosen.input)
            torch.jit.trace(network, one).save(folder / "network.pt")
            unfinished = folder / "unfinished.onnx"
            export(network, one, unfinished, dynamo=False)
            unfinished.rename(model)
