"""Who takes part: how each engine's worker is started, and how its output is had."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from .engines import Job
from .protocol import WorkerFailed

RUST_PACKAGE = Path(__file__).parents[2] / "peers-rust"


class Contender:
    """An engine as the parent sees it."""

    def version(self) -> str:
        raise NotImplementedError

    def command(self, job: Job, output: Path) -> list[str]:
        """Starts a worker; `output` is where it leaves its first output."""
        raise NotImplementedError

    def output(self, job: Job, output: Path) -> np.ndarray:
        """What the engine computes, once its worker is ready."""
        return np.load(output)


@dataclass(frozen=True)
class Python(Contender):
    """An engine with a Python package."""

    name: str
    package: str

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
        words = [self.program, self.name, job.onnx, job.threads, job.batch]
        return [*map(str, words), str(job.folder / f"x{job.batch}.npy"), str(output)]


@dataclass(frozen=True)
class Dyrelu(Contender):
    """Ourselves."""

    program: Path

    def version(self) -> str:
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        return said.split()[-1]

    def command(self, job: Job, output: Path) -> list[str]:
        limits = ["--threads", str(job.threads), "--batch", str(job.batch)]
        return [str(self.program), "bench", str(job.onnx), *limits, "--serve"]

    def output(self, job: Job, output: Path) -> np.ndarray:
        files = ["--input", job.folder / f"x{job.batch}.npy", "--output", output]
        command = [self.program, "run", job.onnx, *files, "--threads", str(job.threads)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise WorkerFailed(done.stderr.strip().splitlines()[-1])
        return np.load(output)


# Their packages.
PYTHON = {
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "mnn": "MNN",
    "ncnn": "ncnn",
    "pytorch": "torch",
    "pytorch-channels_last": "torch",
}
# Variants run only when they are named.
VARIANTS = {"onnxruntime-nospin": "onnxruntime"}
RUST = {"tract": "tract-onnx", "rten": "rten"}
# The order is that of the table's columns.
TITLES = {
    "dyrelu": "dyrelu",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-nospin": "ONNX Runtime, no spinning",
    "mnn": "MNN",
    "ncnn": "ncnn",
    "pytorch": "PyTorch",
    "pytorch-channels_last": "PyTorch, channels last",
    "tract": "tract",
    "rten": "rten",
}


def contenders(names: list[str] | None, dyrelu: Path | None, peers_rust: Path | None) -> dict[str, Contender]:
    """The named engines; by default all whose program is given, without variants."""
    found: dict[str, Contender] = {}
    if dyrelu:
        found["dyrelu"] = Dyrelu(dyrelu.resolve())
    for name, package in (PYTHON | VARIANTS).items():
        found[name] = Python(name, package)
    if peers_rust:
        for name, crate in RUST.items():
            found[name] = Rust(name, crate, peers_rust.resolve())
    if names is None:
        return {name: one for name, one in found.items() if name not in VARIANTS}
    if unknown := [name for name in names if name not in found]:
        raise SystemExit(f"unknown engine {unknown[0]!r}, known are {', '.join(found)} (two need their program)")
    return {name: found[name] for name in names}
