"""Measures the time and memory until the first result from an ONNX file, in dyrelu and in ONNX Runtime:
`python -m dyrelu_tools.loading_onnx --help`.

Both run in turns, with a new process per turn and with the file in the page cache. The time is measured inside the
process, from opening the file to the end of the first run. The figures are medians over the turns. The peak of memory is
given without the memory before opening the file, and without the peak for a network of a single ReLU, which consists of
pages of the program itself.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import TensorProto, helper

from .compare_engines.networks import networks, prepare
from .compare_engines.table import lines

PEER = "dyrelu_tools.first_result_onnxruntime"


@dataclass(frozen=True)
class Loading:
    """The figures of one process: times until the model is open and until the first result, and memory."""

    open_ms: float
    first_result_ms: float
    peak_bytes: int
    needed_bytes: int | None = None


def load_dyrelu(dyrelu: Path, file: Path, x: Path, threads: int) -> Loading:
    """Loads a file in dyrelu. `needed_bytes` are the packed weights and the working memory."""
    figures = report([dyrelu, "bench", file, "--input", x, "--threads", threads, "--seconds", 0.1, "--format", "json"])
    needed = figures["packed_bytes"] + figures["arena_bytes"]
    return Loading(figures["open_ms"], figures["first_result_ms"], figures["first_result_peak_bytes"], needed)


def load_onnxruntime(file: Path, x: Path, threads: int) -> Loading:
    return Loading(**report([sys.executable, "-m", PEER, file, "--input", x, "--threads", threads]))


def report(command: list[object]) -> dict:
    """The JSON that a command prints."""
    return json.loads(subprocess.run([*map(str, command)], check=True, capture_output=True).stdout)


def write_relu(folder: Path) -> tuple[Path, Path]:
    """Writes a network of a single ReLU and its input. Returns both paths."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    file, x = folder / "relu.onnx", folder / "x.npy"
    onnx.save(model, file)
    np.save(x, np.ones((1, 8), np.float32))
    return file, x


def row(title: str, ours: list[Loading], theirs: list[Loading], fixed: tuple[int, int]) -> list[str]:
    """A row of medians over all turns. `fixed` is the memory of both programs for the smallest network."""

    def median_of(turns: list[Loading], key: str) -> float:
        return median(getattr(turn, key) for turn in turns)

    first, peer = median_of(ours, "first_result_ms"), median_of(theirs, "first_result_ms")
    opened, peer_opened = median_of(ours, "open_ms"), median_of(theirs, "open_ms")
    needed = median_of(ours, "needed_bytes")
    peak, peer_peak = (median_of(turns, "peak_bytes") - base for turns, base in zip((ours, theirs), fixed))
    times = [first, opened, peer, peer_opened]
    return [
        title,
        *(f"{t:.1f}" for t in times),
        f"{first / peer:.2f}",
        *(f"{b / 1e6:.1f}" for b in (needed, peak, peer_peak)),
        f"{peak / needed:.2f}",
    ]


HEADING = [
    "",
    "dyrelu, ms",
    "open",
    "ONNX Runtime, ms",
    "session",
    "dyrelu / ONNX Runtime",
    "weights and arena, MB",
    "peak, MB",
    "peak of ONNX Runtime, MB",
    "peak / weights and arena",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program, built with --release")
    parser.add_argument("--work", type=Path, required=True, help="folder of compare_engines for exported networks")
    default = ["mobilenetv2", "mobilenetv2-b", "resnet18-b", "resnet50"]
    parser.add_argument("--only", type=lambda text: text.split(","), default=default, help="networks, separated by commas")
    parser.add_argument("--threads", type=int, default=1, help="number of threads")
    parser.add_argument("--turns", type=int, default=15, help="number of turns for the medians")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    known = networks()
    if unknown := [name for name in args.only if name not in known]:
        raise SystemExit(f"unknown network {unknown[0]!r}, expected some of {', '.join(known)}")
    dyrelu = args.dyrelu.resolve()
    with tempfile.TemporaryDirectory() as folder:
        relu = write_relu(Path(folder))
        ours = [load_dyrelu(dyrelu, *relu, args.threads).peak_bytes for _ in range(3)]
        theirs = [load_onnxruntime(*relu, args.threads).peak_bytes for _ in range(3)]
    fixed = median(ours), median(theirs)
    rows = [HEADING]
    for name in args.only:
        folder = args.work.resolve() / name
        prepare(name, 1, folder)
        file, x = folder / "network.onnx", folder / "x1.npy"
        ours, theirs = [], []
        # The first turn brings the file and both programs into the page cache, and is not counted.
        for _ in range(1 + args.turns):
            ours.append(load_dyrelu(dyrelu, file, x, args.threads))
            theirs.append(load_onnxruntime(file, x, args.threads))
        rows.append(row(known[name].title, ours[1:], theirs[1:], fixed))
    print(*lines(rows), sep="\n")


if __name__ == "__main__":
    main()
