"""Writes the goldens of the key-point decoders: `python -m dyrelu_tools.goldens_keypoints --out ../tests/keypoints`.

Each decoder is written out in NumPy, after its description: MoveNet's, heat maps with a quarter offset (Simple
Baselines), DARK, SimCC. Its input is random maps with a blob per key point. The file has, per case, the maps, the
points [K, 3] (x and y as shares of the crop, score), and the points of the average with the mirrored maps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

# The person's right and left exchanged, for a nose and two pairs.
PARTNERS = [0, 2, 1, 4, 3]
KEYPOINTS = len(PARTNERS)
Maps = list[np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def near(logits: np.ndarray, y: float, x: float) -> tuple[int, int]:
    """The cell with the largest probability per distance to a position."""
    rows, columns = np.indices(logits.shape)
    weighted = sigmoid(logits) / (np.hypot(rows - y, columns - x) + 1.8)
    row, column = np.unravel_index(weighted.argmax(), logits.shape)
    return int(row), int(column)


def movenet(maps: Maps) -> np.ndarray:
    centre, points, regress, offset = maps
    height, width = centre.shape[1:]
    row, column = near(centre[0], height // 2, width // 2)
    found = []
    for k in range(KEYPOINTS):
        dy, dx = regress[2 * k : 2 * k + 2, row, column]
        y, x = near(points[k], row + dy, column + dx)
        within_y, within_x = offset[2 * k : 2 * k + 2, y, x]
        found.append(((x + within_x) / width, (y + within_y) / height, sigmoid(points[k, y, x])))
    return np.array(found)


def movenet_mirrored(maps: Maps) -> Maps:
    centre, points, regress, offset = (m[:, :, ::-1] for m in maps)
    sign, one = np.array([1.0, -1.0])[:, None, None], np.array([0.0, 1.0])[:, None, None]
    vectors = [v.reshape(KEYPOINTS, 2, *v.shape[1:])[PARTNERS] for v in (regress, offset)]
    regress, offset = ((v * sign + at).reshape(regress.shape) for v, at in zip(vectors, (0, one)))
    return [centre, points[PARTNERS], regress, offset]


def quarter(maps: Maps) -> np.ndarray:
    found = []
    for heat in maps[0]:
        height, width = heat.shape
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        x, y = float(column), float(row)
        if 1 < column < width - 1 and 1 < row < height - 1:
            x += 0.25 * np.sign(heat[row, column + 1] - heat[row, column - 1])
            y += 0.25 * np.sign(heat[row + 1, column] - heat[row - 1, column])
        found.append((x / width, y / height, heat.max()))
    return np.array(found)


def smooth(heat: np.ndarray, side: int = 11) -> np.ndarray:
    """Correlates a map with a Gaussian of OpenCV's deviation for the side of the square, zeros outside."""
    sigma = 0.3 * ((side - 1) * 0.5 - 1) + 0.8
    weights = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma**2))
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(heat, side // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return (windows * kernel).sum((2, 3))


def dark(maps: Maps) -> np.ndarray:
    found = []
    for heat in maps[0]:
        height, width = heat.shape
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        blurred = smooth(heat)
        log = np.log(np.maximum(blurred * heat.max() / blurred.max(), 1e-10))
        step = np.zeros(2)
        if 1 < column < width - 2 and 1 < row < height - 2:
            around = log[row - 2 : row + 3, column - 2 : column + 3]
            gradient = 0.5 * np.array([around[2, 3] - around[2, 1], around[3, 2] - around[1, 2]])
            dxx = 0.25 * (around[2, 4] - 2 * around[2, 2] + around[2, 0])
            dyy = 0.25 * (around[4, 2] - 2 * around[2, 2] + around[0, 2])
            dxy = 0.25 * (around[3, 3] - around[1, 3] - around[3, 1] + around[1, 1])
            hessian = np.array([[dxx, dxy], [dxy, dyy]])
            if np.linalg.det(hessian) != 0:
                step = -np.linalg.solve(hessian, gradient)
        found.append(((column + step[0]) / width, (row + step[1]) / height, heat.max()))
    return np.array(found)


def heatmaps_mirrored(maps: Maps) -> Maps:
    """Cell x stands for the share x / width, so the flipped map moves right by one cell, as in Simple Baselines."""
    flipped = maps[0][PARTNERS][:, :, ::-1].copy()
    flipped[:, :, 1:] = flipped[:, :, :-1].copy()
    return [flipped]


def simcc(maps: Maps) -> np.ndarray:
    columns, rows = maps
    x, y = columns.argmax(1) / columns.shape[1], rows.argmax(1) / rows.shape[1]
    return np.stack([x, y, np.minimum(columns.max(1), rows.max(1))], 1)


def simcc_mirrored(maps: Maps) -> Maps:
    return [maps[0][PARTNERS][:, ::-1], maps[1][PARTNERS]]


def blobs(generator: np.random.Generator, height: int, width: int, spread: float) -> np.ndarray:
    """A Gaussian at a random place per key point, with noise. The last lies at the border."""
    rows, columns = np.indices((height, width))
    y = generator.uniform(3, height - 4, KEYPOINTS)
    x = generator.uniform(3, width - 4, KEYPOINTS)
    x[-1] = 0
    squared = (rows - y[:, None, None]) ** 2 + (columns - x[:, None, None]) ** 2
    noise = generator.uniform(0, 0.02, (KEYPOINTS, height, width))
    heights = generator.uniform(0.4, 1, (KEYPOINTS, 1, 1))
    return (np.exp(-squared / (2 * spread**2)) * heights + noise).astype(np.float32)


def cases() -> dict[str, tuple]:
    """The maps, the decoder and the mirroring per decoder of dyrelu."""
    generator = np.random.default_rng(0)
    side = 16
    of_movenet = [
        8 * blobs(generator, side, side, 2)[:1] - 4,
        8 * blobs(generator, side, side, 1.5) - 4,
        generator.normal(0, 3, (2 * KEYPOINTS, side, side)).astype(np.float32),
        generator.uniform(0, 1, (2 * KEYPOINTS, side, side)).astype(np.float32),
    ]
    heat = [blobs(generator, 24, 18, 2)]
    lines = [blobs(generator, 24, 18, 2).max(axis) for axis in (1, 2)]
    return {
        "movenet": (of_movenet, movenet, movenet_mirrored),
        "heatmaps": (heat, quarter, heatmaps_mirrored),
        "dark": (heat, dark, heatmaps_mirrored),
        "simcc": (lines, simcc, simcc_mirrored),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    tensors = {}
    for name, (maps, decode, mirror) in cases().items():
        averaged = [0.5 * (a + b) for a, b in zip(maps, mirror(maps))]
        tensors |= {f"{name}.maps.{i}": m for i, m in enumerate(maps)}
        tensors[f"{name}.points"] = decode(maps).astype(np.float32)
        tensors[f"{name}.flipped"] = decode(averaged).astype(np.float32)
    args.out.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(tensors, args.out / "decoders.safetensors")


if __name__ == "__main__":
    main()
