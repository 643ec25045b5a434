"""Sparse matrices that scipy has nothing to tidy up in."""

from __future__ import annotations

from scipy.sparse import issparse

__all__ = ["canonical"]


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
