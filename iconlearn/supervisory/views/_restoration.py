"""p over a row's own features: every row belongs to its own target, and to nothing else.

    p(j|i) = 1[j = i],      column j is the target of row j

The columns are points of their own, the targets, and the rows may be seen through views in which something is
missing.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from scipy.sparse import issparse

from ..._checks import check_choice, check_number, image_shape
from ..._transfer import sent
from ...conditional import one_column
from .._base import Supervisory
from ._views import corrupted, moments, view_by

CORRUPTIONS = ("noise", "mask", "block", "right", "small", "grey")
# The share of red, green and blue in the brightness of a pixel (ITU-R BT.601).
BRIGHTNESS = (0.299, 0.587, 0.114)
# Numbers of X that are looked at at a time.
BLOCK = 2**24


class Restore(Supervisory):
    """p(j|i) = 1[j = i], the columns being what is to be restored of the rows.

    Parameters
    ----------
    target : {"input", "squared_length"}, int, callable or transformer, default="input"
        What is restored: the features themselves; the sum of their squares, one number a row; the features from column
        `target` on, of which the mapper then reads none; what a function makes of a tensor of rows (n, n_features), as
        a tensor of n rows; or the ``transform`` of a fitted transformer.
    corrupt : {"noise", "mask", "block", "right", "small", "grey"}, callable or None, default=None
        How the mapper sees a row, drawn anew at every step; the targets are seen whole.  "noise" adds Gaussian noise of
        `strength` standard deviations of each feature; "mask" puts the feature's mean in place of each entry with
        probability `strength`; "block" does so for a block of `strength` of each side of an image (of the row, without
        `shape`), wherever it falls; "right" for the right `strength` of an image; "small" puts the mean in place of
        every `strength` by `strength` pixels; "grey" the brightness in place of three colours.  A function takes and
        returns a tensor of rows.
    strength : float, default=0.2
        See above; without effect on "grey" and on a function.
    shape : tuple of int or None, default=None
        (height, width) or (channels, height, width) of the images that rows are; "right", "small" and "grey" need it.

    Attributes
    ----------
    conditional_ : Conditional of shape (n_rows, n_rows)

    Notes
    -----
    With a q of ``normalize="space"`` it makes autoencoders, denoisers and restorers, with others a row has to be
    distinguished from the targets of all other rows.  ``transform`` takes rows as the mapper is to see them: what is
    missing in a new row stays missing.

    References
    ----------
    Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008; Pathak et al.,
    "Context encoders: feature learning by inpainting", CVPR 2016.
    """

    columns = "targets"

    def __init__(self, target="input", *, corrupt=None, strength=0.2, shape=None):
        self.target = target
        self.corrupt = corrupt
        self.strength = strength
        self.shape = shape

    @property
    def fresh(self):
        return self.corrupt is not None

    def __sklearn_clone__(self):
        # A transformer has been fitted; a copy of it stays so.
        target = copy.deepcopy(self.target) if hasattr(self.target, "transform") else self.target
        return type(self)(target, corrupt=self.corrupt, strength=self.strength, shape=self.shape)

    def features(self, n_features):
        """The columns of X that the mapper reads and those that are targets; None where they are the same."""
        if not self._is_split():
            return None
        split = check_number("target", self.target, low=1, high=n_features - 1, integer=True)
        return slice(0, split), slice(split, n_features)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the parameters and keep the scale of the features; see :meth:`Supervisory.fit`."""
        read = self.features(X.shape[1])
        if self.fresh:
            shown = X if read is None else X[:, read[0]]
            self._check_corruption(shown.shape[1])
            self._mean, self._spread = moments(shown)
        self.conditional_ = one_column(np.arange(X.shape[0]), X.shape[0])
        return self

    def targets_of(self, X):
        """The targets of rows.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        ndarray or sparse matrix of shape (n_rows, n_targets)
            X itself where the target is the input.
        """
        if isinstance(self.target, str):
            check_choice("target", self.target, ("input", "squared_length"))
            if self.target == "input":
                return X
            squares = X.multiply(X) if issparse(X) else np.square(X)
            return np.asarray(squares.sum(axis=1)).reshape(-1, 1)
        if self._is_split():
            return X[:, self.features(X.shape[1])[1]]
        if hasattr(self.target, "transform"):
            made = self.target.transform(X)
        elif callable(self.target):
            made = _by_blocks(self.target, X)
        else:
            raise TypeError(
                f"target={self.target!r:.200} is no target: it must be 'input', the number of the first column that is "
                f"one, a function of a tensor of rows, or a fitted transformer"
            )
        made = made if issparse(made) else np.asarray(made)
        if made.ndim != 2 or made.shape[0] != X.shape[0] or made.shape[1] < 1:
            raise ValueError(
                f"target={self.target!r:.200} returned shape {made.shape} for rows of shape {X.shape}; it must return "
                f"one row of numbers for every row"
            )
        values = made.data if issparse(made) else made
        if not (np.issubdtype(values.dtype, np.number) and np.isfinite(values).all()):
            raise ValueError(f"target={self.target!r:.200} returned what is no finite number; check the rows")
        return made

    def view(self, X, rows=None):
        """The rows of a tensor X as the mapper sees them.

        Parameters
        ----------
        X : Tensor of shape (n, n_features)
        rows : Tensor of int64 or None
            Their positions; without effect here.
        """
        if callable(self.corrupt):
            return view_by(self.corrupt, "corrupt", X, "row")
        mean, spread = sent([(self._mean, X.dtype), (self._spread, X.dtype)], X.device)
        if self.corrupt in ("noise", "mask"):
            return corrupted(X, self.corrupt, self.strength, mean, spread)
        shape = (1, 1, X.shape[1]) if self.shape is None else image_shape(self.shape, X.shape[1])
        images = X.unflatten(1, shape)
        if self.corrupt == "small":
            return _coarsened(images, int(self.strength)).flatten(1)
        if self.corrupt == "grey":
            return (
                torch.einsum("nchw,c->nhw", images, images.new_tensor(BRIGHTNESS)).repeat(1, 3, 1).flatten(1)
            )
        hidden = (
            _right(shape, self.strength, X.device)
            if self.corrupt == "right"
            else _blocks(images, self.strength)
        )
        return torch.where(hidden, mean.unflatten(0, shape), images).flatten(1)

    def _is_split(self):
        return isinstance(self.target, (int, np.integer)) and not isinstance(self.target, bool)

    def _check_corruption(self, n_features):
        if callable(self.corrupt):
            return
        check_choice("corrupt", self.corrupt, CORRUPTIONS)
        shape = None
        if self.shape is not None:
            shape = image_shape(self.shape, n_features)
        elif self.corrupt in ("right", "small", "grey"):
            raise ValueError(
                f"corrupt={self.corrupt!r} is about images, and Restore has no shape: give shape=(height, width) or "
                f"(channels, height, width) of the images that rows are"
            )
        if self.corrupt == "small":
            factor = check_number(
                "strength", self.strength, low=2, high=max(2, min(shape[1:])), hint="a factor, whole"
            )
            if factor != int(factor):
                raise ValueError(
                    f"strength={self.strength!r} of corrupt='small' is a factor and must be a whole number"
                )
        elif self.corrupt == "grey":
            if shape[0] != 3:
                raise ValueError(
                    f"corrupt='grey' needs images of three colours, and shape={self.shape!r} has {shape[0]}; give "
                    f"shape=(3, height, width)"
                )
        else:
            highest = np.inf if self.corrupt == "noise" else 1
            check_number("strength", self.strength, low=0, high=highest, hint="0.1 to 0.5 are usual")


