"""MicroNet (Li et al., 2021): factorised convolutions and Dynamic Shift-Max."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Shuffle(nn.Module):
    """Channels of each group are dealt to all groups, as ShuffleNet writes it."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        return x.view(batch, self.groups, channels // self.groups, height, width).transpose(1, 2).reshape(x.shape)


class ShiftMax(nn.Module):
    """Dynamic Shift-Max: `max_k(a_k x + b_k x')`, where x' is x with its channels shifted by a group and by one.

    The coefficients are `4 (hard_sigmoid - 1/2) + initial`, in the order `[a_1, b_1, a_2, b_2]`.
    """

    def __init__(self, channels: int, groups: int, k: int = 2, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(round(channels / reduction / 4) * 4, 4)
        self.fc = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * k * channels))
        self.channels, self.initial = channels, (1.0, 0.0, 1.0, 0.0)[: 2 * k]
        within = channels // groups
        order = torch.arange(channels).view(groups, within).roll((-1, -1), (0, 1))
        self.register_buffer("order", order.flatten())

    def forward(self, x: Tensor) -> Tensor:
        z = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        theta = (F.relu6(z + 3) / 6 - 0.5) * 4
        parts = theta.view(x.shape[0], -1, 1, 1).split(self.channels, 1)
        parts = [part + initial for part, initial in zip(parts, self.initial)]
        shifted = x[:, self.order]
        y = x * parts[0] + shifted * parts[1]
        return y if len(parts) == 2 else torch.maximum(y, x * parts[2] + shifted * parts[3])


@dataclass(frozen=True)
class Row:
    """A block: a separable convolution between two convolutions in groups. 0 groups: there is no such convolution."""

    stride: int
    kernel: int
    expansion: tuple[int, int]
    groups: tuple[int, int]
    channels: int
    dynamic: tuple[int, int, int]
    """Pieces of the Dynamic Shift-Max after each of the three convolutions. 0: ReLU, or nothing after the last."""


def conv(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), groups: int = 1) -> list[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


def block(inputs: int, row: Row) -> list[nn.Module]:
    def act(width: int, pieces: int, groups: int) -> list[nn.Module]:
        return [ShiftMax(width, groups, pieces)] if pieces else [nn.ReLU6()]

    (first, second), (before, after) = row.expansion, row.groups
    kernel, stride = row.kernel, row.stride
    hidden = inputs * first * second
    layers: list[nn.Module] = []
    if before:
        layers += [*conv(inputs, hidden, (1, 1), groups=before), *act(hidden, row.dynamic[0], before), Shuffle(before)]
        layers += conv(hidden, hidden, (kernel, 1), (stride, 1), hidden)
        layers += conv(hidden, hidden, (1, kernel), (1, stride), hidden)
    else:
        layers += conv(inputs, inputs * first, (kernel, 1), (stride, 1), inputs)
        layers += conv(inputs * first, hidden, (1, kernel), (1, stride), inputs * first)
    layers += act(hidden, row.dynamic[1], max(before, after, 1))
    if after:
        layers += [Shuffle(after), *conv(hidden, row.channels, (1, 1), groups=after)]
        if row.dynamic[2]:
            layers += act(row.channels, row.dynamic[2], after)
        layers.append(Shuffle(row.channels // after))
    return layers


M0 = [
    Row(2, 3, (2, 2), (0, 2), 8, (0, 0, 1)),
    Row(2, 3, (2, 2), (0, 4), 12, (0, 2, 1)),
    Row(2, 5, (2, 2), (0, 4), 16, (0, 2, 1)),
    Row(1, 5, (1, 4), (4, 4), 32, (2, 2, 1)),
    Row(2, 5, (1, 4), (8, 8), 64, (2, 2, 1)),
    Row(1, 3, (1, 4), (8, 8), 96, (2, 2, 1)),
    Row(1, 3, (1, 4), (12, 0), 384, (1, 1, 0)),
]
M3 = [
    Row(2, 3, (2, 2), (0, 4), 16, (0, 2, 0)),
    Row(2, 3, (2, 2), (0, 4), 24, (0, 2, 0)),
    Row(1, 3, (2, 2), (0, 4), 24, (0, 2, 0)),
    Row(2, 5, (1, 6), (4, 4), 32, (0, 2, 0)),
    Row(1, 5, (1, 6), (8, 8), 32, (0, 2, 0)),
    Row(1, 5, (1, 6), (8, 8), 64, (0, 2, 0)),
    Row(1, 5, (1, 6), (8, 8), 80, (0, 2, 0)),
    Row(1, 5, (1, 6), (10, 8), 80, (0, 2, 0)),
    Row(2, 5, (1, 6), (10, 8), 120, (0, 2, 0)),
    Row(1, 5, (1, 6), (12, 12), 120, (0, 2, 0)),
    Row(1, 3, (1, 6), (12, 12), 144, (0, 2, 0)),
    Row(1, 3, (1, 6), (12, 0), 864, (0, 2, 0)),
]


class MicroNet(nn.Module):
    """MicroNet of the given rows. `stem` is the width of the first convolution, in `stem_groups` groups."""

    def __init__(self, rows: list[Row], stem: int, stem_groups: int, last: int, num_classes: int = 1000) -> None:
        super().__init__()
        narrow = stem // stem_groups
        layers = conv(3, narrow, (3, 1), (2, 1)) + conv(narrow, stem, (1, 3), (1, 2), narrow) + [nn.ReLU6()]
        width = stem
        for row in rows:
            layers += block(width, row)
            width = row.channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(width, last), nn.Hardswish(), nn.Linear(last, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def micronet_m0() -> MicroNet:
    return MicroNet(M0, 4, 2, 640)


def micronet_m3() -> MicroNet:
    return MicroNet(M3, 12, 4, 1024)
