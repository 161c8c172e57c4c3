"""Runs ONNX's own operator tests with `dyrelu run`.

    python -m dyrelu_tools.onnx_operator_tests --data onnx/backend/test/data --dyrelu dyrelu

The cases are models with inputs and outputs. They are in the wheel of onnx 1.17.0, but not in newer ones:
`pip download onnx==1.17.0 --no-deps`, then unzip it.

A case that `dyrelu` refuses counts as not supported, unless it is required; then it counts as failed. Required are cases
in float32 that were converted from PyTorch, or that consist of operators which dyrelu promises to support. The exit code
is 1 if any case failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")

PROMISED = frozenset(
    """
    Conv ConvTranspose Gemm MatMul BatchNormalization Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid
    HardSwish Tanh Softmax MaxPool AveragePool GlobalAveragePool GlobalMaxPool Add Sub Mul Div Neg
    Max Min Pow Sqrt Exp ReduceMean ReduceMax ReduceSum Concat Split Slice Gather Reshape Flatten
    Squeeze Unsqueeze Expand Transpose Resize Pad Identity Dropout Constant ConstantOfShape Shape
    Cast CumSum Einsum TopK GatherElements GatherND ScatterElements ScatterND GridSample DeformConv
    SpaceToDepth LRN LpPool GlobalLpPool OneHot NonZero NonMaxSuppression RoiAlign Trilu
    GroupNormalization RMSNormalization Attention
    """.split()
)

# Cases whose expected outputs are wrong for an inference runtime, with the reason.
EXCLUDED = {
    "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": (
        "the expected output counts positions beyond the padding, which newer versions of ONNX, "
        "ONNX Runtime and PyTorch do not"
    ),
    **dict.fromkeys(
        (
            "test_training_dropout",
            "test_training_dropout_default",
            "test_training_dropout_default_mask",
            "test_training_dropout_mask",
        ),
        "the expected output consists of random numbers of NumPy",
    ),
}

# The tolerances of ONNX's backend runner.
RTOL, ATOL = 1e-3, 1e-7


@dataclass(frozen=True)
class Result:
    """The outcome of a case, which is "passed", "failed" or "not supported", and the reason."""

    name: str
    outcome: str
    reason: str = ""
    required: bool = False


class NotATensor(Exception):
    """An input or output that cannot be stored in a .npy file."""


def main() -> int:
    """Runs the cases and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="onnx/backend/test/data")
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program")
    parser.add_argument("--only", default="", help="run only cases whose name contains this")
    parser.add_argument("--jobs", type=int, default=2, help="number of cases to run at the same time")
    arguments = parser.parse_args()

    models = [m for suite in SUITES for m in arguments.data.glob(f"{suite}/*/model.onnx")]
    models = sorted(m for m in models if arguments.only in m.parent.name)
    if not models:
        parser.error(f"no cases in {arguments.data}")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(lambda m: run_case(m, arguments.dyrelu), models))

    for outcome in ("not supported", "failed"):
        for result in results:
            if result.outcome == outcome:
                print(f"{outcome}: {result.name}: {result.reason}")
    counts = Counter(result.outcome for result in results)
    print(", ".join(f"{counts[o]} {o}" for o in ("passed", "failed", "not supported")))
    required = [result.outcome for result in results if result.required]
    print(f"of {len(required)} required cases {required.count('passed')} passed")
    return 1 if counts["failed"] else 0


def run_case(model: Path, dyrelu: Path) -> Result:
    """Runs the data sets of a case until one does not pass."""
    name = f"{model.parents[1].name}/{model.parent.name}"
    if model.parent.name in EXCLUDED:
        return Result(name, "not supported", EXCLUDED[model.parent.name])
    try:
        proto = onnx.load(model, load_external_data=False)
        data_sets = sorted(model.parent.glob("test_data_set_*"))
        if not data_sets:
            return Result(name, "not supported", "the case has no data")
        for data_set in data_sets:
            result = run_data_set(name, proto, data_set, dyrelu)
            if result.outcome != "passed":
                break
        return result
    except NotATensor as reason:
        return Result(name, "not supported", str(reason))


