"""Meta-ACON (Ma et al., 2021), a smooth maximum of two slopes with a computed sharpness, in ResNet-50."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .resnet import Bottleneck, ResNet


class MetaAcon(nn.Module):
    """`d sigmoid(beta d) + p_2 x` with `d = (p_1 - p_2) x`, and beta from the means of the channels."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(reduction, channels // reduction)
        self.fc1, self.norm1 = nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden)
        self.fc2, self.norm2 = nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels)
        self.p1 = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.p2 = nn.Parameter(torch.randn(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(2, keepdim=True).mean(3, keepdim=True)
        beta = torch.sigmoid(self.norm2(self.fc2(self.norm1(self.fc1(means)))))
        d = (self.p1 - self.p2) * x
        return d * torch.sigmoid(beta * d) + self.p2 * x


def resnet50() -> nn.Module:
    return ResNet(MetaAcon, block=Bottleneck, depths=(3, 4, 6, 3))
