"""Networks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from . import _arrays
from ._dyrelu import CancelToken, Network
from ._errors import InputError

Path = Union[str, "os.PathLike[str]"]


class Port(NamedTuple):
    """An input or an output of a network."""

    name: str
    dtype: str | None
    """The element type by numpy's name, None for an output whose type depends on the data."""
    shape: tuple[int | None, ...] | None
    """The size of each axis, None for one that is free; None if the sizes depend on the data."""


class Prediction(NamedTuple):
    """One guess of a classifier."""

    label: str
    """The name of the class, or its number if it has none."""
    index: int
    """The number of the class, from 0."""
    score: float
    """The probability, from 0 to 1."""


class DynamicActivation(NamedTuple):
    """A dynamic activation that was recognised in a network."""

    name: str
    """The name of its node."""
    form: str
    """"A", "B" or "C" for DY-ReLU; others are in `docs/recognition.md`."""
    k: int
    """The number of affine pieces."""
    channels: int
    """The number of channels of its feature map."""
    hidden: int | None
    """The width of the hidden layer of its hyperfunction, None if there is none."""
    squash: str | None
    """The function that bounds its coefficients, None if no hyperfunction computes them."""


class Model:
    """A network, compiled and ready to run.

    Threads may share it and run it at the same time: the interpreter lock is released while it runs.

    Args:
        path: an ONNX file or a native weight file.
        threads: the number of threads of each run. Results are the same for any.
        preprocess: how `classify` prepares images, if the file does not state it: "imagenet" for
            torchvision's usual way, or the fields of `docs/format.md` as a dict or as JSON.
        labels: the names of the classes, if the file does not state them.

    Raises:
        FileError: the file cannot be read.
        ModelError: the file is damaged, or the network contradicts itself.
        UnsupportedError: the network asks for something that this version does not have.
        InputError: an argument cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        preprocess: str | Mapping[str, Any] | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        self._open(os.fspath(path), None, threads, preprocess, labels)

    @classmethod
    def from_bytes(
        cls,
        contents: bytes,
        *,
        threads: int = 1,
        preprocess: str | Mapping[str, Any] | None = None,
        labels: Iterable[str] | None = None,
    ) -> Model:
        """Opens the network in the bytes of a file. Arguments and errors are those of `Model`."""
        model = cls.__new__(cls)
        model._open("", contents, threads, preprocess, labels)
        return model

    def _open(
        self,
        path: str,
        contents: bytes | None,
        threads: int,
        preprocess: str | Mapping[str, Any] | None,
        labels: Iterable[str] | None,
    ) -> None:
        if isinstance(preprocess, Mapping):
            preprocess = json.dumps(dict(preprocess))
        if threads < 1:
            raise InputError(f"a run needs at least one thread, found {threads}")
        lines = None if labels is None else _lines(labels)
        self._name = os.path.basename(path) or "a network"
        self._network = Network(path, contents, threads, preprocess, lines)
        self._inputs = _ports(self._network.inputs)
        self._outputs = _ports(self._network.outputs)

    @property
    def inputs(self) -> list[Port]:
        """The inputs, in order."""
        return list(self._inputs)

    @property
    def outputs(self) -> list[Port]:
        """The outputs, in order."""
        return list(self._outputs)

    @property
    def metadata(self) -> dict[str, str]:
        """The texts that the file holds, such as "labels" and "preprocess"."""
        return dict(self._network.metadata)

    @property
    def dynamic_activations(self) -> list[DynamicActivation]:
        """The dynamic activations that were recognised, in execution order."""
        return [DynamicActivation(*parts) for parts in self._network.dynamic_activations]

    def run(
        self,
        inputs: Any,
        *rest: Any,
        timeout: float | None = None,
        cancel_token: CancelToken | None = None,
    ) -> list[np.ndarray]:
        """Runs the network and returns one array per output.

        Inputs of float32 in row-major order are read where they are. They must not change during the run.

        Args:
            inputs: an array, or a dict with an array per input by name. An array is what numpy takes,
                or anything that has DLPack, such as a tensor of PyTorch.
            rest: the arrays of the other inputs, in order.
            timeout: seconds after which the run ends with an error.
            cancel_token: ends the run with an error once any thread cancels it.

        The timeout and the token are checked between the steps of the network. The model can run again
        afterwards.

        Raises:
            InputError: an array is not what the network takes.
            DeadlineExceededError: the timeout passed.
            CancelledError: the token was cancelled.
        """
        arrays = self._in_order(inputs, rest)
        if all(array.dtype == np.float32 for array in arrays):
            outputs = self._outputs_for(arrays)
            if outputs is not None:
                self._network.run_into(arrays, outputs, timeout, cancel_token)
                return outputs
        raw = [_arrays.to_raw(array) for array in arrays]
        found = self._network.run(raw, timeout, cancel_token)
        return [_arrays.from_raw(*raw) for raw in found]

    def classify(
        self, images: Any, top: int = 5
    ) -> list[Prediction] | list[list[Prediction]]:
        """Returns the `top` most probable classes of an image, the most probable first, or a list of
        such results for a list of images.

        Args:
            images: the path of a photo; the bytes of its file; an array of uint8 of shape [height, width,
                3] with red, green and blue, or what becomes one (a Pillow image in mode RGB); or a list
                of those.
            top: the number of classes.

        Raises:
            InputError: the network is no classifier, or nothing states how images are prepared.
            FileError, ModelError: a photo cannot be read.
        """
        if top < 0:
            raise InputError(f"the number of classes is at least 0, found {top}")
        several = isinstance(images, (list, tuple))
        given = [as_image(image) for image in (images if several else [images])]
        found = self._network.classify(given, top)
        predictions = [[Prediction(*guess) for guess in guesses] for guesses in found]
        return predictions if several else predictions[0]

    def __repr__(self) -> str:
        names = [", ".join(port.name for port in ports) for ports in (self._inputs, self._outputs)]
        return f"<dyrelu.Model {names[0]} -> {names[1]}>"

    def _in_order(self, inputs: Any, rest: Sequence[Any]) -> list[np.ndarray]:
        names = [port.name for port in self._inputs]
        if isinstance(inputs, Mapping):
            if rest or set(inputs) != set(names):
                raise InputError(f"the network takes inputs {names}, found {list(inputs)}")
            given = [inputs[name] for name in names]
        else:
            given = [inputs, *rest] if names else list(rest)
        if len(given) != len(names):
            raise InputError(f"the network takes {len(names)} inputs, found {len(given)}")
        return [_arrays.as_array(array, name) for array, name in zip(given, names)]

    def _outputs_for(self, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
        """Arrays for the outputs, if they are known before the run and of float32."""
        most_without_copy = 8
        if len(arrays) > most_without_copy:
            return None
        if any(port.dtype != "float32" for port in self._inputs + self._outputs):
            return None
        shapes = self._network.output_shapes([array.shape for array in arrays])
        if any(shape is None for shape in shapes):
            return None
        return [np.empty(shape, np.float32) for shape in shapes]


def coefficients(model: Model, image: Any) -> dict[str, np.ndarray]:
    """Returns the coefficients that each dynamic activation of `model` has for `image`.

    Those of a DY-ReLU have shape [N, 2K, C]: the slopes a_1 to a_K, then the offsets b_1 to b_K, of each
    channel; C is 1 for form A. Keys are the names of `Model.dynamic_activations`.

    Args:
        model: a network with one input.
        image: what `Model.run` takes.
    """
    (array,) = _one(model._in_order(image, ()))
    found = model._network.coefficients(_arrays.to_raw(array))
    return {name: data.view(np.float32).reshape(shape) for name, shape, data in found}


def _one(arrays: list[np.ndarray]) -> list[np.ndarray]:
    if len(arrays) != 1:
        raise InputError(f"coefficients are those of a network with one input, this has {len(arrays)}")
    return arrays


def _lines(labels: Iterable[str]) -> str:
    if isinstance(labels, str):
        raise InputError("labels are a list of names, found one text")
    labels = list(labels)
    if any("\n" in label for label in labels):
        raise InputError("the name of a class is one line of text")
    return "\n".join(labels)


def _ports(parts: Iterable[tuple[str, str | None, list[int | None] | None]]) -> list[Port]:
    def port(name: str, dtype: str | None, shape: list[int | None] | None) -> Port:
        known = None if dtype is None else _arrays.numpy_name(dtype)
        return Port(name, known, None if shape is None else tuple(shape))

    return [port(*part) for part in parts]


def as_image(image: Any) -> Any:
    """Returns a path as text, the bytes of a file as they are, and anything else as an array of pixels."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    if isinstance(image, (bytes, bytearray)):
        return image
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise InputError(
            "an image is a path, the bytes of a file, or an array of uint8 of shape [height, width, "
            f"3], found {array.dtype} of shape {list(array.shape)}"
        )
    return array
