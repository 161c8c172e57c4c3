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
    """A network: its title in the table, its factory, and the plain network that it is derived from, if any.

    With `free_batch`, the exported file takes batches of any size.
    """

    title: str
    make: Callable[[], nn.Module]
    plain: str | None = None
    input: tuple[int, int, int] = (3, SIZE, SIZE)
    free_batch: bool = True


def permuting(network: nn.Module) -> nn.Module:
    """Replaces each dynamic ReLU by one with the same weights, written as in most published code."""
    for name, child in network.named_children():
        if isinstance(child, DyReLU):
            setattr(network, name, interleaved(child))
        else:
            permuting(child)
    return network


@torch.no_grad()
def interleaved(act: DyReLU) -> Interleaved:
    """A dynamic ReLU of form B whose coefficients of a channel are adjacent."""
    permuted = Interleaved(act.form, act.k, channels=act.channels, hidden=act.fc1.out_features)
    permuted.fc1.load_state_dict(act.fc1.state_dict())
    for target, source in ((permuted.fc2.weight, act.fc2.weight), (permuted.fc2.bias, act.fc2.bias)):
        blocks = source.view(2 * act.k, act.channels, -1)
        target.copy_(blocks.transpose(0, 1).reshape(target.shape))
    return permuted


def randomised(name: str, act: str, **options: object) -> nn.Module:
    """A network with random weights and batch-norm statistics, the same at every call."""
    torch.manual_seed(0)
    return randomise(build_model(name, act, **options))


def networks() -> dict[str, Network]:
    """All networks by name. A dynamic network comes after its plain one."""
    by_name: dict[str, Network] = {}

    def add(name: str, title: str, model: str, act: str, plain: str | None = None, **options: object) -> None:
        by_name[name] = Network(title, lambda: randomised(model, act, **options), plain)

    v2 = "mobilenetv2"
    add(v2, "MobileNetV2, ReLU6", v2, "relu6")
    add(f"{v2}-b", "MobileNetV2, DY-ReLU-B", v2, "dyrelu-b", v2)
    by_name[f"{v2}-permuting"] = Network(
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
        original = {"relu": "ReLU", "relu6": "ReLU6"}[act] if "v3" not in model else "h-swish and SE"
        add(model, f"{title}, {original}", model, act)
        add(f"{model}-b", f"{title}, DY-ReLU-B", model, "dyrelu-b", model)
    return by_name


# The rows of the short table in the README.
SUMMARY = (
    "mobilenetv2",
    "mobilenetv2-b",
    "mobilenetv2-permuting",
    "mobilenetv3-small-b",
    "efficientnet-lite0-b",
    "resnet18-b",
)


def operations() -> dict[str, Network]:
    """Networks that consist of one dynamic ReLU, by name."""
    by_name: dict[str, Network] = {}
    for channels, size in ((96, 112), (576, 14)):

        def make(channels: int = channels) -> nn.Module:
            torch.manual_seed(0)
            return randomise(DyReLU(channels))

        by_name[f"dyrelu-b-{channels}x{size}"] = Network(
            f"DY-ReLU-B on {channels}x{size}x{size}", make, input=(channels, size, size)
        )
    return by_name


def find(name: str) -> Network:
    """The network or operation with this name."""
    from . import published

    return (networks() | operations() | published.networks())[name]


def prepare(name: str, batch: int, folder: Path) -> None:
    """Writes `network.onnx`, a traced `network.pt`, and an input and output of the batch size, if they are missing."""
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
            example = torch.zeros(1, *chosen.input)
            torch.jit.trace(network, example).save(folder / "network.pt")
            unfinished = folder / "unfinished.onnx"
            export(network, example, unfinished, dynamo=False, free_batch=chosen.free_batch)
            unfinished.rename(model)
