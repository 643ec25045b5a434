"""Which search is taken, and its answer as arrays or as a sparse matrix."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array, issparse

from .._checks import check_choice, check_number, check_squares
from .._device import cpu_by_default, has_cuda
from .._randomness import random_source
from ._distances import (
    PairDistances,
    check_defined,
    check_form,
    check_metric,
    evaluable,
    from_products,
    given_neighbors,
    only_pynndescent,
)
from ._exact import by_distance, exact_search, prepared_for, without_self
from ._inverted_lists import search_cells
from ._libraries import faiss_search, pynndescent_search
from ._packed import as_bytes, is_packed, packed_pairs
from ._parameters import parts_of, with_params
from ._rows import PreparedRows, as_rows, both_rows

# Seconds for each pair of rows and column that an exact search meets, on two cores of about 3 GHz; and rows
# of a larger search, which meets fewer and is as slow as with so many.
SECONDS_PER_TERM, MOST_MET = 5.5e-11, 15_000

BACKENDS = ("auto", "exact", "ivf", "pynndescent", "faiss")

# Most training rows that are searched exactly: by products on the CPU or on a GPU, and by brute force
# where a product does not give the distance (pynndescent needs half a minute to compile).  An H200 took 9 s for all
# pairs of a million rows, so about 0.4 s for those of 200 000, where starting the operations of a search in cells takes
# as long.
MAX_EXACT = 15_000
MAX_EXACT_CUDA = 200_000
MAX_BRUTE = 40_000
# Most training rows whose neighbours among themselves are found on the CPU although there is a GPU: below, starting
# its operations takes as long.  New rows among up to MAX_EXACT, since all training rows would be copied for them.
MAX_ON_CPU = 5000


def choose_backend(X, *, metric="euclidean", metric_params=None, backend="auto", device=None) -> str:
    """The search that :func:`knn` takes for the neighbours among the rows of X.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)
    metric : str or callable, default="euclidean"
    metric_params : dict or None, default=None
        As for :func:`knn`.
    backend : {"auto", "exact", "ivf", "pynndescent", "faiss"}, default="auto"
        "auto": exact search up to 15 000 rows (200 000 on a GPU), cells above,
        for dense X with a Euclidean or cosine metric; other metrics and sparse X exactly up to 40 000
        rows, by pynndescent above.
    device : torch.device, str or None, default=None
        As for :func:`knn`.

    Returns
    -------
    str
        One of the names above but "auto"; "precomputed" where the metric is that.

    Raises
    ------
    ValueError
        If the named backend does not know the metric, if the metric does not know sparse input, or where a function
        that is not compiled by numba would have to be called for more than 40 000 rows.
    """
    check_choice("backend", backend, BACKENDS)
    metric = with_params(metric, metric_params)
    if isinstance(metric, str) and metric == "precomputed":
        return "precomputed"
    check_form(X, metric)
    dense = from_products(metric) and not issparse(X)
    if backend in ("ivf", "faiss") and not dense:
        what = "sparse X" if issparse(X) else f"metric={metric!r}"
        raise ValueError(
            f"backend={backend!r} searches dense rows with a Euclidean or cosine metric only, not {what}; "
            f"use backend='auto'"
        )
    chosen = _fitting_backend(X, metric, dense, device) if backend == "auto" else backend
    name, params = parts_of(metric)
    if chosen == "pynndescent" and params and (callable(name) or "w" in params):
        raise ValueError(
            f"metric={metric!r} cannot be searched by pynndescent, which takes metric_params p, V and VI alone; use "
            f"backend='exact'"
        )
    if chosen == "pynndescent" and callable(metric) and not type(metric).__module__.startswith("numba"):
        raise ValueError(
            f"metric={metric!r} is a plain Python function, which only backend='exact' calls, for at most {MAX_BRUTE} "
            f"rows by default; compile it with numba.njit, or use the name of a metric"
        )
    return chosen


def _fitting_backend(X, metric, dense, device):
    if only_pynndescent(metric):
        return "pynndescent"
    n = X.shape[0]
    if not dense:
        return "exact" if n <= MAX_BRUTE else "pynndescent"
    most = MAX_EXACT_CUDA if _device(device).type == "cuda" else MAX_EXACT
    return "exact" if n <= most else "ivf"


@cpu_by_default
def knn(
    X,
    k,
    *,
    metric="euclidean",
    metric_params=None,
    queries=None,
    backend="auto",
    n_jobs=None,
    random_state=None,
    device=None,
    prepared=None,
):
    """The k nearest rows of X, for each of its rows or for each query.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)
        With ``metric="precomputed"``: distances of shape (n, n), unused when `queries` is given.
    k : int
        At most n - 1 without queries, at most n with queries.
    metric : str or callable, default="euclidean"
        Any metric of scikit-learn's or pynndescent's; a function is called with two rows of floats.  "bit_hamming"
        and "bit_jaccard" take rows of packed bits, as ``numpy.packbits(X > 0, axis=1)`` gives them.
    metric_params : dict or None, default=None
        Parameters of the metric, as in scikit-learn: ``{"p": 3}`` (and weights "w") of "minkowski",
        ``{"V": variances}`` of "seuclidean", ``{"VI": inverse covariance}`` of "mahalanobis", or further arguments of a
        function.
    queries : ndarray or sparse matrix of shape (m, n_features) or None
        Searched exactly, whatever the backend.  With ``metric="precomputed"``: distances of shape
        (m, n).
    backend : {"auto", "exact", "ivf", "pynndescent", "faiss"}, default="auto"
        How neighbours among the rows of X are searched; see :func:`choose_backend`.
    n_jobs : int or None
        Workers of scikit-learn and pynndescent.
    random_state : int, RandomState or None
        Used by the approximate searches only.
    device : torch.device, str or None, default=None
        Where large searches run; None is a GPU where torch has one.  Distances from queries are computed on the CPU.
    prepared : PreparedRows or None, default=None
        ``PreparedRows(X, metric)``, for many calls with queries on one X that does not change.

    Returns
    -------
    distances : ndarray of float64 of shape (m, k)
        Ascending in each row.
    indices : ndarray of int64 of shape (m, k)
        Without queries a row never contains its own index, whatever its distance to itself.

    Raises
    ------
    ValueError
        For an unknown metric or backend, or one that does not serve the other, where the metric is not defined for a
        pair of rows, for NaN or infinity, and for a `k` or `queries` that X has not the rows or the columns for.
    ImportError
        For ``backend="faiss"`` without the package.
    """
    metric = with_params(metric, metric_params)
    check_metric(metric)
    if isinstance(metric, str) and metric == "precomputed":
        graph = neighbor_graph(X, k, metric=metric, queries=queries)
        if np.any(np.diff(graph.indptr) < k):
            raise ValueError(f"some rows of the distance graph store fewer than k={k} neighbours; lower k")
        if not np.isfinite(graph.data).all():
            raise ValueError(f"some rows have fewer than k={k} neighbours at a finite distance; lower k")
        return graph.data.reshape(-1, k), graph.indices.reshape(-1, k).astype(np.int64)
    X, queries = (as_rows(X), None) if queries is None else both_rows(X, queries)
    _check_rows(X, k, queries, checked=prepared is not None)
    if from_products(metric):
        if prepared is None:
            check_squares(X)
        if queries is not None:
            check_squares(queries, smallest=0.0)
    device = _device(device)
    backend = choose_backend(X, metric=metric, backend=backend, device=device)
    distances, indices = _searched(X, k, metric, queries, backend, n_jobs, random_state, device, prepared)
    check_defined(distances, metric, columns=indices, new_rows=queries is not None)
    return distances, indices


def neighbor_graph(X, k, *, metric="euclidean", queries=None, **options) -> csr_array:
    """:func:`knn` as a sparse matrix of distances; distances of zero are stored entries.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n, n_features), or (n, n) if precomputed
        As for :func:`knn`; a precomputed `X` (or `queries`) may be sparse, in which case its stored
        entries are the neighbours, as in the output of ``KNeighborsTransformer(mode="distance")``.
    k : int or None
        None keeps all the neighbours that a precomputed matrix holds.
    metric, queries, **options
        As for :func:`knn`.

    Returns
    -------
    csr_array of shape (m, n)
        Each row holds at most k entries, by ascending distance (column indices are not sorted).
    """
    if metric == "precomputed":
        return given_neighbors(X if queries is None else queries, k, drop_self=queries is None)
    distances, indices = knn(X, k, metric=metric, queries=queries, **options)
    indptr = np.arange(0, indices.size + 1, k)
    return csr_array((distances.ravel(), indices.ravel(), indptr), shape=(len(indices), X.shape[0]))


def _check_rows(X, k, queries, checked):
    # What was prepared for a search was looked at then: one new row would wait for a sum over all of X.
    for name, rows in (("X", None if checked else X), ("queries", queries)):
        if rows is None:
            continue
        if rows.ndim != 2:
            raise ValueError(f"{name} has {rows.ndim} axes; it must have the shape (n_rows, n_features)")
        numbers = rows.data if issparse(rows) else rows
        # One sum covers the usual case; that of large finite numbers may overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            suspect = numbers.dtype.kind == "f" and not np.isfinite(numbers.sum())
        if suspect and not np.isfinite(numbers).all():
            raise ValueError(f"{name} holds NaN or infinity, which are at no distance from anything")
    if queries is not None and queries.shape[1] != X.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} columns, and X has {X.shape[1]}")
    available = X.shape[0] - (queries is None)
    check_number("k", k, low=1, integer=True, hint="a number of neighbours")
    if k > available:
        raise ValueError(
            f"k={k} neighbours are more than the {available} {'other ' * (queries is None)}rows of X"
        )


def search_device(X, device) -> torch.device:
    """Where the rows of X are searched among themselves."""
    return torch.device("cpu") if X.shape[0] <= MAX_ON_CPU else _device(device)


def _device(device):
    return torch.device(device or ("cuda" if has_cuda() else "cpu"))


def _searched(X, k, metric, queries, backend, n_jobs, random_state, device, prepared):
    if queries is None:
        device = search_device(X, device)
    elif X.shape[0] <= MAX_EXACT:
        device = torch.device("cpu")
    if queries is not None or backend == "exact":
        return exact_search(X, queries, k, metric, n_jobs, device, prepared)
    if backend == "pynndescent":
        return _by_pynndescent(X, k, metric, n_jobs, random_state)
    seed = int(random_source(random_state).randint(2**31 - 1))
    if backend == "ivf":
        prepared, ranked = prepared_for(X, metric, device)
        return ranked(np.arange(len(X)), search_cells(prepared, k, seed=seed), k)
    indices = faiss_search(PreparedRows(X, metric).points.numpy(), k + 1, seed)
    distances = PairDistances(X, X, metric).of_neighbors(np.arange(len(X)), indices)
    return _repaired(X, k, metric, n_jobs, distances, indices)


def _by_pynndescent(X, k, metric, n_jobs, random_state):
    rows = as_bytes(X, metric) if is_packed(metric) else X
    distances, indices = pynndescent_search(rows, k + 1, metric, n_jobs, random_state)
    if is_packed(metric):
        distances = packed_pairs(X, indices, metric)
    if from_products(metric):
        distances = PairDistances(X, X, metric).of_neighbors(np.arange(X.shape[0]), indices)
    return _repaired(X, k, metric, n_jobs, distances, indices)


def _repaired(X, k, metric, n_jobs, distances, indices):
    """Ordered and without the rows themselves; rows that a library left unfinished are searched exactly."""
    failed = np.flatnonzero((indices < 0).any(axis=1))
    if len(failed):
        # One more than is kept: the row itself is among them.
        distances[failed], indices[failed] = exact_search(X, X[failed], k + 1, evaluable(metric), n_jobs)
    return without_self(*by_distance(distances, indices), np.arange(X.shape[0]))


def expected_search(shape):
    """Seconds that a search of each row's neighbours takes, about; from measured rates."""
    n_rows, n_columns = shape
    return SECONDS_PER_TERM * n_rows * min(n_rows, MOST_MET) * n_columns
