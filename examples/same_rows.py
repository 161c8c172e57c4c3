"""What the tests of the examples on clusters share: photos, and the rows of the command line."""

import csv
import os
import shutil
import struct
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODEL = str(ROOT / "models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors")
COLUMNS = ["path", "rank", "class", "label", "score", "error"]


def copies(folder: Path, count: int) -> Path:
    """Fills a folder with copies of the example photos, of which one is cut off."""
    folder.mkdir(parents=True)
    photos = sorted((ROOT / "examples/photos").glob("*.jpg"))
    for i in range(count):
        shutil.copy(photos[i % len(photos)], folder / f"{i:04}.jpg")
    cut = folder / "cut.jpg"
    cut.write_bytes(photos[0].read_bytes()[:5000])
    return folder


def of_command_line(photos: Path, top: int) -> list[tuple]:
    """The rows of `dyrelu classify --format csv`."""
    command = [os.environ.get("DYRELU", "dyrelu"), "classify", str(photos), "--model", MODEL]
    command += ["--format", "csv", "--top", str(top), "--columns", ",".join(COLUMNS), "--quiet"]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    # 1 is the code for photos that failed.
    if run.returncode not in (0, 1):
        raise SystemExit(f"{command} ended with {run.returncode}")
    return [row(*cells.values()) for cells in csv.DictReader(run.stdout.splitlines())]


def row(path, rank, cls, label, score, error) -> tuple:
    """A row in a form that can be compared. Scores are compared by their bits."""
    bits = struct.pack("f", float(score)) if score not in (None, "") else None
    number = lambda cell: int(cell) if cell not in (None, "") else None  # noqa: E731
    return path, number(rank), number(cls), label or None, bits, bool(error)


def check(table, photos: Path, top: int) -> None:
    """Compares a table of pyarrow with the rows of the command line, in any order."""
    found = [row(*(r[c] for c in COLUMNS)) for r in table.to_pylist()]
    expected = of_command_line(photos, top)
    key = lambda r: (r[0], r[1] or 0)  # noqa: E731
    assert len(found) == len(expected), (len(found), len(expected))
    for a, b in zip(sorted(found, key=key), sorted(expected, key=key)):
        assert a == b, (a, b)
    failed = sum(r[5] for r in found)
    print(f"{len({r[0] for r in found})} photos, {failed} of them failed: all rows are those of the command line")
