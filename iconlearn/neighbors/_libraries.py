"""Imports of the search libraries; the only place that has them.

All of them are slow to import or optional, and a fit on a dense matrix with Euclidean or cosine
distances needs none; so each is imported where it is called.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import issparse

from ._parameters import parts_of

# faiss searches this many of its 4 sqrt(n) cells for each row.
FAISS_PROBES = 24


# Metrics that compare sets; scikit-learn has this list where it takes long to import.
BOOLEAN = ("dice", "jaccard", "rogerstanimoto", "russellrao", "sokalsneath", "yule")


def as_booleans(metric, *matrices):
    """Zeros and ones as booleans where the metric takes those; other numbers are left for scikit-learn to warn of."""
    if metric not in BOOLEAN or not all(((X == 0) | (X == 1)).all() for X in matrices):
        return matrices
    return [X.astype(bool) for X in matrices]


def sklearn_metrics() -> list[str]:
    """Names that scikit-learn's brute force search supports."""
    from sklearn.neighbors import VALID_METRICS

    return VALID_METRICS["brute"]


def sklearn_distances(A, B, metric) -> np.ndarray:
    """All distances between the rows of A and those of B, float64."""
    from sklearn.metrics import pairwise_distances

    A, B = as_booleans(metric, A, B)
    metric, params = parts_of(metric)
    return np.asarray(pairwise_distances(A, B, metric=metric, **params), dtype=float)


def sklearn_search(X, queries, k, metric, n_jobs):
    """Distances and columns of the k nearest rows of X for each query, exact for any metric."""
    from sklearn.neighbors import NearestNeighbors

    X, queries = as_booleans(metric, X, queries)
    metric, params = parts_of(metric)
    # The parameter p of a search is Minkowski's, under a name of its own.
    p = 2 if callable(metric) else params.get("p", 2)
    params = {name: value for name, value in params.items() if callable(metric) or name != "p"}
    search = NearestNeighbors(
        n_neighbors=k, algorithm="brute", metric=metric, p=p, metric_params=params or None, n_jobs=n_jobs
    ).fit(X)
    distances, indices = search.kneighbors(queries)
    return np.asarray(distances, dtype=float), indices.astype(np.int64)


def pynndescent_search(X, k, metric, n_jobs, random_state):
    """Approximate; a row that includes -1 was not found in full.  Rows usually include themselves."""
    from pynndescent import NNDescent

    workers = -1 if n_jobs is None else n_jobs
    # Its compiled loops are made for arrays that can be written to.
    X = X.copy() if issparse(X) else np.require(X, requirements="W")
    metric, params = parts_of(metric)
    index = NNDescent(
        X, n_neighbors=k, metric=metric, metric_kwds=params, n_jobs=workers, random_state=random_state
    )
    indices, distances = index.neighbor_graph
    return distances.astype(float), indices.astype(np.int64)


def pynndescent_metric(name):
    """A compiled function of two rows."""
    from pynndescent.distances import named_distances

    return named_distances[name]


def faiss_search(space, k, seed) -> np.ndarray:
    """Approximate, by faiss's inverted lists, for float32 rows under Euclidean distance.

    Returns indices alone; -1 where the cells that were looked into held fewer rows than k.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "backend='faiss' needs the package faiss, which is not installed: "
            "pip install faiss-cpu, or use backend='auto'"
        ) from error

    n, d = space.shape
    n_cells = max(1, min(int(4 * np.sqrt(n)), n // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, n_cells)
    index.cp.seed, index.cp.niter = seed, 5
    index.nprobe = FAISS_PROBES
    index.train(space)
    index.add(space)
    return index.search(space, k)[1].astype(np.int64)
