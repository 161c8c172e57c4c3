"""Runs ONNX's operator tests with spoiled attributes, constants and inputs.

    python -m dyrelu_tools.spoiled_models_check --data onnx/backend/test/data --dyrelu dyrelu --models 2000 --seed 0

The cases are those of `onnx_operator_tests`, which says where they come from. In each model, one or two attributes,
constants or small inputs are replaced: by zero, the largest and smallest integers, infinities, NaN, lists of another
length, other types, unknown words. `dyrelu run` has to run the model or to refuse it with one sentence, within 20
seconds and 6 GiB. Others are stored with their inputs in the folder `--keep`, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper
from tqdm import tqdm

from .onnx_operator_tests import SUITES, NotATensor, read_all, run_command

INTEGERS = [0, 1, -1, 2, 3, -2, 5, 7, 255, 1000, -1000, 65536, 2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 0.5, 1.0, -1.0, 1e-30, 1e30, -3.4e38, float("inf"), float("-inf"), float("nan")]
WORDS = [b"", b"NOTSET", b"SAME_UPPER", b"VALID", b"linear", b"unknown", b"\xff\xfe"]

# An input of at most this many elements is an argument, such as a shape or a list of axes, and not a feature map.
FEW = 16
SECONDS, BYTES = 20, 6 << 30


def spoil_list(rng: random.Random, values: list, candidates: list) -> list:
    """The list with one other element, of another length, or with all elements replaced."""
    values = list(values)
    match rng.choice(["element", "element", "element", "empty", "longer", "shorter", "all"]):
        case "element" if values:
            values[rng.randrange(len(values))] = rng.choice(candidates)
        case "longer":
            values.append(rng.choice(candidates))
        case "shorter":
            values = values[:-1]
        case "all":
            values = [rng.choice(candidates) for _ in values]
        case _:
            values = []
    return values


def spoil_array(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """The array with one other element, one element less, one axis, or another type."""
    array = array.copy()
    match rng.choice(["element", "element", "element", "shorter", "flat", "type"]):
        case "element" if array.size and array.dtype.kind in "iuf":
            candidates = FLOATS if array.dtype.kind == "f" else INTEGERS
            with np.errstate(all="ignore"):
                value = np.array(rng.choice(candidates)).astype(array.dtype)
            array.reshape(-1)[rng.randrange(array.size)] = value
        case "shorter":
            array = array.reshape(-1)[:-1]
        case "flat":
            array = array.reshape(-1)
        case "type":
            array = array.astype(np.int64 if array.dtype == np.float32 else np.float32)
    return array


def spoil_attribute(rng: random.Random, attribute: AttributeProto) -> None:
    """Changes the value of an attribute, or rarely its type."""
    match attribute.type:
        case AttributeProto.INT if rng.random() < 0.9:
            attribute.i = rng.choice(INTEGERS)
        case AttributeProto.FLOAT if rng.random() < 0.9:
            attribute.f = rng.choice(FLOATS)
        case AttributeProto.INTS:
            attribute.ints[:] = spoil_list(rng, attribute.ints, INTEGERS)
        case AttributeProto.FLOATS:
            attribute.floats[:] = spoil_list(rng, attribute.floats, FLOATS)
        case AttributeProto.STRING:
            attribute.s = rng.choice([*WORDS, attribute.s.upper(), attribute.s.lower()])
        case AttributeProto.TENSOR:
            spoil_tensor(rng, attribute.t)
        case AttributeProto.INT:
            attribute.type, attribute.f = AttributeProto.FLOAT, 1.5
        case _:
            attribute.type, attribute.i = AttributeProto.INT, 3


def spoil_tensor(rng: random.Random, tensor: onnx.TensorProto) -> None:
    tensor.CopyFrom(numpy_helper.from_array(spoil_array(rng, numpy_helper.to_array(tensor)), tensor.name))


def spoil(rng: random.Random, model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> bool:
    """Spoils one or two places of a model or its inputs. In half of the models, small inputs become constants. False if
    there is no such place."""
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    constants = list(model.graph.initializer)
    few = [name for name, array in inputs.items() if array.dtype.kind in "if" and array.size <= FEW]
    places = [*attributes, *constants, *few]
    if not places:
        return False
    for place in rng.sample(places, min(len(places), rng.choice([1, 1, 1, 2]))):
        if isinstance(place, AttributeProto):
            spoil_attribute(rng, place)
        elif isinstance(place, onnx.TensorProto):
            spoil_tensor(rng, place)
        else:
            inputs[place] = spoil_array(rng, inputs[place])
    if rng.random() < 0.5:
        for name in few:
            model.graph.initializer.append(numpy_helper.from_array(inputs.pop(name), name))
        kept = [port for port in model.graph.input if port.name not in few]
        del model.graph.input[:]
        model.graph.input.extend(kept)
    return True


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


def run(dyrelu: Path, model: onnx.ModelProto, inputs: dict[str, np.ndarray], folder: Path) -> tuple[str, str]:
    """Runs a model in a folder. The outcome is "ran", "refused", or what went wrong; beside it, the messages."""
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    command = run_command(dyrelu, file, inputs, [port.name for port in model.graph.output], folder)
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, preexec_fn=limit_memory)
    except subprocess.TimeoutExpired:
        return f"more than {SECONDS} seconds", ""
    messages = done.stderr.decode(errors="replace")
    if done.returncode == 0:
        return "ran", messages
    if done.returncode == 2 and messages.startswith("error: ") and "panicked" not in messages:
        return "refused", messages
    return f"exit code {done.returncode}", messages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="onnx/backend/test/data")
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program")
    parser.add_argument("--models", type=int, default=1000, help="number of spoiled models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("spoiled"), help="folder for models that went wrong")
    arguments = parser.parse_args()
    cases = sorted(case.parent for suite in SUITES for case in arguments.data.glob(f"{suite}/*/test_data_set_0"))
    if not cases:
        parser.error(f"no cases in {arguments.data}")
    rng, counts = random.Random(arguments.seed), Counter()
    for number in tqdm(range(arguments.models), disable=not sys.stderr.isatty()):
        case = rng.choice(cases)
        model = onnx.load(case / "model.onnx", load_external_data=False)
        constants = {tensor.name for tensor in model.graph.initializer}
        free = (port for port in model.graph.input if port.name not in constants)
        try:
            inputs = read_all(case / "test_data_set_0", "input", free)
        except NotATensor:
            continue
        if not spoil(rng, model, inputs):
            continue
        with tempfile.TemporaryDirectory() as folder:
            outcome, messages = run(arguments.dyrelu.resolve(), model, inputs, Path(folder))
            counts[outcome] += 1
            if outcome not in ("ran", "refused"):
                kept = arguments.keep / f"{case.name}-{arguments.seed}-{number}"
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                print(f"{kept}: {outcome}: {messages.strip()}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    return 0 if counts.keys() <= {"ran", "refused"} else 1


if __name__ == "__main__":
    sys.exit(main())
