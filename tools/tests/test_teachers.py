"""Crops, blocks and targets."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dyrelu_tools import teachers


def test_the_whole_photo_is_a_crop_and_a_negative_width_flips() -> None:
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, -1.0, 1.0]])
    cropped = teachers.crop(pixels, boxes, 8)
    expected = teachers.NORMALISE(pixels)
    torch.testing.assert_close(cropped[0], expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(cropped[1], expected[1].flip(2), rtol=0, atol=1e-5)


def test_random_crops_are_inside_the_photo() -> None:
    left, top, width, height = teachers.boxes(1000, 0.4, torch.Generator().manual_seed(0)).unbind(1)
    for start, side in ((left, width), (top, height)):
        assert ((start >= -1e-6) & (start <= 1 + 1e-6)).all()
        assert ((start + side >= -1e-6) & (start + side <= 1 + 1e-6)).all()
    assert 0.3 < (width < 0).float().mean() < 0.7
    assert (width * height).abs().min() > 0.35


def test_a_label_gets_its_weight_of_the_target() -> None:
    targets = teachers.mix(np.full((2, 4), 0.25), np.array([-1, 2]), 0.4)
    np.testing.assert_allclose(targets, [[0.25] * 4, [0.15, 0.15, 0.55, 0.15]])


def test_blocks_use_all_photos_but_those_kept_out(tmp_path: Path, monkeypatch) -> None:
    def folder(name: str, files: dict[str, int]) -> Path:
        for file, grey in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), grey).save(path, quality=100)
        return tmp_path / name

    monkeypatch.setattr(teachers, "SIZE", 4)
    monkeypatch.setattr(teachers, "UNLABELLED", 3)
    monkeypatch.setattr(teachers, "LABELLED", 2)
    sources = [folder("first", {f"{i:02}.jpg": i for i in range(20)}), folder("second", {"n00000001_b.jpg": 30})]
    labelled = folder("labelled", {"n00000000/a.jpg": 40, "n00000001/b.jpg": 50})
    names = tmp_path / "names.tsv"
    names.write_text("0\tn00000000\ta\n1\tn00000001\tb\n")
    photos = teachers.Sources(sources, labelled, names, tmp_path / "cache")
    assert photos.kept_out[:, 0, 0, 0].tolist() == [9, 19]
    seen = {}
    for number in range(7):
        pixels, labels = photos.block(number)
        seen |= dict(zip(pixels[:, 0, 0, 0].tolist(), labels.tolist()))
    assert seen == {i: -1 for i in range(20) if i % 10 != 9} | {30: 1, 40: 0, 50: 1}


def test_blocks_are_read_in_order(tmp_path: Path) -> None:
    for number in (1, 0):
        features = np.full((2, 1, 1, 1), number, np.float16)
        teachers.write(tmp_path / f"block-{number:03}.npz", features, np.full((2, 3), number))
    assert teachers.blocks(tmp_path) == ["block-000.npz", "block-001.npz"]
    features, targets = teachers.read(tmp_path, teachers.blocks(tmp_path))
    assert features.flatten().tolist() == [0, 0, 1, 1]
    assert targets.shape == (4, 3)
