"""Spoiled models: what is changed, and that a crash is told from a refusal."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dyrelu_tools.spoiled_models_check import run, spoil


def model() -> onnx.ModelProto:
    """A reduction with an attribute and a constant."""
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    return helper.make_model(helper.make_graph([node], "reduction", [x], [y], [axes]))


def test_every_kind_of_place_is_spoiled() -> None:
    attributes = constants = inputs = 0
    for seed in range(100):
        spoiled, x = model(), {"x": np.ones((1, 4), np.float32)}
        assert spoil(random.Random(seed), spoiled, x)
        onnx.load_from_string(spoiled.SerializeToString())
        attributes += spoiled.graph.node[0].attribute != model().graph.node[0].attribute
        constants += spoiled.graph.initializer[0] != model().graph.initializer[0]
        inputs += "x" not in x or not np.array_equal(x["x"], np.ones((1, 4), np.float32))
    assert min(attributes, constants, inputs) > 10


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("exit 0", "ran"),
        ("echo 'error: model.onnx: no' >&2; exit 2", "refused"),
        ("echo 'thread main panicked' >&2; exit 101", "exit code 101"),
        ("echo 'thread 1 panicked' >&2; exit 2", "exit code 2"),
        ("kill -SEGV $$", "exit code -11"),
    ],
)
def test_a_crash_is_not_a_refusal(script: str, outcome: str, tmp_path: Path) -> None:
    program = tmp_path / "dyrelu"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert run(program, model(), {}, tmp_path)[0] == outcome
