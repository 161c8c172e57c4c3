"""What `distil_movenet` learns from: MoveNet's own outputs for crops of persons, each the mean over the crop and its
mirror image, at two positions: `python -m dyrelu_tools.poses --help`.

The mean is more accurate than one output: it is the teacher that the student can become better by. Writes pixels.npy
(uint8 [N, 192, 192, 3]) and targets.npy (float16 [N, 86, 48, 48]: centre, key points, regression, offset). The photos
are square crops around a person, of 1.25 times the larger side of the person's box.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import grid_sample

from . import data
from .models.movenet import MoveNet

SIZE, CELLS, KEYPOINTS = 192, 48, 17
NORMALISE = data.Normalisation((0.5,) * 3, (0.5,) * 3)
# Channels of the centre, the key points, the regression and the offset.
SPLIT = (1, KEYPOINTS, 2 * KEYPOINTS, 2 * KEYPOINTS)
# The key points of the mirrored person: the nose, then pairs of left and right.
MIRRORED = [0] + [k + 1 if k % 2 else k - 1 for k in range(1, KEYPOINTS)]
# The share of a photo that the box of its person takes.
BOX = 0.8


def mirror(maps: Tensor) -> Tensor:
    """The maps [N, 86, 48, 48] of the mirrored image."""
    centre, points, regress, offset = maps.flip(-1).split(SPLIT, 1)
    swapped = [v.unflatten(1, (KEYPOINTS, 2))[:, MIRRORED].clone() for v in (regress, offset)]
    swapped[0][:, :, 1] *= -1
    # A cell is mirrored about its middle, a position in it about the middle of the cell's sides.
    swapped[1][:, :, 1] = 1 - swapped[1][:, :, 1]
    return torch.cat([centre, points[:, MIRRORED], *(v.flatten(1, 2) for v in swapped)], 1)


def outputs(network: torch.nn.Module, x: Tensor) -> Tensor:
    """The four outputs of the network as one tensor [N, 86, 48, 48]."""
    return torch.cat(network(x), 1)


def cut(pixels: Tensor, middle: Tensor, side: Tensor) -> Tensor:
    """Square crops of uint8 photos [N, 3, H, H], with middle [N, 2] and side [N] in shares of the photo, black outside.
    The values are from 0 to 255."""
    theta = torch.zeros(len(pixels), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = 2 * middle - 1
    grid = F.affine_grid(theta, [len(pixels), 3, SIZE, SIZE], align_corners=False)
    return grid_sample(pixels.float(), grid, padding_mode="zeros", align_corners=False)


@torch.inference_mode()
def teach(network: torch.nn.Module, pixels: Tensor, middle: Tensor, side: Tensor) -> Tensor:
    """The mean of the outputs over both mirror images, at positions a cell up and left and a cell down and right."""
    total = torch.zeros(len(pixels), sum(SPLIT), CELLS, CELLS)
    for cell in (-1, 1):
        x = NORMALISE(cut(pixels, middle + cell * side[:, None] / CELLS, side))
        for maps in (outputs(network, x), mirror(outputs(network, x.flip(-1)))):
            # The border repeats, so that no cell comes in from the other side.
            shifted = F.pad(maps, (2, 2, 2, 2), mode="replicate")
            total += shifted[:, :, 2 - cell : 2 - cell + CELLS, 2 - cell : 2 - cell + CELLS]
    return total / 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="MoveNet's weights, safetensors")
    parser.add_argument("--photos", type=Path, required=True, help="tar or folder of square photos of one person each")
    parser.add_argument("--cache", type=Path, required=True, help="folder to write")
    parser.add_argument("--views", type=int, default=1, help="crops per photo, of slightly different place and size")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network = MoveNet().eval()
    network.load_state_dict(load_file(args.weights))
    photos = np.stack([np.asarray(data.prepare(Image.open(photo), SIZE)) for _, photo in data.files(args.photos)])
    # The photos of one source are no longer neighbours, and those kept out are of all sources.
    generator = torch.Generator().manual_seed(0)
    photos = photos[torch.randperm(len(photos), generator=generator).numpy()]
    count = len(photos) * args.views
    args.cache.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, dtype, shape in (
        ("pixels", np.uint8, (count, SIZE, SIZE, 3)),
        ("targets", np.float16, (count, sum(SPLIT), CELLS, CELLS)),
    ):
        path = args.cache / f"{name}.part.npy"
        files[name] = np.lib.format.open_memmap(path, "w+", dtype, shape)
    batch = 16
    for view in range(args.views):
        for i in range(0, len(photos), batch):
            pixels = torch.from_numpy(photos[i : i + batch]).permute(0, 3, 1, 2)
            side = BOX * torch.empty(len(pixels)).uniform_(0.95, 1.15, generator=generator)
            middle = 0.5 + BOX * torch.empty(len(pixels), 2).uniform_(-0.04, 0.04, generator=generator)
            rows = slice(view * len(photos) + i, view * len(photos) + i + len(pixels))
            crops = cut(pixels, middle, side).round().clamp(0, 255).to(torch.uint8)
            files["pixels"][rows] = crops.permute(0, 2, 3, 1).numpy()
            files["targets"][rows] = teach(network, pixels, middle, side).numpy()
        print(f"view {view + 1} of {args.views}", flush=True)
    for name, file in files.items():
        file.flush()
        (args.cache / f"{name}.part.npy").replace(args.cache / f"{name}.npy")


if __name__ == "__main__":
    main()
