"""Rows, dense or sparse: their norms, their scale, and the space in which products rank them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, issparse

__all__ = ["BLOCK_SIZE", "Space", "as_rows", "both_rows", "recentred", "space_of", "sqnorms", "unit_rows"]

# Numbers held by one temporary block (32 MiB of float64).
BLOCK_SIZE = 2**22


@dataclass(frozen=True, eq=False)
class Space:
    """Points whose squared Euclidean distances rank as the metric does.

    Parameters
    ----------
    columns : ndarray of shape (n, n_dims)
    rows : ndarray of shape (m, n_dims)
        The same object as `columns` where rows are searched among themselves.
    scale : float
        A Euclidean distance d is d / scale in this space.
    cosine : bool
        Whether the metric is cosine, in which case d is a squared distance of 2 d.
    """

    columns: np.ndarray
    rows: np.ndarray
    scale: float
    cosine: bool

    def squared(self, distances):
        """Squared distances in this space from distances in the metric."""
        return 2 * distances if self.cosine else (distances / self.scale) ** 2


def space_of(X, queries, metric) -> Space:
    """Centred and scaled points, so that products in single precision keep the most digits.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    queries : ndarray of shape (m, n_features) or None
    metric : {"euclidean", "l2", "cosine"}
    """
    if metric == "cosine":
        columns = unit_rows(X)
        rows = columns if queries is None else unit_rows(queries)
        void, void_rows = sqnorms(columns) == 0, sqnorms(rows) == 0
        if void.any() or void_rows.any():
            # Off the sphere in a direction of their own, rows of zeros are equally far from all others.
            columns = np.column_stack([columns, void])
            rows = columns if queries is None else np.column_stack([rows, void_rows])
        return Space(columns, rows, 1.0, True)
    with np.errstate(over="ignore"):
        centre = X.mean(axis=0, dtype=float)
    columns = X - np.where(np.isfinite(centre), centre, 0.0)
    peak = np.abs(columns).max(initial=0.0)
    scale = float(peak) if peak > 0 else 1.0
    columns /= scale
    if queries is None:
        return Space(columns, columns, scale, False)
    with np.errstate(over="ignore"):
        return Space(columns, (queries - np.where(np.isfinite(centre), centre, 0.0)) / scale, scale, False)


def as_rows(X):
    return csr_array(X) if issparse(X) else np.asarray(X)


def both_rows(A, B):
    """Two matrices of one form: sparse where either is."""
    if issparse(A) != issparse(B):
        A, B = csr_array(A), csr_array(B)
    return as_rows(A), as_rows(B)


def recentred(X, queries):
    """Both moved by X's mean where it is far off: distances stay, matrix products gain digits."""
    if not issparse(X):
        centre = X.mean(axis=0, dtype=float)
        spread = sqnorms(X).mean() - centre @ centre
        if centre @ centre > 100 * spread:
            return X - centre, queries - centre
    return X, queries


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
