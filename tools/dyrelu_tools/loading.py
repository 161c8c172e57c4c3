"""How soon a native file gives its first result, and what ten processes on one file share:
`python -m dyrelu_tools.loading --help`.

For each network: the time from the start of a process to its end after one run, the time from opening
the file to the end of the first run, and a steady run, all with the file in the page cache.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .compare_engines.networks import networks, prepare
from .compare_engines.protocol import Worker
from .compare_engines.table import lines


@dataclass(frozen=True)
class Loaded:
    """Milliseconds of one process."""

    process: float
    first_result: float
    steady: float


def load_once(dyrelu: Path, file: Path, x: Path, threads: int) -> Loaded:
    # Both commands load anew; `run` ends after the first result, `bench` says what happens inside.
    common = [file, "--input", x, "--threads", str(threads)]
    start = time.perf_counter()
    subprocess.run([dyrelu, "run", *common, "--output", file.with_suffix(".npy")], check=True)
    process = 1e3 * (time.perf_counter() - start)
    command = [dyrelu, "bench", *common, "--seconds", "0.2", "--format", "json"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return Loaded(process, said["first_result_ms"], said["median_ms"] * said["batch"])


@dataclass(frozen=True)
class Memory:
    """Kilobytes of a process: of one file's mapping, and private ones outside it."""

    resident: int
    shared: int
    proportional: int
    private_elsewhere: int


def memory(smaps: str, file: Path) -> Memory:
    """Sums the mappings in the text of a /proc/PID/smaps."""
    of_file: dict[str, int] = {}
    elsewhere: dict[str, int] = {}
    current = elsewhere
    for line in smaps.splitlines():
        words = line.split(maxsplit=5)
        if not words[0].endswith(":"):
            current = of_file if words[5:] == [str(file)] else elsewhere
        elif words[-1] == "kB":
            key = words[0].rstrip(":")
            current[key] = current.get(key, 0) + int(words[1])
    if not of_file:
        raise SystemExit(f"{file} is not mapped by a process that runs it")
    shared = of_file["Shared_Clean"] + of_file["Shared_Dirty"]
    private = elsewhere["Private_Clean"] + elsewhere["Private_Dirty"]
    return Memory(of_file["Rss"], shared, of_file["Pss"], private)


def memory_of_many(start: Callable[[int], Worker], file: Path, processes: int) -> list[Memory]:
    """Of processes that all have run the file, while all are there."""
    with ExitStack() as stack:
        workers = []
        for i in range(processes):
            workers.append(start(i))
            stack.callback(workers[-1].end)
        for worker in workers:
            worker.wait_until_ready()
        smaps = [Path(f"/proc/{worker.process.pid}/smaps").read_text() for worker in workers]
        return [memory(text, file) for text in smaps]


def megabytes(kilobytes: float) -> str:
    return f"{kilobytes / 1024:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program, built with --release")
    parser.add_argument("--work", type=Path, required=True, help="folder of compare_engines for exported networks")
    parser.add_argument("--only", type=lambda text: text.split(","), default=["mobilenetv2", "mobilenetv2-b", "resnet18-b"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--times", type=int, default=15, help="processes whose median is taken")
    parser.add_argument("--processes", type=int, default=10, help="processes that hold one file")
    parser.add_argument("--convert", default="", help="further options of `dyrelu convert`")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    if unknown := [name for name in args.only if name not in networks()]:
        raise SystemExit(f"unknown network {unknown[0]!r}, known are {', '.join(networks())}")
    dyrelu, threads = args.dyrelu.resolve(), args.threads
    times = [["", "file, MB", "process, ms", "first result, ms", "steady run, ms", "first / steady"]]
    space = [["MB", "file", "resident", "shared", "sum of shares", "private elsewhere"]]
    for name in args.only:
        folder = args.work.resolve() / name
        prepare(name, 1, folder)
        file, x = folder / "loading.safetensors", folder / "x1.npy"
        command = [dyrelu, "convert", folder / "network.onnx", file, *args.convert.split()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        size = file.stat().st_size / 1024

        # Writing and the first process have the file in the page cache.
        load_once(dyrelu, file, x, threads)
        found = [load_once(dyrelu, file, x, threads) for _ in range(args.times)]
        process, first, steady = (
            median(getattr(one, key) for one in found) for key in ("process", "first_result", "steady")
        )
        times.append([name, megabytes(size), *(f"{t:.2f}" for t in (process, first, steady, first / steady))])

        def start(i: int, file: Path = file, x: Path = x) -> Worker:
            output = file.with_name(f"loading-{i}.npy")
            words = [dyrelu, "bench", file, "--input", x, "--threads", threads, "--serve", output]
            return Worker([*map(str, words)], output.with_suffix(".log"), threads)

        held = memory_of_many(start, file, args.processes)
        middle = [median(getattr(one, key) for one in held) for key in ("resident", "shared", "private_elsewhere")]
        total = sum(one.proportional for one in held)
        space.append([name, *map(megabytes, (size, middle[0], middle[1], total, middle[2]))])
    print(*lines(times), "", f"{args.processes} processes on one file; medians of a process, sum over all:", "", *lines(space), sep="\n")


if __name__ == "__main__":
    main()
