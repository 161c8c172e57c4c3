"""Compares the classification of a folder of photos with Python pipelines around other engines:
`python -m dyrelu_tools.pipelines --help`.

Each engine runs in a process of its own, in turns. Pillow decodes, resizes and crops in the pipelines of the other
engines, in threads, as it releases the lock of the interpreter while it does. In one pipeline, OpenCV does so on the
thread that runs the network, one step after another, as in ultralytics' predictor (whose classifier resizes by Pillow
what OpenCV has read). The times of the others begin after the imports and the loading of the network; the time of
dyrelu is that of the whole command.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from .data import IMAGENET
from .markdown import lines

MEAN, STD = (np.array(values, np.float32) for values in (IMAGENET.mean, IMAGENET.std))


def prepare(photo: Path) -> np.ndarray:
    """A photo as ImageNet's networks take it: resized to 256 on the shorter side, 224 in the middle, [3, 224, 224]."""
    image = Image.open(photo).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return np.ascontiguousarray(((pixels / 255 - MEAN) / STD).transpose(2, 0, 1))


def prepare_by_opencv(photo: Path) -> np.ndarray:
    """A photo as in `prepare`. OpenCV's bilinear filter reads two pixels of each line also where it shrinks a photo, so
    that pixels of large photos differ."""
    import cv2

    image = cv2.imread(str(photo))
    height, width = image.shape[:2]
    scale = 256 / min(height, width)
    image = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
    top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
    pixels = cv2.cvtColor(image[top : top + 224, left : left + 224], cv2.COLOR_BGR2RGB).astype(np.float32)
    return ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1)


