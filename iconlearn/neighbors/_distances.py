"""Distances: which metrics there are, and those of pairs, of blocks, and of given matrices.

Distances of single pairs come from differences, those of a block from a matrix product.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array, issparse

from .._checks import suggest
from .._torch_state import as_array
from ..numerics.threads import share
from ._libraries import pynndescent_metric, sklearn_distances, sklearn_metrics
from ._packed import PACKED, is_packed, packed_distances
from ._parameters import PARAMETERS, ParametricMetric, parts_of
from ._rows import BLOCK_SIZE, as_rows, both_rows, sqnorms, unit_rows

# Numbers in one block of differences; they are read three times, so they should stay in the cache.
PAIR_BLOCK = 2**18
# Pairs in one block of sparse differences.
SPARSE_PAIRS = 2**16

_EUCLIDEAN = ("euclidean", "l2")

# These estimate parameters from the rows at hand, so that a row would depend on its batch.
_DATA_DEPENDENT = {
    "seuclidean": "scale the columns of X (StandardScaler)",
    "mahalanobis": "whiten X (PCA(whiten=True))",
}

# Metrics without parameters that only pynndescent has; named here because its import takes long.
PYNNDESCENT_ONLY = (
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


# Those of scikit-learn's metrics that take sparse rows.
SPARSE = ("cityblock", "cosine", "euclidean", "l1", "l2", "manhattan")


def check_metric(metric):
    """Return `metric` if some search supports it.

    Raises
    ------
    ValueError
        For an unknown name (with the nearest known one), or for a metric that depends on the batch.
    """
    if isinstance(metric, ParametricMetric):
        return metric
    # The usual names first: the list of all others has to be imported.
    if callable(metric) or from_products(metric) or metric == "precomputed" or is_packed(metric):
        return metric
    if metric in _DATA_DEPENDENT:
        raise ValueError(
            f'metric="{metric}" takes its scale from the rows at hand; give '
            f'metric_params={{"{PARAMETERS[metric][0][0]}": ...}}, or {_DATA_DEPENDENT[metric]} '
            f'and use metric="euclidean" instead'
        )
    known = {"precomputed", *sklearn_metrics(), *PYNNDESCENT_ONLY, *PACKED}
    known -= {"nan_euclidean", *_DATA_DEPENDENT}
    if metric not in known:
        raise ValueError(f"metric={metric!r} is not known.{suggest(metric, sorted(known))}")
    return metric


def check_form(X, metric):
    """Refuse rows that the metric cannot compare, before a search of many rows finds that out.

    Raises
    ------
    ValueError
        For parameters of the metric of another number of features, and for sparse rows where it takes none.
    """
    name, params = parts_of(metric)
    for parameter, value in params.items():
        if isinstance(name, str) and np.ndim(value) > 0 and set(np.shape(value)) != {X.shape[1]}:
            raise ValueError(
                f"metric_params[{parameter!r}] of metric={name!r} has shape {np.shape(value)}, and the rows have "
                f"{X.shape[1]} features: it must have as many entries along each axis"
            )
    if issparse(X) and isinstance(name, str) and name not in SPARSE:
        raise ValueError(
            f"metric={name!r} takes dense rows only, and these are sparse; use X.toarray(), or one of the metrics "
            f"of sparse rows: {', '.join(map(repr, SPARSE))}"
        )


def is_euclidean(metric) -> bool:
    return isinstance(metric, str) and metric in _EUCLIDEAN


def from_products(metric) -> bool:
    """Whether dot products of the rows (or of unit rows) give the distance."""
    return is_euclidean(metric) or (isinstance(metric, str) and metric == "cosine")


def only_pynndescent(metric) -> bool:
    return isinstance(metric, str) and metric in PYNNDESCENT_ONLY


def evaluable(metric):
    """The metric in a form that scikit-learn can evaluate."""
    return pynndescent_metric(metric) if only_pynndescent(metric) else metric


def distance_block(A, B, *, metric="euclidean") -> np.ndarray:
    """All distances between the rows of A and the rows of B, shape (len(A), len(B)), float64.

    Euclidean and cosine distances come from a matrix product; pairs so close that the product has
    lost their distance are evaluated again from differences.
    """
    A, B = both_rows(A, B)
    if is_euclidean(metric):
        return np.sqrt(_sqdist_block(A, B))
    if metric == "cosine":
        U, V = unit_rows(A), unit_rows(B)
        block = 0.5 * _sqdist_block(U, V)
        block[sqnorms(U) == 0] = 1.0
        block[:, sqnorms(V) == 0] = 1.0
        return block
    check_form(A, metric)
    if is_packed(metric):
        return packed_distances(A, B, metric)
    return sklearn_distances(A, B, evaluable(metric))


def pair_distances(A, B, i, j, *, metric="euclidean") -> np.ndarray:
    """Distances d(A[i], B[j]) of single pairs, from differences; Euclidean or cosine only.

    The cosine distance is ``|u - v|^2 / 2`` of the unit vectors, which keeps its digits near zero; a
    row of zeros is at distance 1 from everything.
    """
    A, B = both_rows(A, B)
    return PairDistances(A, B, metric)(np.asarray(as_array(i)), np.asarray(as_array(j)))


class PairDistances:
    """Distances of pairs (i, j) of the rows of A and B, for many calls on the same rows."""

    def __init__(self, A, B, metric):
        self.cosine = metric == "cosine"
        if self.cosine:
            same = A is B
            A = unit_rows(A)
            B = A if same else unit_rows(B)
            self.void = sqnorms(A) == 0, sqnorms(B) == 0
        self.A, self.B = A, B

    def __call__(self, i, j) -> np.ndarray:
        sqdist = _pair_sqdist(self.A, self.B, i, j)
        if self.cosine:
            return np.where(self.void[0][i] | self.void[1][j], 1.0, 0.5 * sqdist)
        return np.sqrt(sqdist)

    def of_neighbors(self, rows, indices) -> np.ndarray:
        """d(A[rows[r]], B[indices[r, c]]), of the shape of `indices`."""
        i = np.repeat(rows, indices.shape[1])
        return self(i, indices.ravel()).reshape(indices.shape)


def pairs_equal(A, B, i, j) -> np.ndarray:
    """Whether A[i] == B[j], pair by pair."""
    equal = np.empty(len(i), dtype=bool)
    step = max(1, PAIR_BLOCK // max(1, A.shape[1])) if not issparse(A) else SPARSE_PAIRS
    for start in range(0, len(i), step):
        at = slice(start, start + step)
        if issparse(A):
            unequal = A[i[at]] != B[j[at]]
            equal[at] = np.asarray(unequal.sum(axis=1)).ravel() == 0
        else:
            equal[at] = (A[i[at]] == B[j[at]]).all(axis=1)
    return equal


def _pair_sqdist(A, B, i, j):
    out = np.empty(len(i))
    step = max(1, PAIR_BLOCK // max(1, A.shape[1])) if not issparse(A) else SPARSE_PAIRS

    def evaluate(start):
        at = slice(start, start + step)
        if issparse(A):
            out[at] = sqnorms(A[i[at]].astype(float) - B[j[at]].astype(float))
            return
        gap = A.take(i[at], axis=0).astype(float)
        gap -= B.take(j[at], axis=0)
        # A row's sum does not depend on how many rows there are, which a product's would.
        np.einsum("ij,ij->i", gap, gap, out=out[at])

    share(evaluate, range(0, len(i), step), torch.device("cpu"))
    return out


def _sqdist_block(A, B):
    if issparse(B):
        near, far = A.astype(float), B.astype(float)
        block = (near @ far.T).toarray()
    else:
        centre = B.mean(axis=0, dtype=float)
        near, far = A - centre, B - centre
        block = near @ far.T
    scale = sqnorms(near)[:, None] + sqnorms(far)
    block *= -2
    block += scale
    np.maximum(block, 0.0, out=block)
    i, j = np.nonzero(block <= 1e-6 * scale)
    if len(i):
        block[i, j] = _pair_sqdist(A, B, i, j)
    return block


def given_neighbors(matrix, k, drop_self) -> csr_array:
    """The k nearest columns of every row (None: all that are stored), by (distance, index).

    Parameters
    ----------
    matrix : ndarray or sparse matrix of shape (m, n)
        Distances; the stored entries of a sparse one are the neighbours.
    k : int or None
    drop_self : bool
        Whether entry (i, i) is the row itself, which is no neighbour.
    """
    return (_sparse_neighbors if issparse(matrix) else _dense_neighbors)(matrix, k, drop_self)


def _dense_neighbors(matrix, k, drop_self):
    matrix = as_rows(matrix)
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
    matrix = as_rows(matrix)
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


def check_defined(distances, metric, rows=None, columns=None, *, new_rows=False):
    """Refuse distances that are NaN, which no search can order and no kernel can weigh.

    Parameters
    ----------
    distances : ndarray of shape (m, k)
    metric : str or callable
    rows : ndarray of int of shape (m,) or None
        The number of each row; None is in order.
    columns : ndarray of int of shape (k,) or (m, k) or None
        What each distance is measured from; None is in order.
    new_rows : bool, default=False
        Whether the rows are queries rather than training rows.

    Raises
    ------
    ValueError
        Naming the row that has most of them, and one that it has no distance from.
    """
    if from_products(metric):
        return
    missing = np.isnan(distances)
    if not missing.any():
        return
    counts = missing.sum(axis=1)
    at = int(counts.argmax())
    to = int(missing[at].argmax())
    row = at if rows is None else int(rows[at])
    column = to if columns is None else int(columns[to] if columns.ndim == 1 else columns[at, to])
    which = f"{'new ' * new_rows}row {row} and {'training ' * new_rows}row {column}"
    raise ValueError(
        f"metric={metric!r} gives NaN for the distance of {which} (so it is for {np.count_nonzero(counts)} of "
        f"{len(counts)} rows): it is not defined there, as correlation is not for a row whose entries are all equal; "
        f"leave such rows out, or use a metric that is defined for them, such as metric='euclidean'"
    )
