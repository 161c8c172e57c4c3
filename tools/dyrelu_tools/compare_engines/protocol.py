"""The protocol between the parent and its workers. A worker is a process that holds one network in one engine.

A worker loads the network, warms up and prints `ready`. For each line `run N` it makes N runs and answers with one
line of N times in seconds. `quit` ends it. Between its turns the parent stops it with SIGSTOP, so that its threads
cannot take time from other engines by spinning.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

LOAD_SECONDS = 600.0
RUN_SECONDS = 300.0
WARM_UP = 3
WARM_UP_SECONDS = 1.0


class WorkerFailed(Exception):
    """The reason why an engine does not run a network."""


class Worker:
    """A worker, as the parent uses it."""

    def __init__(self, command: list[str], log: Path, threads: int) -> None:
        self.log, self.rest = log, b""
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "RTEN_NUM_THREADS"), str(threads))
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=os.environ | limits, bufsize=0
            )

    def wait_until_ready(self) -> None:
        """Waits until the network is loaded and warm. The worker is then stopped."""
        line = self._line(LOAD_SECONDS)
        if line != "ready":
            raise WorkerFailed(f"answered {line!r} instead of ready")
        self.process.send_signal(signal.SIGSTOP)

    def run(self, count: int) -> list[float]:
        """Makes `count` runs and returns their times in seconds."""
        self.process.send_signal(signal.SIGCONT)
        self._tell(f"run {count}")
        line = self._line(RUN_SECONDS)
        self.process.send_signal(signal.SIGSTOP)
        try:
            seconds = [float(word) for word in line.split()]
        except ValueError:
            raise WorkerFailed(f"answered {line!r} instead of times") from None
        if len(seconds) != count:
            raise WorkerFailed(f"answered {len(seconds)} times for {count} runs")
        return seconds

    def end(self) -> None:
        """Asks the worker to quit, and kills it if it does not."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self._tell("quit")
            self.process.wait(5)
        except (WorkerFailed, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()

    def _tell(self, line: str) -> None:
        try:
            self.process.stdin.write(f"{line}\n".encode())
        except BrokenPipeError:
            raise WorkerFailed(self._reason()) from None

    def _line(self, seconds: float) -> str:
        end = time.monotonic() + seconds
        while b"\n" not in self.rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise WorkerFailed(f"no answer within {seconds:.0f} seconds")
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise WorkerFailed(self._reason())
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _reason(self) -> str:
        """The exit code or signal of the worker, with the last error or last line on its standard error."""
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its output"
        end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        messages = [line for line in lines if "error" in line.lower()] or (lines if code > 0 else [])
        return f"{messages[-1][:200]} ({end})" if messages else end


def serve(run: Callable[[], object], commands: TextIO, answers: TextIO) -> None:
    """Serves a worker: warms up, then executes commands until `quit` or their end."""

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def answer(line: str) -> None:
        print(line, file=answers, flush=True)

    start = time.perf_counter()
    for _ in range(WARM_UP):
        run()
        if time.perf_counter() - start > WARM_UP_SECONDS:
            break
    answer("ready")
    for line in commands:
        word, *count = line.split()
        if word == "quit":
            return
        if word != "run":
            raise ValueError(f"unknown command {line!r}")
        answer(" ".join(repr(timed()) for _ in range(int(*count))))
