"""Distillation: fused activations, the initial student, what each kind of training changes, checkpoints, resuming."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from dyrelu_tools import ablation, distil, fused, interpolate, teachers
from dyrelu_tools.activations import DyReLU
from dyrelu_tools.export import load_network
from dyrelu_tools.fused import FusedMaxAffine

KINDS = ["dynamic", "static", "weights"]


def arguments(folder: Path, **changes: object) -> argparse.Namespace:
    options = {
        "run": folder / "run", "cache": folder, "names": folder / "names.tsv", "train": "dynamic", "first_block": 6,
        "start": None, "reduction": 16, "steps": 2, "batch": 2, "lr": 1e-3, "hidden_lr": 0.01, "temperature": 2.0,
        "sharpen": 1.5, "average": 0.99, "every": 1, "seed": 0,
    }  # fmt: skip
    return argparse.Namespace(**options | changes)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder with two blocks of random features and targets, and the names of 1000 classes."""
    generator = np.random.default_rng(0)
    for name, count in {"block-000.npz": 4, "block-001.npz": 2, "kept-out.npz": 2}.items():
        features = generator.standard_normal((count, 80, 14, 14)).astype(np.float16)
        teachers.write(tmp_path / name, features, generator.dirichlet(np.full(1000, 0.01), count))
    (tmp_path / "names.tsv").write_text("".join(f"{i}\tn{i:08}\tname {i}\n" for i in range(1000)))
    return tmp_path


def test_the_fused_activation_and_its_gradients_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 37, 5, 7, requires_grad=True)
    coefficients = torch.randn(3, 4, 37, requires_grad=True)
    a0, a1, b0, b1 = coefficients[..., None, None].unbind(1)
    expected = torch.maximum(x * a0 + b0, x * a1 + b1).clamp(max=0.9)
    found = FusedMaxAffine.apply(x, coefficients, 0.9)
    torch.testing.assert_close(found, expected)
    assert (found == 0.9).any() and (found < 0.9).any()
    weights = torch.randn_like(x)
    for gradient, reference in zip(*(torch.autograd.grad(y, (x, coefficients), weights) for y in (found, expected))):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["A", "B", "C"])
