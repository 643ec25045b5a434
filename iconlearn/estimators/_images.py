"""Images as rows: which images the components of an estimator read, and arrays of such images made flat.

A row is flat everywhere below, in the order (channels, height, width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import issparse

from .._checks import image_shape
from ..mappers import images_read_by


@dataclass(frozen=True)
class Frame:
    """How the images of X lie, and how the components read them.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width), or as many sides as the components have.
    last : bool
        Whether the channels of X come last.
    """

    shape: tuple
    last: bool

    def flat(self, images):
        """Images, of shape (n_images, ...), as rows."""
        images = np.moveaxis(images, -1, 1) if self.last else images
        return images.reshape(len(images), math.prod(self.shape))


def frame_of(estimator, sides):
    """How images of these sides become rows of an estimator; None where no component of it reads images.

    Parameters
    ----------
    estimator : ICONBase
        Where a fit has read images, those of the fit count.
    sides : tuple of int
        Shape of an image of X: (height, width), (channels, height, width) or (height, width, channels), with as many
        sides as the convolutions of a module have.

    Raises
    ------
    ValueError
        If the components read other images.
    """
    fitted = getattr(estimator, "image_shape_", None)
    wanted = [fitted] if fitted is not None else _wanted(estimator)
    if not wanted:
        return None
    for want in wanted:
        frame = _fitting(sides, want)
        if frame is not None:
            return frame
    raise ValueError(
        f"X holds images of shape {sides}, and this estimator reads {_in_words(wanted[0])}: give images of that shape, "
        f"with the channels first or last, or flat rows in the order (channels, height, width)"
    )


def _in_words(want):
    if isinstance(want, _Channels):
        return f"images of {want.number} channels and {want.n_sides} further sides, by its first convolution"
    return f"images of shape {want}"


@dataclass(frozen=True)
class _Channels:
    """What a convolution says of the images that it reads."""

    number: int
    n_sides: int


def _fitting(sides, want):
    """The frame of images of these sides where they are what is wanted; None where they are not."""
    if isinstance(want, _Channels):
        if len(sides) == want.n_sides and want.number == 1:
            return Frame((1, *sides), False)
        if len(sides) != want.n_sides + 1:
            return None
        if sides[0] == want.number:
            return Frame(sides, False)
        return Frame((sides[-1], *sides[:-1]), True) if sides[-1] == want.number else None
    if sides == want or (1, *sides) == want or sides == (1, *want):
        return Frame(want, False)
    last = sides[-1:] + sides[:-1]
    return Frame(want, True) if last in (want, (1, *want)) else None


def _wanted(estimator):
    """The images that the components read, those that say their whole shape first."""
    slots = ("mapper", "column_mapper", "p", "graph")
    values = [getattr(estimator, name, None) for name in slots]
    found = list(_read_by([*values, *(term.p for term in estimator.terms or [])]))
    return sorted(dict.fromkeys(found), key=lambda want: isinstance(want, _Channels))


def _read_by(value):
    if isinstance(value, torch.nn.Module):
        shape, convolution = images_read_by(value)
        if shape is not None:
            yield shape
        elif convolution is not None:
            yield _Channels(*convolution)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _read_by(part)
    elif isinstance(value, str | type | torch.Tensor) or issparse(value) or hasattr(value, "__array__"):
        return
    elif isinstance(getattr(value, "shape", None), list | tuple):
        yield image_shape(value.shape)
    else:
        parts = value.get_params(deep=False).values() if hasattr(value, "get_params") else ()
        # Views of images, one after the other, are parts of a function.
        yield from _read_by([*parts, *getattr(value, "parts", ())])
