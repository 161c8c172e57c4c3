"""Compares classify.py on this machine, a Python worker and an executor of which are killed, with the command line.

    python test.py [PHOTOS]

The program is `dyrelu` of PATH, or that of the variable DYRELU. The processes are found in /proc, as on Linux.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import TaskContext, cloudpickle
from pyspark.sql import SparkSession

sys.path.insert(0, str(Path(__file__).parents[1]))
import classify  # noqa: E402
import same_rows  # noqa: E402


def parent(process: int) -> int:
    # The name of the process, in parentheses, may have spaces.
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def executor() -> int:
    """The Java process of the executor: workers are children of a daemon that it started."""
    java = parent(os.getppid())
    command = Path(f"/proc/{java}/cmdline").read_text()
    assert "CoarseGrainedExecutorBackend" in command, command
    return java


def check(master: str, victim, photos: Path, folder: Path) -> None:
    """Kills the process that `victim` names at the second batch of a task, once."""
    killed = folder / "killed"

    def mortal(batches, model, top):
        for number, batch in enumerate(classify.classify_batches(batches, model, top), 1):
            # The tasks before have ended then.
            is_later = TaskContext.get().partitionId() >= 2
            if number == 2 and is_later and not killed.exists():
                process = victim()
                killed.write_text(str(process))
                os.kill(process, signal.SIGKILL)
            yield batch

    spark = (
        SparkSession.builder.master(master)
        .config("spark.ui.enabled", False)
        # The number of tasks.
        .config("spark.default.parallelism", 8)
        .getOrCreate()
    )
    output = folder / "rows"
    rows = classify.classify(spark, str(photos), same_rows.MODEL, top=2, function=mortal)
    rows.write.parquet(str(output))
    spark.stop()
    print(f"{master}: killed process", killed.read_text())
    table = pq.read_table(output)
    paths = pc.replace_substring_regex(table["path"], "^file:", "")
    same_rows.check(table.set_column(0, "path", paths), photos, top=2)


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    photos = Path(sys.argv[1]) if len(sys.argv) > 1 else same_rows.copies(folder / "photos", 400)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # Executors get the functions by value, as spark-submit sends those of the main program.
    cloudpickle.register_pickle_by_value(classify)
    # Two cores and up to four tries of a task; then two executors with a core and 1024 MiB each.
    for name, master, victim in [
        ("worker", "local[2,4]", os.getpid),
        ("executor", "local-cluster[2,1,1024]", executor),
    ]:
        (folder / name).mkdir()
        check(master, victim, photos, folder / name)
