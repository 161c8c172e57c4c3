"""One cell of the comparison: all engines load a network, are checked, and take turns."""

from __future__ import annotations

import numpy as np

from . import results
from .contenders import Contender
from .engines import Job
from .protocol import Worker, WorkerFailed
from .rounds import take_turns

TOLERANCE = 1e-3


def error_of(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the largest output."""
    if found.shape != wanted.shape:
        raise WorkerFailed(f"output of shape {found.shape}, not {wanted.shape}")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def measure(job: Job, contenders: dict[str, Contender], seconds: float) -> dict[str, dict]:
    """Entries of all engines: figures, or why there are none."""
    wanted = np.load(job.y)
    workers: dict[str, Worker] = {}
    errors: dict[str, float] = {}
    entries: dict[str, dict] = {}
    try:
        for name, contender in contenders.items():
            output = job.folder / f"output-{name}.npy"
            worker = workers[name] = Worker(contender.command(job, output), output.with_suffix(".log"), job.threads)
            try:
                worker.wait_until_ready()
                errors[name] = error_of(np.load(output), wanted)
                # Not a number fails, too.
                if contender.checked and not errors[name] <= TOLERANCE:
                    raise WorkerFailed(f"its output is off by {errors[name]:.1e} of the scale")
            except WorkerFailed as reason:
                entries[name] = results.failed(str(reason))
                workers.pop(name).end()
        times, failed = take_turns(workers, seconds)
    finally:
        for worker in workers.values():
            worker.end()
    entries |= {name: results.failed(reason) for name, reason in failed.items()}
    entries |= {name: results.measured(found, job.batch, errors[name]) for name, found in times.items()}
    return entries
