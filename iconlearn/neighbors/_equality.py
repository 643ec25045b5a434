"""Which rows are exactly equal."""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.sparse import csr_array, issparse

from iconlearn.neighbors._pairs import pairs_equal
from iconlearn.neighbors._rows import BLOCK_SIZE, as_rows, both_rows

__all__ = ["duplicate_groups", "equal_rows"]


def equal_rows(X_new, X, indices=None) -> np.ndarray:
    """For every new row the first training row that is exactly equal to it, or -1.

    Parameters
    ----------
    X_new : ndarray or sparse matrix of shape (m, n_features)
    X : ndarray or sparse matrix of shape (n, n_features)
    indices : ndarray of int of shape (m, k) or None
        Training rows to compare with, for example those found by :func:`knn`; None compares with
        all.

    Returns
    -------
    ndarray of int64 of shape (m,)
    """
    X_new, X = both_rows(X_new, X)
    found = np.full(X_new.shape[0], -1, dtype=np.int64)
    if indices is None:
        first = {}
        for row, key in enumerate(_row_keys(X)):
            first.setdefault(key, row)
        for row, key in enumerate(_row_keys(X_new)):
            found[row] = first.get(key, -1)
        return found
    for candidates in np.asarray(indices).T:
        open_rows = np.flatnonzero(found < 0)
        if not len(open_rows):
            break
        same = pairs_equal(X_new, X, open_rows, candidates[open_rows])
        found[open_rows[same]] = candidates[open_rows[same]]
    return found


def duplicate_groups(X) -> np.ndarray:
    """Number the distinct rows of X in order of appearance: equal rows share a number.

    Returns
    -------
    ndarray of int64 of shape (n,)
        ``groups[i] == groups[j]`` if and only if the rows are equal (-0.0 equals 0.0).
    """
    numbers = {}
    return np.fromiter(
        (numbers.setdefault(key, len(numbers)) for key in _row_keys(as_rows(X))), np.int64, X.shape[0]
    )


def _row_keys(X):
    """A 32-byte digest of every row: the same for equal rows, whatever their precision."""
    if issparse(X):
        X = csr_array(X, dtype=float, copy=True)
        X.sum_duplicates()
        X.eliminate_zeros()
        columns = X.indices.astype(np.int64)
        for start, stop in zip(X.indptr[:-1], X.indptr[1:]):
            yield hashlib.blake2b(
                columns[start:stop].tobytes() + X.data[start:stop].tobytes(), digest_size=32
            ).digest()
        return
    step = max(1, BLOCK_SIZE // max(1, X.shape[1]))
    for start in range(0, X.shape[0], step):
        # Adding zero turns -0.0 into 0.0.
        for row in np.ascontiguousarray(X[start : start + step], dtype=float) + 0.0:
            yield hashlib.blake2b(row.data, digest_size=32).digest()
