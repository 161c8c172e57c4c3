"""CPU inference for convolutional networks with dynamic ReLU.

>>> import dyrelu
>>> model = dyrelu.Model("net.onnx")
>>> scores, = model.run(images)                     # float32, [N, 3, H, W]
>>> model.classify("photo.jpg", top=3)[0].label
"""

from ._dyrelu import CancelToken
from ._errors import (
    CancelledError,
    DeadlineExceededError,
    Error,
    FileError,
    InputError,
    ModelError,
    UnsupportedError,
)
from ._explain import (
    ActivationStatistics,
    CoefficientStatistics,
    Explanation,
    Histogram,
    explain,
)
from ._model import DynamicActivation, Model, Port, Prediction, coefficients
from ._torch import from_torch

__all__ = [
    "ActivationStatistics",
    "CancelToken",
    "CancelledError",
    "CoefficientStatistics",
    "DeadlineExceededError",
    "DynamicActivation",
    "Error",
    "Explanation",
    "FileError",
    "Histogram",
    "InputError",
    "Model",
    "ModelError",
    "Port",
    "Prediction",
    "UnsupportedError",
    "coefficients",
    "explain",
    "from_torch",
]
