"""Parameter groups of a training: learning rates and weight decay, on networks with random weights."""

from __future__ import annotations

import pytest
from dyrelu_tools.models import build
from dyrelu_tools.train import Recipe, parameter_groups


def rates(recipe: Recipe) -> dict[str, float]:
    """The learning rate of every parameter of a small dynamic network, as a multiple of that of the convolutions."""
    network = build("mobilenetv2-mini", "dyrelu-b", 5)
    names = {p: name for name, p in network.named_parameters()}
    groups = parameter_groups(network, recipe)
    assert sum(len(group["params"]) for group in groups) == len(names)
    for group in groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])
    return {names[p]: group["lr_share"] for group in groups for p in group["params"]}


def is_dynamic(name: str) -> bool:
    return ".fc1." in name or ".fc2." in name


def test_hyperfunctions_have_a_rate_of_their_own() -> None:
    for name, rate in rates(Recipe(hyperfunction_lr=0.25, hyperfunction_fan_in=0)).items():
        assert rate == (0.25 if is_dynamic(name) else 1.0), name


def test_the_rate_of_a_hyperfunction_falls_with_its_inputs_above_the_fan_in() -> None:
    network = dict(build("mobilenetv2-mini", "dyrelu-b", 5).named_parameters())
    found = rates(Recipe(hyperfunction_lr=0.5, hyperfunction_fan_in=16))
    slowest = min(found.values())
    for name, rate in found.items():
        if not is_dynamic(name):
            expected = 1.0
        elif network[name].ndim == 1:
            expected = 0.5
        else:
            expected = 0.5 * min(1.0, 16 / network[name].shape[1])
        assert rate == pytest.approx(expected), name
    assert slowest == 0.5 * 16 / 128


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_groups_have_the_order_of_stored_checkpoints(share: float) -> None:
    """Optimisers find their state by position: other parameters, then hyperfunctions, and matrices before vectors."""
    groups = parameter_groups(build("mobilenetv2-mini", "dyrelu-b", 5), Recipe(hyperfunction_lr=share, hyperfunction_fan_in=0))
    expected = [(1.0, 0.05), (1.0, 0.0), (share, 0.05), (share, 0.0)]
    assert [(g["lr_share"], g["weight_decay"]) for g in groups] == expected
