"""Starts of a clustering: several partitions that are quickly found, ranked by the loss, without labels."""

from __future__ import annotations

import numpy as np

from ._agglomeration import agglomerate
from ._microclusters import MAX_CELLS, coarsen, merge_smallest
from ._refine import refined, soften
from ._search import RESOLUTIONS, walk_places

# Micro-clusters per cluster of the merging.
CELLS_PER_CLUSTER = (10, 30, 50)
# Runs of k-means among eigenvectors, as in scikit-learn's SpectralClustering: they are few columns, and fast.
SPECTRAL_TRIES = 10


def partitions(init, n_init, X, edges, n_clusters, rng):
    """Yield hard starts (arrays of labels).

    Parameters
    ----------
    init : {"agglomerate", "kmeans", "k-means++", "spectral", "random"} or array of int of shape (n,)
    n_init : int
        How many starts; an array is one.
    X : ndarray or sparse matrix or None
        Features, where there are any.
    edges : csr_array
        p, for the merging.
    n_clusters : int
    rng : RandomState
    """
    if not isinstance(init, str):
        yield np.asarray(init)
        return
    if init == "agglomerate":
        plans = [(per, a) for per in CELLS_PER_CLUSTER for a in RESOLUTIONS]
        groups = {}
        for k in range(n_init):
            per, a = plans[(k * 5) % len(plans)]  # 5 and 12 share no factor: few starts still differ in both
            turn = (per, k // len(plans))
            if turn not in groups:
                groups[turn] = cells(X, edges, min(per * n_clusters, MAX_CELLS), n_clusters, rng)
            yield agglomerate(edges, groups[turn], n_clusters, a)
        return
    places = walk_places(edges, n_clusters, rng) if init == "spectral" else None
    for _ in range(n_init):
        if places is not None:
            yield k_means(places, n_clusters, rng, n_init=SPECTRAL_TRIES)
        elif init == "kmeans" and X is not None:
            yield k_means(X, n_clusters, rng, n_init=1)
        elif init == "k-means++" and X is not None:
            yield _seeded(X, n_clusters, rng)
        elif init != "random":
            yield merged(edges, n_clusters, rng)
        else:
            yield rng.randint(n_clusters, size=(X if edges is None else edges).shape[0])


def cells(X, edges, n_cells, n_clusters, rng):
    """Micro-clusters: at most a quarter as many as rows, at least as many as clusters."""
    n = edges.shape[0]
    n_cells = max(min(n_cells, n // 4), min(n_clusters, n))
    if X is None:
        return coarsen(edges, n_cells, rng)
    from sklearn.cluster import MiniBatchKMeans

    search = MiniBatchKMeans(n_cells, random_state=rng, batch_size=4096, n_init=1, compute_labels=True)
    labels = np.unique(search.fit_predict(X), return_inverse=True)[1]
    if labels.max() + 1 < n_clusters:
        return coarsen(edges, n_clusters, rng)
    return labels


def merged(edges, n_clusters, rng):
    """No more clusters than that, from the graph alone, also where it falls into more parts."""
    groups = merge_smallest(coarsen(edges, n_clusters, rng), np.ones(edges.shape[0]), n_clusters)
    return agglomerate(edges, groups, n_clusters, RESOLUTIONS[0])


def k_means(X, n_clusters, rng, **options):
    """Labels by scikit-learn's k-means, which is imported here and no sooner."""
    from sklearn.cluster import KMeans

    return KMeans(n_clusters, random_state=rng, **options).fit_predict(X)


def _seeded(X, n_clusters, rng):
    """Labels by the nearest of k-means++'s seeds."""
    from sklearn.cluster import kmeans_plusplus
    from sklearn.metrics import pairwise_distances_argmin

    return pairwise_distances_argmin(X, kmeans_plusplus(X, n_clusters, random_state=rng)[0])


def rank(graph, starts, n_clusters, *, n_kept=3, n_short=15):
    """Refine each start a little; the assignments of the `n_kept` lowest losses, best first."""
    tried = []
    for labels in starts:
        r, loss = refined(graph, soften(labels, n_clusters), max_iter=n_short, tol=0.0)
        tried.append((loss, len(tried), r))
    tried.sort(key=lambda start: start[:2])
    return [r for _, _, r in tried[:n_kept]]
