"""Networks of PyTorch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from ._errors import InputError
from ._model import Model


def from_torch(
    module: Any,
    example: Any,
    *,
    threads: int = 1,
    preprocess: str | Mapping[str, Any] | None = None,
    labels: Iterable[str] | None = None,
    **export: Any,
) -> Model:
    """Exports a module of PyTorch to ONNX and opens it.

    The batch is free at run time, also where `example` fixes it, if no operator can mix images.

    Args:
        module: a `torch.nn.Module` in evaluation mode.
        example: the input for which the module is traced, or a tuple of inputs.
        threads, preprocess, labels: as those of `Model`.
        export: arguments of `torch.onnx.export`. By default it prints nothing.

    Raises:
        InputError: the module is in training mode.
        What `torch.onnx.export` and `Model` raise.
    """
    import torch

    if module.training:
        raise InputError("the module is in training mode: call module.eval() first")
    inputs = example if isinstance(example, tuple) else (example,)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "network.onnx")
        with torch.no_grad():
            torch.onnx.export(module, inputs, path, **{"verbose": False, **export})
        return Model(path, threads=threads, preprocess=preprocess, labels=labels)
