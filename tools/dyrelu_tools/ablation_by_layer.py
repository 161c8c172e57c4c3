"""Draws what the dynamic coefficients of each activation contribute: `python -m dyrelu_tools.ablation_by_layer --help`.

    python -m dyrelu_tools.ablation_by_layer net.safetensors --photos photos/ --dyrelu ../target/release/dyrelu \\
        --picture ablation.png

The coefficients of one activation at a time, and of all together, are fixed at their means over the photos. The picture
shows the divergence of the probabilities of the classes from those of the network, as a mean over the photos. The
network is a native file of a classifier whose photos are resized without a crop.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

Arrays = dict[str, np.ndarray]


def read(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The tensors and the metadata of a native file."""
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def fixed(tensors: Arrays, metadata: dict[str, str], means: Arrays) -> tuple[Arrays, dict[str, str]]:
    """A network in which the activations with the names of `means` have these coefficients."""
    graph = json.loads(metadata["dyrelu.graph"])
    found = [node for node in graph["nodes"] if node["name"] in means and node["op"]["type"] == "MaxAffine"]
    if len(found) != len(means):
        raise ValueError(f"found {len(found)} of {len(means)} activations: {', '.join(means)}")
    for node in found:
        node["inputs"][1] = f"{node['name']}.frozen"
    constants = {f"{name}.frozen": mean for name, mean in means.items()}
    return tensors | constants, metadata | {"dyrelu.graph": json.dumps(graph)}


def mean_coefficients(binary: Path, model: Path, photos: list[Path], work: Path) -> Arrays:
    """The coefficients of every activation in order, as a mean over photos, by `dyrelu explain`."""
    frozen = work / "frozen.safetensors"
    command = [binary, "explain", model, "--tolerance", "1e9", "--freeze", frozen, "--out", work / "explained", "--list", "-"]
    subprocess.run(command, input="\n".join(map(str, photos)), text=True, check=True, stdout=subprocess.DEVNULL)
    tensors, metadata = read(frozen)
    names = [node["name"] for node in json.loads(metadata["dyrelu.graph"])["nodes"]]
    return {name: tensors[f"{name}.frozen"] for name in names if f"{name}.frozen" in tensors}


def prepared(photos: list[Path], preprocess: dict) -> np.ndarray:
    size = preprocess["resize"]["exact"][::-1]
    images = [Image.open(p).convert("RGB").resize(size, Image.Resampling.BILINEAR) for p in photos]
    x = np.stack([np.asarray(image, np.float32) for image in images]) / 255
    return ((x - np.float32(preprocess["mean"])) / np.float32(preprocess["std"])).transpose(0, 3, 1, 2).copy()


def log_probabilities(binary: Path, model: Path, inputs: Path, work: Path) -> np.ndarray:
    command = [binary, "run", model, "--input", inputs, "--output", work / "y.npy"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    y = np.load(work / "y.npy").astype(np.float64)
    y -= y.max(1, keepdims=True)
    return y - np.log(np.exp(y).sum(1, keepdims=True))


def divergence(network: np.ndarray, other: np.ndarray) -> float:
    """The mean Kullback-Leibler divergence of logarithms of probabilities."""
    return float((np.exp(network) * (network - other)).sum(1).mean())


def draw(picture: Path, names: list[str], each: list[float], together: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4))
    axes.bar(range(1, len(each) + 1), each, color="#0072b2", label="one activation fixed")
    axes.axhline(together, color="#d55e00", label="all fixed")
    axes.set_yscale("log")
    axes.set_xlabel(f"activation, from {names[0]} to {names[-1]}")
    axes.set_ylabel("divergence of the probabilities")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=2, frameon=False)
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="native file of a classifier")
    parser.add_argument("--photos", type=Path, required=True, help="folder with photos, which may be in subfolders")
    parser.add_argument("--count", type=int, default=200, help="number of photos, evenly over the folder")
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program")
    parser.add_argument("--picture", type=Path, required=True, help="PNG file to write")
    args = parser.parse_args()
    photos = sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photos = photos[:: max(len(photos) // args.count, 1)][: args.count]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tensors, metadata = read(args.model)
        means = mean_coefficients(args.dyrelu, args.model, photos, work)
        np.save(work / "x.npy", prepared(photos, json.loads(metadata["preprocess"])))
        network = log_probabilities(args.dyrelu, args.model, work / "x.npy", work)

        def without(names: list[str]) -> np.ndarray:
            changed, path = fixed(tensors, metadata, {name: means[name] for name in names}), work / "fixed.safetensors"
            save_file(changed[0], path, changed[1])
            return log_probabilities(args.dyrelu, path, work / "x.npy", work)

        each = [divergence(network, without([name])) for name in tqdm(means)]
        all_fixed = without(list(means))
    together, changed = divergence(network, all_fixed), (network.argmax(1) != all_fixed.argmax(1)).mean()
    for name, value in zip(means, each):
        print(f"{value:.2e}  {name}")
    print(f"{together:.2e}  all, which changes the first class of {100 * changed:.1f}% of {len(photos)} photos")
    draw(args.picture, list(means), each, together)


if __name__ == "__main__":
    main()
