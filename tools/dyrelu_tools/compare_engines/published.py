"""Networks that are common besides those of the comparison: of timm and torchvision, and `dynamic` ones.

All have random weights.
"""

from __future__ import annotations

import torch
from torch import nn

from ..check_networks import randomise
from . import dynamic
from .networks import Network

# Networks of timm.
CNNS = (
    "efficientnet_b0",
    "regnety_004",
    "resnext50_32x4d",
    "mixnet_s",
    "ghostnet_100",
    "mobileone_s0",
    "densenet121",
    "hrnet_w18_small",
)
WITH_ATTENTION = (
    "convnext_atto",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "mobilevit_xxs",
    "efficientformer_l1",
    "fastvit_t8",
    "edgenext_xx_small",
)
# Networks of torchvision.
TORCHVISION = ("shufflenet_v2_x1_0", "lraspp_mobilenet_v3_large")


class FirstOutput(nn.Module):
    """The main output of a network that returns a dictionary."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)["out"]


def of_timm(name: str) -> nn.Module:
    import timm

    torch.manual_seed(0)
    return randomise(timm.create_model(name, pretrained=False))


def of_torchvision(name: str) -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    if name.startswith("lraspp"):
        network = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
        return randomise(FirstOutput(network))
    return randomise(torchvision.models.get_model(name, weights=None))


def networks() -> dict[str, Network]:
    """All networks by name."""
    by_name = {name: Network(name, lambda name=name: of_timm(name)) for name in (*CNNS, *WITH_ATTENTION)}
    by_name |= {name: Network(name, lambda name=name: of_torchvision(name)) for name in TORCHVISION}
    return dynamic.networks() | by_name
