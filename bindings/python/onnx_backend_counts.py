"""Runs ONNX's own tests of backends and prints how many pass, are skipped and fail.

    python bindings/python/onnx_backend_counts.py [-v] [PATTERN]

It needs the packages dyrelu and onnx. A test is skipped if the network asks for something that dyrelu says
that it does not have; with -v each test that is skipped or fails is listed with the reason.
"""

from __future__ import annotations

import argparse
import re
import sys
import unittest
import warnings
from collections import Counter

from onnx.backend.test import BackendTest

from dyrelu import UnsupportedError
from dyrelu.onnx_backend import DyreluBackend, DyreluRep


class CountedRep:
    """Skips the tests of networks of which a run finds that they are not supported."""

    def __init__(self, rep: DyreluRep) -> None:
        self._rep = rep

    def run(self, inputs, **kwargs):
        return skipping(lambda: self._rep.run(inputs))


class CountedBackend(DyreluBackend):
    """Skips the tests of networks that are not supported, and states why."""

    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        # `prepare` has the reason.
        return True

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        return CountedRep(skipping(lambda: super(CountedBackend, cls).prepare(model, device)))


def skipping(run):
    """Returns what `run` returns, or skips the test with the reason why it is not supported."""
    try:
        return run()
    except UnsupportedError as e:
        raise unittest.SkipTest(str(e)) from e


FAMILIES = {
    r"operator \S+ of \S+ opset": "an operator that is not supported",
    r"elements of type": "element types that are not supported (strings, 4, 8 and 16 bits, unsigned)",
    r"it is no tensor": "sequences and optional values",
    r"random|training": "dropout in training mode, random numbers",
    r"": "a part of an operator that is not supported",
}


def family(reason: str) -> str:
    """Returns what kind of reason it is."""
    return next(words for pattern, words in FAMILIES.items() if re.search(pattern, reason))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("pattern", nargs="?", help="only tests whose name has this regular expression")
    arguments = parser.parse_args()
    # The runner looks for options of its own.
    sys.argv = sys.argv[:1]
    warnings.simplefilter("ignore")

    tests = BackendTest(CountedBackend, __name__)
    counts: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    for group, case in sorted(tests.test_cases.items()):
        of_group = counts.setdefault(group.removeprefix("OnnxBackend").removesuffix("Test"), Counter())
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
            name = test._testMethodName
            chosen = arguments.pattern is None or re.search(arguments.pattern, name)
            # Tests of other devices say nothing.
            if name.endswith("_cuda") or not chosen:
                continue
            result = unittest.TestResult()
            test.run(result)
            if result.skipped:
                of_group["skipped"] += 1
                reasons[family(result.skipped[0][1])] += 1
                report = f"skipped {name}: {result.skipped[0][1]}"
            elif result.wasSuccessful():
                of_group["passed"] += 1
                continue
            else:
                of_group["failed"] += 1
                trace = (result.errors + result.failures)[0][1].strip()
                report = f"failed {name}\n{trace}"
            if arguments.verbose:
                print(report)

    print("| tests | passed | skipped | failed |\n|---|---:|---:|---:|")
    for group, found in counts.items():
        print(f"| {group} | {found['passed']} | {found['skipped']} | {found['failed']} |")
    total = sum(counts.values(), Counter())
    print(f"| all | {total['passed']} | {total['skipped']} | {total['failed']} |")
    print("\n| skipped because | tests |\n|---|---:|")
    for reason, count in reasons.most_common():
        print(f"| {reason} | {count} |")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
