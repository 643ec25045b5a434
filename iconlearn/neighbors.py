"""Nearest neighbours and distances: the only file that knows the search libraries.

    knn(X, k):  for every row i the k columns j != i of least d(x_i, x_j), duplicates included

Up to ``MAX_EXACT`` rows the search is exact (scikit-learn, brute force); beyond it pynndescent
approximates, and is imported only then.  Euclidean and cosine distances of the pairs found are
evaluated again from differences, because matrix products lose the distance of near-equal rows.  New
rows are always searched exactly, with ties broken by index, so that no row depends on the others in
its batch.
"""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import VALID_METRICS, NearestNeighbors
from sklearn.preprocessing import normalize

from iconlearn._validation import suggest

__all__ = [
    "check_metric",
    "distance_block",
    "duplicate_groups",
    "equal_rows",
    "knn",
    "neighbor_graph",
    "pair_distances",
]

# Above this many training rows the search is approximate.
MAX_EXACT = 100_000

# Numbers held by one temporary block (32 MiB of float64).
BLOCK_SIZE = 2**22

# These estimate parameters from the rows at hand, so that a row would depend on its batch.
_DATA_DEPENDENT = {
    "seuclidean": "scale the columns of X (StandardScaler)",
    "mahalanobis": "whiten X (PCA(whiten=True))",
}
_EUCLIDEAN = ("euclidean", "l2")

# Metrics without parameters that only pynndescent has; named here because its import takes long.
_PYNNDESCENT = (
    "circular_kantorovich",
    "hellinger",
    "jensen_shannon",
    "kantorovich_1d",
    "spearmanr",
    "symmetric_kl",
    "true_angular",
    "tsss",
    "wasserstein_1d",
)


def check_metric(metric):
    """Return `metric` if some search knows it.

    Raises
    ------
    ValueError
        For an unknown name (with the nearest known one), or for a metric that depends on the batch.
    """
    if callable(metric):
        return metric
    if metric in _DATA_DEPENDENT:
        raise ValueError(
            f'metric="{metric}" takes its scale from the rows at hand; {_DATA_DEPENDENT[metric]} '
            f'and use metric="euclidean" instead'
        )
    known = {"precomputed", *VALID_METRICS["brute"], *_PYNNDESCENT}
    known -= {"nan_euclidean", *_DATA_DEPENDENT}
    if metric not in known:
        raise ValueError(f"metric={metric!r} is not known.{suggest(metric, sorted(known))}")
    return metric


def knn(X, k, *, metric="euclidean", queries=None, n_jobs=None, random_state=None):
    """The k nearest rows of X, for each of its rows or for each query.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)
        With ``metric="precomputed"``: distances of shape (n, n), unused when `queries` is given.
    k : int
        At most n - 1 without queries, at most n with queries.
    metric : str or callable, default="euclidean"
        Any metric of scikit-learn's or pynndescent's.
    queries : ndarray or sparse matrix of shape (m, n_features) or None
        With ``metric="precomputed"``: distances of shape (m, n).
    n_jobs : int or None
    random_state : int, RandomState or None
        Used by the approximate search only.

    Returns
    -------
    distances : ndarray of float64 of shape (m, k)
        Ascending in each row.
    indices : ndarray of int64 of shape (m, k)
        Without queries a row never contains its own index, whatever its distance to itself.
    """
    check_metric(metric)
    if metric == "precomputed":
        graph = neighbor_graph(X, k, metric=metric, queries=queries)
        if np.any(np.diff(graph.indptr) < k):
            raise ValueError(f"some rows of the distance graph store fewer than k={k} neighbours; lower k")
        return graph.data.reshape(-1, k), graph.indices.reshape(-1, k).astype(np.int64)
    X, queries = _csr(X), None if queries is None else _csr(queries)
    foreign = metric in _PYNNDESCENT
    if queries is None:
        if X.shape[0] > MAX_EXACT or foreign:
            return _approximate(X, k, metric, n_jobs, random_state)
        distances, indices = _search(X, X, k + 1, metric, n_jobs)
        return _drop_self(distances, indices, np.arange(X.shape[0]))
    metric = _evaluable(metric)
    wanted = min(k + 1, X.shape[0])
    distances, indices = _search(X, queries, wanted, metric, n_jobs)
    if wanted > k:
        tied = np.flatnonzero(
            distances[:, k] - distances[:, k - 1] <= _resolution(X, queries, metric, distances)
        )
        _break_ties(X, queries, k, metric, tied, distances, indices)
    return distances[:, :k].copy(), indices[:, :k].copy()


