"""Distances of single pairs from differences, and of all pairs of a block from products."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import issparse

from ._libraries import sklearn_distances
from ._metrics import evaluable, is_euclidean
from ._rows import both_rows, sqnorms, unit_rows
from ._workers import share

__all__ = ["PairDistances", "distance_block", "pair_distances", "pairs_equal"]

# Numbers in one block of differences; they are read three times, so they should stay in the cache.
PAIR_BLOCK = 2**18
# Pairs in one block of sparse differences.
SPARSE_PAIRS = 2**16


def distance_block(A, B, *, metric="euclidean") -> np.ndarray:
    """All distances between the rows of A and the rows of B, shape (len(A), len(B)), float64.

    Euclidean and cosine distances come from a matrix product; pairs so close that the product has
    lost their distance are evaluated again from differences.
    """
    A, B = both_rows(A, B)
    if is_euclidean(metric):
        return np.sqrt(_sqdist_block(A, B))
    if metric == "cosine":
        U, V = unit_rows(A), unit_rows(B)
        block = 0.5 * _sqdist_block(U, V)
        block[sqnorms(U) == 0] = 1.0
        block[:, sqnorms(V) == 0] = 1.0
        return block
    return sklearn_distances(A, B, evaluable(metric))


def pair_distances(A, B, i, j, *, metric="euclidean") -> np.ndarray:
    """Distances d(A[i], B[j]) of single pairs, from differences; Euclidean or cosine only.

    The cosine distance is |u - v|^2 / 2 of the unit vectors, which keeps its digits near zero; a
    row of zeros is at distance 1 from everything.
    """
    A, B = both_rows(A, B)
    return PairDistances(A, B, metric)(np.asarray(i), np.asarray(j))


class PairDistances:
    """Distances of pairs (i, j) of the rows of A and B, for many calls on the same rows."""

    def __init__(self, A, B, metric):
        self.cosine = metric == "cosine"
        if self.cosine:
            same = A is B
            A = unit_rows(A)
            B = A if same else unit_rows(B)
            self.void = sqnorms(A) == 0, sqnorms(B) == 0
        self.A, self.B = A, B

    def __call__(self, i, j) -> np.ndarray:
        sqdist = _pair_sqdist(self.A, self.B, i, j)
        if self.cosine:
            return np.where(self.void[0][i] | self.void[1][j], 1.0, 0.5 * sqdist)
        return np.sqrt(sqdist)

    def of_neighbors(self, rows, indices) -> np.ndarray:
        """d(A[rows[r]], B[indices[r, c]]), of the shape of `indices`."""
        i = np.repeat(rows, indices.shape[1])
        return self(i, indices.ravel()).reshape(indices.shape)


def pairs_equal(A, B, i, j) -> np.ndarray:
    """Whether A[i] == B[j], pair by pair."""
    equal = np.empty(len(i), dtype=bool)
    step = max(1, PAIR_BLOCK // max(1, A.shape[1])) if not issparse(A) else SPARSE_PAIRS
    for start in range(0, len(i), step):
        at = slice(start, start + step)
        if issparse(A):
            unequal = A[i[at]] != B[j[at]]
            equal[at] = np.asarray(unequal.sum(axis=1)).ravel() == 0
        else:
            equal[at] = (A[i[at]] == B[j[at]]).all(axis=1)
    return equal


def _pair_sqdist(A, B, i, j):
    out = np.empty(len(i))
    step = max(1, PAIR_BLOCK // max(1, A.shape[1])) if not issparse(A) else SPARSE_PAIRS

    def evaluate(start):
        at = slice(start, start + step)
        if issparse(A):
            out[at] = sqnorms(A[i[at]].astype(float) - B[j[at]].astype(float))
            return
        gap = A.take(i[at], axis=0).astype(float)
        gap -= B.take(j[at], axis=0)
        # A row's sum does not depend on how many rows there are, which a product's would.
        np.einsum("ij,ij->i", gap, gap, out=out[at])

    share(evaluate, range(0, len(i), step), torch.device("cpu"))
    return out


def _sqdist_block(A, B):
    if issparse(B):
        near, far = A.astype(float), B.astype(float)
        block = (near @ far.T).toarray()
    else:
        centre = B.mean(axis=0, dtype=float)
        near, far = A - centre, B - centre
        block = near @ far.T
    scale = sqnorms(near)[:, None] + sqnorms(far)
    block *= -2
    block += scale
    np.maximum(block, 0.0, out=block)
    i, j = np.nonzero(block <= 1e-6 * scale)
    if len(i):
        block[i, j] = _pair_sqdist(A, B, i, j)
    return block
