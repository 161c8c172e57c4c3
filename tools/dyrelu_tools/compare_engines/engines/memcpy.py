"""Not an engine but a yardstick: copies the input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import Job


def load(job: Job) -> Callable[[], np.ndarray]:
    x = job.input
    y = np.empty_like(x)

    def run() -> np.ndarray:
        np.copyto(y, x)
        return y

    return run
