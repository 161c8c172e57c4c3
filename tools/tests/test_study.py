"""The study of activations: training of each variant, resumption of runs, and tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dyrelu_tools import study
from dyrelu_tools.activations import DyReLU
from dyrelu_tools.data import Photos
from dyrelu_tools.studies import MINI, STUDIES
from dyrelu_tools.train import Recipe, fit

RECIPE = Recipe(sizes="32:0", epochs=2, batch=8)


def photos(count: int) -> Photos:
    """Random photos of ten classes."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
    return Photos(pixels, np.arange(count) % 10, [str(i) for i in range(10)])


VARIANTS = [(title, name) for title, described in STUDIES.items() for name in described.variants]


@pytest.mark.parametrize(("title", "name"), VARIANTS)
def test_every_parameter_has_a_gradient(title: str, name: str) -> None:
    network = STUDIES[title].build(name).train()
    loss = torch.nn.functional.cross_entropy(network(torch.randn(8, 3, 32, 32)), torch.arange(8))
    loss.backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_initial_attention_is_the_same_everywhere() -> None:
    network = MINI.build("dyrelu-c")
    dynamic = [m for m in network.modules() if isinstance(m, DyReLU)]
    assert dynamic
    for module in dynamic:
        pi = module.attend(torch.randn(2, module.channels, 4, 6))
        torch.testing.assert_close(pi, torch.full_like(pi, 1 / 3))


@pytest.mark.parametrize("title", STUDIES)
def test_the_rows_of_the_tables_are_the_variants(title: str) -> None:
    described = STUDIES[title]
    rows = [row.variant for rows in described.tables.values() for row in rows]
    assert set(rows) == set(described.variants)


def test_an_interrupted_run_is_resumed(tmp_path: Path) -> None:
    def run(recipe: Recipe, name: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = MINI.build("dyrelu-b")
        fit(network, photos(16), photos(10), recipe, tmp_path / name, {})
        return network.state_dict()

    uninterrupted = run(RECIPE, "uninterrupted")

    class Interrupted(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Interrupted

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("builtins.print", stop)
        run(RECIPE, "resumed")
    resumed = run(RECIPE, "resumed")
    torch.testing.assert_close(resumed, uninterrupted)
    assert len((tmp_path / "resumed" / "log.jsonl").read_text().splitlines()) == 2


def test_tables_have_the_mean_and_deviation_of_finished_runs(tmp_path: Path) -> None:
    for name, top1 in (("relu-seed0", 0.5), ("relu-seed1", 0.6), ("dyrelu-b-seed0", 0.75)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"top1": top1}) + "\n")
    accuracies = study.results(tmp_path)
    text = study.table(MINI, "Activation", MINI.tables["Activation"], accuracies, {})
    assert "| ReLU | 24 k | 2 | 55.0 | 7.1 | +0.0 | 60.3 | +0.0 |" in text
    assert "| DY-ReLU-B | 70 k | 1 | 75.0 | – | +20.0 | 66.4 | +6.1 |" in text
    known = {name: study.Cost(1_234_567, 98.7) for name in MINI.variants}
    with_costs = study.table(MINI, "Activation", MINI.tables["Activation"], accuracies, known)
    assert "| ReLU | 24 k | 2 | 55.0 | 7.1 | +0.0 | 60.3 | +0.0 | 1.23 M | 99 |" in with_costs


def test_the_picture_needs_a_run_of_relu(tmp_path: Path) -> None:
    picture, rows = tmp_path / "gains.png", MINI.tables["Activation"]
    study.draw(rows, {"relu": [60.0, 61.0], "dyrelu-b": [66.0]}, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="no run of relu"):
        study.draw(rows, {"dyrelu-b": [66.0]}, picture)
