"""Opens an ONNX file in ONNX Runtime, runs it once, and prints as JSON how long both took and the most
memory that the process had meanwhile beyond what it had before. `loading_onnx` starts it.

It imports no more than it needs: what other packages allocate would be in the figures.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime


def memory(key: str) -> int:
    """Bytes that the system states for this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"the system does not state {key}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
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
