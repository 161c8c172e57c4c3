"""Makes a classifier of models/ again, from photos to the figures of its card: `python -m dyrelu_tools.reproduce --help`.

    python -m dyrelu_tools.reproduce NAME --data DATA --work WORK --dyrelu ../target/release/dyrelu
    python -m dyrelu_tools.reproduce NAME --data DATA --work WORK --dyrelu ../target/release/dyrelu --install ../models

DATA has the photos: imagenette-224-train.tar, imagenette-224-val.tar and imagenet1k-classes.tsv, for the networks of
1000 classes also nips17/dev/ and nips17/index.csv, for the default distil/distil-photos.tar and imagenet-sample/, and
for mobilenetv2-int8 weights/mobilenetv2_1.0_bnfolded_f32.safetensors. The results of a stage are in WORK/NAME. A stage
whose results are there is skipped, and a training that was interrupted is resumed, so that the command can be repeated
until it is through. `--from STAGE` repeats a stage and all after it, and `--list` prints the stages with their
commands.

`--install` copies the network into a folder of models and the log of a training into results/, writes the table of
accuracies between the marks <!-- accuracy:begin --> and <!-- accuracy:end --> of the card, and writes the checksums.
`zoo` then writes the list of all networks.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from . import distil, evaluate, export, markdown, teachers, zoo

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Place:
    """Where everything is: the photos, the folder of the network's results, and the dyrelu program."""

    data: Path
    work: Path
    dyrelu: Path

    @property
    def names(self) -> Path:
        return self.data / "imagenet1k-classes.tsv"


@dataclass(frozen=True)
class Stage:
    """A step from photos to a network. It is done when `makes` exists, a path in the folder of results.

    `action` is a command, or a function for what no command does. With `keep`, the output of the command is `makes`.
    """

    name: str
    makes: str
    action: list[str | Path] | Callable[[Place], None]
    keep: bool = False

    def described(self) -> str:
        if callable(self.action):
            return f"{self.name}: {self.action.__doc__}"
        command = shlex.join(map(str, self.action))
        return f"{self.name}: {command}" + (f" > {self.makes}" if self.keep else "")

    def run(self, place: Place) -> None:
        """Runs the stage. Its result has its name only once it is whole."""
        result = place.work / self.makes
        if callable(self.action):
            self.action(place)
        elif self.keep:
            part = result.with_name(result.name + ".part")
            with part.open("wb") as file:
                subprocess.run(self.action, check=True, stdout=file)
            os.replace(part, result)
        else:
            subprocess.run(self.action, check=True)
        if not result.exists():
            raise SystemExit(f"error: the stage {self.name} has ended, but {result} is not there")


def tool(name: str, *arguments: str | Path) -> list[str | Path]:
    """The command of another program of this package."""
    return [sys.executable, "-W", "ignore", "-m", f"dyrelu_tools.{name}", *arguments]


def unpack(place: Place) -> None:
    """unpack Imagenette's validation photos"""
    part, whole = place.work / "val.part", place.work / "val"
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(place.data / "imagenette-224-val.tar") as archive:
        archive.extractall(part, filter="data")
    os.replace(part, whole)


def shipped(
    place: Place, folder: str, result: str, note: str | None = None, weights: str = "f16"
) -> list[str | Path]:
    """The command that makes a native file from an exported network, by default of half precision."""
    out = place.work / folder
    command = [place.dyrelu, "convert", out / "network.onnx", place.work / result, "--weights", weights]
    command += ["--preprocess", out / "preprocess.json", "--labels", out / "labels.txt"]
    return command + (["--note", f"top1={note}"] if note else [])


def classified(place: Place, model: str, photos: Path) -> list[str | Path]:
    return [place.dyrelu, "classify", "--model", place.work / model, "--format", "csv", "--top", "1", photos]


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


