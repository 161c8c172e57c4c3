"""Converts the weights of dynamic ReLUs from published code for `activations.DyReLU`:
`python -m dyrelu_tools.convert_state_dict --help`.

    python -m dyrelu_tools.convert_state_dict weights.pth converted.pth

The names of the tensors identify the implementation, and thereby the order of the coefficients and the squashing
function. The shapes give the form, K and the widths. Two facts can be in neither and are arguments: whether two
blocks are two slopes or a slope and an offset, and the temperature of an attention.

The output has two entries. `state_dict` has the tensors of every dynamic ReLU under the names of `DyReLU`, and all
other tensors unchanged. `activations` has the arguments of each `DyReLU` by name.
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
    """How a published implementation names its layers and orders its coefficients.

    `fc1` and `fc2` are the names of the two layers. `buffers` are other tensors that must be present. Coefficients
    are blocks with one entry per channel, in the order of `blocks`. If `blocks` is empty, the coefficients of a
    channel are adjacent, in the paper's order.
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
    Dialect("one layer per piece", "fc1", "fc2.0", "sigmoid", CHUNKS),
    Dialect("blocked", "fc.0", "fc.2", "hard_sigmoid", CHUNKS),
    Dialect("blocked, 1x1 convolutions", "conv1.conv", "conv2.conv", "hard_sigmoid", CHUNKS),
    Dialect("blocked, plain 1x1 convolutions", "conv1", "conv2", "hard_sigmoid", CHUNKS),
    Dialect("slopes alone", "hyper.0", "hyper.2", "hard_sigmoid", ("a1", "a2")),
]

# Names from published code of modules that `DyReLU` cannot represent, with the reason.
UNSUPPORTED = {
    "coef_net.0.weight": "has no hidden layer: its context comes from another branch",
    "coef_net.weight": "has no hidden layer: its context comes from another branch",
    "mlp.3.weight": "has a ReLU6 in its hidden layer",
    "project.0.weight": "has a GELU in its hidden layer and no squashing function",
}