def onnxruntime_session(network: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """The scores [N, classes] of images [N, 3, 224, 224]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def onnxruntime_photos(network: Path, photos: list[Path], threads: int) -> Callable[[], list[int]]:
    """Each thread prepares a photo and runs the network on it, on one thread per run."""
    run_network = onnxruntime_session(network, 1)

    def classify(photo: Path) -> int:
        return int(run_network(prepare(photo)[None]).argmax())

    def run() -> list[int]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(classify, photos))

    return run


def onnxruntime_batches(network: Path, photos: list[Path], threads: int, batch: int = 8) -> Callable[[], list[int]]:
    """Threads prepare the next batch while the network runs on all threads."""
    run_network = onnxruntime_session(network, threads)

    def run() -> list[int]:
        classes: list[int] = []
        with ThreadPoolExecutor(threads) as pool:
            # At most two batches wait, so that memory does not grow with the number of photos.
            waiting: list[list] = []
            groups = (photos[i : i + batch] for i in range(0, len(photos), batch))
            while True:
                while len(waiting) < 2 and (group := next(groups, None)):
                    waiting.append([pool.submit(prepare, photo) for photo in group])
                if not waiting:
                    return classes
                images = np.stack([future.result() for future in waiting.pop(0)])
                classes += run_network(images).argmax(1).tolist()

    return run


def opencv_batches(network: Path, photos: list[Path], threads: int, batch: int = 8) -> Callable[[], list[int]]:
    """One thread prepares the photos of a batch by OpenCV. The network runs on all threads, and nothing overlaps."""
    import cv2

    cv2.setNumThreads(threads)
    run_network = onnxruntime_session(network, threads)

    def run() -> list[int]:
        classes: list[int] = []
        for first in range(0, len(photos), batch):
            images = np.stack([prepare_by_opencv(photo) for photo in photos[first : first + batch]])
            classes += run_network(images).argmax(1).tolist()
        return classes

    return run


def openvino_requests(network: Path, photos: list[Path], threads: int) -> Callable[[], list[int]]:
    """Threads prepare photos, and hand them to as many requests as the engine wants for throughput."""
    import openvino

    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = core.read_model(network)
    model.reshape([1, 3, 224, 224])
    compiled = core.compile_model(model, "CPU", settings)

    def run() -> list[int]:
        classes = [-1] * len(photos)
        queue = openvino.AsyncInferQueue(compiled)

        def keep(request: object, i: int) -> None:
            classes[i] = int(request.get_output_tensor().data.argmax())

        queue.set_callback(keep)
        with ThreadPoolExecutor(threads) as pool:
            for first in range(0, len(photos), 32):
                for i, image in enumerate(pool.map(prepare, photos[first : first + 32]), first):
                    queue.start_async({0: image[None]}, i)
        queue.wait_all()
        return classes

    return run


PEERS = {
    "ONNX Runtime, photo by photo": onnxruntime_photos,
    "ONNX Runtime, batches": onnxruntime_batches,
    "ONNX Runtime, batches, OpenCV": opencv_batches,
    "OpenVINO": openvino_requests,
}


def run_peer(name: str, network: Path, photos: list[Path], threads: int) -> tuple[float, list[int]]:
    command = [sys.executable, "-m", "dyrelu_tools.pipelines", "--peer", name, "--threads", str(threads), network]
    text = "\n".join(map(str, photos))
    # Standard error is not captured, so that an error is seen.
    done = subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True)
    answer = json.loads(done.stdout)
    return answer["seconds"], answer["classes"]


def run_dyrelu(dyrelu: Path, network: Path, photos: list[Path], threads: int) -> tuple[float, list[int], str]:
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        command = [dyrelu, "classify", "--model", network, "--list", "-", "--top", "1", "--format", "csv", "--output"]
        command += [rows, "--threads", str(threads), "--preprocess", "imagenet", "--no-progress"]
        start = time.perf_counter()
        done = subprocess.run(command, input="\n".join(map(str, photos)), check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        with rows.open(newline="") as file:
            classes = [int(row["class"]) for row in csv.DictReader(file)]
    return seconds, classes, done.stderr.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="an ONNX file with input [N, 3, 224, 224]")
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files, searched with its folders")
    parser.add_argument("--limit", type=int, help="takes this many photos, evenly spaced")
    parser.add_argument("--dyrelu", type=Path, default=Path("../target/release/dyrelu"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    if arguments.peer:
        photos = [Path(line) for line in sys.stdin.read().splitlines()]
        run = PEERS[arguments.peer](arguments.network, photos, arguments.threads)
        start = time.perf_counter()
        classes = run()
        print(json.dumps({"seconds": time.perf_counter() - start, "classes": classes}), flush=True)
        # The threads of OpenVINO that called `keep` sometimes wait forever for the lock of an interpreter that ends.
        os._exit(0)
    if arguments.photos is None:
        parser.error("--photos is needed")

    photos = sorted(p.resolve() for p in arguments.photos.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg"})
    if not photos:
        raise SystemExit(f"{arguments.photos} has no JPEG files")
    if arguments.limit:
        photos = photos[:: max(1, len(photos) // arguments.limit)][: arguments.limit]
    times: dict[str, list[float]] = {name: [] for name in ("dyrelu", *PEERS)}
    agreement: dict[str, float] = {}
    summary, ours = "", []
    for _ in range(arguments.rounds):
        seconds, ours, summary = run_dyrelu(arguments.dyrelu, arguments.network, photos, arguments.threads)
        times["dyrelu"].append(seconds)
        for name in PEERS:
            seconds, theirs = run_peer(name, arguments.network, photos, arguments.threads)
            times[name].append(seconds)
            print(f"{name}: {len(photos) / seconds:.0f} photos/s", file=sys.stderr)
            agreement[name] = float(np.mean([a == b for a, b in zip(ours, theirs, strict=True)]))
    rows = [["pipeline", "photos/s", "dyrelu's time over its time", "same class"]]
    for name, seconds in times.items():
        ratio = median(a / b for a, b in zip(times["dyrelu"], seconds, strict=True))
        same = f"{agreement[name]:.1%}" if name in agreement else ""
        rows.append([name, f"{len(photos) / median(seconds):.0f}", f"{ratio:.2f}", same])
    print("\n".join(lines(rows)))
    print(f"\n{len(photos)} photos, {arguments.threads} threads, {arguments.rounds} rounds. {summary}")
    # A network with random weights may give all photos the same class; that pipelines agree then says nothing.
    print(f"dyrelu predicts {len(set(ours))} different classes")


if __name__ == "__main__":
    main()