@dataclass(frozen=True)
class Trained:
    """A MobileNetV2 with the ten classes of Imagenette, trained from random weights by `train`."""

    activation: str
    width: float
    sizes: str
    epochs: int
    log: str
    hyperfunction_lr: float = 0.1
    hyperfunction_fan_in: int = 0
    size: int = 128
    run, exported, weights = "run", "out", "f16"

    def stages(self, place: Place) -> list[Stage]:
        data, work = place.data, place.work
        photos = ["--train", data / "imagenette-224-train.tar", "--val", data / "imagenette-224-val.tar"]
        recipe = ["--activation", self.activation, "--width", str(self.width), "--sizes", self.sizes]
        recipe += ["--epochs", str(self.epochs), "--hyperfunction-lr", str(self.hyperfunction_lr)]
        recipe += ["--hyperfunction-fan-in", str(self.hyperfunction_fan_in)]
        checkpoint = ["--checkpoint", work / "run/checkpoint.pt"]
        size = ["--size", str(self.size)]
        export = tool("export", *checkpoint, "--out", work / "out", *size, "--names", place.names)
        in_pytorch = tool("evaluate", *checkpoint, *photos[2:], "--cache", work / "cache", *size)
        train = tool("train", "--run", work / "run", *photos, "--cache", work / "cache", *recipe)
        return [
            Stage("train", "run/curve.png", train),
            Stage("export", "out/network.onnx", export),
            Stage("convert", "network.safetensors", shipped(place, "out", "network.safetensors")),
            Stage("photos", "val", unpack),
            Stage("classify", "val.csv", classified(place, "network.safetensors", work / "val"), keep=True),
            Stage("pytorch", "pytorch.txt", in_pytorch, keep=True),
        ]

    def accuracy(self, place: Place) -> tuple[list[list[str]], str]:
        """The table of accuracies, and the note in the file."""
        top1 = percent(evaluate.accuracy_by_folder(place.work / "val.csv", None))
        in_pytorch = float((place.work / "pytorch.txt").read_text().split()[-1].rstrip("%"))
        rows = [
            ["", "top-1"],
            [f"PyTorch, f32 weights, {self.size}x{self.size}", f"{in_pytorch:.1f}%"],
            ["dyrelu, this file", top1],
        ]
        return rows, f"{top1} of Imagenette's 3,925 validation photos"


SHARPEN = 1.12
# The networks that `distil` makes, and the published ones, as rows of the table.
FORMS = {
    "start": "this network, untrained",
    "best": "**this file**",
    "fixed": "its coefficients fixed at their mean over training crops",
    "static": "static coefficients, trained with the same settings",
    "weights": "ReLU6, weights of the same blocks trained for 25 steps",
}
ROWS = FORMS | {
    "lite0": "EfficientNet-Lite0 with ReLU6",
    "lite1": "EfficientNet-Lite1, 240x240, for comparison",
    "lite2": "EfficientNet-Lite2, 260x260, for comparison",
}
PUBLISHED = {"lite0": teachers.LITE0, "lite1": teachers.Teacher(1, 1.0, 1.1, 240), "lite2": teachers.LITE2}


def write_names(place: Place, out: Path) -> None:
    """Writes the names of ImageNet's classes beside an exported network."""
    classes = export.class_names(evaluate.synsets(place.names), place.names)
    (out / "labels.txt").write_text("\n".join(classes) + "\n")


def export_published(place: Place) -> None:
    """export EfficientNet-Lite0, -Lite1 and -Lite2 with their published weights"""
    for name, teacher in PUBLISHED.items():
        out = place.work / f"{name}-out"
        out.mkdir(exist_ok=True)
        description = export.preprocessing(teacher.size, teachers.NORMALISE)
        (out / "preprocess.json").write_text(json.dumps(description) + "\n")
        write_names(place, out)
        export.write(teacher.network(), teacher.size, out / "network.onnx")


def measure_divergence(place: Place) -> None:
    """measure the divergence from the targets on the kept-out photos"""
    features, targets = teachers.read(place.work / "cache", ["kept-out.npz"])
    targets = distil.sharpened(targets, SHARPEN)
    results = {}
    for form in FORMS:
        network, state = export.load_network(place.work / f"{form}.pt")
        first = state["options"]["arguments"]["late_from"]
        tail = distil.fast_tail(network, state["train"], first)
        inputs = distil.advance(features, network, first)
        results[form] = distil.kept_out(tail, inputs, targets)["kept_out_loss"]
    (place.work / "kept-out.json").write_text(json.dumps(results) + "\n")


