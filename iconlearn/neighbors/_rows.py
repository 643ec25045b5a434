"""Rows, dense or sparse: their norms, their scale, and the space in which products rank them."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, issparse

from .._checks import canonical

__all__ = [
    "BLOCK_SIZE",
    "Space",
    "as_rows",
    "both_rows",
    "columns_of",
    "rescaled",
    "sqnorms",
    "unit_rows",
]

# Numbers held by one temporary block (32 MiB of float64).
BLOCK_SIZE = 2**22
# Numbers of this size have squares, and their squares sums, in single precision.
LARGEST_EXPONENT = 40


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


class Columns:
    """The rows of X in their space, in single precision, as what others are compared with.

    Parameters
    ----------
    X, metric
        As for :class:`Space`.

    Attributes
    ----------
    space : Space
    points : Tensor of float32 of shape (n, n_dims)
    lengths : ndarray of float64 of shape (n,)
        Squared length of every point.
    """

    def __init__(self, X, metric):
        self.space = Space(X, metric)
        rows = self.space.rows(X)
        self.points, self.lengths = torch.from_numpy(rows).float(), sqnorms(rows)


# The columns of the array that was searched last, for as long as it lives: many calls ask for the neighbours
# of a few new rows each, and preparing all columns takes longer than their search.
_latest: tuple[Any, Any, Any] = (lambda: None, None, None)


def columns_of(X, metric) -> Columns:
    """The columns of X, kept until those of another array are asked for."""
    global _latest
    array, known, columns = _latest
    if array() is not X or known != metric:
        columns = Columns(X, metric)
        _latest = (weakref.ref(X, _forget), metric, columns)
    return columns


def _forget(dead):
    global _latest
    if _latest[0] is dead:
        _latest = (lambda: None, None, None)


def as_rows(X):
    return canonical(csr_array(X)) if issparse(X) else np.asarray(X)


def both_rows(A, B):
    """Two matrices of one form: sparse where either is."""
    if issparse(A) != issparse(B):
        A, B = csr_array(A), csr_array(B)
    return as_rows(A), as_rows(B)


def rescaled(X, queries):
    """Both times a power of two, which takes no digits, where squares of X would overflow or vanish."""
    exponent = int(np.frexp(max(X.max(), -X.min()))[1])
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
