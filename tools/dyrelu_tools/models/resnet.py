"""ResNets (He et al., 2016) for ImageNet, and ResNet-20 for CIFAR-10."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..activations import Activation


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, act: Activation) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.act1, self.act2 = act(channels), act(channels)
        self.downsample = shortcut(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        return self.act2(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int, act: Activation) -> None:
        super().__init__()
        outputs = 4 * channels
        self.conv1, self.bn1 = conv(inputs, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = conv(channels, outputs, 1), nn.BatchNorm2d(outputs)
        self.act1, self.act2, self.act3 = act(channels), act(channels), act(outputs)
        self.downsample = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        return self.act3(self.bn3(self.conv3(y)) + self.downsample(x))


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    def __init__(
        self,
        act: Activation,
        num_classes: int = 1000,
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
        depths: tuple[int, ...] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act = conv(3, 64, 7, 2), nn.BatchNorm2d(64), act(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        blocks, inputs = [], 64
        for stage, depth in enumerate(depths):
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(inputs, 64 << stage, stride, act))
                inputs = (64 << stage) * block.expansion
        self.layers = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.maxpool(self.act(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


class CifarBlock(nn.Module):
    """A basic block. If the number of channels grows, the shortcut drops every second position and adds zeros."""

    def __init__(self, inputs: int, channels: int, stride: int, act: Activation) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.act1, self.act2 = act(channels), act(channels)
        self.stride, self.zeros = stride, (channels - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.zeros, self.zeros))
        return self.act2(self.bn2(self.conv2(y)) + x)


class CifarResNet20(nn.Module):
    """ResNet-20 with the parameter names of the published weights."""

    def __init__(self, act: Activation, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act = conv(3, 16, 3), nn.BatchNorm2d(16), act(16)
        stages, inputs = [], 16
        for stage in range(3):
            channels = 16 << stage
            blocks = [CifarBlock(inputs, channels, 2 if stage > 0 else 1, act)]
            blocks += [CifarBlock(channels, channels, 1, act) for _ in range(2)]
            stages.append(nn.Sequential(*blocks))
            inputs = channels
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))
