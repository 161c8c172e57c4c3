"""Dynamic ReLU (Chen et al., ECCV 2020, arXiv 2003.10027) for training and export, and the activations that
it is compared with.

    y = max_k(a_k(x) * x + b_k(x))

Two fully connected layers compute the coefficients from the mean of x over all positions. The module is written
as a chain of multiply, add and maximum, without permutes, so that both of PyTorch's exporters write operators that
every engine reads. Training uses a custom backward pass, for two pieces on a CPU that of `fused`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import fused

Squash = Callable[[Tensor], Tensor]

SQUASH: dict[str, Squash] = {
    "sigmoid": lambda z: 2 * torch.sigmoid(z) - 1,
    "hard_sigmoid": lambda z: 2 * F.hardsigmoid(z) - 1,
}


def hidden_width(channels: int, reduction: int) -> int:
    """Width of the hidden layer: channels / reduction, but at least 4."""
    return max(channels // reduction, 4)


class MaxAffine(torch.autograd.Function):
    """max_k(a_k * x + b_k), with a backward pass that makes a third of the memory accesses of autograd's.

    x has shape [N, C, H, W]. a and b have shape [N, K, C, 1, 1] or [N, K, 1, 1, 1].
    """

    @staticmethod
    def forward(ctx, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        y = torch.addcmul(b[:, 0], x, a[:, 0])
        wins = []
        for k in range(1, a.shape[1]):
            piece = torch.addcmul(b[:, k], x, a[:, k])
            wins.append(piece > y)
            y = torch.maximum(y, piece)
        ctx.save_for_backward(x, a, *wins)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, a, *wins = ctx.saved_tensors
        sums = (2, 3) if a.shape[2] > 1 else (1, 2, 3)
        shape = (a.shape[0], a.shape[2], 1, 1)
        grad_x, grad_a, grad_b = None, [], []
        for k in reversed(range(a.shape[1])):
            share = grad * wins[k - 1] if k > 0 else grad
            grad = grad - share if k > 0 else grad
            part = share * a[:, k]
            grad_x = part if grad_x is None else grad_x.add_(part)
            grad_b.append(share.sum(sums).view(shape))
            grad_a.append(share.mul(x).sum(sums).view(shape))
        return grad_x, torch.stack(grad_a[::-1], 1), torch.stack(grad_b[::-1], 1)


class Dynamic(nn.Module):
    """An activation that computes its coefficients from the image. Base class."""


class DyReLU(Dynamic):
    """Dynamic ReLU of form A (shared coefficients), B (per channel) or C (B times spatial attention).

    Coefficients are in the order of the paper's equation 2: a_1..a_K, b_1..b_K, each with one entry per channel.
    Their initial values are `initial` (alpha_1..alpha_K, beta_1..beta_K), by default (1, 0, ..., 0), which is a
    plain ReLU for K = 2. `hidden` is the width of the hidden layer; it overrides `reduction`. `limit` clips the result
    from above: with a limit of 6, the initial activation of forms A and B is ReLU6. The initial attention of form C is
    1/3 everywhere, so that its initial activation with a limit of 2 is a third of ReLU6.
    """

    def __init__(
        self,
        channels: int,
        form: str = "B",
        k: int = 2,
        reduction: int = 8,
        squash: str = "sigmoid",
        lambda_a: float = 1.0,
        lambda_b: float = 0.5,
        tau: float = 10.0,
        initial: Sequence[float] | None = None,
        hidden: int | None = None,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        if form not in ("A", "B", "C"):
            raise ValueError(f"form must be A, B or C, found {form!r}")
        self.channels, self.form, self.k, self.squash, self.tau, self.limit = channels, form, k, squash, tau, limit
        hidden = hidden or hidden_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, 2 * k * (1 if form == "A" else channels))
        scale = [lambda_a] * k + [lambda_b] * k
        start = initial or [1.0] + [0.0] * (2 * k - 1)
        self.register_buffer("scale", torch.tensor(scale).view(1, 2 * k, 1), persistent=False)
        self.register_buffer("start", torch.tensor(start).view(1, 2 * k, 1), persistent=False)
        if form == "C":
            self.attention = nn.Conv2d(channels, 1, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialises the second layer with small weights, so that training starts close to the static activation."""
        nn.init.normal_(self.fc2.weight, std=0.02)
        nn.init.zeros_(self.fc2.bias)
        self.reset_attention()

    def reset_attention(self) -> None:
        """Initialises the attention of form C to be the same at all positions.

        Networks that initialise all their convolutions must call this afterwards. Kaiming initialisation of a
        convolution with one output channel concentrates the attention on a few positions, and training stalls.
        """
        if self.form == "C":
            nn.init.zeros_(self.attention.weight)
            nn.init.zeros_(self.attention.bias)

    def coefficients(self, x: Tensor) -> Tensor:
        """The coefficients for the images x, of shape [N, 2K, C], or [N, 2K, 1] for form A."""
        z = self.fc2(F.relu(self.fc1(x.mean((2, 3)))))
        delta = SQUASH[self.squash](z).view(-1, 2 * self.k, z.shape[1] // (2 * self.k))
        return delta * self.scale + self.start

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.k == 2 and fused.supports(x):
            return self.forward_fused(x)
        coefficients = self.coefficients(x).unsqueeze(-1).unsqueeze(-1)
        if self.training:
            y = MaxAffine.apply(x, coefficients[:, : self.k], coefficients[:, self.k :])
        else:
            y = x * coefficients[:, 0] + coefficients[:, self.k]
            for k in range(1, self.k):
                y = torch.maximum(y, x * coefficients[:, k] + coefficients[:, self.k + k])
        if self.form == "C":
            y = y * self.attend(x)
        return y if self.limit is None else y.clamp(max=self.limit)

    def forward_fused(self, x: Tensor) -> Tensor:
        """The activation for K = 2 and float32 on a CPU, in one pass over x forwards and one backwards."""
        limit = math.inf if self.limit is None else self.limit
        coefficients = self.coefficients(x).expand(-1, -1, self.channels)
        if self.form == "C":
            return (fused.FusedMaxAffine.apply(x, coefficients, math.inf) * self.attend(x)).clamp(max=limit)
        return fused.FusedMaxAffine.apply(x, coefficients, limit)

    def attend(self, x: Tensor) -> Tensor:
        """pi = min(HW/3 * softmax(z / tau), 1) over the positions of each image."""
        height, width = x.shape[2], x.shape[3]
        z = self.attention(x).flatten(1) / self.tau
        pi = torch.softmax(z, 1) * (height * width / 3)
        return pi.clamp(max=1.0).view(-1, 1, height, width)

    def extra_repr(self) -> str:
        return f"{self.channels}, form={self.form}, k={self.k}, squash={self.squash}"


class SqueezeExcite(Dynamic):
    """Squeeze-and-excite (Hu et al., 2018), then ReLU: one slope per channel, from 0 to 1."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3))))))
        return F.relu(x * gate.unsqueeze(-1).unsqueeze(-1))


class AdaptivelyParametric(Dynamic):
    """APReLU (Zhao et al., 2020): computes the slope of the negative part from the means of both parts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(2 * channels, channels),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.BatchNorm1d(channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        negative, positive = torch.clamp(x, max=0), F.relu(x)
        slope = self.fc(torch.cat([negative.mean((2, 3)), positive.mean((2, 3))], 1))
        return positive + slope.unsqueeze(-1).unsqueeze(-1) * negative


class Maxout(nn.Module):
    """Maxout (Goodfellow et al., 2013): the maximum of several convolutions of the same feature map."""

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.branches
        y = first(x)
        for branch in others:
            y = torch.maximum(y, branch(x))
        return y


Activation = Callable[[int], nn.Module]


@dataclass(frozen=True)
class MaxoutOf:
    """Represents Maxout in `activated`, because Maxout needs the layers before it."""

    k: int = 2

    def __call__(self, channels: int) -> nn.Module:
        raise TypeError("Maxout replaces the convolution before it, which this network does not support")


def activated(layers: Callable[[], list[nn.Module]], channels: int, act: Activation) -> list[nn.Module]:
    """The modules of `layers` followed by an activation. For Maxout, one copy of the layers per piece."""
    if isinstance(act, MaxoutOf):
        return [Maxout(nn.Sequential(*layers()) for _ in range(act.k))]
    return [*layers(), act(channels)]


def activation(name: str) -> Activation:
    """A factory of the named activation, which takes the number of channels.

    Names: relu, relu6, leaky_relu, prelu, se, aprelu, maxout, dyrelu-a, dyrelu-b, dyrelu-c. Options follow the
    name, for example dyrelu-b,k=3,reduction=16 or se,reduction=4 or maxout,k=3.
    """
    title, *options = name.split(",")
    numbers = {key: int(value) for key, value in (option.split("=") for option in options)}
    factories: dict[str, Activation] = {
        "relu": lambda _: nn.ReLU(),
        "relu6": lambda _: nn.ReLU6(),
        "leaky_relu": lambda _: nn.LeakyReLU(),
        "prelu": lambda channels: nn.PReLU(channels),
        "se": lambda channels: SqueezeExcite(channels, **numbers),
        "aprelu": AdaptivelyParametric,
        "dyrelu-a": lambda channels: DyReLU(channels, "A", **numbers),
        "dyrelu-b": lambda channels: DyReLU(channels, "B", **numbers),
        "dyrelu-c": lambda channels: DyReLU(channels, "C", **numbers),
    }
    if title == "maxout":
        return MaxoutOf(**numbers)
    if title not in factories:
        raise ValueError(f"unknown activation {name!r}, expected one of {', '.join(factories)}, maxout")
    return factories[title]
