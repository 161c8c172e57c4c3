"""Compares classify.py on a local cluster, a worker of which is killed, with the command line.

    python test.py [PHOTOS]

The program is `dyrelu` of PATH, or that of the variable DYRELU.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import ray

sys.path.insert(0, str(Path(__file__).parents[1]))
import same_rows  # noqa: E402
from classify import Classifier, classify  # noqa: E402

folder = Path(tempfile.mkdtemp())
killed = folder / "killed"


class Mortal(Classifier):
    """Kills the process of the actor at its second batch, once."""

    batches = 0

    def __call__(self, photos):
        self.batches += 1
        if self.batches == 2 and not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(photos)


photos = sys.argv[1] if len(sys.argv) > 1 else same_rows.copies(folder / "photos", 200)
ray.init(num_cpus=3, object_store_memory=400 << 20, include_dashboard=False)
output = folder / "rows"
classify(str(photos), same_rows.MODEL, top=2, actor=Mortal).write_parquet(str(output))
print("killed process", killed.read_text())
same_rows.check(pq.read_table(output), photos, top=2)
