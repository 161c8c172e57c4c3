"""The cases of a `manifest.tsv`: a file, a command and the right result in words.

A right result is one of the following, or several joined by "; ":

    exit N
    exit N, one sentence: WORDS                      the sentence must contain WORDS
    one sentence on standard error that the file is cut off or corrupt
    no class on standard output
    FILE equals FILE (type T, shape [..])
    pixels are FILE (h, w, 3; ...), at most K off

Any other words end this program with an error, so that such a case never passes.
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

# The largest accepted error, relative to the largest magnitude: for the engine's single precision, and one unit in the
# last place of half precision.
TOLERANCES = {np.dtype(np.float16): 2.0**-10, np.dtype(np.float32): 1e-4}
TOLERANCES[np.dtype(np.float64)] = TOLERANCES[np.dtype(np.float32)]

# Time limits of a command, and of a script that classifies thousands of photos.
SECONDS, MANY_SECONDS = 60.0, 1800.0

# Words of which one must be in an error about a truncated or corrupt photo.
DAMAGE = ("cut", "corrupt", "damaged", "truncated", "ends", "incomplete")

MODEL = "models/mobilenetv2-x0.35-dyrelu-b-imagenette.safetensors"


def cases(manifest: Path) -> list[Case]:
    """The cases of a manifest, in order."""
    with manifest.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [case(row["file"], row["command"], row["right result"]) for row in rows]


def case(name: str, command: str, right: str) -> Case:
    """The case of one row."""
    if command.startswith("bash "):
        return Case(name, script(command, right))
    # Semicolons in parentheses do not separate results.
    expected = [expectation(words) for words in re.split(r"; (?![^(]*\))", right)]

    def check(setting: Setting) -> str:
        known = {"dyrelu": str(setting.dyrelu), "MODEL": str(setting.repository / MODEL)}
        words = [known.get(word, word) for word in shlex.split(command)]
        # Arrays of earlier commands must not pass as results of this one.
        for array in setting.work.glob("out*.npy"):
            array.unlink()
        done = run(words, setting.work, SECONDS)
        remarks = [check_result(done, setting.work) for check_result in expected]
        return ", ".join(remark for remark in remarks if remark)

    return Case(name, check)


Expectation = Callable[[Run, Path], str]


def expectation(words: str) -> Expectation:
    """The check of a run in a folder that the words describe. It returns a remark."""
    if match := re.fullmatch(r"exit (\d+)", words):
        return lambda done, _: done.expect(int(match[1])) or ""
    if match := re.fullmatch(r"exit (\d+), one sentence: (.+)", words):
        return lambda done, _: refused(done, int(match[1]), (match[2],))
    if re.fullmatch(r"one sentence on standard error that the file is cut off or corrupt", words):
        return lambda done, _: refused(done, done.code, DAMAGE)
    if words == "no class on standard output":
        return lambda done, _: nothing_printed(done)
    if match := re.fullmatch(r"(\S+) equals (\S+) \(type (\w+), shape \[(.*)\]\)", words):
        shape = tuple(int(size) for size in match[4].split(",") if size.strip())
        arguments = (match[1], match[2], np.dtype(match[3]), shape)
        return lambda _, folder: equal(folder, *arguments)
    if match := re.fullmatch(r"pixels are (\S+) \(h, w, 3.*\), at most (\d+) off", words):
        return lambda done, folder: same_pixels(done, folder / match[1], int(match[2]))
    raise SystemExit(f"the right result {words!r} is not in a known form")


def refused(done: Run, code: int, words: tuple[str, ...]) -> str:
    """Checks that a command failed with one sentence that contains any of `words`."""
    done.expect(code)
    sentence = done.expect_sentence()
    if not any(word in sentence for word in words):
        raise Wrong(f"{sentence!r} contains none of {words}")
    return ""


def nothing_printed(done: Run) -> str:
    """Checks that nothing was printed."""
    if done.out.strip():
        raise Wrong(f"printed {done.out.splitlines()[0]!r}")
    return ""


def equal(
    folder: Path, output_name: str, expected_name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> str:
    """Checks an array that a command wrote. Returns its largest error as a remark."""
    output, expected = (np.load(folder / name) for name in (output_name, expected_name))
    for array, name in ((expected, expected_name), (output, output_name)):
        if (array.dtype, array.shape) != (dtype, shape):
            raise Wrong(f"{name} is {array.dtype} {list(array.shape)}, expected {dtype} {list(shape)}")
    output, expected = output.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isfinite(output), np.isfinite(expected)):
        raise Wrong("other elements are finite")
    finite = np.isfinite(expected)
    if not np.array_equal(output[~finite], expected[~finite], equal_nan=True):
        raise Wrong("infinities or NaN are at other places")
    scale = np.abs(expected[finite]).max(initial=0.0)
    error = np.abs(output - expected)[finite].max(initial=0.0)
    if error > TOLERANCES.get(dtype, 0.0) * scale:
        raise Wrong(f"the largest error is {error:.3g}, the largest element {scale:.3g}")
    return f"error {error / scale if scale else 0.0:.1e}"


def same_pixels(done: Run, expected: Path, tolerance: int) -> str:
    """Checks the pixels that a network encoded as scores. Returns the largest difference as a remark.

    Value k - 1 of the planar picture is 255 * ln(p[k] / p[0]), where p[k] is the score of class k.
    """
    picture = np.load(expected).astype(np.float64)
    scores = {p["class"]: p["score"] for p in json.loads(done.out)["predictions"]}
    if set(scores) != set(range(picture.size + 1)):
        raise Wrong(f"the picture has {len(scores) - 1} values, expected {picture.size}")
    values = [255.0 * math.log(scores[k] / scores[0]) for k in range(1, picture.size + 1)]
    height, width, channels = picture.shape
    pixels = np.reshape(values, (channels, height, width)).transpose(1, 2, 0)
    difference = np.abs(np.rint(pixels) - picture).max(initial=0.0)
    if difference > tolerance:
        raise Wrong(f"pixels differ by up to {difference:.0f}, allowed are {tolerance}")
    return f"pixels differ by at most {difference:.0f}"


def script(command: str, right: str) -> Callable[[Setting], str]:
    """The check of a case that is a shell script with the arguments BINARY and REPOSITORY."""

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
    if match := re.fullmatch(r"ends, (.+)", right):

        def check(setting: Setting) -> str:
            printed = output(setting).out.strip()
            if printed != match[1]:
                raise Wrong(f"printed {printed!r}")
            return ""

        return check
    raise SystemExit(f"the right result {right!r} of a script is not in a known form")