def neighbor_graph(X, k, *, metric="euclidean", queries=None, n_jobs=None, random_state=None) -> csr_array:
    """:func:`knn` as a sparse matrix of distances; distances of zero are stored entries.

    Parameters
    ----------
    k : int or None
        None keeps all the neighbours that a precomputed matrix holds.
    X, metric, queries, n_jobs, random_state
        As for :func:`knn`; a precomputed `X` (or `queries`) may be sparse, in which case its stored
        entries are the neighbours, as in the output of ``KNeighborsTransformer(mode="distance")``.

    Returns
    -------
    csr_array of shape (m, n)
        Each row holds at most k entries, by ascending distance (column indices are not sorted).
    """
    if metric == "precomputed":
        source, drop = (X, True) if queries is None else (queries, False)
        return _sparse_neighbors(source, k, drop) if issparse(source) else _dense_neighbors(source, k, drop)
    distances, indices = knn(X, k, metric=metric, queries=queries, n_jobs=n_jobs, random_state=random_state)
    indptr = np.arange(0, indices.size + 1, k)
    return csr_array((distances.ravel(), indices.ravel(), indptr), shape=(len(indices), X.shape[0]))


def distance_block(A, B, *, metric="euclidean") -> np.ndarray:
    """All distances between the rows of A and the rows of B, shape (len(A), len(B)), float64.

    Euclidean and cosine distances come from a matrix product; pairs so close that the product has
    lost their distance are evaluated again from differences.
    """
    A, B = _csr(A), _csr(B)
    if metric in _EUCLIDEAN:
        return np.sqrt(_sqdist_block(A, B))
    if metric == "cosine":
        U, V = _unit_rows(A), _unit_rows(B)
        block = 0.5 * _sqdist_block(U, V)
        block[_sqnorms(U) == 0] = 1.0
        block[:, _sqnorms(V) == 0] = 1.0
        return block
    return np.asarray(pairwise_distances(A, B, metric=_evaluable(metric)), dtype=float)


def pair_distances(A, B, i, j, *, metric="euclidean") -> np.ndarray:
    """Distances d(A[i], B[j]) of single pairs, from differences; Euclidean or cosine only.

    The cosine distance is |u - v|^2 / 2 of the unit vectors, which keeps its digits near zero; a
    row of zeros is at distance 1 from everything.
    """
    i, j = np.asarray(i), np.asarray(j)
    if metric == "cosine":
        A, B = _unit_rows(A), _unit_rows(B)
        void = (_sqnorms(A) == 0)[i] | (_sqnorms(B) == 0)[j]
        return np.where(void, 1.0, 0.5 * _pair_sqdist(A, B, i, j))
    return np.sqrt(_pair_sqdist(A, B, i, j))


def equal_rows(X_new, X, indices=None) -> np.ndarray:
    """For every new row the first training row that is exactly equal to it, or -1.

    Parameters
    ----------
    X_new : ndarray or sparse matrix of shape (m, n_features)
    X : ndarray or sparse matrix of shape (n, n_features)
    indices : ndarray of int of shape (m, k) or None
        Training rows to compare with, for example those found by :func:`knn`; None compares with
        all.

    Returns
    -------
    ndarray of int64 of shape (m,)
    """
    X_new, X = _csr(X_new), _csr(X)
    found = np.full(X_new.shape[0], -1, dtype=np.int64)
    if indices is None:
        first = {}
        for row, key in enumerate(_row_keys(X)):
            first.setdefault(key, row)
        for row, key in enumerate(_row_keys(X_new)):
            found[row] = first.get(key, -1)
        return found
    for candidates in np.asarray(indices).T:
        open_rows = np.flatnonzero(found < 0)
        if not len(open_rows):
            break
        same = _pairs_equal(X_new, X, open_rows, candidates[open_rows])
        found[open_rows[same]] = candidates[open_rows[same]]
    return found


def duplicate_groups(X) -> np.ndarray:
    """Number the distinct rows of X in order of appearance: equal rows share a number.

    Returns
    -------
    ndarray of int64 of shape (n,)
        ``groups[i] == groups[j]`` if and only if the rows are equal (-0.0 equals 0.0).
    """
    numbers = {}
    return np.fromiter(
        (numbers.setdefault(key, len(numbers)) for key in _row_keys(_csr(X))), np.int64, X.shape[0]
    )


