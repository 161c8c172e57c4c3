"""Distillation: the initial hyperfunctions of the student, and their learning rates."""

import argparse

import torch
from torch import nn

from dyrelu_tools import distil
from dyrelu_tools.activations import DyReLU


def test_initial_hidden_units_have_mean_zero_and_deviation_one() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), DyReLU(16), nn.Conv2d(16, 8, 1), DyReLU(8, reduction=2))
    for module in (network[1], network[3]):
        nn.init.zeros_(module.fc2.weight)
    x = torch.rand(64, 3, 8, 8) + 2 * torch.rand(64, 3, 1, 1)
    before = network.eval()(x)
    distil.standardise(network, x)
    torch.testing.assert_close(network(x), before)
    context = x
    for convolution, act in (network[:2], network[2:]):
        context = convolution(context)
        hidden = act.fc1(context.mean((2, 3)))
        torch.testing.assert_close(hidden.mean(0), torch.zeros(len(hidden[0])), atol=1e-4, rtol=0)
        torch.testing.assert_close(hidden.std(0), torch.ones(len(hidden[0])), atol=1e-4, rtol=0)
        context = act(context)


def test_every_parameter_is_in_one_group() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), DyReLU(16))
    args = argparse.Namespace(weight_decay=0.01, hidden_lr=0.1, coefficient_lr=20.0)
    share = {p: group["lr_share"] for group in distil.learning_groups(network, args) for p in group["params"]}
    expected = {"fc1": 0.1, "fc2": 20.0}
    for name, p in network.named_parameters():
        assert share.pop(p) == expected.get(name.split(".")[1], 1.0), name
    assert not share
