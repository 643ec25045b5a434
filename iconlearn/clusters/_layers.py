"""Several resolutions of one clustering: a path of merges that leads through the clusters of a fit.

Inside each cluster micro-clusters are merged greedily by the closed form of the hard, debiased loss, and of all these
merges the one that saves most is next, until only the clusters are left; these are merged in the same way until one is
left.  So for every number k there is a clustering, each is nested in all coarser ones, and for the number that was
fitted it is the one that the fit found.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ._agglomeration import HIGHEST_PRICE, merges, price_of_an_edge
from ._microclusters import coarsen
from ._weights import members

# Micro-clusters, or a quarter of the rows, the most where parts of the graph leave more, and the debias weight of the
# merges.
N_LEAVES, ROWS_PER_LEAF, MOST_LEAVES, RESOLUTION = 2000, 4, 4000, 0.05
# Between the numbers of clusters of two layers; the finest has so many leaves, and rows, for each cluster at least.
LEAST_RATIO, LARGEST_RATIO = 1.5, 4.0
LEAVES_PER_CLUSTER, ROWS_PER_CLUSTER = 4, 10


class Hierarchy(NamedTuple):
    """A path of merges from micro-clusters to a single cluster.

    Attributes
    ----------
    leaf : ndarray of int of shape (n_rows,)
        The micro-cluster of each row.
    size : ndarray of shape (n_leaves,)
        What the rows of each weigh.
    merged : ndarray of int of shape (n_leaves - 1, 2)
        By each merge the cluster of the second leaf joins that of the first, whose name it takes.
    layers : ndarray of int
        Numbers of clusters that stand out, falling.
    """

    leaf: np.ndarray
    size: np.ndarray
    merged: np.ndarray
    layers: np.ndarray

    def labels_at(self, n_clusters):
        """The clustering into so many clusters, numbered from the largest on; int of shape (n_rows,)."""
        return self._numbered(n_clusters)[self.leaf]

    def _numbered(self, n_clusters):
        """The cluster of each leaf."""
        m = len(self.size)
        root = np.arange(m)
        for keep, drop in self.merged[: m - n_clusters][::-1]:
            root[drop] = root[keep]  # a cluster that is kept here may be dropped later on
        group = np.unique(root, return_inverse=True)[1]
        order = np.argsort(-np.bincount(group, self.size), kind="stable")
        number = np.empty(len(order), dtype=np.int64)
        number[order] = np.arange(len(order))
        return number[group]

    def parents(self, fine, coarse):
        """The cluster among `coarse` of them that holds each of `fine`; int of shape (fine,)."""
        parent = np.empty(fine, dtype=np.int64)
        parent[self._numbered(fine)] = self._numbered(coarse)
        return parent

    def tree(self):
        """Children of every cluster of the layers, and of the root, by (layer, number)."""
        counts = self.layers.tolist()
        children = {}
        for layer, fine in enumerate(counts):
            above = self.parents(fine, counts[layer + 1]) if layer + 1 < len(counts) else np.zeros(fine, int)
            for number, parent in enumerate(above.tolist()):
                children.setdefault((layer + 1, parent), []).append((layer, number))
        return children


class LateHierarchy:
    """A hierarchy whose merges are found when it is first asked for.

    Parameters
    ----------
    find : callable
        Returns the hierarchy.
    found : Hierarchy or None, default=None
        The hierarchy, where it has been found.
    """

    def __init__(self, find, found=None):
        self.find, self.found = find, found

    def path(self) -> Hierarchy:
        """The hierarchy."""
        if self.found is None:
            self.found = self.find()
        return self.found


class ClusterLayers(Sequence):
    """Labels of all rows at several resolutions, from the finest to the coarsest; found when first read.

    Parameters
    ----------
    late : LateHierarchy
    mark : callable
        ``mark(path, n_clusters)`` gives the labels at one resolution.
    """

    def __init__(self, late, mark):
        self.late, self.mark, self.found = late, mark, None

    def _labels(self):
        if self.found is None:
            path = self.late.path()
            self.found = [self.mark(path, k) for k in path.layers.tolist()]
        return self.found

    def __len__(self):
        return len(self._labels())

    def __getitem__(self, at):
        return self._labels()[at]

    def __repr__(self):
        counts = ", ".join(map(str, self.late.path().layers))
        return f"<ClusterLayers of {counts} clusters>"

    def __reduce__(self):
        return list, (self._labels(),)


class ClusterTree(Mapping):
    """Which clusters of the layers lie in which: ``{(layer, number): [(layer - 1, number), ...]}``.

    Layers count from the finest on; the root is (number of layers, 0).  Found when first read.

    Parameters
    ----------
    late : LateHierarchy
    """

    def __init__(self, late):
        self.late, self.found = late, None

    def _children(self):
        if self.found is None:
            self.found = self.late.path().tree()
        return self.found

    def __getitem__(self, cluster):
        return self._children()[cluster]

    def __iter__(self):
        return iter(self._children())

    def __len__(self):
        return len(self._children())

    def __repr__(self):
        return repr(self._children())

    def __reduce__(self):
        return dict, (self._children(),)


def hierarchy(p, labels, rng, *, balance=1.0) -> Hierarchy:
    """The path of merges of a sparse p through given clusters.

    Parameters
    ----------
    p : Conditional
        Columns are the rows.
    labels : ndarray of int of shape (n,)
        Clusters, any of whose numbers may be without rows.
    rng : RandomState
        Breaks ties among micro-clusters.
    balance : float, default=1.0
        The power of the clusters' sizes in q.
    """
    cluster = np.unique(labels, return_inverse=True)[1]
    edges, weight = p.sparse(), np.ones(p.n_rows)
    if p.copies is not None:
        edges, weight = sparse.csr_array(edges.multiply(p.copies[:, None])), p.copies
    edges = sparse.csr_array((edges + edges.T) / 2.0)
    leaf = _leaves(edges, cluster, weight, rng)
    m, n_clusters = int(leaf.max()) + 1, int(cluster.max()) + 1
    size, member = np.bincount(leaf, weight), members(leaf)
    between = sparse.csr_array(member.T @ edges @ member)
    cluster_of_leaf = np.empty(m, dtype=np.int64)
    cluster_of_leaf[leaf] = cluster
    fine, first = _inside(between, cluster_of_leaf, size, balance)
    options = {"rows": size, "balance": balance}
    coarse = [
        (first[merge.keep], first[merge.drop], price_of_an_edge(merge))
        for merge in merges(between, cluster_of_leaf, RESOLUTION, **options)
    ]
    path = np.array([merge[:2] for merge in fine + coarse], dtype=np.int64).reshape(-1, 2)
    within, across = (np.maximum.accumulate([merge[2] for merge in part] or [0.0]) for part in (fine, coarse))
    finest = min(m // LEAVES_PER_CLUSTER, len(leaf) // ROWS_PER_CLUSTER)
    return Hierarchy(leaf, size, path, _standing_out(within, across, m, n_clusters, finest))


def marked(path, n_clusters, fitted, shares, least):
    """Labels at one resolution, -1 for rows whose share of their cluster is below the least.

    Parameters
    ----------
    path : Hierarchy
    n_clusters : int
    fitted : ndarray of int of shape (n,)
        The clusters that the path leads through.
    shares : ndarray of shape (n, n_fitted) or None
        Of each of these; those of clusters that are merged are added, and one that is split keeps its own.  None
        marks no row.
    least : float
    """
    labels = path.labels_at(n_clusters)
    if shares is not None:
        if n_clusters < len(np.unique(fitted)):
            above = np.zeros((shares.shape[1], n_clusters))
            above[fitted, labels] = 1.0
            shares = shares @ above
        labels[shares.max(axis=1) < least] = -1
    return labels


def _leaves(edges, cluster, weight, rng):
    """The micro-cluster of each row, every one inside a cluster, numbered without gaps."""
    n, n_clusters = len(cluster), int(cluster.max()) + 1
    pairs = sparse.coo_array(edges)
    within = cluster[pairs.row] == cluster[pairs.col]
    inside = sparse.csr_array((pairs.data[within], (pairs.row[within], pairs.col[within])), shape=edges.shape)
    leaf = coarsen(inside, max(min(N_LEAVES, n // ROWS_PER_LEAF), n_clusters), rng, weight)
    size = np.bincount(leaf, weight)
    of_leaf = np.empty(len(size), dtype=np.int64)
    of_leaf[leaf] = cluster
    # A row without edges says nothing of itself: it goes with the largest group of its cluster, as do the smallest
    # groups where parts without edges between them leave too many.
    alone = np.ones(len(size), dtype=bool)
    alone[leaf[np.diff(edges.indptr) > 0]] = False
    by_size = np.argsort(-size, kind="stable")
    alone[by_size[max(MOST_LEAVES, 2 * n_clusters) :]] = True
    largest = np.empty(n_clusters, dtype=np.int64)
    largest[of_leaf[by_size[::-1]]] = by_size[::-1]
    target = np.where(alone, largest[of_leaf], np.arange(len(size)))
    return np.unique(target[leaf], return_inverse=True)[1]


def _inside(between, cluster, size, balance):
    """Merges (keep, drop, price) inside clusters, the largest gain next, and the leaf that is left of each cluster."""
    total, waiting, paths = size.sum(), [], []
    first = np.empty(int(cluster.max()) + 1, dtype=np.int64)
    order = np.argsort(cluster, kind="stable")
    for number, leaves in enumerate(np.split(order, np.cumsum(np.bincount(cluster))[:-1])):
        part = merges(
            between[leaves][:, leaves], np.arange(len(leaves)), RESOLUTION, size[leaves], balance, total=total
        )
        path = [
            (leaves[merge.keep], leaves[merge.drop], price_of_an_edge(merge), merge.gain) for merge in part
        ]
        first[number] = path[-1][0] if path else leaves[0]
        paths.append(path)
        if path:
            heapq.heappush(waiting, (-path[0][3], number, 0))
    out = []
    while waiting:
        _, number, at = heapq.heappop(waiting)
        out.append(paths[number][at][:3])
        if at + 1 < len(paths[number]):
            heapq.heappush(waiting, (-paths[number][at + 1][3], number, at + 1))
    return out, first


def _standing_out(fine, coarse, n_leaves, n_clusters, finest):
    """The fitted number and others on either side: in each range of ratios where the next merge is dearest by far."""
    counts = [n_clusters]
    # Merge t of the first part leads to n_leaves - t - 1 clusters, of the second to n_clusters - t - 1.
    while (low := int(np.ceil(LEAST_RATIO * counts[0]))) <= min(finest, n_leaves - 1):
        k = np.arange(low, min(int(LARGEST_RATIO * counts[0]), finest, n_leaves - 1) + 1)
        counts.insert(0, int(k[_dearer(fine, n_leaves - k)]))
    # Clusters that no mass connects are merged by their sizes alone, which says nothing.
    fewest = max(n_clusters - int(np.count_nonzero(coarse < HIGHEST_PRICE)), 2)
    while (high := int(counts[-1] / LEAST_RATIO)) >= fewest:
        k = np.arange(max(int(np.ceil(counts[-1] / LARGEST_RATIO)), fewest), high + 1)
        counts.append(int(k[_dearer(coarse, n_clusters - k)]))
    return np.array(counts)


def _dearer(prices, t):
    """Where merge t is dearest beside the one before it."""
    logs = np.log(np.maximum(prices, np.finfo(float).tiny))
    return np.argmax(logs[t] - logs[t - 1])