# --- search ---------------------------------------------------------------------------------


def _search(X, queries, k, metric, n_jobs):
    """Exact search, self included; Euclidean and cosine distances are evaluated again."""
    space, targets, name = X, queries, metric
    if metric == "cosine" and _sqnorms(X).all() and _sqnorms(queries).all():
        space, targets, name = _unit_rows(X), _unit_rows(queries), "euclidean"
    elif metric in _EUCLIDEAN:
        space, targets = _recentred(X, queries)
    search = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=name, n_jobs=n_jobs).fit(space)
    distances, indices = search.kneighbors(targets)
    return _ordered(X, queries, metric, np.asarray(distances, dtype=float), indices.astype(np.int64))


def _approximate(X, k, metric, n_jobs, random_state):
    """pynndescent; rows where it failed are searched exactly."""
    from pynndescent import NNDescent

    index = NNDescent(
        X,
        n_neighbors=k + 1,
        metric=metric,
        n_jobs=-1 if n_jobs is None else n_jobs,
        random_state=random_state,
    )
    indices, distances = index.neighbor_graph
    indices, distances = indices.astype(np.int64), distances.astype(float)
    failed = np.flatnonzero((indices < 0).any(axis=1))
    if len(failed):
        found = _search(X, X[failed], k + 1, _evaluable(metric), n_jobs)
        distances[failed], indices[failed] = found
    distances, indices = _ordered(X, X, metric, distances, indices)
    return _drop_self(distances, indices, np.arange(X.shape[0]))


def _ordered(X, queries, metric, distances, indices):
    if metric in _EUCLIDEAN or metric == "cosine":
        rows = np.repeat(np.arange(indices.shape[0]), indices.shape[1])
        distances = pair_distances(queries, X, rows, indices.ravel(), metric=metric).reshape(indices.shape)
    order = np.lexsort((indices, distances), axis=1)
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)


def _drop_self(distances, indices, own):
    """Remove each row's own index, or the farthest where duplicates have crowded it out."""
    drop = indices == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(own), indices.shape[1] - 1)
    return distances[~drop].reshape(shape), indices[~drop].reshape(shape)


def _resolution(X, queries, metric, distances):
    """Difference of distances below which the search may have taken one column for another."""
    far = np.abs(distances[:, -1])
    relative = 1e-6 if X.dtype == np.float32 or queries.dtype == np.float32 else 1e-12
    if metric == "cosine":
        return np.full(len(far), relative)
    if metric not in _EUCLIDEAN:
        return relative * far
    space, targets = _recentred(X, queries)
    error = relative * (_sqnorms(targets) + _sqnorms(space).max())
    return error / np.maximum(far, np.sqrt(error) + np.finfo(float).tiny)


