"""Weights of dynamic ReLUs as published code keeps them, converted for `activations.DyReLU`:
`python -m dyrelu_tools.convert_state_dict --help`.

    python -m dyrelu_tools.convert_state_dict weights.pth converted.pth

The names of the tensors tell who wrote a module, and with it the order of the coefficients and the
squashing function; their shapes tell form, K and widths. What neither tells can be stated: whether two blocks
are two slopes or a slope and an offset, the temperature of an attention.

The file that is written has `state_dict`, with the tensors of every activation that was found under
the names of `DyReLU` and all others as they were, and `activations`, the arguments of each by name.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .activations import DyReLU

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Dialect:
    """How somebody's module names and orders what makes coefficients.

    `fc1` and `fc2` are the names of the two layers, `buffers` tensors that have to be there too.
    Coefficients are blocks of one entry a channel, in the order of `blocks`, or lie side by side
    for each channel in the paper's order where `blocks` is empty.
    """

    name: str
    fc1: str
    fc2: str
    squash: str
    blocks: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()


CHUNKS = ("a1", "b1", "a2", "b2")

DIALECTS = [
    Dialect("interleaved", "fc1", "fc2", "sigmoid", buffers=("lambdas", "init_v")),
    Dialect("interleaved, fc_1", "fc_1", "fc_2", "sigmoid"),
    Dialect("interleaved, sequential", "dynamic.0", "dynamic.2", "sigmoid"),
    Dialect("interleaved, hyperfunction", "hyperfunction.0", "hyperfunction.2", "sigmoid"),
    Dialect("a layer a piece", "fc1", "fc2.0", "sigmoid", CHUNKS),
    Dialect("blocked", "fc.0", "fc.2", "hard_sigmoid", CHUNKS),
    Dialect("blocked, 1x1 convolutions", "conv1.conv", "conv2.conv", "hard_sigmoid", CHUNKS),
    Dialect("blocked, plain 1x1 convolutions", "conv1", "conv2", "hard_sigmoid", CHUNKS),
    Dialect("slopes alone", "hyper.0", "hyper.2", "hard_sigmoid", ("a1", "a2")),
]

# Names that are found in published code and mean something that a `DyReLU` cannot compute.
BEYOND = {
    "coef_net.0.weight": "has no hidden layer: its context comes from another branch",
    "coef_net.weight": "has no hidden layer: its context comes from another branch",
    "mlp.3.weight": "has a ReLU6 in its hidden layer",
    "project.0.weight": "has a GELU in its hidden layer and no squashing function",
}


@dataclass(frozen=True)
class Converted:
    """Arguments and weights of a `DyReLU`."""

    dialect: str
    arguments: dict[str, object]
    state: dict[str, Tensor]

    def module(self) -> DyReLU:
        module = DyReLU(**self.arguments)
        module.load_state_dict(self.state)
        return module


def convert(
    state: State,
    prefix: str = "",
    *,
    form: str | None = None,
    offsets: bool = True,
    tau: float | None = None,
) -> Converted:
    """The activation whose tensors begin with `prefix`.

    `form` settles whether few outputs are shared coefficients (A) or those of few channels (B);
    without `offsets`, two blocks are the slopes of two pieces. `tau` is the temperature of the
    attention, by default 1 where it ends in a batch norm and 10 elsewhere.
    """
    own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    dialect = detect(own, prefix)
    fc1, fc1_bias = layer(own, dialect.fc1)
    fc2, fc2_bias = second_layer(own, dialect)
    channels, hidden = fc1.shape[1], fc1.shape[0]
    shared = form == "A" if form else is_shared(own, dialect, channels, len(fc2))
    names = block_names(dialect, len(fc2) // (1 if shared else channels), offsets)
    if len(names) * (1 if shared else channels) != len(fc2):
        raise ValueError(f"{prefix}{dialect.fc2} has {len(fc2)} outputs, which {channels} channels do not explain")
    k = max(int(name[1:]) for name in names)
    arguments: dict[str, object] = {
        "channels": channels,
        "form": "A" if shared else "B",
        "k": k,
        "hidden": hidden,
        "squash": dialect.squash,
        **start_and_scale(own, k),
    }
    converted = {"fc1.weight": fc1, "fc1.bias": fc1_bias}
    for key, tensor in (("fc2.weight", fc2), ("fc2.bias", fc2_bias)):
        converted[key] = reorder(tensor, names, k, side_by_side=not dialect.blocks)
    attention = find_attention(own)
    if attention:
        converted["attention.weight"], converted["attention.bias"], usual_tau = attention
        arguments |= {"form": "C", "tau": usual_tau if tau is None else tau}
    return Converted(dialect.name, arguments, converted)


def detect(own: State, prefix: str = "") -> Dialect:
    """The dialect of one module's tensors."""
    for dialect in DIALECTS:
        needed = (f"{dialect.fc1}.weight", f"{dialect.fc2}.weight", *dialect.buffers)
        if all(key in own for key in needed):
            return dialect
    where = f"the tensors under {prefix!r}" if prefix else "these tensors"
    for key, reason in BEYOND.items():
        if key in own:
            raise ValueError(f"{where} cannot be converted: the module {reason}")
    raise ValueError(f"{where} are in no dialect that is known: {', '.join(sorted(own)) or 'there are none'}")


