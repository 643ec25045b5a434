"""Starts for clustering: micro-clusters, merged greedily by the closed form of the hard, debiased loss.

With W_c the p-mass inside cluster c, N_c its size, n the number of rows and a the debias weight on both
sides, put w_c = (1 - a) W_c + a N_c^2 / n.  The cross-entropy of hard assignments is, up to a constant,

    - sum_c w_c [ log((1 - a) / N_c + a / n) - log(a / n) ]

It depends on (W_c, N_c) alone, so the gain of a merge needs only the mass between the two clusters.  Where q has a
balance b below 1, N_c^b n^(1 - b) stands in the place of N_c.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from scipy import sparse

__all__ = ["Merge", "agglomerate", "coarsen", "gains", "members", "merges", "sized"]

# Micro-clusters grow to so many times their mean size, and further only where nothing else can join.
LARGEST = 1.6


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


def merges(edges, labels, debias, rows=None, balance=1.0):
    """The greedy merges of :func:`agglomerate`, one after the other, until one cluster is left.

    Yields
    ------
    Merge
    """
    rows = np.ones(len(labels)) if rows is None else rows
    n, m = rows.sum(), int(labels.max()) + 1
    member = members(labels)
    between = (member.T @ edges @ member).toarray()
    between = (between + between.T) / 2.0
    inside, size = between.diagonal().copy(), np.bincount(labels, rows)

    own = _value(inside, size, n, debias, balance)
    gain = gains(between, size, debias, balance)
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


def gains(between, size, debias, balance=1.0):
    """What the merge of each pair of clusters saves.

    Parameters
    ----------
    between : ndarray of shape (m, m)
        Mass from each cluster to each, symmetric; W_c on the diagonal.
    size : ndarray of shape (m,)
    debias, balance : float
    """
    n, inside = size.sum(), between.diagonal()
    own = _value(inside, size, n, debias, balance)
    both = _value(inside[:, None] + inside + 2.0 * between, size[:, None] + size, n, debias, balance)
    return both - own[:, None] - own


def _value(inside, size, n, debias, balance):
    weight = (1.0 - debias) * inside + debias * size * size / n
    kernel = 1.0 / sized(size, n, balance)
    return weight * (np.log((1.0 - debias) * kernel + debias / n) - np.log(debias / n))


def coarsen(edges, n_groups, rng, rows=None):
    """Micro-clusters from a graph alone: rounds in which groups that are each other's best partner join.

    Mass between two groups is divided by the product of their sizes, and no group outgrows the mean one by much
    as long as others can join; ties are broken by `rng`.  Ends at no fewer than `n_groups` groups, or where no
    edges are left.

    Parameters
    ----------
    edges : csr_array of shape (n, n)
    n_groups : int
    rng : RandomState
    rows : ndarray of shape (n,) or None
        How many rows each of these stands for; None is one.

    Returns
    -------
    labels : ndarray of int of shape (n,)
        Numbered from zero without gaps.
    """
    n = edges.shape[0]
    labels, size = np.arange(n), np.ones(n) if rows is None else rows
    graph, largest = _without_loops(edges + edges.T), LARGEST * size.sum() / n_groups
    while len(size) > n_groups and graph.nnz:
        m = len(size)
        factor = (1.0 + 1e-2 * rng.random(m)) / size
        partner, score = _best_partner(graph, factor, size, largest)
        if (partner < 0).all():
            largest *= 2.0
            continue
        first = np.flatnonzero((partner > np.arange(m)) & (partner[partner] == np.arange(m)))
        if len(first) > m - n_groups:
            first = first[np.argsort(-score[first], kind="stable")[: m - n_groups]]
        group = np.arange(m)
        group[partner[first]] = first
        group = np.unique(group, return_inverse=True)[1]
        member = members(group)
        graph, size, labels = (
            _without_loops(member.T @ graph @ member),
            np.bincount(group, size),
            group[labels],
        )
    return labels


def _best_partner(graph, factor, size, largest):
    """The column of largest w_ij f_i f_j for each row, and that weight; -1 where all would be too large together."""
    n = graph.shape[0]
    row, col = np.repeat(np.arange(n), np.diff(graph.indptr)), graph.indices
    score = np.where(size[row] + size[col] <= largest, graph.data * (factor[row] * factor[col]), -np.inf)
    best, partner = np.full(n, -np.inf), np.full(n, -1)
    some = np.flatnonzero(np.diff(graph.indptr))
    best[some] = np.maximum.reduceat(score, graph.indptr[some])
    # Of equal columns the first, so that two rows that are alike agree.
    at = np.flatnonzero((score == best[row]) & (score > -np.inf))[::-1]
    partner[row[at]] = col[at]
    return partner, best


def _without_loops(graph):
    graph = sparse.coo_array(graph)
    other = (graph.row != graph.col) & (graph.data > 0)
    return sparse.csr_array((graph.data[other], (graph.row[other], graph.col[other])), shape=graph.shape)


def sized(size, n, balance):
    """s_c^b n^(1 - b), what the assignments to cluster c are divided by."""
    return size**balance * n ** (1.0 - balance)


def members(labels):
    """One column for each group."""
    n = len(labels)
    return sparse.csr_array((np.ones(n), (np.arange(n), labels)), shape=(n, int(labels.max()) + 1))
