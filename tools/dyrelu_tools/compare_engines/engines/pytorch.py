"""PyTorch in eager mode. Variants are `channels_last`, the other memory layout, and `compiled`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..networks import find
from . import Job


def load(job: Job) -> Callable[[], np.ndarray]:
    torch.set_num_threads(job.threads)
    network, x = find(job.folder.name).make(), torch.from_numpy(job.input)
    if job.variant == "channels_last":
        network, x = network.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if job.variant == "compiled":
        network = torch.compile(network)

    @torch.inference_mode()
    def run() -> np.ndarray:
        return network(x).numpy()

    return run
