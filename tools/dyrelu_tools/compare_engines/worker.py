"""The worker of an engine with a Python package:
`python -m dyrelu_tools.compare_engines.worker ENGINE FOLDER THREADS BATCH OUTPUT`.

It saves the output of its first run as OUTPUT, for the parent to check.
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
    # Some engines print to standard output, which the protocol needs. That output goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, variant = engine.partition("-")
    job = Job(Path(folder), int(threads), int(batch), variant)
    run = import_module(f".engines.{module}", __package__).load(job)
    np.save(output, run())
    serve(run, sys.stdin, answers)


if __name__ == "__main__":
    main()
