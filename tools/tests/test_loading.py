"""The memory that processes share, measured with processes that map a file."""

import mmap
import sys
from pathlib import Path

import pytest

from dyrelu_tools import loading
from dyrelu_tools.compare_engines.protocol import Worker

PAGES = 64
# Maps a file, reads a byte of every page, then waits for commands as an engine does.
PROGRAM = """
import mmap, sys
with open(sys.argv[1]) as file:
    mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(mapping[::mmap.PAGESIZE])
print("ready", flush=True)
sys.stdin.read()
"""


def test_processes_that_map_one_file_share_its_pages(tmp_path: Path) -> None:
    file = tmp_path / "weights with spaces"
    file.write_bytes(bytes(PAGES * mmap.PAGESIZE))

    def start(i: int) -> Worker:
        return Worker([sys.executable, "-c", PROGRAM, str(file)], tmp_path / f"{i}.log", 1)

    size = PAGES * mmap.PAGESIZE // 1024
    memories = loading.memory_of_many(start, file, processes=3)
    assert [memory.resident for memory in memories] == [size] * 3
    assert [memory.shared for memory in memories] == [size] * 3
    assert abs(sum(memory.proportional for memory in memories) - size) <= 3
    assert all(memory.private_elsewhere > 0 for memory in memories)


def test_a_file_that_is_not_mapped_is_an_error() -> None:
    with pytest.raises(SystemExit, match="not mapped"):
        loading.memory(Path("/proc/self/smaps").read_text(), Path("/no/such/file"))
