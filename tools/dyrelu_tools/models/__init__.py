"""The networks that the tools train, export and check."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from ..activations import activation
from .imagenet import EfficientNetLite
from .mobilenetv2 import MINI_STAGES, MobileNetV2
from .mobilenetv3 import MobileNetV3
from .resnet import Bottleneck, CifarResNet20, ResNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mobilenetv2": MobileNetV2,
    "mobilenetv2-mini": partial(MobileNetV2, stages=MINI_STAGES, width=0.5, last_channels=128),
    "mobilenetv3-small": MobileNetV3,
    "mobilenetv3-large": partial(MobileNetV3, large=True),
    "resnet18": ResNet,
    "resnet50": partial(ResNet, block=Bottleneck, depths=(3, 4, 6, 3)),
    "efficientnet-lite0": EfficientNetLite,
    "cifar-resnet20": CifarResNet20,
}


def build(network: str, act: str, num_classes: int = 1000, **options: object) -> nn.Module:
    """Builds the named network with the named activation.

    `options` are arguments of its constructor. Those that end in _act are names of activations.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}, expected one of {', '.join(NETWORKS)}")
    for key, value in options.items():
        if key.endswith("_act"):
            options[key] = activation(str(value))
    return NETWORKS[network](activation(act), num_classes=num_classes, **options)
