"""The engines, one file per engine. `load` returns a function that runs a network once, with the fastest settings.

A name `ENGINE-VARIANT` is a variant of an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

# Height and width of the input of every network.
SIZE = 224


@dataclass(frozen=True)
class Job:
    """The network, batch and settings that a worker loads."""

    folder: Path
    threads: int
    batch: int
    variant: str = ""

    @property
    def onnx(self) -> Path:
        return self.folder / "network.onnx"

    @property
    def x(self) -> Path:
        return self.folder / f"x{self.batch}.npy"

    @property
    def y(self) -> Path:
        return self.folder / f"y{self.batch}.npy"

    @cached_property
    def input(self) -> np.ndarray:
        """The input. It is cached because some engines keep a pointer to it."""
        return np.load(self.x)
