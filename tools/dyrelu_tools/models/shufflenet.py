"""ShuffleNet v1 (Zhang et al., 2018) and v2 (Ma et al., 2018), with any activation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..activations import Activation
from .micronet import Shuffle
from .mobilenetv2 import conv_norm


class UnitV1(nn.Module):
    """Convolutions in groups around a shuffle and a depthwise convolution. With stride 2, the input is joined on."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, first_groups: int, act: Activation) -> None:
        super().__init__()
        self.stride, hidden = stride, outputs // 4
        outputs = outputs - inputs if stride == 2 else outputs
        self.layers = nn.Sequential(
            *conv_norm(inputs, hidden, 1, groups=first_groups),
            act(hidden),
            Shuffle(groups),
            *conv_norm(hidden, hidden, 3, stride, hidden),
            *conv_norm(hidden, outputs, 1, groups=groups),
        )
        self.act = act(outputs + inputs if stride == 2 else outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return self.act(torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1) if self.stride == 2 else x + y)


class ShuffleNetV1(nn.Module):
    def __init__(self, act: Activation, groups: int = 3, width: int = 240, num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [*conv_norm(3, 24, 3, 2), act(24), nn.MaxPool2d(3, 2, 1)]
        inputs = 24
        for stage, repeats in enumerate((4, 8, 4)):
            outputs = width << stage
            for i in range(repeats):
                layers.append(UnitV1(inputs, outputs, 2 if i == 0 else 1, groups, 1 if inputs == 24 else groups, act))
                inputs = outputs
        self.features, self.fc = nn.Sequential(*layers), nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


class UnitV2(nn.Module):
    """One half of the channels passes by. With stride 2, both branches read all channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: Activation) -> None:
        super().__init__()
        half = outputs // 2
        width = inputs if stride == 2 else half
        self.other = None
        if stride == 2:
            self.other = nn.Sequential(
                *conv_norm(inputs, inputs, 3, 2, inputs), *conv_norm(inputs, half, 1), act(half)
            )
        self.main = nn.Sequential(
            *conv_norm(width, half, 1),
            act(half),
            *conv_norm(half, half, 3, stride, half),
            *conv_norm(half, half, 1),
            act(half),
        )
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        if self.other is not None:
            parts = self.other(x), self.main(x)
        else:
            first, second = x.chunk(2, 1)
            parts = first, self.main(second)
        return self.shuffle(torch.cat(parts, 1))


class ShuffleNetV2(nn.Module):
    def __init__(self, act: Activation, widths: tuple[int, ...] = (116, 232, 464), num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [*conv_norm(3, 24, 3, 2), act(24), nn.MaxPool2d(3, 2, 1)]
        inputs = 24
        for outputs, repeats in zip(widths, (4, 8, 4)):
            for i in range(repeats):
                layers.append(UnitV2(inputs, outputs, 2 if i == 0 else 1, act))
                inputs = outputs
        layers += [*conv_norm(inputs, 1024, 1), act(1024)]
        self.features, self.fc = nn.Sequential(*layers), nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))
