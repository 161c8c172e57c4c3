"""A block of DyHead (Dai et al., 2021) on a pyramid of three levels, with group normalisation.

Its convolutions are plain ones of 3x3, as its implementations have them where deformable ones are turned off.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 256


class TaskReLU(nn.Module):
    """The block's dynamic ReLU: coefficients `[a_1 | b_1 | a_2 | b_2]`, hard sigmoid."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = channels // reduction
        self.fc = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 4 * channels))
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        z = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        theta = (F.relu6(z + 3) / 6).view(-1, 4 * self.channels, 1, 1)
        a1, b1, a2, b2 = torch.split(theta, self.channels, 1)
        first = x * ((a1 - 0.5) * 2 + 1) + (b1 - 0.5)
        return torch.maximum(first, x * ((a2 - 0.5) * 2) + (b2 - 0.5))


def conv(stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, stride, 1), nn.GroupNorm(16, CHANNELS))


class DyHeadBlock(nn.Module):
    """Each level is the mean of itself and its neighbours, convolved and weighted, then activated."""

    def __init__(self) -> None:
        super().__init__()
        self.from_finer, self.same, self.from_coarser = conv(2), conv(), conv()
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(CHANNELS, 1, 1), nn.ReLU(), nn.Hardsigmoid())
        self.task = TaskReLU(CHANNELS)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        results = []
        for i, x in enumerate(levels):
            parts = [self.same(x)]
            if i > 0:
                parts.append(self.from_finer(levels[i - 1]))
            if i + 1 < len(levels):
                coarser = self.from_coarser(levels[i + 1])
                parts.append(F.interpolate(coarser, size=x.shape[2:], mode="bilinear", align_corners=True))
            weighted = [part * self.scale(part) for part in parts]
            results.append(self.task(sum(weighted[1:], weighted[0]) / len(parts)))
        return results


class DyHead(nn.Module):
    """A pyramid from patches of 8, 16 and 32 pixels, a block, and the means of its levels."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3, CHANNELS, size, size) for size in (8, 16, 32))
        self.block = DyHeadBlock()

    def forward(self, x: Tensor) -> Tensor:
        levels = self.block([level(x) for level in self.levels])
        scores = [level.mean((2, 3)) for level in levels]
        return torch.cat(scores, 1)
