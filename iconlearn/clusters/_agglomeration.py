"""Greedy merges of micro-clusters by the closed form of the hard, debiased loss.

With W_c the p-mass inside cluster c, N_c its size, n the number of rows and a the debias weight on both
sides, put w_c = (1 - a) W_c + a N_c^2 / n.  The cross-entropy of hard assignments is, up to a constant,

    - sum_c w_c [ log((1 - a) / N_c + a / n) - log(a / n) ]

It depends on (W_c, N_c) alone, so the gain of a merge needs only the mass between the two clusters.  Where q has a
balance b below 1, N_c^b n^(1 - b) replaces N_c.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from ._weights import members, sized

# What an edge must cost for a merge to pay where no mass is between the two clusters.
HIGHEST_PRICE = 1e3


def agglomerate(edges, labels, n_clusters, debias, rows=None, balance=1.0):
    """Merge clusters greedily until `n_clusters` are left.

    Parameters
    ----------
    edges : csr_array of shape (n, n)
        p, rows summing to one (or empty).
    labels : ndarray of int of shape (n,)
        Micro-clusters, numbered from zero without gaps.
    n_clusters : int
    debias : float in (0, 1)
        The weight a; it acts as a resolution.
    rows : ndarray of shape (n,) or None
        How many rows each of these stands for; None is one.
    balance : float, default=1.0
        The power of the sizes in q.

    Returns
    -------
    labels : ndarray of int of shape (n,)
        Numbered from zero without gaps.
    """
    m = int(labels.max()) + 1
    parent = np.arange(m)
    for merge in itertools.islice(merges(edges, labels, debias, rows, balance), max(m - n_clusters, 0)):
        parent[parent == merge.drop] = merge.keep
    return np.unique(parent[labels], return_inverse=True)[1]


class Merge(NamedTuple):
    """One merge: cluster `drop` joins cluster `keep`.

    Attributes
    ----------
    keep, drop : int
    inside : tuple of float
        W of the two.
    between : float
        Mass from each to the other.
    size : tuple of float
        Rows of the two.
    gain : float
        What the merge saves.
    """

    keep: int
    drop: int
    inside: tuple[float, float]
    between: float
    size: tuple[float, float]
    gain: float


def merges(edges, labels, debias, rows=None, balance=1.0, total=None):
    """The greedy merges of :func:`agglomerate`, one after the other, until one cluster is left.

    Where these are some of the rows only, all are `total`.

    Yields
    ------
    Merge
    """
    rows = np.ones(len(labels)) if rows is None else rows
    n, m = rows.sum() if total is None else total, int(labels.max()) + 1
    member = members(labels)
    between = (member.T @ edges @ member).toarray()
    between = (between + between.T) / 2.0
    inside, size = between.diagonal().copy(), np.bincount(labels, rows)

    own = _value(inside, size, n, debias, balance)
    gain = gains(between, size, debias, balance, n)
    np.fill_diagonal(gain, -np.inf)
    best = gain.argmax(axis=1)
    best_gain = gain[np.arange(m), best]
    alive = np.ones(m, dtype=bool)
    for _ in range(m - 1):
        keep = best_gain.argmax()
        drop = best[keep]
        yield Merge(
            keep,
            drop,
            (inside[keep], inside[drop]),
            between[keep, drop],
            (size[keep], size[drop]),
            best_gain[keep],
        )
        inside[keep] += inside[drop] + 2.0 * between[keep, drop]
        size[keep] += size[drop]
        between[keep] += between[drop]
        between[:, keep] = between[keep]
        own[keep] = _value(inside[keep], size[keep], n, debias, balance)
        alive[drop] = False
        both = _value(inside[keep] + inside + 2.0 * between[keep], size[keep] + size, n, debias, balance)
        row = both - own[keep] - own
        row[~alive] = row[keep] = -np.inf
        gain[keep] = gain[:, keep] = row
        gain[drop] = gain[:, drop] = -np.inf
        # Only rows whose best partner has changed are searched again.
        stale = np.flatnonzero(alive & ((best == keep) | (best == drop)))
        better = np.flatnonzero(row > best_gain)
        best[better], best_gain[better] = keep, row[better]
        stale = np.append(stale, keep)
        best[stale] = gain[stale].argmax(axis=1)
        best_gain[stale] = gain[stale, best[stale]]
        best_gain[drop] = -np.inf


def gains(between, size, debias, balance=1.0, total=None):
    """What the merge of each pair of clusters saves.

    Parameters
    ----------
    between : ndarray of shape (m, m)
        Mass from each cluster to each, symmetric; W_c on the diagonal.
    size : ndarray of shape (m,)
    debias, balance : float
    total : float or None
        All rows, where these are some of them only.
    """
    n, inside = size.sum() if total is None else total, between.diagonal()
    own = _value(inside, size, n, debias, balance)
    both = _value(inside[:, None] + inside + 2.0 * between, size[:, None] + size, n, debias, balance)
    return both - own[:, None] - own


def _value(inside, size, n, debias, balance):
    weight = (1.0 - debias) * inside + debias * size * size / n
    kernel = 1.0 / sized(size, n, balance)
    return weight * (np.log((1.0 - debias) * kernel + debias / n) - np.log(debias / n))


def price_of_an_edge(merge):
    """T, what a lost edge must cost for the merge to pay; see :mod:`iconlearn.clusters._count`."""
    (W, V), (n, m), B = merge.inside, merge.size, merge.between
    if B <= 0:
        return HIGHEST_PRICE
    price = (W + V + 2.0 * B) * np.log(n + m) - W * np.log(n) - V * np.log(m)
    return min(price / (2.0 * B), HIGHEST_PRICE)
