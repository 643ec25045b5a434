"""Rows of packed bits, eight in a byte, as ``numpy.packbits(X > 0, axis=1)`` gives them: distances of their bits.

    bit_hamming   the share of bits that differ
    bit_jaccard   1 - |x and y| / |x or y|; two rows without a bit are at distance zero

Counts of bits are whole numbers below 2^24, which products in single precision add without an error.
"""

from __future__ import annotations

import numpy as np

from ._rows import BLOCK_SIZE

PACKED = ("bit_hamming", "bit_jaccard")


def is_packed(metric) -> bool:
    """Whether rows are packed bits to this metric."""
    return isinstance(metric, str) and metric in PACKED


def as_bytes(X, metric):
    """Rows as bytes.

    Raises
    ------
    ValueError
        Naming the first number that is none.
    """
    X = np.asarray(X)
    if X.dtype == np.uint8:
        return X
    with np.errstate(invalid="ignore"):
        found = X.astype(np.uint8)
    wrong = found != X
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"metric={metric!r} takes rows of packed bits, whole numbers from 0 to 255, and there is "
            f"{X[row, column]!r} in row {row}, column {column}; give numpy.packbits(X > 0, axis=1), or take "
            f"metric={metric.removeprefix('bit_')!r} for rows of zeros and ones"
        )
    return found


def packed_distances(A, B, metric) -> np.ndarray:
    """All distances between the rows of A and those of B, float64."""
    A, B = as_bytes(A, metric), as_bytes(B, metric)
    a, b = _bits(A), _bits(B)
    return _distances(a @ b.T, a.sum(axis=1)[:, None], b.sum(axis=1), a.shape[1], metric)


def packed_pairs(X, indices, metric) -> np.ndarray:
    """Distances of every row from some others, of the shape of `indices`."""
    X, out = as_bytes(X, metric), np.empty(indices.shape)
    step = max(1, BLOCK_SIZE // (8 * X.shape[1] * indices.shape[1]))
    for start in range(0, len(X), step):
        rows = slice(start, start + step)
        own, others = _bits(X[rows])[:, None], _bits(X[indices[rows]])
        both = np.einsum("ijb,ikb->ik", own, others)
        out[rows] = _distances(both, own.sum(axis=2), others.sum(axis=2), own.shape[2], metric)
    return out


def packed_search(X, queries, k, metric):
    """Distances and columns of the k nearest rows of X for each query, in no order."""
    X, queries = as_bytes(X, metric), as_bytes(queries, metric)
    bits = _bits(X)
    total = bits.sum(axis=1)
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    step = max(1, BLOCK_SIZE // max(len(X), bits.shape[1]))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        own = _bits(queries[rows])
        block = _distances(own @ bits.T, own.sum(axis=1)[:, None], total, bits.shape[1], metric)
        found = np.argpartition(block, k - 1, axis=1)[:, :k]
        distances[rows], indices[rows] = np.take_along_axis(block, found, axis=1), found
    return distances, indices


def _bits(X):
    return np.unpackbits(X, axis=-1).astype(np.float32)


def _distances(both, ours, theirs, n_bits, metric):
    both, either = both.astype(float), (ours + theirs).astype(float)
    if metric == "bit_hamming":
        return (either - 2.0 * both) / n_bits
    union = either - both
    return np.where(union > 0, 1.0 - both / np.maximum(union, 1.0), 0.0)
