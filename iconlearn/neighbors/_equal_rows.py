"""Which rows are exactly equal.

    print(x) = sum_c multiplier_c * mix(x_c)  modulo 2^64

Equal rows have equal prints, so sorted prints find the candidates, and a comparison settles them.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array, issparse

from .._checks import unchanging
from .._torch_state import as_array
from ..numerics.threads import share
from ._distances import pairs_equal
from ._rows import BLOCK_SIZE, as_rows, both_rows

# Numbers in one block of prints; they are passed over a dozen times, so they should stay in the cache.
PRINT_BLOCK = 2**16


class KnownRows:
    """Rows that others are compared with, their prints sorted once, when they are first asked for.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)
        Kept as a copy, unless it is read-only.
    """

    def __init__(self, X):
        self.X = unchanging(as_array(X))

    def __getstate__(self):
        # Prints are made anew where they are needed: they take as much memory as a column of X.
        return {"X": self.X}

    @cached_property
    def _printed(self):
        return _prints(as_rows(self.X))

    @cached_property
    def _ordered(self):
        """Which row has which place among the sorted prints, and the sorted prints."""
        order = np.argsort(self._printed, kind="stable")
        return order, self._printed[order]

    def find(self, X_new) -> np.ndarray:
        """For every new row the first known row that is exactly equal to it, or -1; int64 of shape (m,)."""
        X_new, X = both_rows(X_new, self.X)
        prints, (order, known) = _prints(X_new), self._ordered
        at = np.minimum(np.searchsorted(known, prints), len(known) - 1)
        found = np.full(len(prints), -1, dtype=np.int64)
        rows = np.flatnonzero(known[at] == prints)
        candidates = order[at[rows]]
        same = pairs_equal(X_new, X, rows, candidates)
        found[rows[same]] = candidates[same]
        return found

    def same_as(self, X) -> bool:
        """Whether X is all of these rows, in this order."""
        if X.shape != self.X.shape:
            return False
        if issparse(X) or issparse(self.X):
            return (csr_array(X) != csr_array(self.X)).nnz == 0
        step = max(1, BLOCK_SIZE // max(1, X.shape[1]))
        return all(np.array_equal(X[i : i + step], self.X[i : i + step]) for i in range(0, len(X), step))

    def groups(self) -> np.ndarray:
        """Number the distinct rows in order of appearance; int64 of shape (n,), -0.0 equals 0.0."""
        # Most data have no equal rows, and sorted prints say so without telling which row has which.
        prints = np.sort(self._printed)
        if not (prints[1:] == prints[:-1]).any():
            return np.arange(len(prints))
        (order, known), X = self._ordered, as_rows(self.X)
        repeated = np.flatnonzero(known[1:] == known[:-1])
        new = np.ones(len(order), dtype=bool)
        new[repeated[pairs_equal(X, X, order[repeated + 1], order[repeated])] + 1] = False
        # The sort is stable, so the first of a group is its first row.
        group = np.cumsum(new) - 1
        rank = np.empty(group[-1] + 1, dtype=np.int64)
        rank[np.argsort(order[new])] = np.arange(len(rank))
        groups = np.empty(len(order), dtype=np.int64)
        groups[order] = rank[group]
        return groups


def equal_rows(X_new, X) -> np.ndarray:
    """:meth:`KnownRows.find` among the rows of X."""
    return KnownRows(X).find(X_new)


def duplicate_groups(X) -> np.ndarray:
    """:meth:`KnownRows.groups` of the rows of X."""
    return KnownRows(X).groups()


def _prints(X):
    multipliers = _mixed(np.arange(1, X.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    multipliers |= np.uint64(1)
    if issparse(X):
        X = csr_array(X, copy=True)
        X.sum_duplicates()
        terms = _mixed(_bits(X.data)) * multipliers[X.indices]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
        return sums[X.indptr[1:]] - sums[X.indptr[:-1]]
    prints = np.empty(X.shape[0], dtype=np.uint64)
    step = max(1, PRINT_BLOCK // max(1, X.shape[1]))

    def evaluate(start):
        at = slice(start, start + step)
        terms = _mixed(_bits(X[at]))
        terms *= multipliers
        terms.sum(axis=1, dtype=np.uint64, out=prints[at])

    share(evaluate, range(0, X.shape[0], step), torch.device("cpu"))
    return prints


def _bits(values):
    """Double precision, as integers in memory of their own; adding zero turns -0.0 into 0.0."""
    return (np.ascontiguousarray(values, dtype=float) + 0.0).view(np.uint64)


def _mixed(z):
    """Every bit spread over the word, in place; zero stays zero: entries that are not stored count nothing."""
    z ^= z >> np.uint64(32)
    z *= np.uint64(0xD6E8FEB86659FD93)
    z ^= z >> np.uint64(29)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(32)
    return z
