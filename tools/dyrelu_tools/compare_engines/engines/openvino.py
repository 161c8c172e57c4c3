"""OpenVINO in f32, with one stream for the lowest latency."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino

from . import Job


def load(job: Job) -> Callable[[], np.ndarray]:
    core = openvino.Core()
    model = core.read_model(job.onnx)
    model.reshape(list(job.input.shape))
    settings = {
        "INFERENCE_NUM_THREADS": job.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(job.input, shared_memory=True))
    return lambda: request.infer(share_outputs=True)[0]
