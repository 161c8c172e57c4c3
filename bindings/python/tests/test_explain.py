"""What dynamic activations do with photos: the figures of the command line."""

import csv
import subprocess

import numpy as np
import pytest

import dyrelu
from conftest import FORM_C, PHOTOS, PROGRAM, SMALL

NAMES = [PHOTOS / "church.jpg", PHOTOS / "tower.jpg"]


def test_the_figures_are_those_of_the_command_line(tmp_path):
    program = [PROGRAM, "explain", FORM_C, *NAMES, "--out", tmp_path / "program"]
    subprocess.run(program, check=True, capture_output=True)
    model = dyrelu.Model(FORM_C)
    found = dyrelu.explain(model, NAMES, out=tmp_path / "package")
    for name in ["index.html", "activations.csv", "coefficients.csv"]:
        ours, theirs = (tmp_path / folder / name for folder in ["package", "program"])
        assert ours.read_text(encoding="utf-8") == theirs.read_text(encoding="utf-8")

    def rows(name):
        with open(tmp_path / "program" / name, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    assert (found.photos, len(found.activations)) == (2, 35)
    activations = rows("activations.csv")
    assert len(activations) == len(found.activations)
    for row, activation in zip(activations, found.activations):
        assert (activation.name, activation.form) == (row["activation"], row["form"])
        for column, figure in activation._asdict().items():
            if column in row and column not in ("name", "form"):
                assert float(row[column]) == figure, column
        assert str(activation.is_static).lower() == row["static"]
    coefficients = iter(rows("coefficients.csv"))
    for activation in found.activations:
        for name, coefficient in activation.coefficients.items():
            row = next(coefficients)
            assert (activation.name, name) == (row["activation"], row["coefficient"])
            for column in ["mean", "deviation", "deviation_between_photos", "least", "most"]:
                assert float(row[column]) == getattr(coefficient, column)
    assert next(coefficients, None) is None


def test_the_figures_follow_from_the_coefficients(model, images):
    found = dyrelu.explain(model, images)
    assert found.photos == 2
    coefficients = dyrelu.coefficients(model, images)
    unusual, shifted = [], []
    for activation in found.activations:
        slopes, intercepts = np.split(coefficients[activation.name].astype(np.float64), 2, axis=1)
        is_unusual = ((slopes < 0) | (slopes > 1)).any(axis=1)
        is_shifted = (np.abs(intercepts.astype(np.float32)) > np.float32(0.05)).any(axis=1)
        unusual.append(is_unusual.ravel())
        shifted.append(is_shifted.ravel())
        assert activation.unusual_slopes == pytest.approx(is_unusual.mean())
        assert activation.intercepts == pytest.approx(is_shifted.mean())
        distance = np.abs(slopes[:, 0] - slopes[:, 1])
        assert activation.slope_distance == pytest.approx(distance.mean(), abs=1e-6)
        between = []
        for number, (name, values) in enumerate(activation.coefficients.items()):
            expected = coefficients[activation.name][:, number].astype(np.float64)
            assert name == ["a1", "a2", "b1", "b2"][number]
            # The probed network computes them in another order of steps.
            close = {"rtol": 1e-4, "atol": 1e-5}
            np.testing.assert_allclose(values.channel_means, expected.mean(axis=0), **close)
            np.testing.assert_allclose(values.channel_deviations, expected.std(axis=0), **close)
            assert values.mean == pytest.approx(expected.mean(), abs=1e-5)
            assert values.deviation == pytest.approx(expected.std(), abs=1e-5)
            between.append(values.deviation_between_photos)
        assert activation.deviation_between_photos == max(between)
        assert activation.is_static == (max(between) <= 0.01)
    assert found.unusual_slopes == pytest.approx(np.concatenate(unusual).mean())
    assert found.intercepts == pytest.approx(np.concatenate(shifted).mean())
    assert all(a.is_static for a in dyrelu.explain(model, images, tolerance=100).activations)


def test_histograms_have_outputs_upwards_and_inputs_to_the_right(model):
    # The first activation sees 16 maps of 64 by 64. Where its input is positive its output is as well,
    # and where it is negative the output has either sign.
    counts, span, outside = dyrelu.explain(model, NAMES).activations[0].histogram
    assert (counts.shape, counts.dtype) == ((80, 80), np.uint32)
    assert counts.sum() + outside == 2 * 16 * 64 * 64
    assert outside < 0.002 * counts.sum() and span > 0
    shares = counts.reshape(2, 40, 2, 40).sum(axis=(1, 3)) / counts.sum()
    assert shares[0, 1] < 0.01
    assert min(shares[1, 1], shares[1, 0], shares[0, 0]) > 0.05


def test_images_of_every_kind_are_explained(model):
    paths = dyrelu.explain(model, NAMES)
    contents = [path.read_bytes() for path in NAMES]
    assert same(dyrelu.explain(model, contents), paths)
    assert same(dyrelu.explain(model, iter(NAMES)), paths)
    alone = dyrelu.explain(model, NAMES[0])
    assert alone.photos == 1 and not same(alone, paths)
    assert all(a.deviation_between_photos is None for a in alone.activations)
    pixels = np.random.default_rng(2).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    assert dyrelu.explain(model, pixels).photos == 1
    prepared = np.zeros((1, 3, 128, 128), np.float32)
    assert dyrelu.explain(model, [NAMES[0], pixels, prepared]).photos == 3


def same(a, b):
    """Whether two explanations have equal figures."""
    pairs = zip(a.activations, b.activations)
    return a[:3] == b[:3] and all(
        one[:12] == other[:12] and np.array_equal(one.histogram.counts, other.histogram.counts)
        for one, other in pairs
    )


def test_what_cannot_be_explained_is_refused(model, tmp_path):
    with pytest.raises(dyrelu.InputError, match="no image"):
        dyrelu.explain(model, [])
    with pytest.raises(dyrelu.FileError, match="absent.jpg"):
        dyrelu.explain(model, [NAMES[0], tmp_path / "absent.jpg"])
    with pytest.raises(dyrelu.InputError, match="or an array of uint8"):
        dyrelu.explain(model, np.zeros((4, 4), np.uint8))
    with pytest.raises(dyrelu.InputError, match="4"):
        dyrelu.explain(model, np.zeros((1, 4, 128, 128), np.float32))
    for tolerance in [-1, float("nan")]:
        with pytest.raises(dyrelu.InputError, match="tolerance"):
            dyrelu.explain(model, NAMES, tolerance=tolerance)
    (tmp_path / "file").write_text("")
    with pytest.raises(dyrelu.FileError, match="file"):
        dyrelu.explain(model, NAMES[0], out=tmp_path / "file")
    onnx = pytest.importorskip("onnx")
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    shape = [onnx.helper.make_tensor_value_info(name, 1, [1, 3, 4, 4]) for name in "xy"]
    graph = onnx.helper.make_graph([relu], "relu", shape[:1], shape[1:])
    static = dyrelu.Model.from_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(dyrelu.InputError, match="no dynamic activation"):
        dyrelu.explain(static, np.zeros((1, 3, 4, 4), np.float32))
