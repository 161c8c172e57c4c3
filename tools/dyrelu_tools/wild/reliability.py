"""The cases of the folder `reliability/`: files for the command line, and programs.

The programs are Rust sources that use the crate. To run them, copy them to `examples/` of a separate clone, build them
there (`cargo build --release --examples`), and pass the folder of the built programs as `--programs`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .case import Case, NotRun, Run, Setting, Wrong, numbers, run
from .manifest import MODEL

Check = Callable[[Setting], str]

# The limits of time and memory for a photo of a few hundred bytes.
PHOTO_SECONDS, PHOTO_MEMORY = 20.0, 4_000_000_000

# The longest delay of a run by another job in a shared pool, in milliseconds.
BUSY_MS = 1000.0

# The numbers of threads with which sessions once hung.
HANG_THREADS = (16, 8, 6)


def cases(folder: Path) -> list[Case]:
    """The cases of the folder, in the order of its table."""
    return [
        *(Case(f"stress hang {threads}", hang(threads)) for threads in HANG_THREADS),
        Case("rows", all_right("rows")),
        Case("w2", all_right("w2")),
        Case("unsound", by_hand("each of its cases is run by hand under valgrind")),
        Case("pack_bias_empty.safetensors", inspect(folder / "pack_bias_empty.safetensors")),
        *(Case(name, bomb(folder / name)) for name in ("bomb16bit.png", "big.gif", "slow.jpg")),
        Case("stress busy 2", busy),
        Case("stress panics", panics),
        Case("graph-empty-map-conv", by_hand("it is an input of a fuzz target")),
    ]


def by_hand(reason: str) -> Check:
    """A case that this program does not run."""

    def check(_: Setting) -> str:
        raise NotRun(reason)

    return check


def inspect(path: Path) -> Check:
    """The check of a hostile model, which must be read or refused with one sentence."""

    def check(setting: Setting) -> str:
        done = run([setting.dyrelu, "inspect", path], setting.work, 60.0)
        return ended_well(done)

    return check


def bomb(path: Path) -> Check:
    """The check of a photo that needs much memory or time to decode. It must be classified or refused with one sentence."""

    def check(setting: Setting) -> str:
        command = [setting.dyrelu, "classify", "--model", setting.repository / MODEL, path]
        return ended_well(run(command, setting.work, PHOTO_SECONDS, PHOTO_MEMORY))

    return check


def ended_well(done: Run) -> str:
    """Checks that a command gave a result or failed with one sentence."""
    if done.code == 0:
        return "read"
    if done.code not in (1, 2):
        done.expect(0)
    return f"refused: {done.expect_sentence()[:120]}"


def program(setting: Setting, name: str, *arguments: str | int, seconds: float) -> Run:
    """Runs a program in the repository."""
    if setting.programs is None:
        raise NotRun("needs --programs")
    path = setting.programs / name
    if not path.is_file():
        raise NotRun(f"{path} does not exist")
    return run([path, *map(str, arguments)], setting.repository, seconds)


def hang(threads: int) -> Check:
    """The check that sessions with this number of threads do not hang, for `setting.seconds`."""

    def check(setting: Setting) -> str:
        arguments = ("hang", threads, int(setting.seconds), 2)
        done = program(setting, "stress", *arguments, seconds=setting.seconds + 60.0)
        done.expect(0)
        if "no hang" not in done.out:
            raise Wrong(done.out.strip())
        return done.out.strip()

    return check


def all_right(name: str) -> Check:
    """The check of a program that prints one line per network, with its error."""

    def check(setting: Setting) -> str:
        done = program(setting, name, seconds=300.0)
        done.expect(0)
        wrong = [line for line in done.out.splitlines() if "WRONG" in line]
        if wrong or not done.out:
            raise Wrong(wrong[0] if wrong else "nothing printed")
        return f"{len(done.out.splitlines())} lines"

    return check


def busy(setting: Setting) -> str:
    """Checks the time of runs in a pool in which another job sleeps."""
    done = program(setting, "stress", "busy", 2, seconds=120.0)
    done.expect(0)
    slowest = numbers(r"slowest ([\d.]+) ms", done.out)
    if not slowest:
        raise Wrong("nothing was measured")
    if max(slowest) > BUSY_MS:
        raise Wrong(f"a run took {max(slowest):.0f} ms")
    return f"slowest {max(slowest):.0f} ms"


def panics(setting: Setting) -> str:
    """Checks runs after a panic of an observer."""
    done = program(setting, "stress", "panics", seconds=120.0)
    done.expect(0)
    if "PANICS" in done.out or "fails" in done.out or "false" in done.out:
        raise Wrong("a run after a panic is wrong or panics")
    return "later runs are correct"
