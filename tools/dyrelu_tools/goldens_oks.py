"""Writes COCO's scores of random persons: `python -m dyrelu_tools.goldens_oks --out ../tests/keypoints`.

`oks.json` has photos with annotated and with found persons, and what pycocotools gives for them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

KEYPOINTS = 17
NAMES = ["ap", "ap50", "ap75", "ap_medium", "ap_large", "ar"]


def photo(generator: np.random.Generator) -> dict:
    truth, found = [], []
    for _ in range(generator.integers(1, 6)):
        left, top = generator.uniform(0, 300, 2)
        width, height = generator.uniform(20, 250, 2)
        points = np.stack([left + width * generator.random(KEYPOINTS), top + height * generator.random(KEYPOINTS)], 1)
        kind = generator.random()
        visible = generator.integers(0, 3, KEYPOINTS) if kind > 0.15 else np.zeros(KEYPOINTS, int)
        person = {
            "bbox": [left, top, width, height],
            "area": 0.6 * width * height,
            "iscrowd": int(0.15 < kind < 0.3),
            "keypoints": np.concatenate([points * (visible > 0)[:, None], visible[:, None]], 1),
            "num_keypoints": int((visible > 0).sum()),
        }
        truth.append(person)
        for _ in range(generator.integers(0, 3)):
            noise = generator.normal(0, generator.choice([0.01, 0.05, 0.2]), points.shape) * [width, height]
            placed = np.concatenate([points + noise, np.ones((KEYPOINTS, 1))], 1)
            # Rounded scores are equal now and then.
            found.append({"keypoints": placed, "score": round(generator.random(), 1)})
    for person in truth + found:
        person["keypoints"] = np.round(person["keypoints"], 1).ravel().tolist()
    return {"truth": truth, "found": found}


def scores(photos: list[dict]) -> dict[str, float]:
    images = [{"id": i} for i in range(len(photos))]
    person = {"id": 1, "name": "person"}
    truth = [t | {"image_id": i, "category_id": 1} for i, p in enumerate(photos) for t in p["truth"]]
    truth = [t | {"id": number + 1} for number, t in enumerate(truth)]
    found = [f | {"image_id": i, "category_id": 1} for i, p in enumerate(photos) for f in p["found"]]
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO()
        annotations.dataset = {"images": images, "categories": [person], "annotations": truth}
        annotations.createIndex()
        evaluation = COCOeval(annotations, annotations.loadRes(found), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats.tolist()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    generator = np.random.default_rng(0)
    photos = [photo(generator) for _ in range(12)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "oks.json").write_text(json.dumps({"photos": photos, "scores": scores(photos)}) + "\n")


if __name__ == "__main__":
    main()
