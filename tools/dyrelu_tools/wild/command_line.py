"""Checks the output of the script `cli.sh`, step by step.

For each step the script prints its number and the right result in words, then the standard output and the exit code of a
command. The standard error of all steps is one text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .case import NotRun, Wrong

# The exit code of a command that read a part of a mapped file which no longer exists.
SIGBUS = 128 + 7


def codes(*right: int) -> Callable[[str, int | None], str | None]:
    """The check of a step that must end with one of these exit codes. It returns an error or None."""

    def wrong(_: str, code: int | None) -> str | None:
        return None if code in right else f"exit {code}, expected {' or '.join(map(str, right))}"

    return wrong


def photos(names: list[str], *right: int) -> Callable[[str, int | None], str | None]:
    """The check of a step that must classify the photos with these names."""

    def wrong(text: str, code: int | None) -> str | None:
        # Lines with names are not indented, lines with classes are.
        classified = {line.rsplit("/", 1)[-1] for line in text.splitlines() if line[:1].strip()}
        missing = [name for name in names if name not in classified]
        return f"{missing} is not classified" if missing else codes(*right)(text, code)

    return wrong


def nothing_left(text: str, _: int | None) -> str | None:
    """The check of a step that lists unfinished files. Lines with spaces are messages of a conversion that had finished."""
    names = [line for line in text.split("\n") if line and " " not in line]
    return f"{names} is left" if names else None


STEPS: dict[int, Callable[[str, int | None], str | None]] = {
    1: photos(["church.jpg"], 0, 1),
    2: codes(2),
    3: photos(["church.jpg"], 0, 1),
    4: photos(["own.jpg"], 0, 1),
    5: photos(["a.jfif", "b.jpe", "c.jpg"], 0),
    6: photos(["church.jpg"], 0),
    7: nothing_left,
    # A mapped file is changed, which the documentation forbids. Any of these exit codes is accepted.
    8: codes(0, 1, 2, SIGBUS),
}

# Texts that must be in the output or on standard error, by the number of the step.
NAMED = {2: "m.onnx: expected a file", 3: "c: ", 4: "linked"}


def check_command_line(output: str, errors: str) -> str:
    """Checks all steps. Returns a remark with their number."""
    sections = re.split(r"^(\d+) .*Right.*\n|^(\d+) .*Better.*\n", output, flags=re.MULTILINE)
    steps: dict[int, str] = {}
    for first, second, text in zip(sections[1::3], sections[2::3], sections[3::3], strict=True):
        steps[int(first or second)] = text
    if set(steps) != set(STEPS):
        raise NotRun(f"the script has the steps {sorted(steps)}, expected {sorted(STEPS)}")
    wrong = []
    for number, text in steps.items():
        exits = re.findall(r"^  exit (\d+)", text, flags=re.MULTILINE)
        printed = re.sub(r"^  exit \d+.*\n?", "", text, flags=re.MULTILINE)
        reason = STEPS[number](printed, int(exits[-1]) if exits else None)
        if not reason and number in NAMED and NAMED[number] not in printed + errors:
            reason = f"{NAMED[number]!r} is not in the output"
        if reason:
            wrong.append(f"{number}: {reason}")
    if wrong:
        raise Wrong("; ".join(wrong))
    return f"{len(steps)} steps"
