"""The engines that take part, and how their workers are started."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .engines import Job
from .table import YARDSTICK

RUST_PACKAGE = Path(__file__).parents[2] / "peers-rust"


class Contender:
    """An engine, as the parent process uses it."""

    # Whether its output is compared with the expected one.
    checked = True

    def version(self) -> str:
        raise NotImplementedError

    def command(self, job: Job, output: Path) -> list[str]:
        """The command line of a worker, which writes its first output to the file `output`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Python(Contender):
    """An engine with a Python package."""

    name: str
    package: str
    checked: bool = True

    def version(self) -> str:
        return metadata.version(self.package)

    def command(self, job: Job, output: Path) -> list[str]:
        words = [self.name, job.folder, job.threads, job.batch, output]
        return [sys.executable, "-m", f"{__package__}.worker", *map(str, words)]


@dataclass(frozen=True)
class Rust(Contender):
    """An engine in the program of `tools/peers-rust`."""

    name: str
    crate: str
    program: Path

    def version(self) -> str:
        lock = tomllib.loads((RUST_PACKAGE / "Cargo.lock").read_text())
        return next(package["version"] for package in lock["package"] if package["name"] == self.crate)

    def command(self, job: Job, output: Path) -> list[str]:
        return [*map(str, [self.program, self.name, job.onnx, job.threads, job.batch, job.x, output])]


@dataclass(frozen=True)
class Dyrelu(Contender):
    """dyrelu itself."""

    program: Path

    def version(self) -> str:
        text = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        # The first line has the name and the version.
        return text.split()[1]

    def command(self, job: Job, output: Path) -> list[str]:
        words = [self.program, "bench", job.onnx, "--input", job.x, "--threads", job.threads, "--serve", output]
        return [*map(str, words)]


# The Python package of each engine.
PYTHON = {
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "executorch": "executorch",
    "mnn": "MNN",
    "ncnn": "ncnn",
    "pytorch": "torch",
    "pytorch-channels_last": "torch",
}
# Variants run only if they are named.
VARIANTS = {"onnxruntime-nospin": "onnxruntime", "pytorch-compiled": "torch"}
# The engines that measure the activation alone by default.
FOR_OPERATIONS = [YARDSTICK, "dyrelu", "openvino", "onnxruntime", "pytorch", "pytorch-compiled"]
# The columns of the short table: the most common engines.
FOR_SUMMARY = ["dyrelu", "openvino", "onnxruntime", "pytorch"]
RUST = {"tract": "tract-onnx", "rten": "rten"}
# Titles of the engines, in the order of the table's columns.
TITLES = {
    YARDSTICK: "memcpy",
    "dyrelu": "dyrelu",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-nospin": "ONNX Runtime, no spinning",
    "executorch": "XNNPACK",
    "mnn": "MNN",
    "ncnn": "ncnn",
    "pytorch": "PyTorch",
    "pytorch-channels_last": "PyTorch, channels last",
    "pytorch-compiled": "PyTorch, compiled",
    "tract": "tract",
    "rten": "rten",
}


def contenders(names: list[str] | None, dyrelu: Path | None, peers_rust: Path | None) -> dict[str, Contender]:
    """The named engines, by default all whose program is given, without variants."""
    known: dict[str, Contender] = {YARDSTICK: Python(YARDSTICK, "numpy", checked=False)}
    if dyrelu:
        known["dyrelu"] = Dyrelu(dyrelu.resolve())
    for name, package in (PYTHON | VARIANTS).items():
        known[name] = Python(name, package)
    if peers_rust:
        for name, crate in RUST.items():
            known[name] = Rust(name, crate, peers_rust.resolve())
    if names is None:
        return {name: engine for name, engine in known.items() if name not in (*VARIANTS, YARDSTICK)}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(
            f"unknown engine {unknown[0]!r}, expected some of {', '.join(known)}; "
            "dyrelu needs --dyrelu, tract and rten need --peers-rust"
        )
    return {name: known[name] for name in names}
