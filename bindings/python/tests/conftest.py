import os
from pathlib import Path

import numpy as np
import pytest

import dyrelu

ROOT = Path(os.environ.get("DYRELU_ROOT", Path(__file__).resolve().parents[3]))
PHOTOS = ROOT / "examples" / "photos"
# The command line, to compare with.
PROGRAM = Path(os.environ.get("DYRELU_PROGRAM", ROOT / "target" / "release" / "dyrelu"))
# Networks that ship, with 10 classes of 128 by 128 pixels and with 1000 classes of 224 by 224.
SMALL = ROOT / "models" / "mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors"
FORM_C = ROOT / "models" / "mobilenetv2-x0.35-dyrelu-c-imagenette.safetensors"
IMAGENET = ROOT / "models" / "efficientnet-lite0-dyrelu-b.safetensors"


@pytest.fixture(scope="session")
def model() -> dyrelu.Model:
    return dyrelu.Model(SMALL)


@pytest.fixture()
def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, 3, 128, 128), dtype=np.float32)
