"""Runs ONNX's own operator tests through `dyrelu run`: `python -m dyrelu_tools.onnx_operator_tests --help`.

The package onnx==1.17.0 carries them as models with inputs and outputs (newer ones do not): install
or unpack it anywhere and give the folder `onnx/backend/test/data`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from tqdm import tqdm

SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")

# The operators of which every float32 case must pass; those of the suite converted from PyTorch
# must pass whatever they use.
OPERATORS = set(
    """Conv ConvTranspose Gemm MatMul BatchNormalization Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid
    HardSwish Tanh Softmax MaxPool AveragePool GlobalAveragePool GlobalMaxPool Add Sub Mul Div Neg Max
    Min Pow Sqrt Exp ReduceMean ReduceMax ReduceSum Concat Split Slice Gather Reshape Flatten Squeeze
    Unsqueeze Expand Transpose Resize Pad Identity Dropout Constant ConstantOfShape Shape Cast""".split()
)

# The error bounds of ONNX's own runner.
RTOL, ATOL = 1e-3, 1e-7


@dataclass
class Result:
    case: str
    state: str
    reason: str = ""
    required: bool = False


def read(path: Path) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def compare(found: np.ndarray, expected: np.ndarray) -> str:
    """What is wrong, or nothing."""
    if found.shape != expected.shape:
        return f"shape {found.shape}, expected {expected.shape}"
    if expected.dtype.kind in "biu":
        return "" if np.array_equal(found, expected) else "different integers"
    if np.allclose(found, expected, RTOL, ATOL, equal_nan=True):
        return ""
    return f"error {np.nanmax(np.abs(found.astype('f8') - expected.astype('f8'))):.2e}"


def run_case(folder: Path, binary: Path) -> Result:
    name = f"{folder.parent.name}/{folder.name}"
    model_path = folder / "model.onnx"
    try:
        model = onnx.load(model_path)
        data = folder / "test_data_set_0"
        inputs = [read(p) for p in sorted(data.glob("input_*.pb"), key=number)]
        outputs = [read(p) for p in sorted(data.glob("output_*.pb"), key=number)]
    except Exception as e:  # Sequences, maps and optional values are no tensors.
        return Result(name, "not supported", f"its data is no tensor ({type(e).__name__})")
    operators = {node.op_type for node in model.graph.node}
    floats = all(a.dtype in (np.float32, np.int64, np.int32, np.bool_) for a in inputs + outputs)
    training = "training" in name and "Dropout" in operators
    required = floats and not training and (operators <= OPERATORS or "pytorch" in name)
    constants = {tensor.name for tensor in model.graph.initializer}
    names = [i.name for i in model.graph.input if i.name not in constants]
    with tempfile.TemporaryDirectory() as work:
        command = [str(binary), "run", str(model_path), "--threads", "1"]
        for i, (key, array) in enumerate(zip(names, inputs)):
            np.save(f"{work}/x{i}.npy", array)
            command += ["--input", f"{key}={work}/x{i}.npy"]
        for i, value in enumerate(model.graph.output[: len(outputs)]):
            command += ["--output", f"{value.name}={work}/y{i}.npy"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        message = done.stderr.strip().replace(str(model_path), "model.onnx")
        if done.returncode not in (0, 2) or "panicked" in message:
            return Result(name, "failed", f"exit code {done.returncode}: {message}", True)
        if done.returncode == 2:
            return Result(name, "failed" if required else "not supported", message, required)
        wrong = [compare(np.load(f"{work}/y{i}.npy"), y) for i, y in enumerate(outputs)]
    wrong = [w for w in wrong if w]
    return Result(name, "failed" if wrong else "passed", "; ".join(wrong), required)


def number(path: Path) -> int:
    return int(path.stem.split("_")[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="onnx/backend/test/data of onnx 1.17.0")
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="part of the names of the cases to run")
    args = parser.parse_args()
    found = (p.parent for suite in SUITES for p in sorted((args.data / suite).glob("*/model.onnx")))
    folders = [f for f in found if args.only in f.name]
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = pool.map(lambda f: run_case(f, args.dyrelu), folders)
        results = list(tqdm(jobs, total=len(folders), disable=not sys.stderr.isatty()))
    for state in ("not supported", "failed", "passed"):
        for r in results:
            if r.state == state and state != "passed":
                print(f"{state}: {r.case}: {r.reason}")
    states = [r.state for r in results]
    required = [r for r in results if r.required]
    failed = [r for r in required if r.state != "passed"]
    print(f"{states.count('passed')} passed, {states.count('failed')} failed, {states.count('not supported')} not supported")
    print(f"of the {len(required)} float32 cases of our operators: {len(required) - len(failed)} passed, {len(failed)} failed")
    for r in failed:
        print(f"  {r.case}: {r.reason}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
