"""Runs the engines in turns of a few runs, so that changes of the machine's speed affect all alike."""

from __future__ import annotations

import time

from .protocol import Worker, WorkerFailed

RUNS_PER_TURN = 3
MIN_RUNS = 9
# An engine that takes longer than this for a run needs fewer runs.
SLOW_SECONDS = 1.0
MIN_SLOW_RUNS = 3


def take_turns(workers: dict[str, Worker], seconds: float) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The times of the runs of every worker, and the reasons of the workers that failed.

    The order rotates by one per round. A worker that has enough runs and has used its share of the time is skipped,
    so that a slow engine does not take time from the others.
    """
    times: dict[str, list[float]] = {name: [] for name in workers}
    failed: dict[str, str] = {}
    share, start, first = seconds / max(len(workers), 1), time.monotonic(), 0

    def slow(name: str) -> bool:
        return bool(times[name]) and min(times[name]) > SLOW_SECONDS

    def needs_runs(name: str) -> bool:
        return len(times[name]) < (MIN_SLOW_RUNS if slow(name) else MIN_RUNS)

    while running := [name for name in workers if name not in failed]:
        over = time.monotonic() - start >= seconds
        if over and not any(map(needs_runs, running)):
            break
        order = running[first % len(running) :] + running[: first % len(running)]
        first += 1
        ran = False
        for name in order:
            if not needs_runs(name) and (over or sum(times[name]) >= share):
                continue
            ran = True
            try:
                times[name] += workers[name].run(RUNS_PER_TURN)
            except WorkerFailed as reason:
                failed[name] = str(reason)
        if not ran:
            break
    return {name: seconds for name, seconds in times.items() if name not in failed}, failed
