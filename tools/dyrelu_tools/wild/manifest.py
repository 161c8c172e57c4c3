"""The cases of a `manifest.tsv`: a file, a command and the right result in words.

The words that are understood, alone or joined by "; ":

    exit N
    exit N, one sentence: WORDS                      the sentence has to contain WORDS
    one sentence on standard error that the file is cut off or corrupt
    no class on standard output
    FILE equals FILE (type T, shape [..])
    pixels are FILE (h, w, 3; ...), at most K off

Any other words are an error of this program, never a case that passes.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .case import Case, Run, Setting, Wrong, run
from .command_line import check_command_line

# The largest error that passes, as a share of the largest element: of the engine's single precision, and
# of one unit in the last place of half precision.
TOLERANCES = {np.dtype(np.float16): 2.0**-10, np.dtype(np.float32): 1e-4}
TOLERANCES[np.dtype(np.float64)] = TOLERANCES[np.dtype(np.float32)]

# The longest that one command may take, and one that classifies thousands of photos.
SECONDS, MANY_SECONDS = 60.0, 1800.0

# What a sentence may say of a photo that ends too early or makes no sense.
DAMAGE = ("cut", "corrupt", "damaged", "truncated", "ends", "incomplete")

MODEL = "models/mobilenetv2-x0.35-dyrelu-b-imagenette.safetensors"


def cases(manifest: Path) -> list[Case]:
    """The cases of a manifest, in order."""
    with manifest.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [case(row["file"], row["command"], row["right result"]) for row in rows]


def case(name: str, command: str, right: str) -> Case:
    """The case of one line."""
    if command.startswith("bash "):
        return Case(name, script(command, right))
    # Semicolons in parentheses part nothing.
    expected = [expectation(words) for words in re.split(r"; (?![^(]*\))", right)]

    def check(setting: Setting) -> str:
        known = {"dyrelu": str(setting.dyrelu), "MODEL": str(setting.repository / MODEL)}
        words = [known.get(word, word) for word in shlex.split(command)]
        # An array that an earlier command wrote is no result of this one.
        for left in setting.work.glob("out*.npy"):
            left.unlink()
        done = run(words, setting.work, SECONDS)
        remarks = [holds(done, setting.work) for holds in expected]
        return ", ".join(remark for remark in remarks if remark)

    return Case(name, check)


Expectation = Callable[[Run, Path], str]


def expectation(words: str) -> Expectation:
    """What some words demand of a run in a folder."""
    if found := re.fullmatch(r"exit (\d+)", words):
        return lambda done, _: done.expect(int(found[1])) or ""
    if found := re.fullmatch(r"exit (\d+), one sentence: (.+)", words):
        return lambda done, _: says(done, int(found[1]), (found[2],))
    if re.fullmatch(r"one sentence on standard error that the file is cut off or corrupt", words):
        return lambda done, _: says(done, done.code, DAMAGE)
    if words == "no class on standard output":
        return lambda done, _: nothing_printed(done)
    if found := re.fullmatch(r"(\S+) equals (\S+) \(type (\w+), shape \[(.*)\]\)", words):
        shape = tuple(int(size) for size in found[4].split(",") if size.strip())
        wanted = (found[1], found[2], np.dtype(found[3]), shape)
        return lambda _, folder: equal(folder, *wanted)
    if found := re.fullmatch(r"pixels are (\S+) \(h, w, 3.*\), at most (\d+) off", words):
        return lambda done, folder: same_pixels(done, folder / found[1], int(found[2]))
    raise SystemExit(f"the right result {words!r} is not understood")


def says(done: Run, code: int, words: tuple[str, ...]) -> str:
    """Checks that a command refused in one sentence with any of `words`."""
    done.expect(code)
    sentence = done.expect_sentence()
    if not any(word in sentence for word in words):
        raise Wrong(f"{sentence!r} has none of {words}")
    return ""


def nothing_printed(done: Run) -> str:
    """Checks that there is no result."""
    if done.out.strip():
        raise Wrong(f"printed {done.out.splitlines()[0]!r}")
    return ""


def equal(
    folder: Path, found_name: str, wanted_name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> str:
    """Checks an array that a command wrote; gives its largest error."""
    found, wanted = (np.load(folder / name) for name in (found_name, wanted_name))
    for array, name in ((wanted, wanted_name), (found, found_name)):
        if (array.dtype, array.shape) != (dtype, shape):
            raise Wrong(f"{name} is {array.dtype} {list(array.shape)}, not {dtype} {list(shape)}")
    exact = found.astype(np.float64), wanted.astype(np.float64)
    if not np.array_equal(np.isfinite(exact[0]), np.isfinite(exact[1])):
        raise Wrong("other elements are finite")
    finite = np.isfinite(exact[1])
    if not np.array_equal(exact[0][~finite], exact[1][~finite], equal_nan=True):
        raise Wrong("infinities or NaN are elsewhere")
    scale = np.abs(exact[1][finite]).max(initial=0.0)
    error = np.abs(exact[0] - exact[1])[finite].max(initial=0.0)
    if error > TOLERANCES.get(dtype, 0.0) * scale:
        raise Wrong(f"off by {error:.3g}, the largest element is {scale:.3g}")
    return f"error {error / scale if scale else 0.0:.1e}"


def same_pixels(done: Run, wanted: Path, most: int) -> str:
    """Checks the pixels that a network gave as scores; gives how far they are off.

    Value k - 1 of the planar picture is 255 * ln(p[k] / p[0]), with the score p[k] of class k.
    """
    picture = np.load(wanted).astype(np.float64)
    scores = {p["class"]: p["score"] for p in json.loads(done.out)["predictions"]}
    if set(scores) != set(range(picture.size + 1)):
        raise Wrong(f"the picture has {len(scores) - 1} values, expected {picture.size}")
    values = [255.0 * math.log(scores[k] / scores[0]) for k in range(1, picture.size + 1)]
    height, width, channels = picture.shape
    found = np.reshape(values, (channels, height, width)).transpose(1, 2, 0)
    off = np.abs(np.rint(found) - picture).max(initial=0.0)
    if off > most:
        raise Wrong(f"off by up to {off:.0f}, at most {most} are right")
    return f"off by {off:.0f}"


def script(command: str, right: str) -> Callable[[Setting], str]:
    """The check of a case that is a shell script with arguments BINARY and REPOSITORY."""

    def output(setting: Setting) -> Run:
        known = {"BINARY": str(setting.dyrelu), "REPOSITORY": str(setting.repository)}
        words = [known.get(word, word) for word in shlex.split(command)]
        done = run(words, setting.work, MANY_SECONDS)
        done.expect(0)
        return done

    if right == "said in each line of its output":

        def check_steps(setting: Setting) -> str:
            done = output(setting)
            return check_command_line(done.out, done.err)

        return check_steps
    if found := re.fullmatch(r"ends, (.+)", right):

        def check(setting: Setting) -> str:
            printed = output(setting).out.strip()
            if printed != found[1]:
                raise Wrong(f"printed {printed!r}")
            return ""

        return check
    raise SystemExit(f"the right result {right!r} of a script is not understood")
