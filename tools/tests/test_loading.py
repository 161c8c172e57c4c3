"""What processes share, measured on processes that map a file."""

import mmap
import sys
from pathlib import Path

import pytest

from dyrelu_tools import loading
from dyrelu_tools.compare_engines.protocol import Worker

PAGES = 64
# Maps a file, touches all of it, and then as an engine waits for commands.
MAPS = """
import mmap, sys
with open(sys.argv[1]) as file:
    held = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(held[::mmap.PAGESIZE])
print("ready", flush=True)
sys.stdin.read()
"""


def test_processes_that_map_one_file_share_its_pages(tmp_path: Path) -> None:
    file = tmp_path / "weights with spaces"
    file.write_bytes(bytes(PAGES * mmap.PAGESIZE))

    def start(i: int) -> Worker:
        return Worker([sys.executable, "-c", MAPS, str(file)], tmp_path / f"{i}.log", 1)

    size = PAGES * mmap.PAGESIZE // 1024
    held = loading.memory_of_many(start, file, processes=3)
    assert [one.resident for one in held] == [size] * 3
    assert [one.shared for one in held] == [size] * 3
    assert abs(sum(one.proportional for one in held) - size) <= 3
    assert all(one.private_elsewhere > 0 for one in held)


def test_a_file_that_is_copied_and_not_mapped_is_an_error() -> None:
    with pytest.raises(SystemExit, match="not mapped"):
        loading.memory(Path("/proc/self/smaps").read_text(), Path("/no/such/file"))