def _break_ties(X, queries, k, metric, tied, distances, indices):
    """Choose anew, by (distance, index), among all columns as near as the k-th."""
    step = max(1, BLOCK_SIZE // X.shape[0])
    for start in range(0, len(tied), step):
        rows = tied[start : start + step]
        block = distance_block(queries[rows], X, metric=metric)
        reach = distances[rows, k - 1] * (1 + 1e-9)
        for row, seen, limit in zip(rows, block, reach):
            columns = np.flatnonzero(seen <= limit)
            exact = seen[columns]
            if metric in _EUCLIDEAN or metric == "cosine":
                exact = pair_distances(queries[[row]], X, np.zeros_like(columns), columns, metric=metric)
            chosen = np.lexsort((columns, exact))[:k]
            distances[row, : len(chosen)], indices[row, : len(chosen)] = (
                exact[chosen],
                columns[chosen],
            )


def _dense_neighbors(matrix, k, drop_self):
    matrix = np.asarray(matrix)
    n_rows, n_cols = matrix.shape
    available = n_cols - drop_self
    k = available if k is None else min(k, available)
    distances, indices = np.empty((n_rows, k)), np.empty((n_rows, k), dtype=np.int64)
    step = max(1, BLOCK_SIZE // n_cols)
    for start in range(0, n_rows, step):
        rows = np.arange(start, min(start + step, n_rows))
        block = matrix[rows].astype(float)
        if drop_self:
            block[np.arange(len(rows)), rows] = np.inf
        chosen = np.argsort(block, axis=1, kind="stable")[:, :k]
        distances[rows], indices[rows] = np.take_along_axis(block, chosen, axis=1), chosen
    return csr_array((distances.ravel(), indices.ravel(), np.arange(n_rows + 1) * k), shape=matrix.shape)


def _sparse_neighbors(matrix, k, drop_self):
    matrix = _csr(matrix)
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((matrix.indices, matrix.data, rows))
    if drop_self:
        order = order[matrix.indices[order] != rows[order]]
    counts = np.bincount(rows[order], minlength=matrix.shape[0])
    starts = np.concatenate([[0], np.cumsum(counts)])
    if k is not None:
        order = order[np.arange(len(order)) - np.repeat(starts[:-1], counts) < k]
        starts = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    return csr_array((matrix.data[order].astype(float), matrix.indices[order], starts), shape=matrix.shape)


def _evaluable(metric):
    """The metric in a form that scikit-learn can evaluate."""
    if metric not in _PYNNDESCENT:
        return metric
    from pynndescent.distances import named_distances

    return named_distances[metric]


# --- rows and pairs -------------------------------------------------------------------------


def _csr(X):
    return csr_array(X) if issparse(X) else np.asarray(X)


def _recentred(X, queries):
    """Both moved by X's mean where it is far off: distances stay, matrix products gain digits."""
    if not issparse(X):
        centre = X.mean(axis=0, dtype=float)
        spread = _sqnorms(X).mean() - centre @ centre
        if centre @ centre > 100 * spread:
            return X - centre, queries - centre
    return X, queries


def _sqnorms(X):
    if issparse(X):
        X = X.astype(float)
        return np.asarray(X.multiply(X).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", X, X, dtype=float)


def _unit_rows(X):
    """Rows of length one in float64 (scaled first, so that squares are finite); zeros stay."""
    X = X.astype(float)
    if issparse(X):
        return normalize(normalize(X, norm="max"))
    peak = np.abs(X).max(axis=1, initial=0.0, keepdims=True)
    X = X / np.where(peak > 0, peak, 1.0)
    return normalize(X)


def _pair_sqdist(A, B, i, j):
    out = np.empty(len(i))
    step = max(1, BLOCK_SIZE // max(1, A.shape[1])) if not issparse(A) else 2**16
    for start in range(0, len(i), step):
        at = slice(start, start + step)
        if issparse(A):
            out[at] = _sqnorms(A[i[at]].astype(float) - B[j[at]].astype(float))
        else:
            gap = A[i[at]].astype(float)
            gap -= B[j[at]]
            out[at] = np.einsum("ij,ij->i", gap, gap)
    return out


def _sqdist_block(A, B):
    near, far = A, B
    if not issparse(B):
        centre = B.mean(axis=0, dtype=float)
        near, far = A - centre, B - centre
    else:
        near, far = A.astype(float), B.astype(float)
    scale = _sqnorms(near)[:, None] + _sqnorms(far)
    block = euclidean_distances(near, far, squared=True)
    i, j = np.nonzero(block <= 1e-6 * scale)
    if len(i):
        block[i, j] = _pair_sqdist(A, B, i, j)
    return block


def _pairs_equal(A, B, i, j):
    equal = np.empty(len(i), dtype=bool)
    step = max(1, BLOCK_SIZE // max(1, A.shape[1])) if not issparse(A) else 2**16
    for start in range(0, len(i), step):
        at = slice(start, start + step)
        if issparse(A):
            unequal = csr_array(A[i[at]] != B[j[at]])
            equal[at] = np.asarray(unequal.sum(axis=1)).ravel() == 0
        else:
            equal[at] = (A[i[at]] == B[j[at]]).all(axis=1)
    return equal


def _row_keys(X):
    """A 32-byte digest of every row: the same for equal rows, whatever their precision."""
    if issparse(X):
        X = csr_array(X, dtype=float, copy=True)
        X.sum_duplicates()
        X.eliminate_zeros()
        columns = X.indices.astype(np.int64)
        for start, stop in zip(X.indptr[:-1], X.indptr[1:]):
            yield hashlib.blake2b(
                columns[start:stop].tobytes() + X.data[start:stop].tobytes(), digest_size=32
            ).digest()
        return
    step = max(1, BLOCK_SIZE // max(1, X.shape[1]))
    for start in range(0, X.shape[0], step):
        # Adding zero turns -0.0 into 0.0.
        for row in np.ascontiguousarray(X[start : start + step], dtype=float) + 0.0:
            yield hashlib.blake2b(row.data, digest_size=32).digest()
