"""Classifies photos on a Spark cluster and writes Parquet.

    spark-submit classify.py PHOTOS OUTPUT --model net.safetensors

PHOTOS, OUTPUT and the model are paths that each executor can read.
"""

import argparse
import functools
from collections.abc import Iterator

import dyrelu
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

# A path is a URI here, such as file:/photos/1.jpg.
SCHEMA = "path string, rank int, class int, label string, score float, error string"
ARROW = pa.schema([
    ("path", pa.string()),
    ("rank", pa.int32()),
    ("class", pa.int32()),
    ("label", pa.string()),
    ("score", pa.float32()),
    ("error", pa.string()),
])


def rows(network: dyrelu.Model, path: str, contents: bytes, top: int) -> list[dict]:
    try:
        guesses = network.classify(contents, top=top)
    except dyrelu.Error as error:
        # A photo that is damaged does not stop the others.
        return [{"path": path, "error": str(error)}]
    return [
        {"path": path, "rank": rank, "class": g.index, "label": g.label, "score": g.score}
        for rank, g in enumerate(guesses, 1)
    ]


def classify_batches(
    batches: Iterator[pa.RecordBatch], model: str, top: int
) -> Iterator[pa.RecordBatch]:
    """Classifies the photos of a task, for which it opens the model once."""
    network = dyrelu.Model(model, threads=1)
    for batch in batches:
        found = []
        for path, contents in zip(batch["path"].to_pylist(), batch["content"].to_pylist()):
            found += rows(network, path, contents, top)
        yield pa.RecordBatch.from_pylist(found, ARROW)


def classify(
    spark: SparkSession, photos: str, model: str, top: int = 1, function=classify_batches
) -> DataFrame:
    """Returns the rows of all photos. Nothing runs before they are written or read."""
    # By default, 10,000 photos would be in memory at a time.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 32)
    # About 1 GB of photos of 100 kB would be one task.
    spark.conf.set("spark.sql.files.maxPartitionBytes", 16 << 20)
    spark.conf.set("spark.sql.files.openCostInBytes", 0)
    files = (
        spark.read.format("binaryFile")
        .option("recursiveFileLookup", True)
        .option("pathGlobFilter", "*.{jpg,jpeg,png,webp,bmp,gif,tif,tiff}")
        .load(photos)
    )
    call = functools.partial(function, model=model, top=top)
    return files.select("path", "content").mapInArrow(call, SCHEMA)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("output")
    parser.add_argument("--model", required=True)
    parser.add_argument("--top", type=int, default=1)
    arguments = vars(parser.parse_args())
    output = arguments.pop("output")
    classify(SparkSession.builder.getOrCreate(), **arguments).write.parquet(output)
