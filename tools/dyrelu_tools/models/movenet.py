"""MoveNet SinglePose Lightning (Google, 2021): MobileNetV2, a feature pyramid, and four heads over 48x48 cells.

Batch norm is folded into the convolutions. The names of the modules are those of the published weights as converted to
safetensors. All outputs are linear: the logits of centres and of key points, and two maps of vectors in cells, with
channels (dy, dx) per key point.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Makes the activation of a layer from its channels, and whether it is clipped at 6.
LayerActivation = Callable[[int, bool], nn.Module]

# Output channels, blocks, stride of the first block, expansion.
STAGES = ((16, 1, 1, 1), (24, 2, 2, 6), (32, 3, 2, 6), (64, 4, 2, 6), (96, 3, 1, 6), (160, 3, 2, 6), (320, 1, 1, 6))

# The blocks whose outputs the pyramid reads, by the side of their map.
TAPS = {48: 2, 24: 5, 12: 9}


def plain(channels: int, clipped: bool) -> nn.Module:
    return nn.ReLU6() if clipped else nn.ReLU()


class Conv(nn.Module):
    """A convolution and an activation. With stride 2, it pads as TensorFlow does: at the end only."""

    def __init__(
        self, cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.pad = (0, 1, 0, 1) if stride == 2 else (kernel // 2,) * 4
        self.conv = nn.Conv2d(cin, cout, kernel, stride, groups=groups)
        self.act = act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(F.pad(x, self.pad) if any(self.pad) else x))


class InvertedResidual(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int, expansion: int, act: LayerActivation) -> None:
        super().__init__()
        middle = cin * expansion
        self.expand = Conv(cin, middle, act=act(middle, True)) if expansion > 1 else None
        self.depthwise = Conv(middle, middle, 3, stride, middle, act(middle, True))
        self.project = Conv(middle, cout)
        self.adds = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return x + y if self.adds else y


class Separable(nn.Module):
    def __init__(self, cin: int, cout: int, act: LayerActivation) -> None:
        super().__init__()
        self.depthwise = Conv(cin, cin, 3, groups=cin)
        self.pointwise = Conv(cin, cout, act=act(cout, False))

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Head(nn.Module):
    def __init__(self, cout: int, act: LayerActivation) -> None:
        super().__init__()
        self.hidden, self.out = Separable(24, 96, act), Conv(96, cout)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x))


class MoveNet(nn.Module):
    """Returns centre [N, 1, 48, 48], key points [N, 17, 48, 48], regression and offset [N, 34, 48, 48] for images of
    192x192 with values from -1 to 1."""

    def __init__(self, act: LayerActivation = plain, keypoints: int = 17) -> None:
        super().__init__()
        self.stem = Conv(3, 32, 3, 2, act=act(32, True))
        blocks, channels = [], 32
        for cout, count, stride, expansion in STAGES:
            for i in range(count):
                blocks.append(InvertedResidual(channels, cout, 1 if i else stride, expansion, act))
                channels = cout
        self.blocks = nn.ModuleList(blocks)
        self.last, self.top = Conv(320, 1280, act=act(1280, True)), Conv(1280, 64)
        self.lateral12, self.merge12 = Conv(64, 64), Separable(64, 32, act)
        self.lateral24, self.merge24 = Conv(32, 32), Separable(32, 24, act)
        self.lateral48, self.merge48 = Conv(24, 24), Separable(24, 24, act)
        self.centre, self.keypoints = Head(1, act), Head(keypoints, act)
        self.regress, self.offset = Head(2 * keypoints, act), Head(2 * keypoints, act)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, outputs = self.stem(x), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        x = self.top(self.last(x))
        for side, tap in sorted(TAPS.items()):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            lateral, merge = getattr(self, f"lateral{side}"), getattr(self, f"merge{side}")
            x = merge(x + lateral(outputs[tap]))
        return self.centre(x), self.keypoints(x), self.regress(x), self.offset(x)