@dataclass(frozen=True)
class Distilled:
    """EfficientNet-Lite0 with dynamic ReLUs in its later blocks, trained by `distil`, and what it is compared with."""

    log: str
    run, exported, weights = "dynamic", "best-out", "f16"

    def stages(self, place: Place) -> list[Stage]:
        data, work = place.data, place.work
        cache = ["--cache", work / "cache"]
        sources = ["--photos", data / "distil/distil-photos.tar", data / "imagenet-sample"]
        sources += ["--labelled", data / "imagenette-224-train.tar"]

        def train(kind: str, *options: str) -> list[str | Path]:
            return tool("distil", "--run", work / kind, *cache, "--names", place.names, "--train", kind, *options)

        def select(run: str, out: str, *options: str) -> list[str | Path]:
            return tool("interpolate", work / run / "checkpoint.pt", *cache, "--out", work / out, *options)

        fix = tool("ablation", work / "best.pt", *cache, "--out", work / "fixed.pt", "--blocks", "2")
        stages = [
            Stage("teachers", "cache/block-010.npz", tool("teachers", *cache, *sources, "--names", place.names)),
            Stage("train", "dynamic/curve.png", train("dynamic")),
            Stage("train-static", "static/curve.png", train("static")),
            Stage("train-weights", "weights/curve.png", train("weights", "--lr", "1e-5", "--steps", "25")),
            Stage("select", "best.pt", select("dynamic", "best.pt")),
            Stage("select-start", "start.pt", select("dynamic", "start.pt", "--shares", "0")),
            Stage("select-static", "static.pt", select("static", "static.pt")),
            Stage("select-weights", "weights.pt", ["cp", work / "weights/checkpoint.pt", work / "weights.pt"]),
            Stage("fix", "fixed.pt", fix),
            Stage("divergence", "kept-out.json", measure_divergence),
            Stage("published", "lite2-out/network.onnx", export_published),
            Stage("photos", "val", unpack),
        ]
        for form in FORMS:
            out = work / f"{form}-out"
            command = tool("export", "--checkpoint", work / f"{form}.pt", "--out", out, "--names", place.names)
            stages.append(Stage(f"export-{form}", f"{form}-out/network.onnx", command))
        for form in ROWS:
            model = f"{form}.safetensors"
            stages += [
                Stage(f"convert-{form}", model, shipped(place, f"{form}-out", model)),
                Stage(f"classify-{form}", f"{form}-val.csv", classified(place, model, work / "val"), keep=True),
                Stage(f"nips-{form}", f"{form}-nips.csv", classified(place, model, data / "nips17/dev"), keep=True),
            ]
        return stages

    def accuracy(self, place: Place) -> tuple[list[list[str]], str]:
        """The table of accuracies, and the note in the file."""
        divergence = json.loads((place.work / "kept-out.json").read_text())
        rows = [["", "Imagenette's 3,925 validation photos", "500 NIPS photos", "divergence on the kept-out photos"]]
        note = ""
        for form, description in ROWS.items():
            folders = percent(evaluate.accuracy_by_folder(place.work / f"{form}-val.csv", place.names))
            index = percent(evaluate.accuracy_by_index(place.work / f"{form}-nips.csv", place.data / "nips17/index.csv"))
            rows.append([description, folders, index, f"{divergence[form]:.4f}" if form in divergence else "–"])
            if form == "best":
                note = f"{folders} of Imagenette's 3,925 validation photos, {index} of 500 NIPS photos, among 1000 classes"
        return rows, note


def export_mobilenetv2(place: Place) -> None:
    """export MobileNetV2 x1.0 with its published weights of ImageNet"""
    out = place.work / "out"
    weights = place.data / "weights/mobilenetv2_1.0_bnfolded_f32.safetensors"
    subprocess.run(tool("export_mobilenetv2", "--weights", weights, "--out", out), check=True)
    write_names(place, out)


