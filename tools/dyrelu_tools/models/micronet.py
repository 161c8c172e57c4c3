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

    def __init__(
        self, channels: int, groups: int, k: int = 2, reduction: int = 8, initial: tuple[float, ...] = (1.0, 0.0, 1.0, 0.0)
    ) -> None:
        super().__init__()
        hidden = divisible(channels // reduction)
        self.fc = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * k * channels))
        self.channels, self.initial = channels, initial[: 2 * k]
        within = channels // groups
        order = torch.arange(channels).view(groups, within).roll((-1, -1), (0, 1))
        self.register_buffer("order", order.flatten(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        z = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        theta = (F.relu6(z + 3) / 6 - 0.5) * 4
        parts = theta.view(x.shape[0], -1, 1, 1).split(self.channels, 1)
        parts = [part + initial for part, initial in zip(parts, self.initial)]
        shifted = x[:, self.order]
        y = x * parts[0] + shifted * parts[1]
        return y if len(parts) == 2 else torch.maximum(y, x * parts[2] + shifted * parts[3])


def divisible(width: int) -> int:
    """The multiple of 4 that is nearest to a width, and neither 0 nor more than a tenth below it."""
    nearest = max((width + 2) // 4 * 4, 4)
    return nearest + 4 if nearest < 0.9 * width else nearest


@dataclass(frozen=True)
class Row:
    """A block: a separable convolution between two convolutions in groups.

    `before` and `after` are the groups of the first and the last convolution, and those in which channels are shifted
    and shuffled after them. 0 groups: there is no such convolution. Without a last one, there is no separable one
    either.
    """

    stride: int
    kernel: int
    expansion: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]
    channels: int
    dynamic: tuple[int, int, int]
    """Pieces of the Dynamic Shift-Max after each of the three convolutions. 0: ReLU6, or nothing after the last."""
    ratio: int = 1
    """The factor by which hyperfunctions are narrower."""


class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def conv(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), groups: int = 1) -> list[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


def separable(inputs: int, expansion: tuple[int, int], kernel: int, stride: int) -> list[nn.Module]:
    between, outputs = inputs * expansion[0], inputs * expansion[0] * expansion[1]
    columns = conv(inputs, between, (kernel, 1), (stride, 1), inputs)
    return columns + conv(between, outputs, (1, kernel), (1, stride), between)


def block(inputs: int, row: Row, initial: tuple[float, ...] = (1.0, 0.0, 1.0, 0.0)) -> nn.Module:
    reduction = 8 * row.ratio

    def act(width: int, pieces: int, groups: int) -> list[nn.Module]:
        return [ShiftMax(width, groups, pieces, reduction, initial)] if pieces else [nn.ReLU6()]

    def last(width: int, groups: int, reduction: int) -> list[nn.Module]:
        return [ShiftMax(width, groups, 1, reduction)] if row.dynamic[2] else []

    hidden = inputs * row.expansion[0] * row.expansion[1]
    first, second, third = row.dynamic
    layers: list[nn.Module] = []
    if row.before[0]:
        layers += conv(inputs, hidden, (1, 1), groups=row.before[0])
        if not row.after[0]:
            return nn.Sequential(*layers, *last(hidden, row.before[1], reduction))
        layers += [*act(hidden, first, row.before[1]), Shuffle(row.before[1])]
        layers += separable(hidden, (1, 1), row.kernel, row.stride)
        layers += act(hidden, second, hidden // row.before[1])
        if first or second:
            layers.append(Shuffle(hidden // 4 if first and second else hidden // 2))
    else:
        layers += separable(inputs, row.expansion, row.kernel, row.stride)
        layers += [*act(hidden, second, row.before[1]), Shuffle(row.before[1])]
        if second:
            layers.append(Shuffle(hidden // 2))
    layers += conv(hidden, row.channels, (1, 1), groups=row.after[0])
    narrows = row.channels < hidden or not row.before[0]
    layers += [*last(row.channels, row.after[1], reduction // 2 if narrows else reduction), Shuffle(row.after[1])]
    if third:
        layers.append(Shuffle(row.channels // 2))
    return (Residual if row.stride == 1 and inputs == row.channels else nn.Sequential)(*layers)


M0 = [
    Row(2, 3, (2, 2), (0, 4), (2, 2), 8, (2, 0, 1)),
    Row(2, 3, (2, 2), (0, 8), (4, 4), 12, (2, 2, 1)),
    Row(2, 5, (2, 2), (0, 12), (4, 4), 16, (2, 2, 1)),
    Row(1, 5, (1, 4), (4, 4), (4, 4), 32, (2, 2, 1)),
    Row(2, 5, (1, 4), (8, 8), (8, 8), 64, (2, 2, 1)),
    Row(1, 3, (1, 4), (8, 8), (8, 8), 96, (2, 2, 1), 2),
    Row(1, 3, (1, 4), (12, 12), (0, 0), 384, (2, 2, 1), 2),
]
M3 = [
    Row(2, 3, (2, 2), (0, 12), (4, 4), 16, (0, 2, 0)),
    Row(2, 3, (2, 2), (0, 16), (4, 4), 24, (0, 2, 0)),
    Row(1, 3, (2, 2), (0, 24), (4, 4), 24, (0, 2, 0)),
    Row(2, 5, (1, 6), (6, 6), (4, 4), 32, (0, 2, 0)),
    Row(1, 5, (1, 6), (8, 8), (4, 4), 32, (0, 2, 0), 2),
    Row(1, 5, (1, 6), (8, 8), (8, 8), 64, (0, 2, 0), 2),
    Row(1, 5, (1, 6), (8, 8), (8, 8), 80, (0, 2, 0), 2),
    Row(1, 5, (1, 6), (10, 10), (8, 8), 80, (0, 2, 0), 2),
    Row(2, 5, (1, 6), (10, 10), (10, 10), 120, (0, 2, 0), 2),
    Row(1, 5, (1, 6), (12, 12), (10, 10), 120, (0, 2, 0), 2),
    Row(1, 3, (1, 6), (12, 12), (12, 12), 144, (0, 2, 0), 2),
    Row(1, 3, (1, 6), (12, 12), (0, 0), 864, (0, 2, 0), 2),
]


class MicroNet(nn.Module):
    """MicroNet of the given rows. `stem` is the width of the first convolution, in `stem_groups` groups.

    The modules with weights are in the order of the published code, so that its weights fit by their order.
    """

    def __init__(
        self, rows: list[Row], stem: int, stem_groups: int, last: int, initial: tuple[float, ...], num_classes: int = 1000
    ) -> None:
        super().__init__()
        layers = conv(3, stem_groups, (3, 1), (2, 1))
        layers += conv(stem_groups, stem, (1, 3), (1, 2), stem_groups) + [Shuffle(stem_groups), nn.ReLU6()]
        width = stem
        for row in rows:
            layers.append(block(width, row, initial))
            width = row.channels
        self.features = nn.Sequential(*layers, nn.ReLU6())
        sizes = [(width, last), (last, num_classes)]
        self.classifier = nn.Sequential(
            nn.Hardswish(), *(m for a, b in sizes for m in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.Hardswish()))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def micronet_m0() -> MicroNet:
    return MicroNet(M0, 4, 2, 640, (1.0, 0.0, 1.0, 0.0))


def micronet_m3() -> MicroNet:
    return MicroNet(M3, 12, 4, 1024, (1.0, 0.0, 0.5, 0.5))
