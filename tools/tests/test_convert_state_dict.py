"""A module with converted weights gives the outputs of the original module."""

import pytest
import torch
from torch import nn

from dyrelu_tools import dialects
from dyrelu_tools.convert_state_dict import convert, convert_all

PLAIN = [f"interleaved-{form}-k{k}" for form in "ABC" for k in (1, 2, 3)]
PLAIN += ["blocked", "blocked-a1b1", "blocked-a1", "pointwise-clamp", "pointwise-native", "token", "separate"]
STATED = {
    "blocked-a1a2": {"offsets": False},
    "blocked-spatial-norm": {},
    "blocked-spatial-tau": {"tau": 10.0},
}
CASES = {name: {} for name in PLAIN} | STATED


def activation(name: str) -> nn.Module:
    """The activation of a style, with weights that are large enough for every part of it to matter."""
    return dialects.network(name).act


def example() -> torch.Tensor:
    return torch.randn(3, dialects.CHANNELS, 5, 7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", CASES)
def test_converted_weights_give_the_same_outputs(name: str) -> None:
    act, x = activation(name), example()
    converted = convert(act.state_dict(), **CASES[name]).module().eval()
    torch.testing.assert_close(converted(x), act(x), atol=1e-5, rtol=1e-5)


def test_a_weighted_sum_is_converted_as_its_dynamic_part() -> None:
    act, x = activation("adapter"), example()
    converted = convert(act.state_dict()).module().eval()
    torch.testing.assert_close(0.75 * converted(x) + 0.25 * x.relu(), act(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fc1, fc2", [("fc_1", "fc_2"), ("dynamic.0", "dynamic.2")])
def test_layers_with_other_names_are_converted(fc1: str, fc2: str) -> None:
    act, x = activation("interleaved-B-k2"), example()
    names = {"fc1": fc1, "fc2": fc2}
    state = {names[k.split(".")[0]] + "." + k.split(".")[1]: v for k, v in act.state_dict().items() if "fc" in k}
    torch.testing.assert_close(convert(state).module().eval()(x), act(x), atol=1e-5, rtol=1e-5)


def test_initial_coefficients_and_ranges_are_converted() -> None:
    act, x = activation("interleaved-B-k2"), example()
    act.init_v.copy_(torch.tensor([1.0, 0.5, 0.25, -0.1]))
    act.lambdas.copy_(torch.tensor([2.0, 2.0, 0.1, 0.1]))
    torch.testing.assert_close(convert(act.state_dict()).module().eval()(x), act(x), atol=1e-5, rtol=1e-5)
    act.lambdas[0] = 1.0
    with pytest.raises(ValueError, match="different ranges"):
        convert(act.state_dict())


@pytest.mark.parametrize(
    "name, reason", [("external-context", "another branch"), ("normalised-theta", "ReLU6"), ("unsquashed", "GELU")]
)
def test_unsupported_modules_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        convert(activation(name).state_dict())


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="not in a known dialect: weight"):
        convert({"weight": torch.zeros(1)})


def test_activations_are_found_in_a_network() -> None:
    excite = nn.ModuleDict({"fc": nn.Sequential(nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 8))})
    plain = nn.ModuleDict({"conv1": nn.Conv2d(8, 8, 3), "conv2": nn.Conv2d(8, 16, 3)})
    network = nn.ModuleDict({"first": activation("blocked"), "se": excite, "plain": plain})
    network["second"] = nn.Sequential(activation("interleaved-C-k3"))
    state, converted = convert_all(network.state_dict())
    assert [(name, c.arguments["form"]) for name, c in converted.items()] == [("first", "B"), ("second.0", "C")]
    network["first"], network["second"] = converted["first"].module(), nn.Sequential(converted["second.0"].module())
    network.load_state_dict(state)
