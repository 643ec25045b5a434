"""Neighbours read off a matrix of distances that the user brings."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, issparse

from ._rows import BLOCK_SIZE, as_rows

__all__ = ["given_neighbors"]


def given_neighbors(matrix, k, drop_self) -> csr_array:
    """The k nearest columns of every row (None: all that are stored), by (distance, index).

    Parameters
    ----------
    matrix : ndarray or sparse matrix of shape (m, n)
        Distances; the stored entries of a sparse one are the neighbours.
    k : int or None
    drop_self : bool
        Whether entry (i, i) is the row itself, which is no neighbour.
    """
    return (_sparse_neighbors if issparse(matrix) else _dense_neighbors)(matrix, k, drop_self)


def _dense_neighbors(matrix, k, drop_self):
    matrix = np.asarray(matrix)
    n_rows, n_cols = matrix.shape
    available = n_cols - drop_self
    k = available if k is None else min(k, available)
    distances, indices = np.empty((n_rows, k)), np.empty((n_rows, k), dtype=np.int64)
    step = max(1, BLOCK_SIZE // n_cols)
    for start in range(0, n_rows, step):
        rows = np.arange(start, min(start + step, n_rows))
        block = matrix[rows].astype(float)
        if drop_self:
            block[np.arange(len(rows)), rows] = np.inf
        chosen = np.argsort(block, axis=1, kind="stable")[:, :k]
        distances[rows], indices[rows] = np.take_along_axis(block, chosen, axis=1), chosen
    return csr_array((distances.ravel(), indices.ravel(), np.arange(n_rows + 1) * k), shape=matrix.shape)


def _sparse_neighbors(matrix, k, drop_self):
    matrix = as_rows(matrix)
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((matrix.indices, matrix.data, rows))
    if drop_self:
        order = order[matrix.indices[order] != rows[order]]
    counts = np.bincount(rows[order], minlength=matrix.shape[0])
    starts = np.concatenate([[0], np.cumsum(counts)])
    if k is not None:
        order = order[np.arange(len(order)) - np.repeat(starts[:-1], counts) < k]
        starts = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    return csr_array((matrix.data[order].astype(float), matrix.indices[order], starts), shape=matrix.shape)
