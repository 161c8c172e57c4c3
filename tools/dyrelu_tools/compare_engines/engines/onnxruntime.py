"""ONNX Runtime; the variant `nospin` lets idle threads sleep between operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime

from . import Job


def load(job: Job) -> Callable[[], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
    options.add_free_dimension_override_by_name("batch", job.batch)
    if job.variant == "nospin":
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(job.onnx, options, providers=["CPUExecutionProvider"])
    inputs = {"input": job.input()}
    return lambda: session.run(None, inputs)[0]
