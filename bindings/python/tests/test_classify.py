"""Photos to named classes."""

import numpy as np
import pytest

import dyrelu
from conftest import IMAGENET, PHOTOS, SMALL


def test_photos_are_classified(model):
    church = PHOTOS / "church.jpg"
    best = model.classify(church, top=3)
    assert [guess.label for guess in best][0] == "church"
    assert len(best) == 3 and best[0].score >= best[1].score >= best[2].score
    assert model.classify([church, str(church)], top=3) == [best, best]
    contents = church.read_bytes()
    assert model.classify([contents, bytearray(contents)], top=3) == [best, best]
    with pytest.raises(dyrelu.ModelError, match="cut off"):
        model.classify(contents[:5000])
    assert dyrelu.Model(IMAGENET).classify(church, top=1)[0].label == "church"


def test_pixels_are_classified(model):
    pixels = np.random.default_rng(2).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    expected = model.classify(pixels)
    padded = np.zeros((150, 210, 3), np.uint8)
    padded[:, :200] = pixels
    assert model.classify(padded[:, :200]) == expected


def test_the_caller_states_preparation_and_labels():
    names = [f"class {i}" for i in range(10)]
    fields = {"mean": [0.5] * 3, "std": [0.25] * 3, "resize": {"exact": [128, 128]}}
    model = dyrelu.Model(SMALL, preprocess=fields, labels=names)
    assert model.classify(PHOTOS / "church.jpg", top=1)[0].label in names
    with pytest.raises(dyrelu.InputError, match="3 class names"):
        dyrelu.Model(SMALL, labels=["a", "b", "c"]).classify(PHOTOS / "church.jpg")
    with pytest.raises(dyrelu.ModelError, match="preprocessing"):
        dyrelu.Model(SMALL, preprocess={"mean": "grey"})


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), 7])
def test_what_is_no_image_is_refused(model, image):
    with pytest.raises(dyrelu.InputError, match="or an array of uint8"):
        model.classify(image)


def test_a_photo_that_cannot_be_read_is_named(model, tmp_path):
    with pytest.raises(dyrelu.FileError, match="absent.jpg"):
        model.classify([PHOTOS / "church.jpg", tmp_path / "absent.jpg"])
