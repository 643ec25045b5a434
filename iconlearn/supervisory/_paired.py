"""Pairs that are given: two sets of features of the same things, or a list of rows that belong together.

p(j|i) = 1[j shows what i shows]           rows and columns are two groups of features (split)
p(j|i) = 1[(i, j) is a pair] / number      rows and columns are the same rows (pairs)
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ..conditional import Conditional, normalize_rows
from ._base import Supervisory, warn_empty

__all__ = ["Paired"]


class Paired(Supervisory):
    """p(j|i) of given pairs: across two groups of features, or between rows.

    Parameters
    ----------
    split : int, sequence of int or None, default=None
        Where the columns of X are cut into groups of features: ``split=216`` makes two, 0 to 215 and the
        rest; ``split=[216, 292]`` three.  Row i of one group pairs with row i of another.
    pairs : array-like of int of shape (n_pairs, 2) or None, default=None
        Instead of groups: rows of X that belong together, in both directions.  Rows without a pair carry no
        mass.
    ends : tuple of two int, default=(0, 1)
        Which group the rows of p are taken from, and which the columns; ``(1, 0)`` is the other direction.

    Attributes
    ----------
    conditional_ : Conditional of shape (n_rows, n_rows)

    References
    ----------
    Tian, Krishnan and Isola, "Contrastive multiview coding", ECCV 2020; Radford et al., "Learning
    transferable visual models from natural language supervision", ICML 2021.
    """

    def __init__(self, split=None, *, pairs=None, ends=(0, 1)):
        self.split = split
        self.pairs = pairs
        self.ends = ends

    @property
    def columns(self):
        return "rows" if self.pairs is not None else "features"

    def features(self, n_features):
        """The groups of columns of X that the rows and the columns of p are read off, as two slices."""
        if self.pairs is not None:
            return None
        if self.split is None:
            raise ValueError(
                "Paired needs split, the number of columns of X that show the first view (for example "
                "Paired(split=216)), or pairs, an array of row numbers of shape (n_pairs, 2)"
            )
        cuts = np.atleast_1d(np.asarray(self.split))
        whole = np.issubdtype(cuts.dtype, np.integer) and cuts.ndim == 1
        edges = np.concatenate([[0], cuts, [n_features]]) if whole else np.zeros(2)
        if not whole or (np.diff(edges) <= 0).any():
            raise ValueError(
                f"split={self.split!r} does not cut {n_features} columns into groups: it must be whole numbers, "
                f"increasing, between 1 and {n_features - 1}"
            )
        n_groups = len(edges) - 1
        ends = tuple(self.ends) if isinstance(self.ends, tuple | list) else ()
        if len(ends) != 2 or ends[0] == ends[1] or any(e not in range(n_groups) for e in ends):
            raise ValueError(f"ends={self.ends!r} must be two different groups out of 0 to {n_groups - 1}")
        return tuple(slice(int(edges[e]), int(edges[e + 1])) for e in ends)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the pairs; see :meth:`Supervisory.fit`."""
        if self.pairs is not None and self.split is not None:
            raise ValueError("Paired takes split or pairs, not both")
        n = X.shape[0]
        if self.pairs is None:
            self.features(X.shape[1])
            self.conditional_ = Conditional(
                csr_array((np.ones(n), (np.arange(n), np.arange(n))), shape=(n, n))
            )
            return self
        i, j = _checked_pairs(self.pairs, n)
        both = csr_array((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(n, n))
        both.sum_duplicates()
        both.data[:] = 1.0
        edges = normalize_rows(both)
        warn_empty(np.diff(edges.indptr) > 0, "any pair", "give pairs of two different rows")
        self.conditional_ = Conditional(edges, self_pairs=False)
        return self


def _checked_pairs(pairs, n):
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(
            f"pairs has shape {pairs.shape} and type {pairs.dtype}: it must hold whole numbers, shape (n_pairs, 2)"
        )
    outside = (pairs < 0) | (pairs >= n)
    if outside.any():
        at = int(np.flatnonzero(outside.any(axis=1))[0])
        raise ValueError(
            f"pairs[{at}] = {pairs[at].tolist()} is out of range: rows of X are numbered 0 to {n - 1}"
        )
    alone = pairs[:, 0] == pairs[:, 1]
    if alone.any():
        at = int(np.flatnonzero(alone)[0])
        raise ValueError(f"pairs[{at}] = {pairs[at].tolist()} pairs a row with itself; leave such pairs out")
    return pairs[:, 0], pairs[:, 1]
