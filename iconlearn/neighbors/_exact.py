"""Exact search: products propose, differences decide, and what they leave open is searched again.

Columns that the products leave out are no nearer than ``reach - error``.  A row whose k-th neighbour
is nearer than that is settled: its answer is the one that sorting all exact distances would give, so
it cannot depend on the shape of the block it was found in.  The others are searched in double
precision, and what is still open, ties above all, by looking at every column.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.sparse import issparse

from ._device_rows import DeviceRows
from ._distances import PairDistances, distance_block, evaluable, from_products, is_euclidean
from ._libraries import sklearn_search
from ._packed import is_packed, packed_search
from ._products import nearest, product_error
from ._rows import BLOCK_SIZE, PreparedRows, rescaled, sqnorms, unit_rows

# Among the rows of X themselves, a neighbour that is farther than another by this share of its squared
# distance may stand for it.
SLACK = 1e-9


def exact_search(X, queries, k, metric, n_jobs=None, device=None, prepared=None):
    """The k nearest rows of X for each query (or for each row of X, itself left out).

    Parameters
    ----------
    X : ndarray or csr_array of shape (n, n_features)
    queries : ndarray or csr_array of shape (m, n_features) or None
    k : int
    metric : str or callable
    n_jobs : int or None
        Workers where scikit-learn searches.
    device : torch.device or None
        Where the rows of X are searched among themselves, and products with queries are computed; None is the CPU.
    prepared : PreparedRows or None
        Those of X, where they are at hand.

    Returns
    -------
    distances : ndarray of float64 of shape (m, k)
    indices : ndarray of int64 of shape (m, k)
        By (distance, index).
    """
    if from_products(metric) and not issparse(X) and not issparse(queries):
        return _search_by_products(X, queries, k, metric, device or torch.device("cpu"), prepared)
    if queries is None:
        found = _search_by_library(X, X, k + 1, metric, n_jobs)
        return without_self(*found, np.arange(X.shape[0]))
    metric = evaluable(metric)
    wanted = min(k + 1, X.shape[0])
    distances, indices = _search_by_library(X, queries, wanted, metric, n_jobs)
    if wanted > k:
        close = distances[:, k] - distances[:, k - 1] <= _resolution(X, queries, metric, distances)
        _look_at_all(X, queries, k, metric, np.flatnonzero(close), distances, indices)
    return distances[:, :k].copy(), indices[:, :k].copy()


def prepared_for(X, metric, device, prepared=None):
    """The rows of X for a search among themselves on a device, and what chooses the nearest of their candidates.

    On the CPU the first is `prepared`, if that is at hand.  The second, ``ranked(rows, found, k)``, is
    :meth:`DeviceRows.ranked`, or gives the same from the CPU.
    """
    if device.type == "cpu":
        return prepared or PreparedRows(X, metric), partial(_ranked, PairDistances(X, X, metric))
    rows = DeviceRows(X, metric, device)
    return rows, rows.ranked


def by_distance(distances, indices):
    """Every row by (distance, index)."""
    order = np.argsort(distances, axis=1)
    sorted_ = np.take_along_axis(distances, order, axis=1)
    tied = np.flatnonzero((sorted_[:, 1:] == sorted_[:, :-1]).any(axis=1))
    order[tied] = np.lexsort((indices[tied], distances[tied]), axis=1)
    return sorted_, np.take_along_axis(indices, order, axis=1)


def without_self(distances, indices, own):
    """Remove each row's own index, or the farthest where duplicates have replaced it."""
    drop = indices == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(own), indices.shape[1] - 1)
    return distances[~drop].reshape(shape), indices[~drop].reshape(shape)


