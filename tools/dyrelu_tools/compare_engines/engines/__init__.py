"""The engines, a file each: `load` makes a function that runs a network once, as fast as settings allow.

A name with a hyphen is a variant of the engine before it.
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
    """What a worker is to load."""

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
        """Kept as long as the job: some engines only point at it."""
        return np.load(self.x)
