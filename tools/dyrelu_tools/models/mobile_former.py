"""Mobile-Former (Chen et al., 2022): an inverted residual and a transformer of a few tokens side by side.

The first token gives the coefficients of the dynamic ReLUs, which have two slopes and no offsets.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mobilenetv2 import conv_norm

# Expanded channels, channels, stride: the network of 26 million multiply-adds.
M26 = [
    (72, 24, 2),
    (72, 24, 1),
    (144, 48, 2),
    (192, 48, 1),
    (288, 64, 1),
    (384, 64, 1),
    (576, 96, 2),
    (576, 96, 1),
]
TOKENS, TOKEN_WIDTH = 3, 128


class TokenReLU(nn.Module):
    """Dynamic ReLU `max(a_1 x, a_2 x)` with slopes from a token."""

    def __init__(self, channels: int, token: int = TOKEN_WIDTH, reduction: int = 4) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(token, token // reduction), nn.ReLU(), nn.Linear(token // reduction, 2 * channels))
        self.channels = channels

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        delta = F.hardsigmoid(self.fc(token)) - 0.5
        a1, a2 = torch.split((delta * 2).view(-1, 2 * self.channels, 1, 1), self.channels, 1)
        return torch.maximum(x * (a1 + 1), x * a2)


class ToTokens(nn.Module):
    """Attention from the map to the tokens. Keys and values are the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.out = nn.Linear(TOKEN_WIDTH, channels), nn.Linear(channels, TOKEN_WIDTH)
        self.norm, self.scale = nn.LayerNorm(TOKEN_WIDTH), channels**-0.5

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        flat = x.flatten(2)
        attention = torch.softmax(self.query(tokens) @ flat * self.scale, -1)
        return self.norm(tokens + self.out(attention @ flat.transpose(1, 2)))


class Former(nn.Module):
    """Attention of the tokens to one another, and a feed-forward network."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        width = TOKEN_WIDTH
        self.heads, self.query, self.out = heads, nn.Linear(width, width), nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        query, key = (t.view(batch, count, self.heads, -1).transpose(1, 2) for t in (self.query(tokens), tokens))
        attention = torch.softmax(query @ key.transpose(2, 3) * (width // self.heads) ** -0.5, -1)
        mixed = (attention @ key).transpose(1, 2).reshape(batch, count, width)
        tokens = self.norm1(tokens + self.out(mixed))
        return self.norm2(tokens + self.mlp(tokens))


class ToMap(nn.Module):
    """Attention from the tokens to the map. The queries are the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(TOKEN_WIDTH, channels), nn.Linear(TOKEN_WIDTH, channels)
        self.scale = channels**-0.5

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        keys, values = self.key(tokens), self.value(tokens)
        attention = torch.softmax(keys @ x.flatten(2) * self.scale, 1)
        return x + (values.transpose(1, 2) @ attention).view(x.shape)


class Block(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.to_tokens, self.former, self.to_map = ToTokens(inputs), Former(), ToMap(outputs)
        self.expand = nn.Sequential(*conv_norm(inputs, hidden, 1))
        self.depthwise = nn.Sequential(*conv_norm(hidden, hidden, 3, stride, hidden))
        self.project = nn.Sequential(*conv_norm(hidden, outputs, 1))
        self.act1, self.act2 = TokenReLU(hidden), TokenReLU(hidden)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.former(self.to_tokens(x, tokens))
        token = tokens[:, 0]
        y = self.act1(self.expand(x), token)
        y = self.project(self.act2(self.depthwise(y), token))
        y = x + y if self.residual else y
        return self.to_map(y, tokens), tokens


class MobileFormer(nn.Module):
    def __init__(self, rows: list[tuple[int, int, int]] = M26, num_classes: int = 1000) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1, TOKENS, TOKEN_WIDTH))
        stem, narrow = 8, 12
        self.stem = nn.Sequential(
            *conv_norm(3, stem, 3, 2),
            nn.Hardswish(),
            *conv_norm(stem, 24, 3, 2, stem),
            nn.ReLU6(),
            *conv_norm(24, narrow, 1),
        )
        inputs = [narrow, *(row[1] for row in rows)]
        self.blocks = nn.ModuleList(Block(width, *row) for width, row in zip(inputs, rows))
        self.head, last = nn.Sequential(*conv_norm(inputs[-1], 576, 1), nn.ReLU6()), 1024
        self.classifier = nn.Sequential(nn.Linear(576 + TOKEN_WIDTH, last), nn.Hardswish(), nn.Linear(last, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        tokens = self.tokens.expand(x.shape[0], -1, -1)
        for block in self.blocks:
            x, tokens = block(x, tokens)
        context = self.head(x).mean((2, 3))
        return self.classifier(torch.cat([context, tokens[:, 0]], 1))
