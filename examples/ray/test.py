"""Compares classify.py on local clusters, of which an actor and a whole node are killed, with the command line.

    python test.py [PHOTOS]

The program is `dyrelu` of PATH, or that of the variable DYRELU.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

sys.path.insert(0, str(Path(__file__).parents[1]))
import same_rows  # noqa: E402
from classify import Classifier, classify  # noqa: E402

MEMORY = 200 << 20


def check(photos: Path, output: Path, workers: int, actor: type) -> None:
    classify(str(photos), same_rows.MODEL, top=2, workers=workers, actor=actor).write_parquet(str(output))
    same_rows.check(pq.read_table(output), photos, top=2)


def without_an_actor(photos: Path, folder: Path) -> None:
    """Kills the process of an actor at its second batch."""
    killed = folder / "killed"

    class Mortal(Classifier):
        batches = 0

        def __call__(self, photos):
            self.batches += 1
            if self.batches == 2 and not killed.exists():
                killed.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(photos)

    ray.init(num_cpus=3, object_store_memory=2 * MEMORY, include_dashboard=False)
    check(photos, folder / "rows", workers=2, actor=Mortal)
    print("killed actor: process", killed.read_text())
    ray.shutdown()


def without_a_node(photos: Path, folder: Path) -> None:
    """Kills all processes of one of two nodes while an actor on it has its second batch."""
    reached = folder / "reached"
    # After the other node is gone, the first has a core for each actor and one for reading and writing.
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 3, "object_store_memory": MEMORY, "include_dashboard": False},
    )
    node = cluster.add_node(num_cpus=2, object_store_memory=MEMORY)
    node_id = node.node_id

    class OnNode(Classifier):
        batches = 0

        def __call__(self, photos):
            self.batches += 1
            if self.batches == 2 and ray.get_runtime_context().get_node_id() == node_id:
                reached.write_text(str(os.getpid()))
                # The node ends before this.
                time.sleep(600)
            return super().__call__(photos)

    def kill_node():
        while not reached.exists():
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    ray.init(address=cluster.address)
    threading.Thread(target=kill_node, daemon=True).start()
    check(photos, folder / "rows", workers=2, actor=OnNode)
    alive = {n["NodeID"]: n["Alive"] for n in ray.nodes()}
    assert not alive[node_id] and sum(alive.values()) == 1, alive
    print("killed node:", node_id, "with the actor of process", reached.read_text())
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    photos = Path(sys.argv[1]) if len(sys.argv) > 1 else same_rows.copies(folder / "photos", 400)
    for lost in [without_an_actor, without_a_node]:
        (folder / lost.__name__).mkdir()
        lost(photos, folder / lost.__name__)
