"""Opens an ONNX file in ONNX Runtime, runs it once, and prints the times of both and the peak memory as JSON.
`loading_onnx` starts this program.

The peak does not include the memory of the process before opening the file. The program imports no other packages,
because their memory would be part of the figures.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime


def memory(key: str) -> int:
    """An entry of `/proc/self/status` in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {key}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--input", type=Path, required=True, help="array for the input, as .npy")
    parser.add_argument("--threads", type=int, default=1, help="number of threads")
    args = parser.parse_args()
    x = np.load(args.input)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    before = memory("VmRSS")
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(str(args.model), options, providers=["CPUExecutionProvider"])
    opened = time.perf_counter()
    session.run(None, {session.get_inputs()[0].name: x})
    end = time.perf_counter()
    peak = memory("VmHWM") - before
    print(json.dumps({"open_ms": 1e3 * (opened - start), "first_result_ms": 1e3 * (end - start), "peak_bytes": peak}))


if __name__ == "__main__":
    main()
