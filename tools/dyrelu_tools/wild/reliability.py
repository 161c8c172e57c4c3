"""The cases of the folder `reliability/`: files through the command line, programs as they are built.

The programs are Rust sources that use the crate. To run them, copy them to `examples/` of a scratch clone,
build them there (`cargo build --release --examples`) and name the folder of the results with `--programs`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .case import Case, NotRun, Run, Setting, Wrong, numbers, run
from .manifest import MODEL

Check = Callable[[Setting], str]

# What a photo of a few hundred bytes may take.
PHOTO_SECONDS, PHOTO_MEMORY = 20.0, 4_000_000_000

# The longest that a job of another kind in a shared pool may hold a run, in milliseconds.
BUSY_MS = 1000.0

# Threads of the sessions that hung.
HANG_THREADS = (16, 8, 6)


def cases(folder: Path) -> list[Case]:
    """The cases of the folder, in the order of its table."""
    return [
        *(Case(f"stress hang {threads}", hang(threads)) for threads in HANG_THREADS),
        Case("rows", all_right("rows")),
        Case("w2", all_right("w2")),
        Case("unsound", by_hand("each case of it runs under valgrind, by hand")),
        Case("pack_bias_empty.safetensors", inspect(folder / "pack_bias_empty.safetensors")),
        *(Case(name, bomb(folder / name)) for name in ("bomb16bit.png", "big.gif", "slow.jpg")),
        Case("stress busy 2", busy),
        Case("stress panics", panics),
        Case("graph-empty-map-conv", by_hand("an input of a fuzz target, which replays it")),
    ]


def by_hand(reason: str) -> Check:
    """A case that this program does not run."""

    def check(_: Setting) -> str:
        raise NotRun(reason)

    return check


def inspect(path: Path) -> Check:
    """A hostile model: read, or refused in a sentence."""

    def check(setting: Setting) -> str:
        done = run([setting.dyrelu, "inspect", path], setting.work, 60.0)
        return ended_well(done)

    return check


def bomb(path: Path) -> Check:
    """A photo that would like to take all memory or time: classified, or refused in a sentence."""

    def check(setting: Setting) -> str:
        command = [setting.dyrelu, "classify", "--model", setting.repository / MODEL, path]
        return ended_well(run(command, setting.work, PHOTO_SECONDS, PHOTO_MEMORY))

    return check


def ended_well(done: Run) -> str:
    """Checks that a command gave a result or one sentence."""
    if done.code == 0:
        return "read"
    if done.code not in (1, 2):
        done.expect(0)
    return f"refused: {done.expect_sentence()[:120]}"


def program(setting: Setting, name: str, *arguments: str | int, seconds: float) -> Run:
    """What a program prints, run in the repository."""
    if setting.programs is None:
        raise NotRun("needs --programs")
    path = setting.programs / name
    if not path.is_file():
        raise NotRun(f"{path} is not there")
    return run([path, *map(str, arguments)], setting.repository, seconds)


def hang(threads: int) -> Check:
    """Sessions of so many threads, for the seconds that the setting says."""

    def check(setting: Setting) -> str:
        arguments = ("hang", threads, int(setting.seconds), 2)
        done = program(setting, "stress", *arguments, seconds=setting.seconds + 60.0)
        done.expect(0)
        if "no hang" not in done.out:
            raise Wrong(done.out.strip())
        return done.out.strip()

    return check


def all_right(name: str) -> Check:
    """A program that prints a line for each network, with its error."""

    def check(setting: Setting) -> str:
        done = program(setting, name, seconds=300.0)
        done.expect(0)
        wrong = [line for line in done.out.splitlines() if "WRONG" in line]
        if wrong or not done.out:
            raise Wrong(wrong[0] if wrong else "nothing printed")
        return f"{len(done.out.splitlines())} lines"

    return check


def busy(setting: Setting) -> str:
    """Runs in a pool in which another job sleeps."""
    done = program(setting, "stress", "busy", 2, seconds=120.0)
    done.expect(0)
    slowest = numbers(r"slowest ([\d.]+) ms", done.out)
    if not slowest:
        raise Wrong("nothing was measured")
    if max(slowest) > BUSY_MS:
        raise Wrong(f"a run took {max(slowest):.0f} ms")
    return f"slowest {max(slowest):.0f} ms"


def panics(setting: Setting) -> str:
    """Runs after a closure that watches has panicked."""
    done = program(setting, "stress", "panics", seconds=120.0)
    done.expect(0)
    if "PANICS" in done.out or "fails" in done.out or "false" in done.out:
        raise Wrong("a run after a panic is wrong or panics")
    return "later runs are right"
