"""Measures the time to the first result from a native file, and the memory that processes share:
`python -m dyrelu_tools.loading --help`.

For each network, measures the time of a process that makes one run, the time from opening the file to the end of the
first run, and the time of a later run. The file is in the page cache.
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
class Times:
    """The times of one process in milliseconds."""

    process: float
    first_result: float
    steady: float


def load_once(dyrelu: Path, file: Path, x: Path, threads: int) -> Times:
    # Both commands load the file. `run` ends after the first result, and `bench` reports the times inside the process.
    common = [file, "--input", x, "--threads", str(threads)]
    start = time.perf_counter()
    subprocess.run([dyrelu, "run", *common, "--output", file.with_suffix(".npy")], check=True)
    process = 1e3 * (time.perf_counter() - start)
    command = [dyrelu, "bench", *common, "--seconds", "0.2", "--format", "json"]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return Times(process, measured["first_result_ms"], measured["median_ms"] * measured["batch"])


@dataclass(frozen=True)
class Memory:
    """The memory of a process in kilobytes: of the mapping of a file, and private memory elsewhere."""

    resident: int
    shared: int
    proportional: int
    private_elsewhere: int


def memory(smaps: str, file: Path) -> Memory:
    """Sums the mappings in the text of `/proc/PID/smaps`."""
    mapped: dict[str, int] = {}
    elsewhere: dict[str, int] = {}
    current = elsewhere
    for line in smaps.splitlines():
        words = line.split(maxsplit=5)
        if not words[0].endswith(":"):
            current = mapped if words[5:] == [str(file)] else elsewhere
        elif words[-1] == "kB":
            key = words[0].rstrip(":")
            current[key] = current.get(key, 0) + int(words[1])
    if not mapped:
        raise SystemExit(f"{file} is not mapped by a process that runs it")
    shared = mapped["Shared_Clean"] + mapped["Shared_Dirty"]
    private = elsewhere["Private_Clean"] + elsewhere["Private_Dirty"]
    return Memory(mapped["Rss"], shared, mapped["Pss"], private)


def memory_of_many(start: Callable[[int], Worker], file: Path, processes: int) -> list[Memory]:
    """The memory of each of several processes, after all have run the file and while all exist."""
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
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=["mobilenetv2", "mobilenetv2-b", "resnet18-b"],
        help="networks, separated by commas",
    )
    parser.add_argument("--threads", type=int, default=1, help="number of threads")
    parser.add_argument("--times", type=int, default=15, help="number of processes for the median of times")
    parser.add_argument("--processes", type=int, default=10, help="number of processes that share a file")
    parser.add_argument("--convert", default="", help="options to add to `dyrelu convert`")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    if unknown := [name for name in args.only if name not in networks()]:
        raise SystemExit(f"unknown network {unknown[0]!r}, expected some of {', '.join(networks())}")
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

        # This run brings the file into the page cache.
        load_once(dyrelu, file, x, threads)
        loads = [load_once(dyrelu, file, x, threads) for _ in range(args.times)]
        process, first, steady = (
            median(getattr(load, key) for load in loads) for key in ("process", "first_result", "steady")
        )
        times.append([name, megabytes(size), *(f"{t:.2f}" for t in (process, first, steady, first / steady))])

        def start(i: int, file: Path = file, x: Path = x) -> Worker:
            output = file.with_name(f"loading-{i}.npy")
            words = [dyrelu, "bench", file, "--input", x, "--threads", threads, "--serve", output]
            return Worker([*map(str, words)], output.with_suffix(".log"), threads)

        memories = memory_of_many(start, file, args.processes)
        resident, shared, private = (
            median(getattr(memory, key) for memory in memories) for key in ("resident", "shared", "private_elsewhere")
        )
        total = sum(memory.proportional for memory in memories)
        space.append([name, *map(megabytes, (size, resident, shared, total, private))])
    caption = f"{args.processes} processes on one file; medians per process, and the sum over all:"
    print(*lines(times), "", caption, "", *lines(space), sep="\n")


if __name__ == "__main__":
    main()
