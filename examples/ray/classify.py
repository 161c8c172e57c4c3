"""Classifies photos on a Ray cluster and writes Parquet.

    python classify.py PHOTOS OUTPUT --model net.safetensors

Without RAY_ADDRESS, the cluster is this machine. PHOTOS, OUTPUT and the model are paths that each node can read.
"""

import argparse

import dyrelu
import pyarrow as pa
import ray

EXTENSIONS = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"]

# The columns of `dyrelu classify --columns path,rank,class,label,score,error`.
SCHEMA = pa.schema([
    pa.field("path", pa.string(), nullable=False),
    ("rank", pa.int32()),
    ("class", pa.int32()),
    ("label", pa.string()),
    ("score", pa.float32()),
    ("error", pa.string()),
])


class Classifier:
    """An actor that holds one model. It runs on one core."""

    def __init__(self, model: str, top: int) -> None:
        self.model = dyrelu.Model(model, threads=1)
        self.top = top

    def __call__(self, photos: pa.Table) -> pa.Table:
        rows = []
        for path, contents in zip(photos["path"].to_pylist(), photos["bytes"].to_pylist()):
            rows += self.rows(path, contents)
        return pa.Table.from_pylist(rows, SCHEMA)

    def rows(self, path: str, contents: bytes) -> list[dict]:
        try:
            guesses = self.model.classify(contents, top=self.top)
        except dyrelu.Error as error:
            # A photo that is damaged does not stop the others.
            return [{"path": path, "error": str(error)}]
        return [
            {"path": path, "rank": rank, "class": g.index, "label": g.label, "score": g.score}
            for rank, g in enumerate(guesses, 1)
        ]


def classify(
    photos: str, model: str, top: int = 1, workers: int | None = None, actor: type = Classifier
) -> ray.data.Dataset:
    """Returns a dataset with the rows of all photos. Nothing runs before it is written or read.

    `workers` is the number of actors, one core each. By default they leave one core of the cluster.
    """
    ray.init(ignore_reinit_error=True)
    cores = int(ray.cluster_resources()["CPU"])
    workers = workers or max(1, cores - 1)
    if workers >= cores:
        # Ray would wait forever: the tasks that read and write need a core that no actor has.
        raise SystemExit(f"{workers} actors need a cluster of {workers + 1} cores; it has {cores}")
    files = ray.data.read_binary_files(photos, include_paths=True, file_extensions=EXTENSIONS)
    return files.map_batches(
        actor,
        fn_constructor_kwargs={"model": model, "top": top},
        batch_format="pyarrow",
        # A batch is what is done again after a worker was lost.
        batch_size=32,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("output")
    parser.add_argument("--model", required=True)
    parser.add_argument("--top", type=int, default=1)
    parser.add_argument("--workers", type=int, help="number of actors, one core each")
    arguments = vars(parser.parse_args())
    output = arguments.pop("output")
    classify(**arguments).write_parquet(output)
