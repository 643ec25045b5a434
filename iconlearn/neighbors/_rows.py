"""Rows, dense or sparse: their norms, their scale, and the space in which products rank them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array, issparse

from .._checks import canonical
from .._torch_state import as_array
from ._products import half_lengths

# Numbers held by one temporary block (32 MiB of float64).
BLOCK_SIZE = 2**22
# Numbers of this size have squares, and their squares sums, in single precision.
LARGEST_EXPONENT = 40
# Rows are searched without being centred up to this share of their centre's squared length in their own: products then
# lose little more than a digit, which their error allows for.
OFF_CENTRE = 0.8


class Space:
    """Where squared Euclidean distances rank as the metric does.

    Rows are centred and scaled, so that products in single precision keep the most digits.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    metric : {"euclidean", "l2", "cosine"}

    Attributes
    ----------
    scale : float
        A Euclidean distance d is d / scale in this space.
    cosine : bool
        Whether the metric is cosine, in which case d is a squared distance of 2 d.
    """

    def __init__(self, X, metric):
        self.cosine, self.scale = metric == "cosine", 1.0
        if self.cosine:
            return
        with np.errstate(over="ignore"):
            centre = X.mean(axis=0, dtype=float)
        self.centre = np.where(np.isfinite(centre), centre, 0.0)
        # From the extremes of the columns: X less its centre would be a copy of X.
        ends = [X.max(axis=0) - self.centre, self.centre - X.min(axis=0)]
        peak = np.max(ends, initial=0.0)
        self.scale = float(peak) if peak > 0 else 1.0

    def rows(self, X):
        """Rows of features in this space, float64 of shape (len(X), n_dims)."""
        if not self.cosine:
            with np.errstate(over="ignore"):
                return (X - self.centre) / self.scale
        # Off the sphere in a direction of their own, rows of zeros are equally far from all others.
        unit = unit_rows(X)
        return np.column_stack([unit, sqnorms(unit) == 0])

    def squared(self, distances):
        """Squared distances in this space from distances in the metric."""
        return 2 * distances if self.cosine else (distances / self.scale) ** 2


class PreparedRows:
    """The rows of X as what others are compared with, prepared when they are first searched.

    A caller that searches a few new rows at a time keeps it beside an X that does not change:
    preparing all rows takes longer than the search.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)
    metric : str or callable
        Prepared rows of dense X serve Euclidean and cosine distances; others need no preparation.
    """

    def __init__(self, X, metric):
        self.X, self.metric = X, metric

    @cached_property
    def space(self) -> Space:
        return Space(self.X, self.metric)

    @cached_property
    def points(self) -> torch.Tensor:
        """Places in the space, float32 of shape (n, n_dims)."""
        # By blocks, since places in double precision would be the largest of all arrays.
        step = max(1, BLOCK_SIZE // max(4 * self.X.shape[1], 1))
        points = torch.empty((len(self.X), self.X.shape[1] + self.space.cosine), dtype=torch.float32)
        for first in range(0, len(self.X), step):
            part = slice(first, first + step)
            points[part] = torch.from_numpy(self.space.rows(self.X[part]))
        return points

    def doubles(self) -> torch.Tensor:
        """Places in the space in double precision, shape (n, n_dims)."""
        return torch.from_numpy(self.space.rows(self.X))

    def places(self, X):
        """Other rows in the space, float64 of shape (len(X), n_dims)."""
        return torch.from_numpy(self.space.rows(X))

    @cached_property
    def halves(self) -> torch.Tensor:
        """Half the squared length of every point, float32 of shape (n,)."""
        return half_lengths(self.points)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Squared length of every point, float64 of shape (n,)."""
        return 2 * self.halves.numpy().astype(float)

    def squared(self, distances):
        """Squared distances in the space from distances in the metric."""
        return self.space.squared(distances)


class UncentredRows(PreparedRows):
    """Rows of single precision that are places themselves, so that there is no second array of these."""

    @cached_property
    def space(self):
        return Space(np.zeros((1, self.X.shape[1])), self.metric)

    @cached_property
    def points(self):
        return torch.from_numpy(self.X)

    @property
    def serves(self) -> bool:
        """Whether products of the rows as they are have the digits that rank them."""
        if (
            self.X.dtype != np.float32
            or self.metric == "cosine"
            or not self.X.size
            or abs(_exponent(self.X)) > LARGEST_EXPONENT
        ):
            return False
        centre = self.X.mean(axis=0, dtype=float)
        return bool(centre @ centre <= OFF_CENTRE * 2 * float(self.halves.double().mean()))


def _exponent(X):
    """The power of two above all numbers of X."""
    return int(np.frexp(max(X.max(), -X.min()))[1])


def as_rows(X):
    return canonical(csr_array(X)) if issparse(X) else np.asarray(as_array(X))


def both_rows(A, B):
    """Two matrices of one form: sparse where either is."""
    A, B = as_rows(A), as_rows(B)
    return (csr_array(A), csr_array(B)) if issparse(A) != issparse(B) else (A, B)


def rescaled(X, queries):
    """Both times a power of two, which takes no digits, where squares of X would overflow or vanish."""
    exponent = _exponent(X)
    if abs(exponent) <= LARGEST_EXPONENT:
        return X, queries
    return X * X.dtype.type(2.0**-exponent), queries * queries.dtype.type(2.0**-exponent)


def sqnorms(X) -> np.ndarray:
    """Squared length of every row, float64."""
    if issparse(X):
        X = X.astype(float)
        return np.asarray(X.multiply(X).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", X, X, dtype=float)


def unit_rows(X):
    """Rows of length one in float64 (scaled first, so that squares are finite); zeros stay."""
    X = X.astype(float)
    peak = abs(X).max(axis=1)
    X = _divided(X, peak.toarray().ravel() if issparse(X) else peak)
    return _divided(X, np.sqrt(sqnorms(X)))


def _divided(X, lengths):
    lengths = np.where(lengths > 0, lengths, 1.0)
    if not issparse(X):
        return X / lengths[:, None]
    data = X.data / np.repeat(lengths, np.diff(X.indptr))
    return csr_array((data, X.indices, X.indptr), shape=X.shape)
