"""Arrays of callers, and the form in which the engine takes and gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import InputError

# The names of element types: numpy's, and the engine's.
NAMES = {
    "float32": "f32",
    "float64": "f64",
    "float16": "f16",
    "bfloat16": "bf16",
    "int64": "i64",
    "int32": "i32",
    "int16": "i16",
    "int8": "i8",
    "uint8": "u8",
    "bool": "bool",
}
_NUMPY_NAMES = {engine: name for name, engine in NAMES.items()}


def numpy_name(engine: str) -> str:
    """Returns numpy's name of an element type."""
    return _NUMPY_NAMES[engine]


def as_array(array: Any, name: str) -> np.ndarray:
    """Returns `array` as a numpy array in row-major order, without a copy where it is one already.

    Takes what numpy takes (arrays, buffers, lists of numbers) and what has DLPack, such as tensors of
    PyTorch on the CPU.
    """
    if not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__"):
        try:
            array = np.from_dlpack(array)
        except (AttributeError, BufferError, RuntimeError, TypeError) as e:
            raise InputError(f"input {name!r} cannot be read as an array: {e}") from e
    try:
        array = np.asarray(array)
    except (RuntimeError, TypeError, ValueError) as e:
        raise InputError(f"input {name!r} cannot be read as an array: {e}") from e
    if array.dtype.name not in NAMES:
        known = ", ".join(NAMES)
        raise InputError(
            f"input {name!r} has elements of type {array.dtype}, which is none of {known}"
        )
    # Also brings elements into the byte order of the machine.
    return np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["C", "A"])


def to_raw(array: np.ndarray) -> tuple[str, tuple[int, ...], np.ndarray]:
    """Returns the element type, the shape and the bytes of an array in row-major order."""
    return NAMES[array.dtype.name], array.shape, array.reshape(-1).view(np.uint8)


def from_raw(dtype: str, shape: list[int], data: np.ndarray) -> np.ndarray:
    """Returns the array that `to_raw` takes apart.

    Elements of type bfloat16 become those of the package `ml_dtypes` or, without it, float32.
    """
    if dtype != "bf16":
        return data.view(numpy_name(dtype)).reshape(shape)
    try:
        import ml_dtypes
    except ImportError:
        upper_halves = data.view(np.uint16).astype(np.uint32)
        return (upper_halves << 16).view(np.float32).reshape(shape)
    return data.view(ml_dtypes.bfloat16).reshape(shape)
