"""The exceptions of the package."""

from __future__ import annotations

import os


class Error(Exception):
    """What went wrong, in one sentence.

    Attributes:
        kind: the kind of the error, one word that does not change between versions.
        file: the file in which it happened, or None.
        node: the name of the network's node at which it happened, or None.
    """

    kind: str = "other"
    file: str | None = None
    node: str | None = None


class InputError(Error, ValueError):
    """An argument cannot be used, or its shape or element type is not what the network takes."""


class ModelError(Error, ValueError):
    """A file is damaged, or holds a network that contradicts itself."""


class UnsupportedError(Error, NotImplementedError):
    """A network asks for something that this version does not have."""


class FileError(Error, OSError):
    """The operating system refused to read a file or to start a thread."""


class CancelledError(Error, RuntimeError):
    """A run was cancelled."""


class DeadlineExceededError(Error, TimeoutError):
    """The timeout of a run passed."""


_CLASSES = {
    "io": FileError,
    "format": ModelError,
    "unsupported": UnsupportedError,
    "graph": ModelError,
    "shape": InputError,
    "input": InputError,
    "mismatch": InputError,
    "cancelled": CancelledError,
    "deadline_exceeded": DeadlineExceededError,
}


def of_kind(
    kind: str, message: str, file: str | os.PathLike[str] | None, node: str | None
) -> Error:
    """Returns the exception for an error of the engine."""
    error = _CLASSES.get(kind, Error)(message)
    error.kind = kind
    error.file = None if file is None else os.fspath(file)
    error.node = node
    return error