@dataclass(frozen=True)
class Rounded:
    """MobileNetV2 x1.0 with published weights of ImageNet, rounded to eight bits. Nothing is trained."""

    log, run, exported, weights = None, None, "out", "int8"
    FORMS = {"f32": "single precision", "f16": "half precision", "int8": "**eight bits, this file**"}

    def stages(self, place: Place) -> list[Stage]:
        stages = [Stage("export", "out/labels.txt", export_mobilenetv2), Stage("photos", "val", unpack)]
        for form in self.FORMS:
            model = f"{form}.safetensors"
            stages += [
                Stage(f"convert-{form}", model, shipped(place, "out", model, weights=form)),
                Stage(f"classify-{form}", f"{form}-val.csv", classified(place, model, place.work / "val"), keep=True),
                Stage(f"nips-{form}", f"{form}-nips.csv", classified(place, model, place.data / "nips17/dev"), keep=True),
            ]
        return stages

    def accuracy(self, place: Place) -> tuple[list[list[str]], str]:
        """The table of accuracies, and the note in the file."""
        rows = [["weights", "file", "Imagenette's 3,925 validation photos", "500 NIPS photos"]]
        for form, description in self.FORMS.items():
            size = (place.work / f"{form}.safetensors").stat().st_size
            folders = percent(evaluate.accuracy_by_folder(place.work / f"{form}-val.csv", place.names))
            index = percent(evaluate.accuracy_by_index(place.work / f"{form}-nips.csv", place.data / "nips17/index.csv"))
            rows.append([description, f"{size / 1e6:.1f} MB", folders, index])
        return rows, f"{folders} of Imagenette's 3,925 validation photos, {index} of 500 NIPS photos, among 1000 classes"


def small(activation: str, **rates: float | int) -> Trained:
    """One of the four networks that differ in the activation."""
    return Trained(activation, 0.35, "96:0", 20, f"x0.35/{activation}.jsonl", **rates)


NETWORKS: dict[str, Trained | Distilled | Rounded] = {
    "efficientnet-lite0-dyrelu-b": Distilled("distil/efficientnet-lite0-dyrelu-b.jsonl"),
    "mobilenetv2-int8": Rounded(),
    "mobilenetv2-x0.35-relu-imagenette": small("relu"),
    "mobilenetv2-x0.35-dyrelu-a-imagenette": small("dyrelu-a", hyperfunction_lr=1, hyperfunction_fan_in=16),
    "mobilenetv2-x0.35-dyrelu-b-imagenette": small("dyrelu-b"),
    "mobilenetv2-x0.35-dyrelu-c-imagenette": small("dyrelu-c"),
    "mobilenetv2-x0.5-dyrelu-b-imagenette": Trained("dyrelu-b", 0.5, "96:0,128:0.7", 30, "x0.5/dyrelu-b.jsonl"),
}


def run(stages: list[Stage], place: Place, begin: str | None = None) -> None:
    """Runs every stage whose result is missing, and from `begin` on all of them."""
    again = False
    for stage in stages:
        again = again or stage.name == begin
        if again or not (place.work / stage.makes).exists():
            print(f"== {stage.described()}", flush=True)
            stage.run(place)


def install(name: str, place: Place, models: Path) -> None:
    """Copies the network and its log, with its accuracy in the file, in the card and in the checksums."""
    network = NETWORKS[name]
    table, note = network.accuracy(place)
    command = shipped(place, network.exported, "noted.safetensors", note, network.weights)
    subprocess.run(command, check=True)
    shutil.copy(place.work / "noted.safetensors", models / f"{name}.safetensors")
    if network.log:
        log = RESULTS / network.log
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place.work / network.run / "log.jsonl", log)
    markdown.insert(models / f"{name}.md", "accuracy", "\n".join([*markdown.lines(table), ""]))
    (models / "SHA256SUMS").write_text(zoo.checksums(models))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NETWORKS, metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for the results of all stages")
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program, built with --release")
    parser.add_argument("--from", dest="begin", metavar="STAGE", help="repeat this stage and all after it")
    parser.add_argument("--list", action="store_true", help="print the stages and run none")
    parser.add_argument("--install", type=Path, metavar="MODELS", help="folder of models to update at the end")
    args = parser.parse_args()
    place = Place(args.data.resolve(), (args.work / args.name).resolve(), args.dyrelu.resolve())
    stages = NETWORKS[args.name].stages(place)
    if args.begin and args.begin not in [stage.name for stage in stages]:
        parser.error(f"{args.name} has no stage {args.begin}; its stages: {', '.join(stage.name for stage in stages)}")
    if args.list:
        print("\n".join(stage.described() for stage in stages))
        return
    place.work.mkdir(parents=True, exist_ok=True)
    run(stages, place, args.begin)
    table, note = NETWORKS[args.name].accuracy(place)
    print("\n".join([*markdown.lines(table), "", note]))
    if args.install:
        install(args.name, place, args.install)


if __name__ == "__main__":
    main()
