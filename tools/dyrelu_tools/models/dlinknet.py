"""D-LinkNet34 (Zhou et al., 2018), which segments roads: ResNet-34, dilated convolutions, and a LinkNet decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..activations import Activation
from .resnet import BasicBlock, conv

WIDTHS = (64, 128, 256, 512)


class Centre(nn.Module):
    """The sum of the input and of a chain of dilated convolutions, after each of them."""

    def __init__(self, channels: int, act: Activation) -> None:
        super().__init__()
        dilations = (1, 2, 4, 8)
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in dilations)
        self.acts = nn.ModuleList(act(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for convolve, act in zip(self.convs, self.acts):
            x = act(convolve(x))
            total = total + x
        return total


def decoder(inputs: int, outputs: int, act: Activation) -> nn.Module:
    hidden = inputs // 4
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 1),
        nn.BatchNorm2d(hidden),
        act(hidden),
        nn.ConvTranspose2d(hidden, hidden, 3, 2, 1, 1),
        nn.BatchNorm2d(hidden),
        act(hidden),
        nn.Conv2d(hidden, outputs, 1),
        nn.BatchNorm2d(outputs),
        act(outputs),
    )


class DLinkNet34(nn.Module):
    def __init__(self, act: Activation) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 64, 7, 2), nn.BatchNorm2d(64), act(64), nn.MaxPool2d(3, 2, 1))
        stages, inputs = [], 64
        for stage, (width, depth) in enumerate(zip(WIDTHS, (3, 4, 6, 3))):
            blocks = []
            for i in range(depth):
                blocks.append(BasicBlock(inputs, width, 2 if stage > 0 and i == 0 else 1, act))
                inputs = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.centre = Centre(512, act)
        outputs = (64, *WIDTHS[:-1])
        self.decoders = nn.ModuleList(decoder(width, to, act) for width, to in zip(WIDTHS, outputs))
        self.final = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, 2, 1), act(32), nn.Conv2d(32, 32, 3, padding=1), act(32), nn.Conv2d(32, 1, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        y = self.centre(maps[-1])
        for decode, skip in zip(reversed(self.decoders[1:]), reversed(maps[1:-1])):
            y = decode(y) + skip
        return torch.sigmoid(self.final(self.decoders[0](y)))
