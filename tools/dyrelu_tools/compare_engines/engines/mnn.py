"""MNN, by its module interface, with high precision, which means f32."""

from __future__ import annotations

from collections.abc import Callable

import MNN
import numpy as np
from MNN import expr, nn

# The command `mnnconvert` installs packages into any Python that it finds and sends usage statistics.
import _tools

from . import Job


def load(job: Job) -> Callable[[], np.ndarray]:
    model = job.folder / "network.mnn"
    if not model.exists():
        unfinished = model.with_suffix(".unfinished")
        files = ["--modelFile", str(job.onnx), "--MNNModel", str(unfinished)]
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "dyrelu"])
        unfinished.rename(model)
    settings = {"backend": "CPU", "numThread": job.threads, "precision": "high"}
    manager = nn.create_runtime_manager((settings,))
    network = nn.load_module_from_file(str(model), ["input"], ["logits"], runtime_manager=manager)
    x = job.input
    tensor = expr.const(x, list(x.shape), expr.NCHW)
    return lambda: network.forward([tensor])[0].read()
