"""ImageNet classifiers with published weights, all from TensorFlow. Modules are named as in the weight files.

A TensorFlow convolution of stride 2 has more padding at the end than at the beginning: 0 and 1 for a 3x3 window, 1 and
2 for a 5x5 window.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..activations import Activation, activation
from .mobilenetv2 import STAGES, round_channels


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding "same", for square inputs."""

    def forward(self, x: Tensor) -> Tensor:
        size, stride = int(x.shape[2]), self.stride[0]
        total = max((math.ceil(size / stride) - 1) * stride + self.kernel_size[0] - size, 0)
        before = total // 2
        return super().forward(F.pad(x, (before, total - before, before, total - before)))


class LiteBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, act: Activation) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False) if expansion != 1 else None
        self._bn0 = nn.BatchNorm2d(hidden, eps=1e-3) if expansion != 1 else None
        self._act0 = act(hidden) if expansion != 1 else None
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._act1 = act(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self._expand_conv is not None and self._bn0 is not None and self._act0 is not None:
            y = self._act0(self._bn0(self._expand_conv(y)))
        y = self._act1(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0, or a larger one. `width` multiplies the channels of all stages. `depth` multiplies the blocks
    of all stages but the first and the last. The stem and the head have the channels of Lite0. `late_act` is the
    activation of the blocks from number `late_from` on and of the head, by default that of all others."""

    # Kernel, stride, expansion, channels, blocks.
    STAGES = [
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1),
    ]

    def __init__(
        self,
        act: Activation = activation("relu6"),
        num_classes: int = 1000,
        width: float = 1.0,
        depth: float = 1.0,
        late_act: Activation | None = None,
        late_from: int = 0,
    ) -> None:
        super().__init__()
        late_act = late_act or act
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0, self._act0 = nn.BatchNorm2d(32, eps=1e-3), act(32)
        blocks, channels = [], 32
        for stage, (kernel, stride, expansion, outputs, count) in enumerate(self.STAGES):
            outputs = round_channels(outputs * width)
            inner = 0 < stage < len(self.STAGES) - 1
            for i in range(math.ceil(count * depth) if inner else count):
                block_act = late_act if len(blocks) >= late_from else act
                blocks.append(LiteBlock(channels, outputs, kernel, stride if i == 0 else 1, expansion, block_act))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1, self._act1 = nn.BatchNorm2d(1280, eps=1e-3), late_act(1280)
        self._fc = nn.Linear(1280, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.trunk(x, len(self._blocks)), len(self._blocks))

    def trunk(self, x: Tensor, blocks: int) -> Tensor:
        """The output of the first blocks."""
        x = self._act0(self._bn0(self._conv_stem(x)))
        for block in self._blocks[:blocks]:
            x = block(x)
        return x

    def tail(self, x: Tensor, blocks: int) -> Tensor:
        """The scores, from the output of the first blocks."""
        for block in self._blocks[blocks:]:
            x = block(x)
        return self._fc(self._act1(self._bn1(self._conv_head(x))).mean((2, 3)))


class FoldedMobileNetV2(nn.Module):
    """MobileNetV2 x1.0 with folded batch norm, from weights with torchvision's names."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()

        def conv(name: str, stride: int = 1) -> nn.Conv2d:
            weight = weights[f"{name}.weight"]
            outputs, inputs, kernel, _ = weight.shape
            groups = outputs if inputs == 1 else 1
            layer = SameConv(inputs * groups, outputs, kernel, stride, groups=groups)
            with torch.no_grad():
                layer.weight.copy_(weight)
                layer.bias.copy_(weights[f"{name}.bias"])
            return layer

        self.stem = conv("features.0.0", 2)
        self.blocks = nn.ModuleList()
        self.residual = []
        number, channels = 1, 32
        for expansion, outputs, count, stride in STAGES:
            for i in range(count):
                step, name = (stride if i == 0 else 1), f"features.{number}.conv"
                if expansion == 1:
                    layers = [conv(f"{name}.0.0", step), nn.ReLU6(), conv(f"{name}.1")]
                else:
                    layers = [conv(f"{name}.0.0"), nn.ReLU6(), conv(f"{name}.1.0", step), nn.ReLU6(), conv(f"{name}.2")]
                self.blocks.append(nn.Sequential(*layers))
                self.residual.append(step == 1 and channels == outputs)
                number, channels = number + 1, outputs
        self.head = conv(f"features.{number}.0")
        self.classifier = nn.Linear(1280, 1000)
        with torch.no_grad():
            self.classifier.weight.copy_(weights["classifier.1.weight"])
            self.classifier.bias.copy_(weights["classifier.1.bias"])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem(x))
        for block, residual in zip(self.blocks, self.residual):
            x = x + block(x) if residual else block(x)
        return self.classifier(F.relu6(self.head(x)).mean((2, 3)))
