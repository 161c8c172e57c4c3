"""The network in which one activation has fixed coefficients, and the distance of its outputs."""

import json

import numpy as np
import pytest

from dyrelu_tools.ablation_by_layer import divergence, fixed


def test_only_the_named_activation_reads_its_mean() -> None:
    activations = [{"name": n, "op": {"type": "MaxAffine", "k": 2}, "inputs": ["x", f"{n}.coefficients"]} for n in "ab"]
    metadata = {"dyrelu.version": "1", "dyrelu.graph": json.dumps({"nodes": activations, "outputs": ["b"]})}
    mean = np.ones((1, 4, 3), np.float32)
    tensors, changed = fixed({"weight": mean}, metadata, {"b": mean * 2})
    graph = json.loads(changed["dyrelu.graph"])
    assert [node["inputs"] for node in graph["nodes"]] == [["x", "a.coefficients"], ["x", "b.frozen"]]
    assert graph["outputs"] == ["b"] and changed["dyrelu.version"] == "1"
    assert set(tensors) == {"weight", "b.frozen"} and (tensors["b.frozen"] == 2).all()
    with pytest.raises(ValueError, match="found 0 of 1 activations: c"):
        fixed({}, metadata, {"c": mean})


def test_the_divergence_is_that_of_probabilities() -> None:
    one, other = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.5, 0.25]])
    assert divergence(one, one) == 0
    assert divergence(one, other) == pytest.approx(0.5 * np.log(2) - 0.25 * np.log(2))
