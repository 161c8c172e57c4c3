"""XNNPACK, through ExecuTorch. What XNNPACK does not take runs in ExecuTorch's portable kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime

from ..networks import find
from . import Job


def load(job: Job) -> Callable[[], np.ndarray]:
    x = torch.from_numpy(job.input)
    program = job.folder / f"network{job.batch}.pte"
    if not program.exists():
        exported = torch.export.export(find(job.folder.name).make(), (x,))
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
        unfinished = program.with_suffix(".unfinished")
        unfinished.write_bytes(lowered.buffer)
        unfinished.rename(program)
    portable_lib._unsafe_reset_threadpool(job.threads)
    method = Runtime.get().load_program(program).load_method("forward")

    def run() -> np.ndarray:
        return method.execute([x])[0].numpy()

    return run
