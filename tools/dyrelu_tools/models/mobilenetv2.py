"""MobileNetV2 (Sandler et al., 2018) of any width, with any activation."""

from __future__ import annotations

from torch import Tensor, nn

from ..activations import Activation, DyReLU, activated

# Expansion, channels, blocks, stride of the first block.
STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]

# A network that trains in minutes on one core at width 0.5 and 64x64, and has every kind of block.
MINI_STAGES = [
    (1, 16, 1, 2),
    (4, 32, 2, 2),
    (4, 64, 2, 2),
]


def round_channels(channels: float, multiple: int = 8) -> int:
    """The nearest multiple, but the next larger one if that is less than 90% of the number."""
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * channels else rounded


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection. By default, the projection has no activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        expansion: int,
        act: Activation,
        last_act: Activation | None = None,
        depthwise_act: Activation | None = None,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += activated(lambda: conv_norm(inputs, hidden, 1), hidden, act)
        depthwise_act = depthwise_act or act
        layers += activated(lambda: conv_norm(hidden, hidden, 3, stride, hidden), hidden, depthwise_act)
        layers += conv_norm(hidden, outputs, 1)
        if last_act is not None:
            layers.append(last_act(outputs))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """`act` is the activation at all positions that have none of their own. `expansion_act`, `depthwise_act` and
    `last_act` are those after expansions, depthwise convolutions and projections. By default, projections have none."""

    def __init__(
        self,
        act: Activation,
        num_classes: int = 1000,
        width: float = 1.0,
        last_channels: int | None = None,
        dropout: float = 0.0,
        last_act: Activation | None = None,
        expansion_act: Activation | None = None,
        depthwise_act: Activation | None = None,
        stages: list[tuple[int, int, int, int]] = STAGES,
    ) -> None:
        super().__init__()
        stem = round_channels(32 * width)
        layers = activated(lambda: conv_norm(3, stem, 3, 2), stem, act)
        channels = stem
        for expansion, outputs, blocks, stride in stages:
            outputs = round_channels(outputs * width)
            for block in range(blocks):
                step = stride if block == 0 else 1
                acts = (expansion_act or act, last_act, depthwise_act or act)
                layers.append(InvertedResidual(channels, outputs, step, expansion, *acts))
                channels = outputs
        last = last_channels or round_channels(1280 * max(1.0, width))
        layers += activated(lambda: conv_norm(channels, last, 1), last, act)
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(last, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        for module in self.modules():
            if isinstance(module, DyReLU):
                module.reset_attention()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.features(x).mean((2, 3))))
