"""The checks of cases on which dyrelu once failed: which results pass, and which do not."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dyrelu_tools.wild import manifest
from dyrelu_tools.wild.case import Run, Wrong
from dyrelu_tools.wild.command_line import check_command_line


def test_unknown_words_never_pass() -> None:
    with pytest.raises(SystemExit):
        manifest.case("x", "dyrelu run x", "exit 0; all is well")
    with pytest.raises(SystemExit):
        manifest.case("x.sh", "bash x.sh", "all is well")


def test_sentences_and_exit_codes() -> None:
    refused = manifest.expectation("exit 2, one sentence: opset 99")
    refused(Run(2, "", "error: x: opset 99 is new\n"), Path())
    for wrong in [
        Run(0, "", "error: opset 99\n"),
        Run(2, "", "error: opset 98\n"),
        Run(2, "", "error: opset 99\nerror: and more\n"),
        Run(2, "something", "error: opset 99\n"),
    ]:
        with pytest.raises(Wrong):
            refused(wrong, Path())


def test_arrays_have_type_shape_and_values(tmp_path: Path) -> None:
    equal = manifest.expectation("a.npy equals b.npy (type float32, shape [3])")
    right = np.float32([1.0, np.nan, -2.0])
    np.save(tmp_path / "b.npy", right)

    def check(array: np.ndarray) -> None:
        np.save(tmp_path / "a.npy", array)
        equal(Run(0, "", ""), tmp_path)

    check(right)
    check(right * np.float32(1.00001))
    for wrong in [
        right.astype(np.float64),
        right[None],
        right * np.float32(1.001),
        np.float32([1.0, 0.0, -2.0]),
        np.float32([1.0, np.inf, -2.0]),
    ]:
        with pytest.raises(Wrong):
            check(wrong)


def test_pixels_are_decoded_from_scores(tmp_path: Path) -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.save(tmp_path / "p.npy", picture)
    same = manifest.expectation("pixels are p.npy (h, w, 3; see README.txt), at most 1 off")

    def run(picture: np.ndarray) -> Run:
        values = [0.0, *picture.transpose(2, 0, 1).ravel()]
        predictions = [
            {"class": k, "score": math.exp(value / 255.0)} for k, value in enumerate(values)
        ]
        return Run(0, json.dumps({"predictions": predictions}), "")

    same(run(picture), tmp_path)
    same(run(picture + 1), tmp_path)
    for wrong in [picture + 2, picture.transpose(1, 0, 2), picture[:, :1]]:
        with pytest.raises(Wrong):
            same(run(wrong), tmp_path)


def test_the_steps_of_the_script() -> None:
    texts = {
        1: "a/church.jpg\n   39.28%  church\n  exit 1\n",
        2: "  exit 2\n",
        3: "church.jpg\n   39.28%  church\n  exit 1\n",
        4: "d/own.jpg\n  exit 0\n",
        5: "f/a.jfif\nf/b.jpe\nf/c.jpg\n  exit 0\n",
        6: "church.jpg\n  exit 0\n",
        7: "",
        8: "  exit 135\n",
    }
    errors = "error: m.onnx: expected a file\nerror: c: no photos\nnote: d/linked\n"

    def output(**changed: str) -> str:
        all_texts = texts | {int(step[1:]): text for step, text in changed.items()}
        right = {8: "Better: an error"}
        return "".join(
            f"{step} a step. {right.get(step, 'Right: this')}\n{text}"
            for step, text in all_texts.items()
        )

    check_command_line(output(), errors)
    for wrong in [
        output(_1="a/church.jpg\n  exit 124\n"),
        output(_2="  exit 0\n"),
        output(_5="f/c.jpg\n  exit 0\n"),
        output(_7=".1.draft\n"),
    ]:
        with pytest.raises(Wrong):
            check_command_line(wrong, errors)
    with pytest.raises(Wrong):
        check_command_line(output(), "")
