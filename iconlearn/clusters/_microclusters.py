"""Micro-clusters: groups of rows that are near each other in a graph, which stand for their rows in a search."""

from __future__ import annotations

import numpy as np

from ..numerics.threads import available
from ._weights import MANY_EDGES_OF_GROUPS, of_groups, without_loops

# Micro-clusters grow to so many times their mean size, and further only where nothing else can join.
LARGEST = 1.6
# The most groups that merging begins with.
MAX_CELLS = 5000
# The graph that is searched: so many micro-clusters (or so many for each cluster) or a quarter of the rows; few
# rows are searched as they are.
N_NODES, NODES_PER_CLUSTER, FEW_ROWS = 2000, 30, 500


def number_of_nodes(n_rows, n_clusters):
    """Micro-clusters that a search begins with, about."""
    return max(min(N_NODES, n_rows // 4), NODES_PER_CLUSTER * n_clusters)


def micro_clusters(graph, n_clusters, rng):
    """The micro-cluster of each row, or of each node where rows are nodes already."""
    n_rows = round(graph.n_rows)
    n_nodes = number_of_nodes(n_rows, n_clusters)
    if graph.n <= max(n_nodes, FEW_ROWS):
        return np.arange(graph.n)
    size = None if graph.n == n_rows else graph.size
    return merge_smallest(coarsen(graph.edges, n_nodes, rng, size), graph.size, n_nodes)


def with_groups(graph, n_groups, rng):
    """The graph; a uniform share over more rows is computed from about so many groups of neighbours."""
    if not graph.even or graph.n_all <= n_groups:
        return graph

    def groups(of):
        return (merge_smallest(coarsen(of.edges, n_groups, rng, of.size), of.size, n_groups),)

    return graph.grouped(graph.found(groups, n_groups, rng)[0])


def merge_smallest(labels, rows, n_groups, most=MAX_CELLS):
    """Put the smallest groups together where parts without edges between them left far too many."""
    most, size = max(most, 2 * n_groups), np.bincount(labels, rows)
    if len(size) <= most:
        return labels
    place = np.empty(len(size), dtype=int)
    place[np.argsort(-size, kind="stable")] = np.arange(len(size))
    return np.minimum(place, most - 1)[labels]


def coarsen(graph, n_groups, rng, rows=None):
    """Micro-clusters from a graph alone: rounds in which groups that are each other's best partner join.

    Mass between two groups is divided by the product of their sizes, and no group outgrows the mean one by much
    as long as others can join; ties are broken by `rng`.  Ends at no fewer than `n_groups` groups, or where no
    edges are left.

    Parameters
    ----------
    graph : csr_array of shape (n, n)
        Symmetric; it is not changed.
    n_groups : int
    rng : RandomState
    rows : ndarray of shape (n,) or None
        How many rows each of these stands for; None is one.

    Returns
    -------
    labels : ndarray of int of shape (n,)
        Numbered from zero without gaps.
    """
    n = graph.shape[0]
    labels, size = np.arange(n), np.ones(n) if rows is None else rows
    largest, large = LARGEST * size.sum() / n_groups, graph.nnz >= MANY_EDGES_OF_GROUPS
    if not (graph.data > 0).all() or graph.diagonal().any():
        graph = without_loops(graph)
    while len(size) > n_groups and graph.nnz:
        m = len(size)
        factor = (1.0 + 1e-2 * rng.random(m)) / size
        partner, score = partners(graph, factor, size, largest, compiled=large)
        if (partner < 0).all():
            largest *= 2.0
            continue
        first = np.flatnonzero((partner > np.arange(m)) & (partner[partner] == np.arange(m)))
        if len(first) > m - n_groups:
            first = first[np.argsort(-score[first], kind="stable")[: m - n_groups]]
        group = np.arange(m)
        group[partner[first]] = first
        group = (np.cumsum(group == np.arange(m)) - 1)[group]
        size, labels = np.bincount(group, size), group[labels]
        graph = of_groups(graph, group, len(size), loops=False, compiled=large)
    return labels


def partners(graph, factor, size, largest, *, compiled):
    """The column of largest w_ij f_i f_j for each row, and that weight; -1 where all would be too large together."""
    if compiled:
        from ..numerics.compiled import best_partners

        return best_partners(graph.indptr, graph.indices, graph.data, factor, size, largest, available())
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
