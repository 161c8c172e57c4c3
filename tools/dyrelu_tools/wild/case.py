"""A case, and the commands that it runs."""

from __future__ import annotations

import re
import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Wrong(Exception):
    """A case failed. The message describes the result."""


class NotRun(Exception):
    """A case could not be run. The message is the reason."""


@dataclass(frozen=True)
class Setting:
    """The programs and folders that cases use. All paths are absolute."""

    cases: Path
    dyrelu: Path
    repository: Path
    programs: Path | None
    seconds: float
    work: Path


@dataclass(frozen=True)
class Case:
    """A name, and a check that returns a remark or raises `Wrong` or `NotRun`."""

    name: str
    check: Callable[[Setting], str]


@dataclass(frozen=True)
class Run:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    def expect(self, code: int) -> None:
        """Raises `Wrong` if the exit code is another one."""
        if self.code != code:
            raise Wrong(f"exit {self.code}, expected {code}: {last_line(self.err)}")

    def expect_sentence(self) -> str:
        """Returns the only error. Raises `Wrong` if there is not exactly one, or if there is other output."""
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        if len(errors) != 1:
            raise Wrong(f"{len(errors)} errors on standard error, expected one sentence")
        if self.out.strip():
            raise Wrong(f"standard output has {self.out.splitlines()[0]!r}, expected nothing")
        return errors[0]


def last_line(text: str) -> str:
    """The last line of the text, at most 200 characters of it."""
    return (text.strip().splitlines() or ["nothing on standard error"])[-1][:200]


def run(command: list[str | Path], cwd: Path, seconds: float, memory: int | None = None) -> Run:
    """Runs a command with a limit of time in seconds and of address space in bytes."""

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
    """The numbers that match the only group of a pattern."""
    return [float(match) for match in re.findall(pattern, text)]
