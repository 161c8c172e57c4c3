"""OpenVINO, in f32, one stream for the least latency."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino

from . import Job


def load(job: Job) -> Callable[[], np.ndarray]:
    core = openvino.Core()
    x = job.input()
    model = core.read_model(job.onnx)
    model.reshape(list(x.shape))
    settings = {
        "INFERENCE_NUM_THREADS": job.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True)[0]
