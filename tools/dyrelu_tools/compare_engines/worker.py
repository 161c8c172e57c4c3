"""A worker for an engine with a Python package:
`python -m dyrelu_tools.compare_engines.worker ENGINE FOLDER THREADS BATCH OUTPUT`.

Its first run is saved as OUTPUT, so that the parent can check it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from .engines import Job
from .protocol import serve


def main() -> None:
    engine, folder, threads, batch, output = sys.argv[1:]
    # Some engines greet on standard output, which belongs to the protocol.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, variant = engine.partition("-")
    job = Job(Path(folder), int(threads), int(batch), variant)
    run = import_module(f".engines.{module}", __package__).load(job)
    np.save(output, run())
    serve(run, sys.stdin, answers)


if __name__ == "__main__":
    main()
