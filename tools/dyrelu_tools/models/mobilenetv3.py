"""MobileNetV3-Small and -Large (Howard et al., 2019).

With a dynamic ReLU, squeeze-and-excite is omitted and every activation is dynamic, as in the paper of dynamic ReLU.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..activations import Activation, DyReLU
from .mobilenetv2 import conv_norm, round_channels

# Kernel, expansion, channels, squeeze-and-excite, h-swish, stride.
SMALL = [
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
]
LARGE = [
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
]


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = round_channels(channels / 4)
        self.fc1, self.fc2 = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        context = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * nn.functional.hardsigmoid(self.fc2(nn.functional.relu(self.fc1(context))))


class Block(nn.Module):
    def __init__(self, inputs: int, row: tuple[int, int, int, bool, bool, int], act: Activation) -> None:
        super().__init__()
        kernel, hidden, outputs, excite, swish, stride = row
        dynamic = isinstance(act(8), DyReLU)
        make = (lambda _: nn.Hardswish()) if swish and not dynamic else act
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers += [*conv_norm(inputs, hidden, 1), make(hidden)]
        layers += [*conv_norm(hidden, hidden, kernel, stride, hidden), make(hidden)]
        if excite and not dynamic:
            layers.append(SqueezeExcite(hidden))
        self.layers = nn.Sequential(*layers, *conv_norm(hidden, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV3(nn.Module):
    def __init__(self, act: Activation, num_classes: int = 1000, large: bool = False) -> None:
        super().__init__()
        dynamic = isinstance(act(8), DyReLU)
        make = act if dynamic else (lambda _: nn.Hardswish())
        rows = LARGE if large else SMALL
        layers: list[nn.Module] = [*conv_norm(3, 16, 3, 2), make(16)]
        inputs = 16
        for row in rows:
            layers.append(Block(inputs, row, act))
            inputs = row[2]
        layers += [*conv_norm(inputs, 6 * inputs, 1), make(6 * inputs)]
        self.features = nn.Sequential(*layers)
        last = 1280 if large else 1024
        self.classifier = nn.Sequential(nn.Linear(6 * inputs, last), nn.Hardswish(), nn.Linear(last, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))