def _search_by_products(X, queries, k, metric, device, prepared):
    targets = X if queries is None else queries
    if queries is None:
        prepared, ranked = prepared_for(X, metric, device)
    else:
        prepared, ranked = (
            prepared or PreparedRows(X, metric),
            partial(_ranked, PairDistances(queries, X, metric)),
        )
    available = len(X) - (queries is None)
    # Spare candidates, so that the k-th neighbour is nearer than what was left out by more than the error.
    wanted = min(available, k + 4 + k // 8)
    distances = np.empty((len(targets), k))
    indices = np.empty((len(targets), k), dtype=np.int64)
    lengths = columns_lengths = prepared.lengths
    if queries is not None:
        lengths = sqnorms(prepared.space.rows(queries))
    open_ = np.arange(len(targets))
    for dtype in (torch.float32, torch.float64):
        single = dtype == torch.float32
        columns = (prepared.points if single else prepared.doubles()).to(device)
        if queries is None:
            rows = columns if len(open_) == len(X) else columns[torch.from_numpy(open_).to(device)]
        else:
            rows = torch.as_tensor(prepared.space.rows(queries[open_]), dtype=dtype).to(device)
        own = torch.from_numpy(open_).to(device) if queries is None else None
        halves = prepared.halves.to(device) if single else None
        found, reach = nearest(columns, rows, wanted, own=own, halves=halves)
        error = product_error(lengths[open_], columns_lengths.max(), columns.shape[1], dtype, device)
        limit = reach.cpu().numpy() - error
        ordered = ranked(open_, found, k)
        if len(open_) == len(targets):
            distances, indices = ordered
        else:
            distances[open_], indices[open_] = ordered
        if wanted == available:
            return distances, indices
        last = prepared.squared(distances[open_, -1])
        # Of new rows, ties have to be broken by index; among the rows of X one is as good as another.
        settled = last < limit if queries is not None else (last * (1 - SLACK) <= limit) | (last == 0)
        open_ = open_[~settled]
        if not len(open_):
            return distances, indices
    _look_at_all(X, queries, k, metric, open_, distances, indices)
    return distances, indices


def _ranked(pairs, rows, found, k):
    found = found.cpu().numpy()
    distances, indices = np.empty((len(rows), k)), np.empty((len(rows), k), dtype=np.int64)
    # By blocks, since ordering them takes five times their memory.
    step = max(1, BLOCK_SIZE // max(1, found.shape[1]))
    for start in range(0, len(rows), step):
        at = slice(start, start + step)
        ordered = by_distance(pairs.of_neighbors(rows[at], found[at]), found[at])
        distances[at], indices[at] = ordered[0][:, :k], ordered[1][:, :k]
    return distances, indices


def _search_by_library(X, queries, k, metric, n_jobs):
    """Self included; Euclidean and cosine distances are evaluated again."""
    if is_packed(metric):
        return by_distance(*packed_search(X, queries, k, metric))
    space, targets, name = X, queries, evaluable(metric)
    if metric == "cosine" and sqnorms(X).all() and sqnorms(queries).all():
        space, targets, name = unit_rows(X), unit_rows(queries), "euclidean"
    elif is_euclidean(metric):
        space, targets = rescaled(X, queries)
    distances, indices = sklearn_search(space, targets, k, name, n_jobs)
    if from_products(metric):
        rows = np.arange(indices.shape[0])
        distances = PairDistances(queries, X, metric).of_neighbors(rows, indices)
    return by_distance(distances, indices)


def _resolution(X, queries, metric, distances):
    """Difference of distances below which the library may have taken one column for another."""
    far = np.abs(distances[:, -1])
    relative = 1e-6 if X.dtype == np.float32 or queries.dtype == np.float32 else 1e-12
    if metric == "cosine":
        return np.full(len(far), relative)
    if not is_euclidean(metric):
        return relative * far
    error = relative * (sqnorms(queries) + sqnorms(X).max())
    return error / np.maximum(far, np.sqrt(error) + np.finfo(float).tiny)


def _look_at_all(X, queries, k, metric, open_, distances, indices):
    """Choose anew, by (distance, index), among all columns as near as the k-th that was found."""
    if not len(open_):
        return
    points = X if queries is None else queries
    pairs = PairDistances(points, X, metric) if from_products(metric) else None
    step = max(1, BLOCK_SIZE // X.shape[0])
    for start in range(0, len(open_), step):
        rows = open_[start : start + step]
        block = distance_block(points[rows], X, metric=metric)
        reach = distances[rows, k - 1] * (1 + 1e-9)
        for row, seen, limit in zip(rows, block, reach):
            columns = np.flatnonzero(seen <= limit)
            if queries is None:
                columns = columns[columns != row]
            exact = seen[columns] if pairs is None else pairs(np.full(len(columns), row), columns)
            chosen = np.lexsort((columns, exact))[:k]
            distances[row, : len(chosen)], indices[row, : len(chosen)] = exact[chosen], columns[chosen]
