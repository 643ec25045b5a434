"""The search of a start: merges, crossings and rounds on a graph of some thousand micro-clusters.

From random assignments the loss has poor local optima, so micro-clusters are merged by the closed form of
the hard loss at several resolutions, and the eigenvectors of the walk add what merges miss.  Micro-clusters are
groups of neighbours in p: cells of k-means cut across the borders of classes, and the loss of such a coarse graph
has its optimum elsewhere.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.linalg import qr
from scipy.spatial.distance import cdist

from ..engines import agglomerate, coarsen, cross, refined, soften, split_and_merge
from ..numerics.graphs import vectors_of_graph

__all__ = ["MAX_CELLS", "RESOLUTIONS", "folded", "freed", "micro_clusters", "searched", "walk_places"]

# Debias weights of the merging (resolutions), and the most groups that merging begins with.
RESOLUTIONS = (0.05, 0.2, 0.5, 0.8)
MAX_CELLS = 5000
# The search looks at eigenvectors too where it needs no more than these.
MAX_EIGENVECTORS, MAX_LLOYD = 100, 100
# The graph that is searched: so many micro-clusters (or so many for each cluster) or a quarter of the rows; few
# rows are searched as they are.  A uniform share, which joins all pairs, is seen by so many groups of them.
N_NODES, NODES_PER_CLUSTER, FEW_ROWS = 2000, 30, 500
N_SHARING = 300
# Groups of nodes per cluster where the merging by the hard loss begins.
GROUPS_PER_CLUSTER = 10
# Merges that are crossed with each other, crossings for each of them, and steps after which they are compared.
N_MERGES, CROSSINGS_PER_MERGE, N_SHORT = 8, 3, 40
# A weaker balance is taken where it cuts less than this share of what was cut, and no cluster is smaller than that
# share of the mean one: a clump of outliers.
MUCH_LESS, TINY = 1 / 3, 0.1


def searched(graph, n_clusters, n_init, rng, tol):
    """Assignments of low loss: merges at several resolutions, crossed, then rounds of splits and merges.

    Merges see masses between groups, and not the way around a ring or along a curve.  The leading eigenvectors of the
    walk do, so clusters among them are one more start where they are few enough to be cheap.

    Parameters
    ----------
    graph : PairWeights
        A uniform share is best left as a constant: rounds of splits and merges can fit columns drawn for it.
    n_clusters : int
    n_init : int
        Merges (the first eight) and rounds together.
    rng : RandomState
    tol : float
        As in :func:`refine`.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
    """
    search = _Search(graph, n_clusters, rng, tol)
    return search.found(graph.balance, n_init)[search.node]


def freed(graph, n_clusters, n_init, rng, tol, *, loose):
    """As :func:`searched`, under a weaker balance where that leaves as many clusters and cuts much less.

    Parameters
    ----------
    graph, n_clusters, n_init, rng, tol
        As for :func:`searched`.
    loose : float
        The weaker balance.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
    balance : float
        What it was found under.
    """
    search = _Search(graph, n_clusters, rng, tol)
    balance, r = graph.balance, search.found(graph.balance, n_init)
    tried = search.found(loose, min(n_init, N_MERGES), crossed=False)
    if search.spares(tried, r):
        balance = loose
        r = min(tried, search.found(loose, n_init), key=lambda found: search.loss(found, loose))
    return r[search.node], balance


class _Search:
    """The search on a graph of micro-clusters."""

    def __init__(self, graph, n_clusters, rng, tol):
        self.n_clusters, self.rng, self.tol = n_clusters, rng, tol
        self.node = micro_clusters(graph, n_clusters, rng)
        self.coarse = graph.coarsened(self.node)
        self.edges = self.coarse.edges / self.coarse.unit
        if self.coarse.floor.any() and self.coarse.n > N_SHARING:
            self.coarse.grouped(self._groups(N_SHARING))

    def found(self, balance, n_init, *, crossed=True):
        """The best assignments of the micro-clusters."""
        coarse, rng, n_clusters = self.coarse.balanced(balance), self.rng, self.n_clusters
        n_groups = max(
            min(GROUPS_PER_CLUSTER * n_clusters, coarse.n // 4, MAX_CELLS), min(n_clusters, coarse.n)
        )
        starts, n_merges = [], min(n_init, N_MERGES)
        for k in range(n_merges):
            groups, resolution = self._groups(n_groups), RESOLUTIONS[k % len(RESOLUTIONS)]
            starts.append(agglomerate(self.edges, groups, n_clusters, resolution, coarse.size, balance))
        if n_init > 1 and 1 < n_clusters <= MAX_EIGENVECTORS and self._places is not None:
            starts.append(_from_spread(self._places, n_clusters))
        found = [
            refined(coarse, soften(labels, n_clusters), max_iter=N_SHORT, tol=0.0)[::-1] for labels in starts
        ]
        n_crossings = CROSSINGS_PER_MERGE * n_merges if crossed else 0
        best = cross(coarse, found, RESOLUTIONS, rng, n_crossings=n_crossings, n_steps=N_SHORT)
        return split_and_merge(coarse, best, rng, n_rounds=n_init - n_merges, tol=self.tol)

    def loss(self, r, balance):
        return self.coarse.balanced(balance).explained(r)[1]

    def spares(self, r, other):
        """Whether r has all clusters, none of them tiny, and cuts much less than other assignments."""
        labels = r.argmax(axis=1)
        size = np.bincount(labels, self.coarse.size, self.n_clusters)
        whole = size.min() >= TINY * size.mean()
        return whole and self.coarse.cut(labels) < MUCH_LESS * self.coarse.cut(other.argmax(axis=1))

    def _groups(self, n_groups):
        return folded(coarsen(self.edges, n_groups, self.rng, self.coarse.size), self.coarse.size, n_groups)

    @cached_property
    def _places(self):
        return walk_places(self.edges, self.n_clusters, self.rng)


def micro_clusters(graph, n_clusters, rng):
    """The micro-cluster of each row."""
    n_nodes = max(min(N_NODES, graph.n // 4), NODES_PER_CLUSTER * n_clusters)
    if graph.n <= max(n_nodes, FEW_ROWS):
        return np.arange(graph.n)
    return folded(coarsen(graph.edges, n_nodes, rng), graph.size, n_nodes)


def folded(labels, rows, n_groups, most=MAX_CELLS):
    """Put the smallest groups together where parts without edges between them left far too many."""
    most, size = max(most, 2 * n_groups), np.bincount(labels, rows)
    if len(size) <= most:
        return labels
    place = np.empty(len(size), dtype=int)
    place[np.argsort(-size, kind="stable")] = np.arange(len(size))
    return np.minimum(place, most - 1)[labels]


def walk_places(edges, n_clusters, rng):
    """Leading eigenvectors of the walk on the symmetrised graph, the constant one among them.

    None where they do not tell as many rows apart as there are clusters.
    """
    if edges.shape[0] <= n_clusters:
        return None
    places = vectors_of_graph(edges, n_clusters, rng, tol=1e-5)
    return places if places is not None and len(np.unique(places, axis=0)) >= n_clusters else None


def _from_spread(places, n_clusters):
    """Labels by k-means from rows of places that point in different directions; nothing is left to chance."""
    spread = places[qr(places.T, mode="r", pivoting=True)[1][:n_clusters]]
    try:
        return kmeans2(places, spread, iter=MAX_LLOYD, minit="matrix", missing="raise")[1]
    except ClusterError:  # a cluster has lost its rows
        return cdist(places, spread).argmin(axis=1)
