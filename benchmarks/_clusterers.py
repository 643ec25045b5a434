"""What practitioners cluster with, as functions (X, n_clusters, seed) -> labels."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans, SpectralClustering
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONClustering
from iconlearn.learned import Cluster
from iconlearn.supervisory import KNN

__all__ = ["CLUSTERERS", "FOR_SHAPES"]

# HDBSCAN knows no number of clusters: of these smallest sizes the one that comes nearest to it is taken.
MIN_CLUSTER_SIZES = (5, 10, 25, 50, 100)
# Bisections of Leiden's resolution until there are as many communities as asked for.
N_BISECTIONS = 40


def icon(X, n_clusters, seed):
    return ICONClustering(n_clusters, random_state=seed).fit_predict(X)


def icon_for_shapes(X, n_clusters, seed):
    """Few neighbours, and almost no pull of sizes towards each other (doc/clustering.md, Shapes)."""
    model = ICONClustering(n_clusters, p=KNN(10), q=Cluster(balance=0.1), random_state=seed)
    return model.fit_predict(X)


def k_means(X, n_clusters, seed):
    return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(X)


def mixture(X, n_clusters, seed):
    return GaussianMixture(n_clusters, random_state=seed).fit_predict(X.astype(np.float64))


def spectral(X, n_clusters, seed):
    return SpectralClustering(n_clusters, affinity="nearest_neighbors", random_state=seed).fit_predict(X)


def hdbscan(X, n_clusters, seed):
    """Noise is a cluster like the others: its rows are in nobody else's."""
    del seed
    found = [HDBSCAN(min_cluster_size=size, copy=True).fit_predict(X) for size in MIN_CLUSTER_SIZES]
    return min(found, key=lambda labels: abs(labels.max() + 1 - n_clusters))


def leiden(X, n_clusters, seed):
    import igraph
    import leidenalg

    graph = kneighbors_graph(X, 15)
    row, col = graph.maximum(graph.T).nonzero()
    edges = np.stack([row, col], axis=1)[row < col]
    graph = igraph.Graph(n=len(X), edges=edges)
    low, high, best = 1e-4, 100.0, None
    for _ in range(N_BISECTIONS):
        resolution = (low * high) ** 0.5
        labels = np.array(
            leidenalg.find_partition(
                graph,
                leidenalg.RBConfigurationVertexPartition,
                resolution_parameter=resolution,
                seed=seed,
            ).membership
        )
        found = labels.max() + 1
        if best is None or abs(found - n_clusters) < abs(best.max() + 1 - n_clusters):
            best = labels
        if found == n_clusters:
            break
        low, high = (resolution, high) if found < n_clusters else (low, resolution)
    return best


def umap(X, seed):
    """Ten dimensions, by the options that its documentation recommends for clusters."""
    from umap import UMAP

    return UMAP(
        n_components=min(10, X.shape[1]), n_neighbors=30, min_dist=0.0, random_state=seed
    ).fit_transform(X)


def umap_mixture(X, n_clusters, seed):
    return mixture(umap(X, seed), n_clusters, seed)


def umap_k_means(X, n_clusters, seed):
    return k_means(umap(X, seed), n_clusters, seed)


CLUSTERERS = {
    "ICONClustering": icon,
    "KMeans": k_means,
    "GaussianMixture": mixture,
    "SpectralClustering": spectral,
    "HDBSCAN": hdbscan,
    "Leiden": leiden,
    "UMAP + GaussianMixture": umap_mixture,
    "UMAP + KMeans": umap_k_means,
}
# What is not a default is for the shapes alone.
FOR_SHAPES = {"ICONClustering, balance 0.1": icon_for_shapes}
