"""Published networks with dynamic ReLU and its relatives, re-created from the papers, with random weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..activations import DyReLU
from ..check_networks import randomise
from ..models import dlinknet, dyhead, dymn, meta_acon, micronet, mobile_former, shufflenet
from .networks import Network

# Bands and frames of a spectrogram of ten seconds, as DyMN reads it.
SPECTROGRAM = (1, 128, 1000)


def seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A factory of the same network at every call."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return randomise(make())

    return network


def networks() -> dict[str, Network]:
    """All networks by name."""
    return {
        "dymn10": Network("DyMN10", seeded(dymn.DyMN10), input=SPECTROGRAM, free_batch=False),
        "micronet-m0": Network("MicroNet-M0", seeded(micronet.micronet_m0)),
        "micronet-m3": Network("MicroNet-M3", seeded(micronet.micronet_m3)),
        "mobile-former-26m": Network("Mobile-Former 26M", seeded(mobile_former.MobileFormer)),
        "dyhead-groupnorm": Network("DyHead block, GroupNorm", seeded(dyhead.DyHead)),
        "resnet50-meta-acon": Network("ResNet-50, Meta-ACON", seeded(meta_acon.resnet50)),
        "shufflenet-v1-b": Network("ShuffleNet v1, DY-ReLU-B", seeded(lambda: shufflenet.ShuffleNetV1(DyReLU))),
        "shufflenet-v2-b": Network("ShuffleNet v2, DY-ReLU-B", seeded(lambda: shufflenet.ShuffleNetV2(DyReLU))),
        "dlinknet34-b": Network("D-LinkNet34, DY-ReLU-B", seeded(lambda: dlinknet.DLinkNet34(DyReLU))),
    }
