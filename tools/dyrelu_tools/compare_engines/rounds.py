"""Turns: every engine runs a few times, again and again, so that all see the same weather."""

from __future__ import annotations

import time

from .protocol import Worker, WorkerFailed

RUNS_A_TURN = 3
FEWEST_RUNS = 9
# Fewer will do of an engine that takes longer than this for a run.
SLOW_SECONDS = 1.0
FEWEST_SLOW_RUNS = 3


def take_turns(workers: dict[str, Worker], seconds: float) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The times of every worker's runs, and the reasons of those that failed meanwhile.

    The order moves on by one from round to round. A worker that has used its share of the time, with
    enough runs to count, sits out, so that a slow engine leaves its turns to the others.
    """
    times: dict[str, list[float]] = {name: [] for name in workers}
    failed: dict[str, str] = {}
    share, start, first = seconds / max(len(workers), 1), time.monotonic(), 0

    def slow(name: str) -> bool:
        return bool(times[name]) and min(times[name]) > SLOW_SECONDS

    def runs_short(name: str) -> bool:
        return len(times[name]) < (FEWEST_SLOW_RUNS if slow(name) else FEWEST_RUNS)

    while running := [name for name in workers if name not in failed]:
        over = time.monotonic() - start >= seconds
        if over and not any(map(runs_short, running)):
            break
        order = running[first % len(running) :] + running[: first % len(running)]
        first += 1
        ran = False
        for name in order:
            if not runs_short(name) and (over or sum(times[name]) >= share):
                continue
            ran = True
            try:
                times[name] += workers[name].run(RUNS_A_TURN)
            except WorkerFailed as reason:
                failed[name] = str(reason)
        if not ran:
            break
    return {name: found for name, found in times.items() if name not in failed}, failed