@dataclass(frozen=True)
class Converted:
    """The arguments and weights of a `DyReLU`."""

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
    """Converts the activation whose tensors begin with `prefix`.

    `form` decides whether a small number of outputs are shared coefficients (A) or those of few channels (B).
    Without `offsets`, two blocks are the slopes of two pieces. `tau` is the temperature of the attention, by default
    1 if the attention ends with a batch norm and 10 otherwise.
    """
    own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    dialect = detect(own, prefix)
    fc1, fc1_bias = layer(own, dialect.fc1)
    fc2, fc2_bias = second_layer(own, dialect)
    channels, hidden = fc1.shape[1], fc1.shape[0]
    shared = form == "A" if form else is_shared(own, dialect, channels, len(fc2))
    names = block_names(dialect, len(fc2) // (1 if shared else channels), offsets)
    if len(names) * (1 if shared else channels) != len(fc2):
        raise ValueError(f"{prefix}{dialect.fc2} has {len(fc2)} outputs, which do not fit {channels} channels")
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
        converted[key] = reorder(tensor, names, k, adjacent=not dialect.blocks)
    attention = find_attention(own)
    if attention:
        converted["attention.weight"], converted["attention.bias"], usual_tau = attention
        arguments |= {"form": "C", "tau": usual_tau if tau is None else tau}
    return Converted(dialect.name, arguments, converted)


def detect(own: State, prefix: str = "") -> Dialect:
    """The dialect of the tensors of one module."""
    for dialect in DIALECTS:
        needed = (f"{dialect.fc1}.weight", f"{dialect.fc2}.weight", *dialect.buffers)
        if all(key in own for key in needed):
            return dialect
    where = f"the tensors under {prefix!r}" if prefix else "these tensors"
    for key, reason in UNSUPPORTED.items():
        if key in own:
            raise ValueError(f"{where} cannot be converted: the module {reason}")
    raise ValueError(f"{where} are not in a known dialect: {', '.join(sorted(own)) or 'there are none'}")


def layer(own: State, name: str) -> tuple[Tensor, Tensor]:
    """The weight and bias of a fully connected layer or a 1x1 convolution."""
    weight = own[f"{name}.weight"].flatten(1)
    return weight, own.get(f"{name}.bias", torch.zeros(len(weight)))


def second_layer(own: State, dialect: Dialect) -> tuple[Tensor, Tensor]:
    """The layer that computes coefficients. Layers per piece are concatenated."""
    if dialect.fc2 != "fc2.0":
        return layer(own, dialect.fc2)
    count = sum(key.startswith("fc2.") and key.endswith(".weight") for key in own)
    weights, biases = zip(*(layer(own, f"fc2.{i}") for i in range(count)))
    return torch.cat(weights), torch.cat(biases)


def is_shared(own: State, dialect: Dialect, channels: int, outputs: int) -> bool:
    """Whether all channels share the coefficients (form A)."""
    if "init_v" in own:
        return outputs == len(own["init_v"])
    return not dialect.blocks and outputs % (2 * channels) != 0


def block_names(dialect: Dialect, count: int, offsets: bool) -> list[str]:
    """The coefficient of each block: a or b with the number of the piece."""
    if not dialect.blocks:
        k = count // 2
        return [f"a{i + 1}" for i in range(k)] + [f"b{i + 1}" for i in range(k)]
    if "b1" not in dialect.blocks or not offsets:
        return [f"a{i + 1}" for i in range(count)]
    if count == 1:
        return ["a1"]
    return [f"{name}{i + 1}" for i in range(count // 2) for name in "ab"]


def reorder(tensor: Tensor, names: list[str], k: int, adjacent: bool) -> Tensor:
    """The rows in the order a_1..a_K, b_1..b_K. Missing rows are zero, so these coefficients stay at their initial
    values."""
    rest = tensor.shape[1:]
    blocks = tensor.view(-1, len(names), *rest).transpose(0, 1) if adjacent else tensor.view(len(names), -1, *rest)
    by_name = dict(zip(names, blocks))
    order = [f"{name}{i + 1}" for name in "ab" for i in range(k)]
    return torch.cat([by_name.get(name, torch.zeros_like(blocks[0])) for name in order])


def start_and_scale(own: State, k: int) -> dict[str, object]:
    """The initial coefficients and their ranges, if the module stores them as buffers."""
    arguments: dict[str, object] = {}
    if "init_v" in own:
        arguments["initial"] = own["init_v"].tolist()
    elif "a_init" in own and "b_init" in own:
        arguments["initial"] = own["a_init"].flatten().tolist() + own["b_init"].flatten().tolist()
    if "lambdas" in own:
        lambdas = own["lambdas"].tolist()
        a, b = (lambdas[:k], lambdas[k:]) if len(lambdas) == 2 * k and k > 1 else (lambdas[:1], lambdas[1:])
        if len(set(a)) != 1 or len(set(b)) != 1:
            raise ValueError(f"pieces with different ranges cannot be converted: {lambdas}")
        arguments |= {"lambda_a": a[0], "lambda_b": b[0]}
    return arguments


def find_attention(own: State) -> tuple[Tensor, Tensor, float] | None:
    """The weight and bias of the convolution of the attention, with its batch norm folded in, and the usual
    temperature."""
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
    """The prefixes of the dynamic ReLUs in the tensors of a network.

    Squeeze-and-excite has some of the same names, but one output per channel.
    """
    names = []
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
                names.append(prefix)
    return list(dict.fromkeys(names))


def convert_all(state: State, *, tau: float | None = None) -> tuple[dict[str, Tensor], dict[str, Converted]]:
    """Converts all dynamic ReLUs of a network. Returns the tensors of the network, and the activations by name."""
    by_prefix = {prefix: convert(state, prefix, tau=tau) for prefix in prefixes(state)}
    others = {key: t for key, t in state.items() if not key.startswith(tuple(by_prefix))} if by_prefix else dict(state)
    converted_state = others
    for prefix, converted in by_prefix.items():
        converted_state |= {f"{prefix}{key}": tensor for key, tensor in converted.state.items()}
    return converted_state, {prefix.removesuffix("."): converted for prefix, converted in by_prefix.items()}


def load(path: Path) -> State:
    """The tensors of a file, which may be under `state_dict` or `model`."""
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
    parser.add_argument("output", type=Path, nargs="?", help="the file to write; by default, the dynamic ReLUs are only listed")
    parser.add_argument("--tau", type=float, help="temperature of attentions, which files do not state; by default the usual one")
    args = parser.parse_args()
    state, activations = convert_all(load(args.input), tau=args.tau)
    for name, converted in activations.items():
        a = converted.arguments
        print(f"{name}: {converted.dialect}; form {a['form']}, K = {a['k']}, {a['channels']} channels, {a['hidden']} hidden")
    print(f"{len(activations)} dynamic ReLUs")
    if args.output:
        arguments = {name: converted.arguments for name, converted in activations.items()}
        torch.save({"state_dict": state, "activations": arguments}, args.output)


if __name__ == "__main__":
    main()
