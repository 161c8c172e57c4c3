"""The file of results. Each cell is merged into it after its measurement."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

# Prefixes of the names of vector instruction sets in /proc/cpuinfo.
VECTORS = ("avx", "f16c", "fma", "amx", "asimd", "sve", "i8mm", "bf16")


@dataclass(frozen=True)
class Cell:
    """A network, a number of threads and a batch size, for which the engines are compared."""

    network: str
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.network} threads={self.threads} batch={self.batch}"


@dataclass(frozen=True)
class Cpu:
    """The CPU of a file of results. Several generations may have the same name, hence the instruction sets."""

    name: str
    instructions: str
    cores: int

    def __str__(self) -> str:
        return f"{self.name} with {self.instructions or 'no known vector instructions'}, {self.cores} cores"

    @classmethod
    def here(cls) -> Cpu:
        info = Path("/proc/cpuinfo")
        fields: dict[str, str] = {}
        for line in info.read_text().splitlines() if info.exists() else ():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
        name = fields.get("model name") or platform.processor() or platform.machine()
        if "cpu family" in fields:
            name += f" (family {fields['cpu family']}, model {fields.get('model', '?')})"
        flags = (fields.get("flags") or fields.get("Features") or "").split()
        vectors = [flag for flag in flags if flag.startswith(VECTORS)]
        return cls(name, " ".join(sorted(vectors)), len(os.sched_getaffinity(0)))


def measured(seconds: list[float], batch: int, error: float) -> dict:
    """The entry of an engine that ran. Times are per image."""
    return {
        "median_ms": round(1e3 * median(seconds) / batch, 4),
        "best_ms": round(1e3 * min(seconds) / batch, 4),
        "runs": len(seconds),
        "error": float(f"{error:.2g}"),
    }


def failed(reason: str) -> dict:
    """The entry of an engine that failed."""
    return {"does not run": reason}


@dataclass
class Results:
    """Entries by cell and engine, for one CPU. `measured_on` and `seconds` are of the last measurement."""

    cpu: Cpu
    versions: dict[str, str] = field(default_factory=dict)
    cells: dict[str, dict[str, dict]] = field(default_factory=dict)
    seconds: float = 0.0
    measured_on: str = ""

    @classmethod
    def read(cls, path: Path) -> Results:
        stored = json.loads(path.read_text())
        return cls(**stored | {"cpu": Cpu(**stored["cpu"])})

    def write(self, path: Path) -> None:
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(path)

    def of(self, cell: Cell) -> dict[str, dict]:
        return self.cells.get(str(cell), {})

    def merge(self, cell: Cell, entries: dict[str, dict], versions: dict[str, str], seconds: float) -> None:
        self.cells.setdefault(str(cell), {}).update(entries)
        self.versions.update(versions)
        self.seconds, self.measured_on = seconds, date.today().isoformat()
