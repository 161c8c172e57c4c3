"""Runs every case of a folder such as `wild`: manifest.tsv, and reliability/ where it is there.

    python -m dyrelu_tools.wild --cases DIR --dyrelu target/release/dyrelu --repository ..

Prints a line for each case and, at the end, how many passed of all. The exit code is 1 where any failed.
Cases that were not run are listed with the reason and count as not passed, never as passed.
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
    """Runs what the command line asks for; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, required=True, help="the folder with manifest.tsv")
    parser.add_argument("--dyrelu", type=Path, required=True, help="the dyrelu binary")
    parser.add_argument("--repository", type=Path, default=Path(__file__).parents[3])
    parser.add_argument("--programs", type=Path, help="the folder of the built programs")
    parser.add_argument("--seconds", type=float, default=110.0, help="of each trial for hangs")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    arguments = parser.parse_args()

    cases = manifest.cases(arguments.cases / "manifest.tsv")
    extra = arguments.cases / "reliability"
    if extra.is_dir():
        cases += reliability.cases(extra.resolve())
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
            took = time.monotonic() - start
            print(f"{outcome:7}  {case.name}  {took:.1f} s  {remark}".rstrip(), flush=True)
    print(
        f"{counts['passed']} of {len(cases)} passed, {counts['FAILED']} failed, "
        f"{counts['not run']} not run"
    )
    return 1 if counts["FAILED"] else 0


def prepare(cases: Path, work: Path) -> None:
    """Copies the files of the cases, with the arrays unpacked, to where commands run."""
    for path in cases.iterdir():
        if path.is_file():
            shutil.copyfile(path, work / path.name)
    arrays = work / "arrays.npz"
    if arrays.is_file():
        with zipfile.ZipFile(arrays) as archive:
            archive.extractall(work)


if __name__ == "__main__":
    sys.exit(main())
