"""Photos of a tar or a folder, with one folder per class: as arrays, and as augmented batches."""

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
    """The mean and standard deviation per channel, of pixels from 0 to 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalises pixels in uint8 NCHW."""
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass
class Photos:
    """Photos of the same size, uint8 NHWC. Labels are indices into `classes`."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: list[str]

    def in_classes(self, classes: list[str]) -> Photos:
        """The same photos, with labels that are indices into another list of classes."""
        indices = np.array([classes.index(name) for name in self.classes])
        return Photos(self.pixels, indices[self.labels], classes)


def load(source: Path, size: int, cache: Path) -> Photos:
    """Decodes and resizes every photo of a tar or a folder. The first call caches the array, later calls map it.

    The class of a photo is the name of its folder.
    """
    stem = cache / f"{source.stem}-{size}"
    pixels, labels, classes = (stem.with_suffix(s) for s in (".npy", ".labels.npy", ".txt"))
    if not classes.exists():
        cache.mkdir(parents=True, exist_ok=True)
        arrays, names = [], []
        for path, photo in files(source):
            arrays.append(np.asarray(prepare(Image.open(photo), size)))
            names.append(path.parent.name)
        sorted_names = sorted(set(names))
        np.save(pixels, np.stack(arrays))
        np.save(labels, np.array([sorted_names.index(n) for n in names], np.int64))
        classes.write_text("\n".join(sorted_names))
    return Photos(np.load(pixels, mmap_mode="r"), np.load(labels), classes.read_text().split("\n"))


def files(source: Path) -> Iterator[tuple[Path, Path | io.BytesIO]]:
    """The photos of a tar or a folder, sorted by name: the path of each, and the file to read it from."""
    if source.is_dir():
        yield from ((path, path) for path in sorted(source.rglob("*.jpg")))
        return
    with tarfile.open(source) as archive:
        for member in sorted((m for m in archive if m.isfile()), key=lambda m: m.name):
            content = archive.extractfile(member)
            assert content is not None
            yield Path(member.name), io.BytesIO(content.read())


def prepare(image: Image.Image, size: int) -> Image.Image:
    """Prepares a photo for evaluation, without normalising it: converts to RGB and resizes to a square."""
    image = image.convert("RGB")
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def augment(
    pixels: Tensor,
    size: int,
    generator: torch.Generator,
    area: tuple[float, float],
    normalise: Normalisation = IMAGENET,
) -> Tensor:
    """Augments a batch by random resized crops, flips, brightness and contrast.

    `pixels` is uint8 NCHW. `area` is the smallest and largest share of a photo that a crop keeps.
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
