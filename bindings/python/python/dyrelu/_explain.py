"""What the dynamic activations of a network do with photos."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import _arrays
from ._dyrelu import Explainer
from ._errors import InputError
from ._model import Model, Path, as_image


class Histogram(NamedTuple):
    """How often each pair of an input and an output of an activation occurs, over all positions,
    channels and photos.

    `matplotlib.pyplot.imshow(counts, origin="lower", extent=(-range, range, -range, range))` shows it.
    """

    counts: np.ndarray
    """uint32, of shape [80, 80]: a row per interval of the output, a column per interval of the input, both
    from the least values to the largest."""
    range: float
    """Inputs and outputs are counted from -range to range."""
    outside: int
    """The number of pairs outside of the range."""


class CoefficientStatistics(NamedTuple):
    """One coefficient of an activation, such as the first slope."""

    mean: float
    """Over photos and channels."""
    deviation: float
    """The standard deviation over photos and channels."""
    deviation_between_photos: float
    """The standard deviation over photos, as a mean over channels."""
    least: float
    most: float
    channel_means: np.ndarray
    """float64, of shape [C]: over photos. C is 1 if all channels share the coefficient."""
    channel_deviations: np.ndarray
    """float64, of shape [C]: the standard deviation over photos."""


class ActivationStatistics(NamedTuple):
    """One dynamic activation. A function is what it computes in one channel for one photo."""

    name: str
    """The name of its node."""
    form: str
    """"A", "B" or "C" for DY-ReLU; others are in `docs/recognition.md`."""
    k: int
    """The number of affine pieces."""
    channels: int
    """The number of channels of its feature map."""
    unusual_slopes: float | None
    """The share of functions with a slope below 0 or above 1; None if there are no slopes."""
    intercepts: float | None
    """The share of functions with an intercept beyond 0.05; None if there are no intercepts."""
    slope_distance: float | None
    """The mean of |a1 - a2| over functions; None if there are fewer than two slopes."""
    slope_distance_deviation: float | None
    deviation_between_photos: float | None
    """The largest one of a coefficient; None for one photo."""
    attention: float | None
    """The mean over positions and photos; None for a form without attention."""
    attention_deviation: float | None
    is_static: bool
    """Whether the coefficients and the attention hardly deviate. One photo cannot show it."""
    coefficients: dict[str, CoefficientStatistics]
    """By name: the slopes "a1" to "aK" and the intercepts "b1" to "bK" for a DY-ReLU."""
    histogram: Histogram


class Explanation(NamedTuple):
    """What the dynamic activations of a network do with photos."""

    photos: int
    """The number of photos."""
    unusual_slopes: float | None
    """The share of functions of all activations with a slope below 0 or above 1."""
    intercepts: float | None
    """The share of functions of all activations with an intercept beyond 0.05."""
    activations: list[ActivationStatistics]
    """In execution order."""


def explain(
    model: Model, images: Any, *, tolerance: float = 0.01, out: Path | None = None
) -> Explanation:
    """Runs images through a network one by one, and counts what its dynamic activations do with them.

    The figures are those of `dyrelu explain` on the command line for the same images.

    Args:
        model: a network with one input, opened with the preparation of images if its file does not state it.
        images: what `Model.classify` takes; an array of shape [N, C, H, W] of prepared images, which
            `Model.run` takes; or a list or an iterator of both.
        tolerance: the largest deviation between photos, as a mean over channels, of the coefficients of an
            activation that counts as static.
        out: a folder, which gets the page `index.html` with pictures, and the figures as `activations.csv`
            and `coefficients.csv`.

    Raises:
        InputError: the network has no dynamic activation, or an image is not what it takes.
        FileError, ModelError: a photo cannot be read.
        FileError: the folder cannot be written.
    """
    if not tolerance >= 0 or math.isinf(tolerance):
        raise InputError(f"a tolerance is a number from 0, found {tolerance}")
    explainer = model._network.explainer()
    several = isinstance(images, (list, tuple, Iterator))
    for number, image in enumerate(images if several else [images], 1):
        _add(explainer, number, image)
    photos, unusual_slopes, intercepts, activations = explainer.figures(tolerance)
    if photos == 0:
        raise InputError("there is no image to explain the network with")
    if out is not None:
        explainer.write(os.fspath(out), model._name, tolerance)
    found = [_activation(*parts) for parts in activations]
    return Explanation(photos, unusual_slopes, intercepts, found)


def _add(explainer: Explainer, number: int, image: Any) -> None:
    is_file = isinstance(image, (str, os.PathLike))
    name = os.fspath(image) if is_file else f"image {number}"
    if not is_file and not isinstance(image, (bytes, bytearray)):
        image = _arrays.as_array(image, name)
        if image.ndim == 4:
            for i in range(len(image)):
                place = f"{name}, {i + 1}" if len(image) > 1 else name
                explainer.add_prepared(place, _arrays.to_raw(image[i : i + 1]))
            return
    explainer.add(name, as_image(image))


def _activation(
    name: str,
    form: str,
    k: int,
    channels: int,
    unusual_slopes: float | None,
    intercepts: float | None,
    slope_distance: tuple[float, float] | None,
    deviation: float | None,
    attention: tuple[float, float] | None,
    is_static: bool,
    coefficients: Iterable[tuple[Any, ...]],
    histogram: tuple[float, np.ndarray, int],
) -> ActivationStatistics:
    span, counts, outside = histogram
    return ActivationStatistics(
        name,
        form,
        k,
        channels,
        unusual_slopes,
        intercepts,
        *(slope_distance or (None, None)),
        deviation,
        *(attention or (None, None)),
        is_static,
        {coefficient: CoefficientStatistics(*figures) for coefficient, *figures in coefficients},
        Histogram(counts[::-1], span, outside),
    )
