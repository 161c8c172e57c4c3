"""One case, and how it ended."""

from __future__ import annotations

import re
import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Wrong(Exception):
    """What a case gave in place of the right result."""


class NotRun(Exception):
    """Why a case could not be tried."""


@dataclass(frozen=True)
class Setting:
    """What cases run with; all paths are absolute."""

    cases: Path
    dyrelu: Path
    repository: Path
    programs: Path | None
    seconds: float
    work: Path


@dataclass(frozen=True)
class Case:
    """A name, and a check that gives a remark or raises `Wrong` or `NotRun`."""

    name: str
    check: Callable[[Setting], str]


@dataclass(frozen=True)
class Run:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    def expect(self, code: int) -> None:
        """Raises `Wrong` where the command ended in another way."""
        if self.code != code:
            raise Wrong(f"exit {self.code}, expected {code}: {last_line(self.err)}")

    def expect_sentence(self) -> str:
        """The one error that was printed, while nothing else was."""
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        if len(errors) != 1:
            raise Wrong(f"{len(errors)} errors on standard error, expected one sentence")
        if self.out.strip():
            raise Wrong(f"standard output has {self.out.splitlines()[0]!r}, expected nothing")
        return errors[0]


def last_line(text: str) -> str:
    """The end of what a program said."""
    return (text.strip().splitlines() or ["nothing on standard error"])[-1][:200]


def run(command: list[str | Path], cwd: Path, seconds: float, memory: int | None = None) -> Run:
    """Runs a command for at most so many seconds, in at most so many bytes of address space."""

    def limit() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            capture_output=True,
            timeout=seconds,
            preexec_fn=limit,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise Wrong(f"has not ended after {seconds:.0f} s") from e
    out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return Run(done.returncode, out, err)


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers that a pattern's only group finds."""
    return [float(found) for found in re.findall(pattern, text)]
