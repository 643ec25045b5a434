"""Whether a matrix of pairs is what it is given for: distances are large where weights are small."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.stats import rankdata

from ..conditional import along_entries
from ._distances import distance_block
from ._rows import BLOCK_SIZE

# Rows that are looked at; all their triples are.
SAMPLE = 64
# Fewer rows than this agree with any inequality by chance.
FEWEST, FEWEST_SQUARED, FEWEST_ONE_WAY, FEWEST_COMPARED = 8, 20, 8, 5
# By which the least entry must be smaller than the largest: nearly equal entries obey any inequality.
CONTRAST, CONTRAST_SQUARED = 4.0, 30.0
# Rank correlation with distances of the features above which entries are distances; below its negative they are not.
CORRELATED = 0.7


def are_distances(A, features=None) -> bool:
    """Whether a matrix that is given as weights is evidently one of distances.

    Its diagonal is zero, and either

    * it is symmetric and full, and its entries, or their roots, obey the triangle inequality for all triples of a
      sample of rows although they differ so much that weights would not;
    * it is symmetric and full, and its entries grow with the distance between the rows' features; or
    * it is sparse and holds the neighbours of each row: j is then left out by i while i is kept by j only where it is
      farther than all that i keeps, which of weights would be the smallest.

    Parameters
    ----------
    A : ndarray or csr_array of shape (n, n)
        Non-negative.
    features : ndarray or sparse matrix of shape (n, n_features) or None, default=None
    """
    if (A.diagonal() > 0).any():
        return False
    n = A.shape[0]
    rows = np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(int))
    block = A[rows][:, rows]
    block = block.toarray() if issparse(block) else np.asarray(block, dtype=float)
    off = ~np.eye(len(rows), dtype=bool)
    if (block[off] > 0).all() and np.allclose(block, block.T, rtol=1e-5, atol=0):
        # Rows of the matrix for features are as far apart as their own entries are large.
        alone = features is None or features.shape == A.shape
        along = 0.0 if alone else _correlation(block, off, features, rows)
        return along > CORRELATED or (along > -CORRELATED and _metric(block, off))
    return issparse(A) and _keeps_the_nearest(A)


def are_similarities(D) -> bool:
    """Whether a full matrix that is given as distances is evidently one of similarities.

    No row is at distance zero from itself, and no two are farther from each other than from themselves on the mean, as
    holds of all kernels and dot products: s_ij <= (s_ii + s_jj) / 2.
    """
    if issparse(D) or D.shape[0] < 2:
        return False
    diagonal = np.asarray(D.diagonal(), dtype=float)
    if not (diagonal > 0).all():
        return False
    step = max(1, BLOCK_SIZE // len(diagonal))
    return all(
        (2 * D[i : i + step] <= (diagonal[i : i + step, None] + diagonal) * (1 + 1e-6)).all()
        for i in range(0, len(diagonal), step)
    )


def check_all_known(D, name, tied=False):
    """Raise ValueError where a matrix of distances, for the p of a name, lacks those of some pairs.

    `tied`: rows and columns are the same, and a row's distance to itself is zero, stored or not.
    """
    if not issparse(D):
        return
    stored = np.count_nonzero(D.indices != along_entries(np.arange(D.shape[0]), D)) if tied else D.nnz
    if stored < D.shape[0] * (D.shape[1] - tied):
        raise ValueError(
            f"{name} needs the distances of all pairs, and those that a sparse matrix does not store are not zero but "
            f"unknown; give a dense matrix, complete it first (by the shortest paths of "
            f"scipy.sparse.csgraph.shortest_path, as Isomap does), or use Gaussian(metric='precomputed')"
        )


@contextmanager
def finite_pairs(X, what="X"):
    """Say how pairs are left out, where a check refuses a matrix of pairs that holds infinity for them.

    Parameters
    ----------
    X : array-like or sparse matrix
    what : str, default="X"
        What it is called in the message.
    """
    try:
        yield
    except ValueError as error:
        at = _first_infinite(X)
        if at is None:
            raise
        how = "i, j = numpy.nonzero(numpy.isfinite(D)); X = scipy.sparse.csr_array((D[i, j], (i, j)), shape=D.shape)"
        if issparse(X):
            how = (
                "D = D.tocoo(); on = numpy.isfinite(D.data); X = scipy.sparse.csr_array((D.data[on], (D.row[on], "
                "D.col[on])), shape=D.shape)"
            )
        raise ValueError(
            f"{what} contains infinity, in row {at[0]}, column {at[1]}: pairs that are no neighbours are left out of a "
            f"sparse matrix, whose stored entries alone are looked at. Of a matrix D: {how}"
        ) from error


def _first_infinite(X):
    """Row and column of the first infinite entry of a matrix of numbers, or None."""
    try:
        entries = csr_array(X).tocoo() if issparse(X) else np.asarray(X, dtype=float)
    except (TypeError, ValueError):
        return None
    if issparse(entries):
        at = np.flatnonzero(np.isinf(entries.data))
        return (int(entries.row[at[0]]), int(entries.col[at[0]])) if len(at) else None
    at = np.argwhere(np.isinf(entries))
    return tuple(at[0].tolist()) if len(at) and entries.ndim == 2 else None


def _metric(D, off):
    least, most = D[off].min(), D[off].max()
    if len(D) >= FEWEST and least < most / CONTRAST and _triangles_hold(D):
        return True
    return bool(len(D) >= FEWEST_SQUARED and least < most / CONTRAST_SQUARED and _triangles_hold(np.sqrt(D)))


def _triangles_hold(D):
    slack = 1e-5 * D.max()
    return all((D[:, [k]] + D[[k]] + slack >= D).all() for k in range(len(D)))


def _correlation(D, off, features, rows):
    """Rank correlation of entries with the distances of the rows' features; 0 where there are too few."""
    true = distance_block(features[rows], features[rows])[off]
    if len(D) < FEWEST_COMPARED or np.ptp(D[off]) == 0 or np.ptp(true) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(D[off]), rankdata(true))[0, 1])


def _keeps_the_nearest(A):
    A = csr_array(A)
    counts = np.diff(A.indptr)
    back = csr_array(A.T)
    rows = np.repeat(np.arange(A.shape[0]), counts)
    stored = csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)
    both = stored.multiply(csr_array((np.ones(back.nnz), back.indices, back.indptr), shape=A.shape))
    pairs = csr_array(both).multiply(abs(A - back))
    if both.nnz == 0 or pairs.max() > 1e-5 * A.max():
        return False
    one_way = csr_array(stored - both)
    one_way.eliminate_zeros()
    i, j = one_way.nonzero()
    full = counts > 0
    most, least = np.zeros(A.shape[0]), np.zeros(A.shape[0])
    most[full] = np.maximum.reduceat(A.data, A.indptr[:-1][full])
    least[full] = np.minimum.reduceat(A.data, A.indptr[:-1][full])
    kept = np.asarray(A[i, j]).ravel()
    seen = full[j]
    if np.count_nonzero(seen) < FEWEST_ONE_WAY or len(rows) == 0:
        return False
    beyond, below = kept[seen] >= most[j[seen]], kept[seen] <= least[j[seen]]
    return bool(beyond.all() and not below.all())
