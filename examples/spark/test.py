"""Compares classify.py on a local cluster, a worker of which is killed, with the command line.

    python test.py [PHOTOS]

The program is `dyrelu` of PATH, or that of the variable DYRELU.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import cloudpickle
from pyspark.sql import SparkSession

sys.path.insert(0, str(Path(__file__).parents[1]))
import classify  # noqa: E402
import same_rows  # noqa: E402

folder = Path(tempfile.mkdtemp())
killed = folder / "killed"


def mortal(batches, model, top):
    """Kills the process of the worker at its second batch, once."""
    for number, batch in enumerate(classify.classify_batches(batches, model, top), 1):
        if number == 2 and not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch


photos = sys.argv[1] if len(sys.argv) > 1 else same_rows.copies(folder / "photos", 200)
os.environ["PYSPARK_PYTHON"] = sys.executable
# Two cores, and up to four tries of a task.
spark = SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", False).getOrCreate()
# Workers get the functions by value, as spark-submit sends those of the main program.
cloudpickle.register_pickle_by_value(classify)
output = folder / "rows"
classify.classify(spark, str(photos), same_rows.MODEL, top=2, function=mortal).write.parquet(str(output))
print("killed process", killed.read_text())
table = pq.read_table(output)
paths = pc.replace_substring_regex(table["path"], "^file:", "")
same_rows.check(table.set_column(0, "path", paths), photos, top=2)
