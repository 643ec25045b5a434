"""Starts for clustering: micro-clusters, merged greedily by the closed form of the hard, debiased loss.

With W_c the p-mass inside cluster c, N_c its size, n the number of rows and a the debias weight on both
sides, put w_c = (1 - a) W_c + a N_c^2 / n.  The cross-entropy of hard assignments is, up to a constant,

    - sum_c w_c [ log((1 - a) / N_c + a / n) - log(a / n) ]

It depends on (W_c, N_c) alone, so the gain of a merge needs only the mass between the two clusters.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

__all__ = ["agglomerate", "coarsen"]


def agglomerate(edges, labels, n_clusters, debias):
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

    Returns
    -------
    labels : ndarray of int of shape (n,)
        Numbered from zero without gaps.
    """
    n, m = len(labels), int(labels.max()) + 1
    member = sparse.csr_array((np.ones(n), (np.arange(n), labels)), shape=(n, m))
    between = (member.T @ edges @ member).toarray()
    between = between + between.T  # off the diagonal: mass both ways; on it: twice the mass inside
    inside, size = np.diag(between) / 2.0, np.asarray(member.sum(axis=0)).ravel()

    def value(inside, size):
        weight = (1.0 - debias) * inside + debias * size * size / n
        return weight * (np.log((1.0 - debias) / size + debias / n) - np.log(debias / n))

    own = value(inside, size)
    gain = value(inside[:, None] + inside + between, size[:, None] + size) - own[:, None] - own
    np.fill_diagonal(gain, -np.inf)
    best = gain.argmax(axis=1)
    best_gain = gain[np.arange(m), best]
    alive, parent = np.ones(m, dtype=bool), np.arange(m)
    for _ in range(m - n_clusters):
        keep = best_gain.argmax()
        drop = best[keep]
        inside[keep] += inside[drop] + between[keep, drop]
        size[keep] += size[drop]
        between[keep] += between[drop]
        between[:, keep] = between[keep]
        own[keep] = value(inside[keep], size[keep])
        parent[parent == drop] = keep
        alive[drop] = False
        row = value(inside[keep] + inside + between[keep], size[keep] + size) - own[keep] - own
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
    return np.unique(parent[labels], return_inverse=True)[1]


def coarsen(edges, n_clusters, rng):
    """Micro-clusters from a graph alone: rounds of heavy-edge matching, at most halving the number each.

    Mass between two groups is divided by the product of their sizes, so that no group runs away; ties are
    broken by `rng`.  Ends at no fewer than `n_clusters` groups.
    """
    graph = sparse.csr_array(edges + edges.T)
    n = graph.shape[0]
    labels = np.arange(n)
    while labels.max() + 1 > n_clusters:
        m = labels.max() + 1
        member = sparse.csr_array((np.ones(n), (np.arange(n), labels)), shape=(n, m))
        pairs = sparse.coo_array(member.T @ graph @ member)
        size = np.bincount(labels, minlength=m)
        off = pairs.row < pairs.col
        row, col = pairs.row[off], pairs.col[off]
        score = pairs.data[off] / (size[row] * size[col]) * (1.0 + 1e-3 * rng.random(off.sum()))
        merged = _matching(row, col, score, m, m - n_clusters)
        if len(np.unique(merged)) == m:
            break
        labels = np.unique(merged[labels], return_inverse=True)[1]
    return labels


def _matching(row, col, score, m, most):
    """Greedy matching by falling score, with at most `most` pairs; returns a group for each node."""
    group, free = np.arange(m), np.ones(m, dtype=bool)
    for e in np.argsort(-score, kind="stable"):
        if most <= 0:
            break
        i, j = row[e], col[e]
        if free[i] and free[j]:
            group[j] = i
            free[i] = free[j] = False
            most -= 1
    return group