def test_training_is_the_same_without_a_c_compiler(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = DyReLU(12, form, limit=0.5).train()
    torch.nn.init.normal_(module.fc2.weight)
    x, weights = torch.randn(3, 12, 5, 7, requires_grad=True), torch.randn(3, 12, 5, 7)

    def trained() -> tuple[torch.Tensor, ...]:
        y = module(x)
        return y, *torch.autograd.grad(y, (x, *module.parameters()), weights)

    assert fused.supports(x)
    found = trained()
    monkeypatch.setattr(fused, "supports", lambda _: False)
    torch.testing.assert_close(found, trained(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("train", KINDS)
def test_the_student_starts_as_lite0(train: str, tmp_path: Path) -> None:
    network = distil.student(distil.options_of(arguments(tmp_path, train=train)))
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = teachers.LITE0.network()(x)
        assert torch.equal(network(x), expected)
        features = network.trunk(x, teachers.FIRST_BLOCK)
        torch.testing.assert_close(distil.fast_tail(network, train)(features), expected, rtol=1e-4, atol=1e-4)


def test_initial_hidden_units_have_mean_zero_and_deviation_one(tmp_path: Path) -> None:
    tail = distil.fast_tail(distil.student(distil.options_of(arguments(tmp_path))), "dynamic")
    features = torch.randn(100, 80, 14, 14) + torch.randn(100, 80, 1, 1)
    with torch.no_grad():
        before = tail(features[:2])
        distil.whiten(tail, features)
        assert torch.equal(tail(features[:2]), before)
        act = tail.network._blocks[teachers.FIRST_BLOCK]._act0.act
        context = tail.network._blocks[teachers.FIRST_BLOCK]._expand_conv(features).mean((2, 3))
        hidden = act.fc1(context)
    assert hidden.shape == (100, 30)
    torch.testing.assert_close(hidden.mean(0), torch.zeros(30), atol=1e-3, rtol=0)
    torch.testing.assert_close(hidden.std(0, unbiased=False), torch.ones(30), atol=1e-3, rtol=0)
    torch.testing.assert_close(hidden[:, :15], -hidden[:, 15:])


def test_sharpened_probabilities_sum_to_one_and_keep_their_order() -> None:
    found = distil.sharpened(torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]), 2.0)
    torch.testing.assert_close(found, torch.tensor([[2 / 3, 1 / 6, 1 / 6], [1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("train", KINDS)
def test_only_what_is_named_is_trained_and_each_parameter_in_one_group(train: str, tmp_path: Path) -> None:
    tail = distil.fast_tail(distil.student(distil.options_of(arguments(tmp_path, train=train))), train)
    groups = distil.parameter_groups(tail, 0.01)
    share = {p: group["lr_share"] for group in groups for p in group["params"]}
    assert len(share) == sum(len(group["params"]) for group in groups)
    trained = {name: share[p] for name, p in tail.named_parameters() if p in share}
    assert set(trained) == {name for name, p in tail.named_parameters() if p.requires_grad}
    if train == "weights":
        blocks = {int(name.split(".")[2]) for name in trained if "_blocks" in name}
        assert blocks == set(range(teachers.FIRST_BLOCK, 16))
        assert not any("_conv_stem" in name for name in trained)
    else:
        expected = {"fc2.bias": 1.0} if train == "static" else {
            "fc1.weight": 0.01, "fc1.bias": 0.01, "fc2.weight": 1.0, "fc2.bias": 1.0,
        }  # fmt: skip
        assert {(".".join(name.split(".")[-2:]), rate) for name, rate in trained.items()} == set(expected.items())


@pytest.mark.parametrize("train", KINDS)
def test_the_checkpoint_is_the_averaged_network(train: str, cache: Path) -> None:
    run = distil.Run(arguments(cache, train=train))
    run.train()
    averaged = run.average.applied(run.tail)
    run.keep(averaged)
    network, state = load_network(cache / "run" / "checkpoint.pt")
    assert (state["step"], state["train"]) == (2, train)
    with torch.no_grad():
        features = run.features[:3].float()
        expected = averaged(features)
        assert (expected - distil.fast_tail(distil.student(run.options), train)(features)).abs().max() > 1e-4
        torch.testing.assert_close(network.tail(features, teachers.FIRST_BLOCK), expected, rtol=1e-3, atol=1e-3)


def test_a_resumed_run_ends_like_an_uninterrupted_one(cache: Path) -> None:
    whole = distil.Run(arguments(cache, run=cache / "whole", steps=6))
    whole.train()
    # A pass has three steps, so the second run starts at the beginning of a pass.
    distil.Run(arguments(cache, steps=3)).train()
    resumed = distil.Run(arguments(cache, steps=6))
    assert resumed.step == 3
    resumed.train()
    for name, p in whole.tail.named_parameters():
        torch.testing.assert_close(dict(resumed.tail.named_parameters())[name], p, rtol=1e-4, atol=1e-5)


def test_a_run_of_more_blocks_can_start_from_a_trained_head(cache: Path) -> None:
    head = distil.Run(arguments(cache, first_block=16))
    head.train()
    head.keep(head.average.applied(head.tail))
    start = cache / "run" / "checkpoint.pt"
    network, _ = load_network(start)
    more = distil.Run(arguments(cache, run=cache / "more", start=start))
    with torch.no_grad():
        features = more.features[:3].float()
        expected = network.tail(features, teachers.FIRST_BLOCK)
        assert (expected - teachers.LITE0.network().tail(features, teachers.FIRST_BLOCK)).abs().max() > 1e-3
        torch.testing.assert_close(more.tail(features), expected, rtol=1e-3, atol=1e-3)


def test_fixed_coefficients_are_the_mean_and_do_not_depend_on_the_photo() -> None:
    torch.manual_seed(0)
    act = DyReLU(6, "B", reduction=1, limit=6)
    torch.nn.init.normal_(act.fc2.weight)
    x = torch.randn(9, 6, 4, 4)
    mean = act.coefficients(x).mean(0)
    ablation.fix(act, mean)
    torch.testing.assert_close(act.coefficients(x), mean.expand(9, -1, -1), rtol=1e-4, atol=1e-5)


def test_means_are_those_of_all_crops_and_no_share_of_the_training_is_lite0(cache: Path) -> None:
    run = distil.Run(arguments(cache))
    run.train()
    means = ablation.mean_coefficients(run.tail, run.features, batch=4)
    fixed = distil.Tail(ablation.fixed(run.tail.network, means), teachers.FIRST_BLOCK)
    with torch.no_grad():
        inputs = run.tail.network._blocks[teachers.FIRST_BLOCK]._expand_conv(run.features.float())
        expected = run.tail.network._blocks[teachers.FIRST_BLOCK]._act0.act.coefficients(inputs).mean(0)
        torch.testing.assert_close(means[f"_blocks.{teachers.FIRST_BLOCK}._act0"], expected, rtol=1e-4, atol=1e-5)
        found = fixed.network._blocks[teachers.FIRST_BLOCK]._act0.act.coefficients(inputs)
        torch.testing.assert_close(found, expected.expand(len(found), -1, -1), rtol=1e-4, atol=1e-5)
        start = distil.Tail(interpolate.scaled(run.tail.network, 0.0), teachers.FIRST_BLOCK)
        scores = teachers.LITE0.network().tail(run.features.float(), teachers.FIRST_BLOCK)
        torch.testing.assert_close(start(run.features), scores, rtol=1e-3, atol=1e-3)
        assert (run.tail(run.features) - scores).abs().max() > 1e-3
