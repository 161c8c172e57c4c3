"""The figures of one process, and their medians."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from dyrelu_tools import loading_onnx
from dyrelu_tools.loading_onnx import Loading


def test_onnx_runtime_is_measured_in_another_process(tmp_path: Path) -> None:
    weight = np.ones((1000, 1000), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "t",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1000])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "t.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 1000), np.float32))
    loading = loading_onnx.load_onnxruntime(tmp_path / "t.onnx", tmp_path / "x.npy", 1)
    assert 0 < loading.open_ms < loading.first_result_ms
    assert loading.peak_bytes >= weight.nbytes


def test_a_row_has_medians() -> None:
    ours = [Loading(t / 2, t, 133_000_000, 100_000_000) for t in (30.0, 10.0, 20.0)]
    theirs = [Loading(t / 4, t, 520_000_000) for t in (40.0, 400.0, 4.0)]
    assert loading_onnx.row("net", ours, theirs, (3_000_000, 20_000_000)) == [
        "net", "20.0", "10.0", "40.0", "10.0", "0.50", "100.0", "130.0", "500.0", "1.30",
    ]  # fmt: skip


def test_the_baseline_is_a_network_that_runs(tmp_path: Path) -> None:
    loading = loading_onnx.load_onnxruntime(*loading_onnx.write_relu(tmp_path), 1)
    assert loading.first_result_ms > 0 and loading.needed_bytes is None
