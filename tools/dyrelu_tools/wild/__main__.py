"""Runs every case of a folder: those of manifest.tsv, and those of reliability/ if it exists.

    python -m dyrelu_tools.wild --cases DIR --dyrelu target/release/dyrelu --repository ..

Prints one line per case and, at the end, the number that passed. The exit code is 1 if any case failed. Cases that could
not be run are listed with the reason and do not count as passed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from . import manifest, reliability
from .case import NotRun, Setting, Wrong


def main() -> int:
    """Runs the cases and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, required=True, help="folder with manifest.tsv")
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu program")
    parser.add_argument("--repository", type=Path, default=Path(__file__).parents[3], help="root of the repository")
    parser.add_argument("--programs", type=Path, help="folder of the built programs of reliability/")
    parser.add_argument("--seconds", type=float, default=110.0, help="duration of each test for hangs")
    parser.add_argument("--only", default="", help="run only cases whose name contains this")
    arguments = parser.parse_args()

    cases = manifest.cases(arguments.cases / "manifest.tsv")
    folder = arguments.cases / "reliability"
    if folder.is_dir():
        cases += reliability.cases(folder.resolve())
    cases = [case for case in cases if arguments.only in case.name]
    counts = {"passed": 0, "FAILED": 0, "not run": 0}
    with tempfile.TemporaryDirectory() as work:
        prepare(arguments.cases, Path(work))
        setting = Setting(
            cases=arguments.cases.resolve(),
            dyrelu=arguments.dyrelu.resolve(),
            repository=arguments.repository.resolve(),
            programs=arguments.programs and arguments.programs.resolve(),
            seconds=arguments.seconds,
            work=Path(work),
        )
        for case in cases:
            start = time.monotonic()
            try:
                outcome, remark = "passed", case.check(setting)
            except Wrong as e:
                outcome, remark = "FAILED", str(e)
            except NotRun as e:
                outcome, remark = "not run", str(e)
            counts[outcome] += 1
            seconds = time.monotonic() - start
            print(f"{outcome:7}  {case.name}  {seconds:.1f} s  {remark}".rstrip(), flush=True)
    print(
        f"{counts['passed']} of {len(cases)} passed, {counts['FAILED']} failed, "
        f"{counts['not run']} not run"
    )
    return 1 if counts["FAILED"] else 0


def prepare(cases: Path, work: Path) -> None:
    """Copies the files of the cases to the working directory of the commands, and unpacks the arrays."""
    for path in cases.iterdir():
        if path.is_file():
            shutil.copyfile(path, work / path.name)
    arrays = work / "arrays.npz"
    if arrays.is_file():
        with zipfile.ZipFile(arrays) as archive:
            archive.extractall(work)


if __name__ == "__main__":
    sys.exit(main())
