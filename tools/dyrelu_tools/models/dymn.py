"""DyMN (Schmid et al., 2023), an audio tagger: MobileNetV3-Large on spectrograms, with dynamic blocks.

One context per block gives the weights of its three convolutions, the coefficients of its dynamic ReLU, and the
gates of its coordinate attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mobilenetv2 import conv_norm, round_channels
from .mobilenetv3 import LARGE


class DynamicConv(nn.Module):
    """Convolution with weights that are a mixture of experts, per image. The mixture follows from the context.

    It is written as one convolution in groups, one group of channels per image, which needs a fixed batch in ONNX.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, context: int, experts: int = 4
    ) -> None:
        super().__init__()
        self.outputs, self.kernel, self.stride, self.groups = outputs, kernel, stride, groups
        self.depth = inputs // groups
        self.attention = nn.Linear(context, experts)
        self.weight = nn.Parameter(torch.empty(1, 1, experts, outputs * self.depth * kernel**2))
        nn.init.normal_(self.weight, std=(2 / (self.depth * kernel**2)) ** 0.5)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        mixture = torch.softmax(self.attention(context), -1).view(batch, 1, 1, -1)
        weight = (mixture @ self.weight).transpose(1, 2)
        weight = weight.reshape(batch, self.outputs, self.depth, self.kernel, self.kernel)
        weight = weight.view(batch * self.outputs, self.depth, self.kernel, self.kernel)
        x = x.view(1, -1, height, width)
        y = F.conv2d(x, weight, None, self.stride, self.kernel // 2, groups=self.groups * batch)
        return y.view(batch, self.outputs, y.shape[-2], y.shape[-1])


class ContextReLU(nn.Module):
    """Dynamic ReLU of form B with two pieces, whose coefficients follow from a given context in one layer."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.channels, self.fc = channels, nn.Linear(context, 4 * channels)
        self.register_buffer("scale", torch.tensor([1.0, 1.0, 0.5, 0.5]))
        self.register_buffer("start", torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        delta = 2 * torch.sigmoid(self.fc(context)) - 1
        theta = delta.view(-1, self.channels, 1, 1, 4) * self.scale + self.start
        pieces = x.unsqueeze(-1) * theta[..., :2] + theta[..., 2:]
        return torch.maximum(pieces[..., 0], pieces[..., 1])


class Context(nn.Module):
    """The context of a block, and the gates of its lines and of its columns, from the means of both."""

    def __init__(self, inputs: int, hidden: int, context: int, stride: int) -> None:
        super().__init__()
        self.joint = nn.Sequential(*conv_norm(inputs, context, 1), nn.Hardswish())
        self.lines, self.columns = nn.Conv2d(context, hidden, 1), nn.Conv2d(context, hidden, 1)
        self.pool_lines = nn.AvgPool2d((3, 1), (stride, 1), (1, 0)) if stride > 1 else nn.Identity()
        self.pool_columns = nn.AvgPool2d((1, 3), (1, stride), (0, 1)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lines, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
        joint = self.joint(torch.cat([lines, columns], 2))
        lines, columns = torch.split(joint, [x.shape[2], x.shape[3]], 2)
        lines = torch.sigmoid(self.lines(self.pool_lines(lines)))
        columns = torch.sigmoid(self.columns(self.pool_columns(columns.transpose(2, 3))))
        return joint.mean((2, 3)), lines, columns


class Block(nn.Module):
    def __init__(self, inputs: int, row: tuple[int, int, int, bool, bool, int]) -> None:
        super().__init__()
        kernel, hidden, outputs, _, swish, stride = row
        context = min(max(round_channels(hidden / 4), 32), 128)
        self.context = Context(inputs, hidden, context, stride)
        self.expand = DynamicConv(inputs, hidden, 1, 1, 1, context) if hidden != inputs else None
        self.norm1, self.act1 = nn.BatchNorm2d(hidden), nn.Hardswish() if swish else nn.ReLU()
        self.depthwise = DynamicConv(hidden, hidden, kernel, stride, hidden, context)
        self.norm2, self.act2 = nn.BatchNorm2d(hidden), ContextReLU(hidden, context)
        self.project = DynamicConv(hidden, outputs, 1, 1, 1, context)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        context, lines, columns = self.context(x)
        y = x
        if self.expand is not None:
            y = self.act1(self.norm1(self.expand(y, context)))
        y = self.act2(self.norm2(self.depthwise(y, context)), context)
        y = self.norm3(self.project(y * lines * columns, context))
        return x + y if self.residual else y


class DyMN10(nn.Module):
    """DyMN of width 1, for the 527 classes of AudioSet."""

    def __init__(self, num_classes: int = 527) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(1, 16, 3, 2), nn.Hardswish())
        inputs = [16, *(row[2] for row in LARGE)]
        self.blocks = nn.Sequential(*(Block(width, row) for width, row in zip(inputs, LARGE)))
        self.head = nn.Sequential(*conv_norm(160, 960, 1), nn.Hardswish())
        self.classifier = nn.Sequential(nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))
