"""Folders of photos inside a tar file, as arrays and as augmented batches."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation a channel, of pixels from 0 to 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 NCHW to float."""
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass
class Photos:
    """Photos of one size, uint8 NHWC, with class numbers in the order of `classes`."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: list[str]

    def in_classes(self, classes: list[str]) -> Photos:
        """The same photos, with their numbers among these classes."""
        of_class = np.array([classes.index(name) for name in self.classes])
        return Photos(self.pixels, of_class[self.labels], classes)


def load(source: Path, size: int, cache: Path) -> Photos:
    """Decodes and resizes every photo of a tar or a folder once; later calls map the cached array.

    A photo's class is the name of the folder it lies in.
    """
    stem = cache / f"{source.stem}-{size}"
    pixels, labels, classes = (stem.with_suffix(s) for s in (".npy", ".labels.npy", ".txt"))
    if not classes.exists():
        cache.mkdir(parents=True, exist_ok=True)
        arrays, names = [], []
        for path, photo in files(source):
            arrays.append(np.asarray(prepare(Image.open(photo), size)))
            names.append(path.parent.name)
        found = sorted(set(names))
        np.save(pixels, np.stack(arrays))
        np.save(labels, np.array([found.index(n) for n in names], np.int64))
        classes.write_text("\n".join(found))
    return Photos(np.load(pixels, mmap_mode="r"), np.load(labels), classes.read_text().split("\n"))


def files(source: Path) -> Iterator[tuple[Path, Path | io.BytesIO]]:
    """The photos of a tar or of a folder by name, and where to read each."""
    if source.is_dir():
        yield from ((path, path) for path in sorted(source.rglob("*.jpg")))
        return
    with tarfile.open(source) as archive:
        for member in sorted((m for m in archive if m.isfile()), key=lambda m: m.name):
            content = archive.extractfile(member)
            assert content is not None
            yield Path(member.name), io.BytesIO(content.read())


def prepare(image: Image.Image, size: int) -> Image.Image:
    """What evaluation does to a photo before normalising it: RGB, squashed to a square."""
    image = image.convert("RGB")
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def augment(
    pixels: Tensor,
    size: int,
    generator: torch.Generator,
    area: tuple[float, float],
    normalise: Normalisation = IMAGENET,
) -> Tensor:
    """Random resized crops with flips, brightness and contrast, all photos of a batch at once.

    `pixels` is uint8 NCHW; `area` the smallest and largest share of a photo that a crop keeps.
    """
    count = pixels.shape[0]

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count).uniform_(low, high, generator=generator)

    side = uniform(*area).sqrt()
    aspect = torch.exp(uniform(-0.29, 0.29) / 2)
    scale_x, scale_y = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale_x * flip, scale_y
    theta[:, 0, 2] = uniform(-1, 1) * (1 - scale_x)
    theta[:, 1, 2] = uniform(-1, 1) * (1 - scale_y)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    x = F.grid_sample(normalise(pixels), grid, padding_mode="reflection", align_corners=False)
    mean = x.mean((1, 2, 3), keepdim=True)
    contrast = uniform(0.7, 1.3).view(-1, 1, 1, 1)
    return (x - mean) * contrast + mean + (uniform(-0.3, 0.3)).view(-1, 1, 1, 1)
