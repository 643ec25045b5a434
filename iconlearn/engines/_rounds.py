"""Rounds that leave a local optimum of a clustering: split some clusters, then merge until as many are left.

Steps that only improve assignments cannot move a whole cluster.  A round cuts clusters in two along the
slowest random walk inside them, refines, and takes back the cuts that the loss likes least, which need not
be those just made.  The loss decides whether the round is kept.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ._agglomeration import gains
from ._partition import SMALLEST, refined

__all__ = ["split_and_merge"]

# Clusters that a round splits at most: the merges that follow cost as many steps each.
MAX_SPLITS = 20
# Pairs whose merged loss is evaluated for each merge; the closed form of the hard loss proposes them.
N_CANDIDATES = 6
RESOLUTION = 0.2
# Steps of the random walk, after which a random start has become the slowest direction, roughly.
N_WALK = 20
# Share of a row that a cut leaves on the other side.
DOUBT = 0.1
# Steps after the splits, after each merge, and at the end of a round.
N_AFTER_SPLIT, N_AFTER_MERGE, N_LAST = 20, 4, 80


def split_and_merge(graph, r, rng, *, n_rounds, tol):
    """Improve the assignments `r` by rounds of splits and merges.

    Parameters
    ----------
    graph : PairWeights
    r : ndarray of shape (n, n_clusters)
    rng : RandomState
    n_rounds : int
    tol : float
        As in :func:`refine`.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
    """
    n_clusters = r.shape[1]
    if n_clusters == 1 or graph.n <= n_clusters:
        return r
    r, loss = refined(graph, r, max_iter=N_LAST, tol=tol)
    for _ in range(n_rounds):
        chosen = rng.permutation(n_clusters)[:MAX_SPLITS]
        other = refined(graph, _split(graph, r, chosen, rng), max_iter=N_AFTER_SPLIT, tol=0.0)[0]
        while other.shape[1] > n_clusters:
            other = refined(graph, _merged(graph, other), max_iter=N_AFTER_MERGE, tol=0.0)[0]
        other, other_loss = refined(graph, other, max_iter=N_LAST, tol=tol)
        if other_loss < loss:
            r, loss = other, other_loss
    return r


def _split(graph, r, chosen, rng):
    """Cut the chosen clusters in two; the second halves are appended."""
    side = 0.5 + (0.5 - DOUBT) * np.sign(_slowest(graph, r.argmax(axis=1), r.shape[1], rng))
    halves = r[:, chosen]
    kept = r.copy()
    kept[:, chosen] = halves * side[:, None]
    return np.maximum(np.hstack([kept, halves * (1.0 - side[:, None])]), SMALLEST)


def _slowest(graph, labels, n_clusters, rng):
    """A few steps of the random walks inside the clusters from random values, with mean zero in each cluster."""
    edges = sparse.coo_array(graph.edges)
    within = labels[edges.row] == labels[edges.col]
    row, col, weight = edges.row[within], edges.col[within], edges.data[within]
    degree = np.maximum(np.bincount(row, weight, graph.n), 1e-300)
    walk = sparse.csr_array((weight / degree[row], (row, col)), shape=edges.shape)
    mass = np.maximum(np.bincount(labels, graph.size, n_clusters), SMALLEST)
    values = rng.normal(size=graph.n)
    for _ in range(N_WALK):
        values = walk @ values
        values = values - (np.bincount(labels, graph.size * values, n_clusters) / mass)[labels]
        spread = np.sqrt(np.bincount(labels, graph.size * values**2, n_clusters) / mass)
        values = values / np.maximum(spread, 1e-300)[labels]
    return values


def _merged(graph, r):
    """The merge of one pair that leaves the lowest loss."""
    gain = gains(r.T @ (graph.edges @ r) / graph.unit, graph.mass(r), RESOLUTION, graph.balance)
    gain[np.tril_indices(len(gain))] = -np.inf
    proposed = np.argsort(-gain, axis=None, kind="stable")[:N_CANDIDATES]
    pairs = [
        (keep, drop)
        for keep, drop in zip(*np.unravel_index(proposed, gain.shape), strict=True)
        if keep < drop
    ]
    return min((_joined(r, *pair) for pair in pairs), key=lambda found: graph.explained(found)[1])


def _joined(r, keep, drop):
    joined = r.copy()
    joined[:, keep] += joined[:, drop]
    return np.delete(joined, drop, axis=1)