def _coarsened(images, factor):
    """Every block of factor by factor pixels at its mean; blocks at the end of a side may be smaller."""
    size = images.shape[2:]
    small = torch.nn.functional.avg_pool2d(images, factor, ceil_mode=True, count_include_pad=False)
    return small.repeat_interleave(factor, 2).repeat_interleave(factor, 3)[:, :, : size[0], : size[1]]


def _right(shape, share, device):
    """Which pixels are in the right part of an image."""
    width = shape[2]
    return torch.arange(width, device=device) >= width - round(share * width)


def _blocks(images, share):
    """Which pixels of each image are in a block of it, drawn for each."""
    n, _, *sides = images.shape
    inside = []
    for side in sides:
        length = max(1, min(side, round(share * side))) if side > 1 else 1
        start = torch.randint(side - length + 1, (n, 1), device=images.device)
        at = torch.arange(side, device=images.device)
        inside.append((at >= start) & (at < start + length))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def _by_blocks(function, X):
    """What a function makes of rows as tensors, a block at a time."""
    step, parts = max(1, BLOCK // max(math.prod(X.shape[1:]), 1)), []
    for start in range(0, X.shape[0], step):
        part = X[start : start + step]
        made = function(torch.from_numpy(part.toarray() if issparse(part) else np.array(part)))
        if not isinstance(made, torch.Tensor):
            raise TypeError(
                f"target={function!r:.200} returned {type(made).__name__}: it takes a tensor of rows and returns one"
            )
        parts.append(made.detach().cpu().numpy())
    return np.concatenate(parts)
