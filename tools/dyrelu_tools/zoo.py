"""Writes the table of a folder of networks and the checksums of its files:
`python -m dyrelu_tools.zoo --help`.

    python -m dyrelu_tools.zoo --dyrelu ../target/release/dyrelu --models ../models

Sizes, costs and accuracies come from `dyrelu models`, times from `dyrelu bench` on one thread. The table is written
between the marks <!-- models:begin --> and <!-- models:end --> of README.md in the folder. The checksums are written to
SHA256SUMS, in the format of `sha256sum --check`.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import subprocess
from pathlib import Path

from tqdm import tqdm

from . import markdown
from .compare_engines.results import Cpu


def listed(binary: Path, models: Path) -> list[dict]:
    """The entries of `dyrelu models` for the networks in the folder."""
    command = [binary.resolve(), "models", "--format", "json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | {"DYRELU_MODELS": str(models)})
    return [entry for entry in json.loads(done.stdout) if Path(entry["path"]).parent == models]


def milliseconds(binary: Path, entry: dict, seconds: float) -> float:
    """The median time of one image on one thread, in milliseconds."""
    command = [binary, "bench", entry["path"], "--threads", "1", "--seconds", str(seconds), "--format", "json"]
    if entry["input"]:
        command += ["--size", str(entry["input"][1])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["median_ms"]


def row(entry: dict, ms: float) -> list[str]:
    name = entry["name"]
    cells = [
        f"[{name}]({name}.md)" + (" (default)" if entry["default"] else ""),
        "; ".join(entry["forms"]) or "–",
        "x".join(map(str, entry["input"])) if entry["input"] else "–",
        str(entry["classes"] or "–"),
        f"{entry['parameters'] / 1e6:.2f} M",
        f"{entry['macs'] / 1e6:.1f} M",
        f"{entry['bytes'] / 1e6:.1f} MB",
        entry["top1"] or "–",
        f"{ms:.2f}",
    ]
    return cells


HEADING = ["network", "form", "input", "classes", "parameters", "multiply-adds", "file", "top-1", "ms on one core"]


def checksums(models: Path) -> str:
    files = sorted(path for path in models.iterdir() if path.suffix in (".safetensors", ".onnx"))
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program, built with --release")
    parser.add_argument("--models", type=Path, required=True, help="folder of networks")
    parser.add_argument("--seconds", type=float, default=5, help="duration of the measurement per network")
    parser.add_argument("--checksums", action="store_true", help="write SHA256SUMS only, and measure nothing")
    args = parser.parse_args()
    (args.models / "SHA256SUMS").write_text(checksums(args.models))
    if args.checksums:
        return
    networks = listed(args.dyrelu, args.models)
    rows = [row(entry, milliseconds(args.dyrelu, entry, args.seconds)) for entry in tqdm(networks)]
    measured = f"Measured on {datetime.date.today()}: {Cpu.here()}."
    text = "\n".join([*markdown.lines([HEADING, *rows]), "", measured, ""])
    markdown.insert(args.models / "README.md", "models", text)


if __name__ == "__main__":
    main()
