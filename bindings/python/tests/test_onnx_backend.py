"""ONNX's backend interface."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import dyrelu
from dyrelu import onnx_backend
from onnx import TensorProto, helper


def network(operator="Relu"):
    shape = ["N", 3]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "net", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_a_model_of_onnx_runs():
    x = np.array([[-1, 0, 2]], np.float32)
    prepared = onnx_backend.prepare(network())
    for inputs in [[x], {"x": x}, x]:
        outputs = prepared.run(inputs)
        assert np.array_equal(outputs[0], np.maximum(x, 0))
        assert np.array_equal(outputs["y"], outputs[0])
    assert np.array_equal(onnx_backend.run_model(network(), [x])[0], np.maximum(x, 0))


def test_a_node_of_onnx_runs():
    node = helper.make_node("Add", ["a", "b"], ["sum"])
    a, b = np.ones((2, 3), np.float32), np.ones(3, np.float32)
    assert np.array_equal(onnx_backend.run_node(node, [a, b])[0], a + b)


def test_what_cannot_run_is_told():
    assert onnx_backend.supports_device("CPU")
    assert not onnx_backend.supports_device("CUDA:0")
    with pytest.raises(dyrelu.UnsupportedError, match="CUDA"):
        onnx_backend.prepare(network(), "CUDA")
    assert onnx_backend.is_compatible(network())
    assert not onnx_backend.is_compatible(network("Det"))
    with pytest.raises(dyrelu.InputError, match="takes 1 inputs, found 2"):
        x = np.zeros((1, 3), np.float32)
        onnx_backend.prepare(network()).run([x, x])