def run_data_set(name: str, proto: onnx.ModelProto, data_set: Path, dyrelu: Path) -> Result:
    """Runs a case on one data set."""
    model = data_set.parent / "model.onnx"
    constants = {tensor.name for tensor in proto.graph.initializer}
    free = (port for port in proto.graph.input if port.name not in constants)
    inputs = read_all(data_set, "input", free)
    expected = read_all(data_set, "output", proto.graph.output)
    required = is_required(name, proto, [*inputs.values(), *expected.values()])
    with tempfile.TemporaryDirectory() as scratch:
        command = run_command(dyrelu, model, inputs, expected, Path(scratch))
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode == 2:
            reason = done.stderr.strip().removeprefix("error: ").replace(f"{model}: ", "")
            return Result(name, "failed" if required else "not supported", reason, required)
        if done.returncode != 0:
            reason = f"exit code {done.returncode}: {done.stderr.strip()}"
            return Result(name, "failed", reason, required)
        for i, (port, array) in enumerate(expected.items()):
            difference = compare(np.load(f"{scratch}/y{i}.npy"), array)
            if difference:
                return Result(name, "failed", f"{port}: {difference}", required)
    return Result(name, "passed", required=required)


def run_command(
    dyrelu: Path, model: Path, inputs: dict[str, np.ndarray], outputs: Iterable[str], folder: Path
) -> list[str]:
    """Stores the inputs in a folder and returns the command that runs a model on them. It writes the outputs, in order,
    to y0.npy, y1.npy and so on."""
    command = [str(dyrelu), "run", str(model)]
    for i, (port, array) in enumerate(inputs.items()):
        np.save(folder / f"x{i}.npy", array)
        command += ["--input", f"{port}={folder}/x{i}.npy"]
    for i, port in enumerate(outputs):
        command += ["--output", f"{port}={folder}/y{i}.npy"]
    return command


def read_all(
    data_set: Path, kind: str, ports: Iterable[onnx.ValueInfoProto]
) -> dict[str, np.ndarray]:
    """The arrays of a data set, by the names of their ports."""
    arrays = {}
    for i, port in enumerate(ports):
        name, declared = port.name, port.type.tensor_type.elem_type
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString((data_set / f"{kind}_{i}.pb").read_bytes())
            array = numpy_helper.to_array(tensor)
        except Exception as error:  # Sequences and optionals are stored as other messages.
            raise NotATensor(f"{kind} {name!r} is not a tensor: {error}") from error
        if array.dtype.kind not in "fiub" or declared == onnx.TensorProto.BFLOAT16:
            raise NotATensor(f"{kind} {name!r} has elements of a type that .npy files do not have")
        arrays[name] = array
    return arrays


def is_required(name: str, proto: onnx.ModelProto, arrays: list[np.ndarray]) -> bool:
    """Whether a case must pass."""
    types = {array.dtype.name for array in arrays}
    if "float32" not in types or not types <= {"float32", "int32", "int64", "bool"}:
        return False
    return name.startswith("pytorch-") or all(
        node.domain in ("", "ai.onnx") and node.op_type in PROMISED for node in proto.graph.node
    )


def compare(output: np.ndarray, expected: np.ndarray) -> str:
    """Describes the difference between an output and the expected one. Empty if there is none."""
    if output.shape != expected.shape:
        return f"expected shape {expected.shape}, found {output.shape}"
    if output.dtype != expected.dtype:
        return f"expected {expected.dtype}, found {output.dtype}"
    if np.allclose(output, expected, rtol=RTOL, atol=ATOL, equal_nan=True):
        return ""
    error = np.abs(output.astype(np.float64) - expected.astype(np.float64))
    return f"largest error {np.nanmax(error):.3g}, largest expected value {np.nanmax(np.abs(expected)):.3g}"


if __name__ == "__main__":
    sys.exit(main())
