"""What the script `cli.sh` should print, step by step.

The script numbers its steps, says what is right in words, then prints standard output and the exit code.
What its commands say on standard error is one text for all steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .case import NotRun, Wrong

# The exit code of a command that read what is no longer in a mapped file.
SIGBUS = 128 + 7


def codes(*right: int) -> Callable[[str, int | None], str | None]:
    """A step that may end in any of these exit codes."""

    def wrong(_: str, code: int | None) -> str | None:
        return None if code in right else f"exit {code}, expected {' or '.join(map(str, right))}"

    return wrong


def photos(names: list[str], *right: int) -> Callable[[str, int | None], str | None]:
    """A step that classifies the photos of these names."""

    def wrong(text: str, code: int | None) -> str | None:
        # Names stand at the beginning of a line, classes are indented.
        found = {line.rsplit("/", 1)[-1] for line in text.splitlines() if line[:1].strip()}
        missing = [name for name in names if name not in found]
        return f"{missing} is not classified" if missing else codes(*right)(text, code)

    return wrong


def nothing_left(text: str, _: int | None) -> str | None:
    """A step that lists the unfinished files; a conversion that was done before the signal says so in a sentence."""
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
    # Documented as forbidden: an error is better, and nothing is promised.
    8: codes(0, 1, 2, SIGBUS),
}

# What has to be named somewhere, with the step that it belongs to.
NAMED = {2: "m.onnx: expected a file", 3: "c: ", 4: "linked"}


def check_command_line(output: str, errors: str) -> str:
    """Checks all steps by standard output and standard error; gives how many there were."""
    sections = re.split(r"^(\d+) .*Right.*\n|^(\d+) .*Better.*\n", output, flags=re.MULTILINE)
    steps: dict[int, str] = {}
    for first, second, text in zip(sections[1::3], sections[2::3], sections[3::3], strict=True):
        steps[int(first or second)] = text
    if set(steps) != set(STEPS):
        raise NotRun(f"the script has the steps {sorted(steps)}, known are {sorted(STEPS)}")
    wrong = []
    for number, text in steps.items():
        exits = re.findall(r"^  exit (\d+)", text, flags=re.MULTILINE)
        printed = re.sub(r"^  exit \d+.*\n?", "", text, flags=re.MULTILINE)
        reason = STEPS[number](printed, int(exits[-1]) if exits else None)
        if not reason and number in NAMED and NAMED[number] not in printed + errors:
            reason = f"{NAMED[number]!r} is said nowhere"
        if reason:
            wrong.append(f"{number}: {reason}")
    if wrong:
        raise Wrong("; ".join(wrong))
    return f"{len(steps)} steps"
