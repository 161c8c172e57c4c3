"""ONNX Runtime. In the variant `nospin`, idle threads sleep between operators."""

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
    # Input and output are bound to fixed buffers. A new large output per run would cost page faults.
    y = np.empty_like(np.load(job.y))
    binding = session.io_binding()
    binding.bind_cpu_input("input", job.input)
    binding.bind_output("logits", "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def run() -> np.ndarray:
        session.run_with_iobinding(binding)
        return y

    return run
