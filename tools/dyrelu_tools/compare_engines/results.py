"""The file of figures: measured cell by cell, merged into what is there."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Cell:
    """A network at a number of threads and a batch size: what the engines do side by side."""

    network: str
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.network} threads={self.threads} batch={self.batch}"


def measured(seconds: list[float], batch: int, error: float) -> dict:
    """An engine's entry; times are for one image."""
    return {
        "median_ms": round(1e3 * median(seconds) / batch, 4),
        "best_ms": round(1e3 * min(seconds) / batch, 4),
        "runs": len(seconds),
        "error": float(f"{error:.2g}"),
    }


def failed(reason: str) -> dict:
    return {"does not run": reason}


def cpu_name() -> str:
    """As the system calls it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass
class Results:
    """Entries by cell and engine, of one CPU."""

    cpu: str
    versions: dict[str, str] = field(default_factory=dict)
    cells: dict[str, dict[str, dict]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Results:
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        new = path.with_suffix(".new")
        new.write_text(json.dumps(vars(self), indent=1) + "\n")
        new.replace(path)

    def of(self, cell: Cell) -> dict[str, dict]:
        return self.cells.get(str(cell), {})

    def merge(self, cell: Cell, entries: dict[str, dict], versions: dict[str, str]) -> None:
        self.cells.setdefault(str(cell), {}).update(entries)
        self.versions.update(versions)
