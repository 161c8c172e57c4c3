"""Dynamic ReLU in every style of published code, and related activations.

The modules are our own code. They reproduce the algebra of each style: the order of the coefficients, the squashing
function, the source of the context, and the form of the maximum. Each is part of a small network with convolutions
before and after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import AdaptivelyParametric, DyReLU

CHANNELS = 8
HIDDEN = 4


def layers(inputs: int, outputs: int, hidden: int = HIDDEN) -> tuple[nn.Linear, nn.Linear]:
    return nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)


class Interleaved(nn.Module):
    """The coefficients of a channel are adjacent. The positions are moved to the front, and the maximum is over a new
    last axis."""

    def __init__(
        self, form: str = "B", k: int = 2, dims: int = 2, channels: int = CHANNELS, hidden: int = HIDDEN
    ) -> None:
        super().__init__()
        self.form, self.k, self.dims, self.channels = form, k, dims, channels
        self.fc1, self.fc2 = layers(channels, 2 * k * (1 if form == "A" else channels), hidden)
        self.register_buffer("lambdas", torch.tensor([1.0] * k + [0.5] * k))
        self.register_buffer("init_v", torch.tensor([1.0] + [0.0] * (2 * k - 1)))
        if form == "C":
            self.conv1x1 = nn.Conv2d(channels, 1, 1)

    def theta(self, x: Tensor) -> Tensor:
        context = x.mean(-1)
        if self.dims == 2:
            context = context.mean(-1)
        return 2 * torch.sigmoid(self.fc2(F.relu(self.fc1(context)))) - 1

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(x)
        if self.form == "A":
            coefficients = theta.view(-1, 2 * self.k) * self.lambdas + self.init_v
            moved = x.transpose(0, -1).unsqueeze(-1)
            pieces = moved * coefficients[:, : self.k] + coefficients[:, self.k :]
            return pieces.max(-1)[0].transpose(0, -1)
        coefficients = theta.view(-1, self.channels, 2 * self.k) * self.lambdas + self.init_v
        there = (2, 3, 0, 1) if self.dims == 2 else (2, 0, 1)
        back = (2, 3, 0, 1) if self.dims == 2 else (1, 2, 0)
        moved = x.permute(*there).unsqueeze(-1)
        pieces = moved * coefficients[:, :, : self.k] + coefficients[:, :, self.k :]
        y = pieces.max(-1)[0].permute(*back)
        if self.form == "C":
            n, _, h, w = x.shape
            pi = F.softmax(self.conv1x1(x).view(n, -1) / 10, dim=1) * (h * w / 3)
            y = y * torch.min(pi, torch.ones_like(pi)).view(n, 1, h, w)
        return y


class Blocked(nn.Module):
    """Blocks [a1|b1|a2|b2] and a hard sigmoid written with relu6. The context may come from another map, and a spatial
    branch is optional."""

    def __init__(self, pieces: str = "a1 b1 a2 b2", spatial: str | None = None, other: bool = False) -> None:
        super().__init__()
        self.pieces, self.spatial, self.other = pieces.split(), spatial, other
        fc1, fc2 = layers(CHANNELS, len(self.pieces) * CHANNELS)
        self.fc = nn.Sequential(fc1, nn.ReLU(), fc2)
        if spatial == "norm":
            self.spa = nn.Sequential(nn.Conv2d(CHANNELS, 1, 1), nn.BatchNorm2d(1))
        elif spatial == "tau":
            self.spa = nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        source = x.flip(1) * 0.5 if self.other else x
        context = F.adaptive_avg_pool2d(source, 1).view(n, c)
        s = F.relu6(self.fc(context).view(n, -1, 1, 1) + 3) / 6
        part = dict(zip(self.pieces, torch.split(s, c, dim=1)))
        y = x * ((part["a1"] - 0.5) * 2 + 1.0)
        if "b1" in part:
            y = y + (part["b1"] - 0.5)
        if "a2" in part:
            second = x * ((part["a2"] - 0.5) * 2)
            y = torch.max(y, second + (part["b2"] - 0.5) if "b2" in part else second)
        if self.spatial == "norm":
            pi = self.spa(x).view(n, -1)
            pi = F.softmax(pi, dim=1).view(n, 1, h, w) * h * w
            y = y * (F.hardtanh(pi, 0, 3) / 3)
        elif self.spatial == "tau":
            pi = F.softmax(self.spa(x).view(n, -1) / 10.0, dim=1).view(n, 1, h, w) * h * w
            y = y * (F.hardtanh(pi, 0, 3) / 3)
        return y


class Pointwise(nn.Module):
    """1x1 convolutions instead of fully connected layers. The hard sigmoid is a clamp or PyTorch's own function."""

    def __init__(self, native: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(CHANNELS, HIDDEN, 1), nn.Conv2d(HIDDEN, 4 * CHANNELS, 1)
        self.native = native

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv2(F.relu(self.conv1(F.adaptive_avg_pool2d(x, 1))))
        s = F.hardsigmoid(z) if self.native else ((z + 3) / 6).clamp(0, 1)
        a1, b1, a2, b2 = torch.split(s - 0.5, CHANNELS, dim=1)
        return torch.max(x * (a1 * 2 + 1) + b1, x * (a2 * 2) + b2)


class External(nn.Module):
    """One layer on a context from another branch. The entries of a last axis are selected one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Conv2d(CHANNELS, 6, 1), nn.BatchNorm2d(6), nn.Hardswish())
        self.coef_net = nn.Linear(6, 4 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        context = self.generator(x).mean((2, 3))
        theta = 2 * torch.sigmoid(self.coef_net(context)) - 1
        scale = torch.tensor([1.0, 1.0, 0.5, 0.5])
        coefficients = theta.view(-1, CHANNELS, 1, 1, 4) * scale + torch.tensor([1.0, 0, 0, 0])
        pieces = x.unsqueeze(-1) * coefficients[..., :2] + coefficients[..., 2:]
        return torch.maximum(pieces[..., 0], pieces[..., 1])


class Token(nn.Module):
    """Blocks [a1|a2] without offsets, computed from a token, which is the pooled context."""

    def __init__(self) -> None:
        super().__init__()
        fc1, fc2 = layers(CHANNELS, 2 * CHANNELS)
        self.hyper = nn.Sequential(fc1, nn.ReLU(), fc2, nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        token = x.mean((2, 3))
        a = (self.hyper(token).view(-1, 2 * CHANNELS, 1, 1) - 0.5) * 2
        a1, a2 = torch.split(a, CHANNELS, 1)
        return torch.max(x * (a1 + 1), x * a2)


class SharedTheta(nn.Module):
    """Two activations with the same coefficients."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Interleaved()
        self.between = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        theta = self.first.theta(x).view(-1, CHANNELS, 4) * self.first.lambdas + self.first.init_v

        def act(y: Tensor) -> Tensor:
            pieces = y.permute(2, 3, 0, 1).unsqueeze(-1) * theta[:, :, :2] + theta[:, :, 2:]
            return pieces.max(-1)[0].permute(2, 3, 0, 1)

        return act(self.between(act(x)))


class NormalisedTheta(nn.Module):
    """Blocks [a_1..a_K|b_1..b_K], ReLU6 in the hidden layer, and batch norm after the second layer."""

    def __init__(self) -> None:
        super().__init__()
        fc1, fc2 = layers(CHANNELS, 4 * CHANNELS)
        self.mlp = nn.Sequential(fc1, nn.Dropout(0.1), nn.ReLU6(), fc2, nn.BatchNorm1d(4 * CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        theta = 2 * torch.sigmoid(self.mlp(x.mean((2, 3)))) - 1
        a, b = theta.view(-1, 2, 2, CHANNELS, 1, 1).unbind(1)
        a = a + torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
        return (x.unsqueeze(1) * a + b * 0.5).max(1)[0]


class Unsquashed(nn.Module):
    """Layer norm instead of a squashing function."""

    def __init__(self) -> None:
        super().__init__()
        fc1, fc2 = layers(CHANNELS, 4 * CHANNELS)
        self.project = nn.Sequential(fc1, nn.GELU(), fc2, nn.LayerNorm(4 * CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        theta = self.project(x.mean((2, 3))).view(-1, CHANNELS, 4)
        theta = theta * torch.tensor([1.0, 1.0, 0.5, 0.5]) + torch.tensor([1.0, 0, 0, 0])
        pieces = x.permute(2, 3, 0, 1).unsqueeze(-1) * theta[:, :, :2] + theta[:, :, 2:]
        return pieces.max(-1)[0].permute(2, 3, 0, 1)


class Adapter(nn.Module):
    """A weighted sum of the dynamic and the plain activation."""

    def __init__(self) -> None:
        super().__init__()
        fc1, fc2 = layers(CHANNELS, 4 * CHANNELS)
        self.hyperfunction = nn.Sequential(fc1, nn.ReLU(), fc2, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        theta = (2 * self.hyperfunction(x.mean((2, 3))) - 1).view(-1, CHANNELS, 4)
        a = (theta[:, :, :2] + torch.tensor([1.0, 0.0])).view(-1, CHANNELS, 2, 1, 1)
        b = (theta[:, :, 2:] * 0.5).view(-1, CHANNELS, 2, 1, 1)
        dynamic = (x.unsqueeze(2) * a + b).max(2)[0]
        return 0.75 * dynamic + 0.25 * F.relu(x)


class Separate(nn.Module):
    """One second layer per piece."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(CHANNELS, HIDDEN)
        self.fc2 = nn.ModuleList(nn.Linear(HIDDEN, 2 * CHANNELS) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.fc1(x.mean((2, 3))))
        pieces = []
        for k, fc in enumerate(self.fc2):
            a, b = (2 * torch.sigmoid(fc(hidden)) - 1).view(-1, 2 * CHANNELS, 1, 1).chunk(2, 1)
            pieces.append(x * (a + (1.0 if k == 0 else 0.0)) + 0.5 * b)
        return torch.stack(pieces).max(0)[0]


class Twice(nn.Module):
    """The same module at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.between = Interleaved(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.between(self.relu(x)))


class ShiftMax(nn.Module):
    """Dynamic Shift-Max: every piece also has a term in a second tensor, the map with its channels shifted."""

    def __init__(self) -> None:
        super().__init__()
        fc1, fc2 = layers(CHANNELS, 4 * CHANNELS)
        self.fc = nn.Sequential(fc1, nn.ReLU(), fc2, nn.Hardsigmoid())
        self.register_buffer("index", torch.arange(CHANNELS).roll(3))

    def forward(self, x: Tensor) -> Tensor:
        s = (self.fc(x.mean((2, 3))).view(-1, 4 * CHANNELS, 1, 1) - 0.5) * 4
        a1, b1, a2, b2 = torch.split(s, CHANNELS, 1)
        moved = x.index_select(1, self.index)
        return torch.max(x * (a1 + 1) + moved * b1, x * (a2 + 1) + moved * b2)


class Positional(nn.Module):
    """Coefficients that depend on the position. This is not a dynamic ReLU, although it resembles one."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a1, a2 = torch.split(torch.sigmoid(self.map(x)), CHANNELS, 1)
        return torch.max(x * (a1 + 1), x * a2)


class SqueezeExcite(nn.Module):
    def __init__(self, hard: bool = False) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(CHANNELS, HIDDEN, 1), nn.Conv2d(HIDDEN, CHANNELS, 1)
        self.gate = nn.Hardsigmoid() if hard else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class AdaptivelyParametricShared(nn.Module):
    """APReLU with one slope for all channels, which its authors use for small images."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1), nn.BatchNorm1d(1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        positive = F.relu(x)
        negative = torch.minimum(x, torch.zeros_like(x))
        context = torch.stack([part.mean((2, 3)).mean(1) for part in (negative, positive)], 1)
        return positive + negative * self.fc(context).view(-1, 1, 1, 1)


class Maxout(nn.Module):
    """The maximum of K convolutions."""

    def __init__(self, k: int = 2) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(k))

    def forward(self, x: Tensor) -> Tensor:
        y = self.convs[0](x)
        for conv in self.convs[1:]:
            y = torch.maximum(y, conv(x))
        return y


class Funnel(nn.Module):
    """FReLU: the maximum of the map and its depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
        self.norm = nn.BatchNorm2d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.max(x, self.norm(self.conv(x)))


def parametric(slope: float) -> nn.PReLU:
    act = nn.PReLU(CHANNELS)
    nn.init.uniform_(act.weight, 0.1, slope)
    return act


@dataclass
class Case:
    """A style, and the activations that the compiler should recognise in a network that uses it once."""

    make: Callable[[], nn.Module]
    found: list[dict] = field(default_factory=list)
    unrecognised: int = 0
    dims: int = 2


def dynamic(form: str, k: int, squash: str | None, hidden: int | None = HIDDEN) -> dict:
    return {"form": form, "k": k, "channels": CHANNELS, "hidden": hidden, "squash": squash}


def cases() -> dict[str, Case]:
    """All styles by name."""
    styles: dict[str, Case] = {}
    for form in "ABC":
        for k in (1, 2, 3):
            make = lambda form=form, k=k: Interleaved(form, k)
            styles[f"interleaved-{form}-k{k}"] = Case(make, [dynamic(form, k, "sigmoid")])
            for squash in ("sigmoid", "hard_sigmoid"):
                make = lambda form=form, k=k, squash=squash: DyReLU(
                    CHANNELS, form, k, reduction=2, squash=squash
                )
                styles[f"chain-{squash}-{form}-k{k}"] = Case(make, [dynamic(form, k, squash)])
    styles["interleaved-1d"] = Case(lambda: Interleaved(dims=1), [dynamic("B", 2, "sigmoid")], dims=1)
    hard = dynamic("B", 2, "hard_sigmoid")
    styles["blocked"] = Case(Blocked, [hard])
    styles["blocked-a1b1"] = Case(lambda: Blocked("a1 b1"), [dynamic("B", 1, "hard_sigmoid")])
    styles["blocked-a1a2"] = Case(lambda: Blocked("a1 a2"), [hard])
    styles["blocked-a1"] = Case(lambda: Blocked("a1"), [dynamic("B", 1, "hard_sigmoid")])
    styles["blocked-spatial-norm"] = Case(lambda: Blocked(spatial="norm"), [dynamic("C", 2, "hard_sigmoid")])
    styles["blocked-spatial-tau"] = Case(lambda: Blocked(spatial="tau"), [dynamic("C", 2, "hard_sigmoid")])
    styles["blocked-other-input"] = Case(lambda: Blocked(other=True), [hard])
    styles["pointwise-clamp"] = Case(Pointwise, [hard])
    styles["pointwise-native"] = Case(lambda: Pointwise(native=True), [hard])
    styles["external-context"] = Case(External, [dynamic("B", 2, "sigmoid", None)])
    styles["token"] = Case(Token, [hard])
    styles["shared-theta"] = Case(SharedTheta, [dynamic("B", 2, "sigmoid")] * 2)
    styles["normalised-theta"] = Case(NormalisedTheta, [dynamic("B", 2, "sigmoid")])
    styles["unsquashed"] = Case(Unsquashed, [dynamic("B", 2, None, None)])
    styles["adapter"] = Case(Adapter, [dynamic("B", 2, "sigmoid")])
    styles["separate"] = Case(Separate, [dynamic("B", 2, "sigmoid")])
    styles["twice"] = Case(Twice, [dynamic("B", 2, "sigmoid")] * 2)
    styles["shift-max"] = Case(ShiftMax, [dynamic("Shift-Max", 2, "hard_sigmoid")])
    styles["positional"] = Case(Positional, unrecognised=1)
    styles["se"] = Case(SqueezeExcite, [dynamic("SE", 1, "sigmoid")])
    styles["se-hard"] = Case(lambda: SqueezeExcite(hard=True), [dynamic("SE", 1, "hard_sigmoid")])
    styles["aprelu"] = Case(lambda: AdaptivelyParametric(CHANNELS), [dynamic("APReLU", 2, "sigmoid", CHANNELS)])
    styles["maxout-k2"] = Case(Maxout)
    styles["maxout-k3"] = Case(lambda: Maxout(3))
    styles["frelu"] = Case(Funnel)
    styles["prelu"] = Case(lambda: parametric(0.9))
    styles["prelu-steep"] = Case(lambda: parametric(1.9))
    styles["leaky-relu"] = Case(lambda: nn.LeakyReLU(0.1))
    styles["aprelu-shared"] = Case(AdaptivelyParametricShared, [dynamic("APReLU", 2, "sigmoid", 2)])
    return styles


class Network(nn.Module):
    """A convolution, the activation, another convolution and a classifier."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if case.dims == 2 else (nn.Conv1d, nn.BatchNorm1d)
        self.stem, self.norm = conv(3, CHANNELS, 3, padding=1, bias=False), norm(CHANNELS)
        self.act = case.make()
        self.mix = conv(CHANNELS, 6, 1)
        self.classifier = nn.Linear(6, 5)
        self.spatial = (2, 3) if case.dims == 2 else (2,)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(self.act(self.norm(self.stem(x))))
        return self.classifier(y.mean(self.spatial))


def network(name: str) -> Network:
    """The network of a style, with random weights that are large enough for every part of the activation to matter."""
    torch.manual_seed(sum(map(ord, name)))
    net = Network(cases()[name]).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, 1.2)
                module.bias.normal_(0, 0.5)
    return net


def example(name: str, batch: int) -> Tensor:
    """An input for the network of a style, with sizes that are not multiples of a vector."""
    generator = torch.Generator().manual_seed(7)
    size = (13, 11) if cases()[name].dims == 2 else (29,)
    return torch.randn(batch, 3, *size, generator=generator)