def layer(own: State, name: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a fully connected layer or a 1x1 convolution."""
    weight = own[f"{name}.weight"].flatten(1)
    return weight, own.get(f"{name}.bias", torch.zeros(len(weight)))


def second_layer(own: State, dialect: Dialect) -> tuple[Tensor, Tensor]:
    """The layer that gives coefficients; one a piece are stacked."""
    if dialect.fc2 != "fc2.0":
        return layer(own, dialect.fc2)
    count = sum(key.startswith("fc2.") and key.endswith(".weight") for key in own)
    weights, biases = zip(*(layer(own, f"fc2.{i}") for i in range(count)))
    return torch.cat(weights), torch.cat(biases)


def is_shared(own: State, dialect: Dialect, channels: int, outputs: int) -> bool:
    """Whether coefficients are those of all channels (form A)."""
    if "init_v" in own:
        return outputs == len(own["init_v"])
    return not dialect.blocks and outputs % (2 * channels) != 0


def block_names(dialect: Dialect, count: int, offsets: bool) -> list[str]:
    """What each block holds: a and b with the number of the piece."""
    if not dialect.blocks:
        k = count // 2
        return [f"a{i + 1}" for i in range(k)] + [f"b{i + 1}" for i in range(k)]
    if "b1" not in dialect.blocks or not offsets:
        return [f"a{i + 1}" for i in range(count)]
    if count == 1:
        return ["a1"]
    return [f"{name}{i + 1}" for i in range(count // 2) for name in "ab"]


def reorder(tensor: Tensor, names: list[str], k: int, side_by_side: bool) -> Tensor:
    """Rows in the order a_1..a_K, b_1..b_K; those that are missing make coefficients that stay as they are."""
    rest = tensor.shape[1:]
    blocks = tensor.view(-1, len(names), *rest).transpose(0, 1) if side_by_side else tensor.view(len(names), -1, *rest)
    found = dict(zip(names, blocks))
    order = [f"{name}{i + 1}" for name in "ab" for i in range(k)]
    return torch.cat([found.get(name, torch.zeros_like(blocks[0])) for name in order])


def start_and_scale(own: State, k: int) -> dict[str, object]:
    """Initial coefficients and their ranges, where a module keeps them as buffers."""
    arguments: dict[str, object] = {}
    if "init_v" in own:
        arguments["initial"] = own["init_v"].tolist()
    elif "a_init" in own and "b_init" in own:
        arguments["initial"] = own["a_init"].flatten().tolist() + own["b_init"].flatten().tolist()
    if "lambdas" in own:
        lambdas = own["lambdas"].tolist()
        a, b = (lambdas[:k], lambdas[k:]) if len(lambdas) == 2 * k and k > 1 else (lambdas[:1], lambdas[1:])
        if len(set(a)) != 1 or len(set(b)) != 1:
            raise ValueError(f"pieces with ranges of their own cannot be converted: {lambdas}")
        arguments |= {"lambda_a": a[0], "lambda_b": b[0]}
    return arguments


def find_attention(own: State) -> tuple[Tensor, Tensor, float] | None:
    """Weight and bias of the convolution that looks at positions, with its batch norm folded in, and
    its usual temperature."""
    for name in ("conv1x1", "spa", "spa.0"):
        if f"{name}.weight" not in own:
            continue
        weight, bias = own[f"{name}.weight"], own.get(f"{name}.bias", torch.zeros(1))
        if "spa.1.running_var" not in own:
            return weight, bias, 10.0
        norm = {part: own[f"spa.1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
        scale = norm["weight"] / torch.sqrt(norm["running_var"] + 1e-5)
        return weight * scale, (bias - norm["running_mean"]) * scale + norm["bias"], 1.0
    return None


def prefixes(state: State) -> list[str]:
    """Where in a network's tensors dynamic ReLUs are. Squeeze-and-excite goes by some of the same
    names, but has one output a channel."""
    found = []
    for key in state:
        for dialect in DIALECTS:
            end = f"{dialect.fc1}.weight"
            prefix = key.removesuffix(end)
            if key == prefix or (prefix and not prefix.endswith(".")):
                continue
            needed = (f"{dialect.fc2}.weight", *dialect.buffers)
            if not all(f"{prefix}{name}" in state for name in needed):
                continue
            weight = state[f"{prefix}{dialect.fc2}.weight"]
            channels = state[key].shape[1]
            narrow = weight.ndim == 2 or weight.shape[2:] == (1, 1)
            if state[key].shape[0] == weight.shape[1] and len(weight) != channels and narrow:
                found.append(prefix)
    return list(dict.fromkeys(found))


def convert_all(state: State, *, tau: float | None = None) -> tuple[dict[str, Tensor], dict[str, Converted]]:
    """All activations of a network: its tensors with theirs replaced, and each by its name."""
    found = {prefix: convert(state, prefix, tau=tau) for prefix in prefixes(state)}
    whole = {key: t for key, t in state.items() if not key.startswith(tuple(found))} if found else dict(state)
    for prefix, converted in found.items():
        whole |= {f"{prefix}{key}": tensor for key, tensor in converted.state.items()}
    return whole, {prefix.removesuffix("."): converted for prefix, converted in found.items()}


def load(path: Path) -> State:
    """The tensors of a file, which may keep them under `state_dict` or `model`."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        state = state.get(key, state)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, help="a state dict, as PyTorch or safetensors writes it")
    parser.add_argument("output", type=Path, nargs="?", help="the file to write; without it, what is found is listed only")
    parser.add_argument("--tau", type=float, help="temperature of attentions, which no file states; the usual one by default")
    args = parser.parse_args()
    whole, found = convert_all(load(args.input), tau=args.tau)
    for name, converted in found.items():
        a = converted.arguments
        print(f"{name}: {converted.dialect}; form {a['form']}, K = {a['k']}, {a['channels']} channels, {a['hidden']} hidden")
    print(f"{len(found)} dynamic ReLUs")
    if args.output:
        activations = {name: converted.arguments for name, converted in found.items()}
        torch.save({"state_dict": whole, "activations": activations}, args.output)


if __name__ == "__main__":
    main()
