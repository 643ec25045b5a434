"""Matrices in the form that computations need: sparse ones in canonical form, and rows that nobody changes."""

from __future__ import annotations

import numpy as np
from scipy.sparse import issparse

__all__ = ["canonical", "in_a_file", "unchanging"]


def canonical(X):
    """X with sorted columns and one entry for each place, as a copy where it was not so; dense X as it is.

    scipy sums duplicates and sorts columns in place whenever it feels the need (in ``max()``, for one), which would
    change what the user owns, and fails where that is read-only.
    """
    if not issparse(X) or X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


def unchanging(X):
    """X as numbers that nobody changes, for what outlives a call: itself where it is read-only, else a read-only copy.

    An array in a file stays there.
    """
    if in_a_file(X) or not any(map(_writeable, _parts(X))):
        return X
    X = X.copy()
    for part in _parts(X):
        part.flags.writeable = False
    return X


def in_a_file(X) -> bool:
    """Whether an array is (a view of) a numpy.memmap."""
    while X is not None and not isinstance(X, np.memmap):
        X = getattr(X, "base", None)
    return X is not None


def _parts(X):
    return (X.data, X.indices, X.indptr) if issparse(X) else (X,)


def _writeable(array):
    """Whether the numbers of an array can be changed, be it by way of another that it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return array is not None
