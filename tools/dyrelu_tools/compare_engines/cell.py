"""Measures one cell of the comparison: all engines load a network, are checked, and run in turns."""

from __future__ import annotations

import numpy as np

from . import results
from .contenders import Contender
from .engines import Job
from .protocol import Worker, WorkerFailed
from .rounds import take_turns

TOLERANCE = 1e-3


def error_of(output: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest magnitude."""
    if output.shape != expected.shape:
        raise WorkerFailed(f"output of shape {output.shape}, expected {expected.shape}")
    return float(np.abs(output - expected).max() / np.abs(expected).max())


def measure(job: Job, contenders: dict[str, Contender], seconds: float) -> dict[str, dict]:
    """The entries of all engines: figures, or the reason of a failure."""
    expected = np.load(job.y)
    workers: dict[str, Worker] = {}
    errors: dict[str, float] = {}
    entries: dict[str, dict] = {}
    try:
        for name, contender in contenders.items():
            output = job.folder / f"output-{name}.npy"
            worker = workers[name] = Worker(contender.command(job, output), output.with_suffix(".log"), job.threads)
            try:
                worker.wait_until_ready()
                errors[name] = error_of(np.load(output), expected)
                # The negated comparison is true for NaN as well.
                if contender.checked and not errors[name] <= TOLERANCE:
                    raise WorkerFailed(f"its output has a relative error of {errors[name]:.1e}")
            except WorkerFailed as reason:
                entries[name] = results.failed(str(reason))
                workers.pop(name).end()
        times, failed = take_turns(workers, seconds)
    finally:
        for worker in workers.values():
            worker.end()
    entries |= {name: results.failed(reason) for name, reason in failed.items()}
    entries |= {name: results.measured(runs, job.batch, errors[name]) for name, runs in times.items()}
    return entries
