"""Where a warm start begins: rows of the last fit have what it gave them, further ones start near their neighbours."""

from __future__ import annotations

import numpy as np

from .._warnings import warn
from ..neighbors import KnownRows
from ._coarse import JITTER, spread_over


def known_from(X, last, *, pairwise, words=None, last_words=None):
    """For each row of X which row of the last fit it is.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)
    last : KnownRows
        The rows of the last fit.
    pairwise : bool
        Whether X is a matrix of pairs.  A row of such a matrix has other entries once there are other columns, so
        that only its position can say which row it is.
    words, last_words : ndarray of str or None
        What the rows are, where they are words.

    Returns
    -------
    ndarray of int of shape (n,) or None
        -1 for rows that were not there; None where no row was.
    """
    if words is not None and last_words is not None:
        place = {word: i for i, word in enumerate(last_words)}
        at = np.array([place.get(word, -1) for word in words])
    elif last.same_as(X):
        at = np.arange(X.shape[0])
    elif pairwise:
        at = _by_position(X, last.X)
    elif X.shape[1] == last.X.shape[1]:
        at = last.find(X)
    else:
        return None
    if at is not None and (at < 0).all():
        warn("warm_start: none of the rows was in the last fit; the fit starts afresh")
        return None
    return at


def _by_position(X, last):
    """The first rows of a matrix of pairs are taken for those of the last one, with a warning unless they look it."""
    n, n_last = X.shape[0], last.shape[0]
    both = min(n, n_last)
    if n != n_last and KnownRows(last[:both, :both]).same_as(X[:both, :both]):
        return np.where(np.arange(n) < both, np.arange(n), -1)
    cannot = "warm_start: a matrix of pairs does not say which of its rows were in the last fit"
    if n < n_last:
        warn(f"{cannot}, and this one has {n} of them after {n_last}; the fit starts afresh")
        return None
    further = f", and the {n - n_last} further ones start near their neighbours" if n > n_last else ""
    warn(
        f"{cannot}; row i is taken for row i{further}. If the rows are others, or in another order, use "
        f"warm_start=False"
    )
    return np.where(np.arange(n) < both, np.arange(n), -1)


def values_from(at, values, problem, rng, *, place=None, jitter=JITTER):
    """What the rows of a fit begin with after another one.

    Parameters
    ----------
    at : ndarray of int of shape (n,)
        See :func:`known_from`.
    values : ndarray of shape (n_last, d)
        Places, logarithms of assignments or assignments of the rows of the last fit.
    problem : Problem
        Its p has the neighbours of new rows, where `place` is None.
    rng : RandomState
    place : callable or None
        ``place(rows)`` gives values of these new rows.
    jitter : float
        Standard deviation of what is added where new rows get the mean value of their neighbours: rows of the same
        neighbours are not to start on one point.

    Returns
    -------
    ndarray of shape (n, d) or None
        None, after a warning, where new rows cannot be placed.
    """
    known, new = np.flatnonzero(at >= 0), np.flatnonzero(at < 0)
    out = np.empty((len(at), values.shape[1]))
    out[known] = values[at[known]]
    if not len(new):
        return out
    if place is not None:
        out[new] = place(new)
    elif problem.tied and not problem.p.wide:
        spread = spread_over(problem.p.sparse(), known, out[known])[new]
        out[new] = spread + jitter * rng.standard_normal(spread.shape)
    else:
        warn(
            f"warm_start: {len(new)} of {len(at)} rows were not in the last fit, and p does not say which rows are "
            f"near them; the fit starts afresh"
        )
        return None
    return out
