"""ncnn in f32, on networks that pnnx converts from TorchScript. A batch is run image by image."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ncnn
import numpy as np

from . import Job

# Other files that pnnx writes. Their paths are set, or they would go to the current folder.
OTHER_FILES = {
    "pnnxparam": "pnnx.param",
    "pnnxbin": "pnnx.bin",
    "pnnxpy": "pnnx.py",
    "pnnxonnx": "pnnx.onnx",
    "ncnnpy": "ncnn.py",
}


def convert(folder: Path, shape: list[int]) -> tuple[Path, Path]:
    """Converts a network, and returns the two files of ncnn."""
    graph, weights = folder / "network.ncnn.param", folder / "network.ncnn.bin"
    if not weights.exists():
        pnnx = Path(sys.executable).with_name("pnnx")
        files = [f"{key}={folder / f'network.{end}'}" for key, end in OTHER_FILES.items()]
        files += [f"ncnnparam={graph}", f"ncnnbin={weights}"]
        command = [pnnx, folder / "network.pt", f"inputshape={shape}".replace(" ", ""), "fp16=0", *files]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return graph, weights


def load(job: Job) -> Callable[[], np.ndarray]:
    graph, weights = convert(job.folder, [1, *job.input.shape[1:]])
    network = ncnn.Net()
    network.opt.num_threads = job.threads
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(network.opt, option, False)
    if network.load_param(str(graph)) != 0 or network.load_model(str(weights)) != 0:
        raise RuntimeError("ncnn cannot load the files that pnnx wrote")
    images = [ncnn.Mat(image) for image in job.input]

    def run_image(image: ncnn.Mat) -> np.ndarray:
        extractor = network.create_extractor()
        extractor.input("in0", image)
        code, scores = extractor.extract("out0")
        if code != 0:
            raise RuntimeError(f"ncnn returned {code}")
        return np.array(scores)

    return lambda: np.stack([run_image(image) for image in images])
