"""From a perplexity to one bandwidth per row.

    find sigma_i such that  -sum_j p_ij log p_ij = log(perplexity),   p_ij ∝ k(d_ij / sigma_i)

Both kernels are handed out as logarithms relative to the row's nearest neighbour, so no scale of
the data and no outlier can make a row vanish.  Entropy grows with sigma for every kernel that falls
with distance; a Newton step in log(sigma), kept inside a bracket, therefore always arrives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, issparse

TOLERANCE = 1e-8
MAX_ITER = 100
BLOCK_SIZE = 2**18


@dataclass(frozen=True)
class GaussianKernel:
    """log k = -d^2 / (2 sigma^2)."""

    # Whether log k is linear in d^2.
    quadratic = True

    # At this fraction of the smallest gap a row has collapsed on its nearest neighbours.
    collapsed = 0.1

    def log_weights(self, distances, sigma, nearest):
        """log k(d) - log k(nearest); zero for the nearest, -inf for a distance of inf."""
        with np.errstate(over="ignore", invalid="ignore"):
            log_w = (nearest - distances) / sigma
            log_w *= (nearest + distances) / (2 * sigma)
        return _settle(log_w, distances, nearest)

    def slope(self, log_w, sigma, nearest):
        """Derivative of the log weights in log(sigma)."""
        return -2 * log_w


@dataclass(frozen=True)
class StudentKernel:
    """log k = -(dof + 1) / 2 * log(1 + d^2 / (dof sigma^2))."""

    dof: float = 1.0
    quadratic = False
    collapsed = 1e-10

    def log_weights(self, distances, sigma, nearest):
        """log k(d) - log k(nearest); zero for the nearest, -inf for a distance of inf."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            ratio = (distances - nearest) / self._width(sigma, nearest)
            ratio *= (distances + nearest) / self._width(sigma, nearest)
            log_w = -(self.dof + 1) / 2 * np.log1p(ratio)
        return _settle(log_w, distances, nearest)

    def slope(self, log_w, sigma, nearest):
        """Derivative of the log weights in log(sigma)."""
        share = self.dof * (sigma / self._width(sigma, nearest)) ** 2
        return -(self.dof + 1) * share * np.expm1(log_w * 2 / (self.dof + 1))

    def _width(self, sigma, nearest):
        return np.hypot(np.sqrt(self.dof) * sigma, nearest)


def calibrate(distances, perplexity: float, kernel) -> np.ndarray:
    """Bandwidth of every row at a given perplexity.

    Parameters
    ----------
    distances : ndarray of shape (n, k) or csr_array
        Non-negative; inf in a dense row means "no neighbour".  The stored entries of a sparse row,
        explicit zeros included, are its neighbours; rows may differ in length.
    perplexity : float
        At least 1.
    kernel : GaussianKernel or StudentKernel

    Returns
    -------
    sigma : ndarray of shape (n,)
        Positive and finite.  Where no bandwidth attains the entropy, the nearest attainable end is
        taken: very small for a row with more equally near neighbours than `perplexity` (or a
        Student kernel whose tail alone is too wide), very large for a row with no more neighbours
        than `perplexity`.  Rows whose neighbours are all equally far get that distance, or 1.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008.
    """
    target = np.log(perplexity)
    if not issparse(distances):
        sigma = np.ones(distances.shape[0])
        step = max(1, BLOCK_SIZE // max(1, distances.shape[1]))
        for start in range(0, len(sigma), step):
            sigma[start : start + step] = _solve(distances[start : start + step], target, kernel)
        return sigma
    counts = np.diff(distances.indptr)
    sigma = np.ones(len(counts))
    # Rows of like length share a padded block.
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    start = 0
    while start < len(order):
        width = counts[order[start]]
        stop = min(len(order), start + max(1, BLOCK_SIZE // width))
        rows = order[start:stop]
        rows = rows[counts[rows] <= 2 * width]
        padded = np.full((len(rows), counts[rows].max()), np.inf)
        inside = np.arange(padded.shape[1]) < counts[rows][:, None]
        flat = np.repeat(distances.indptr[rows], counts[rows]) + np.nonzero(inside)[1]
        padded[inside] = distances.data[flat]
        sigma[rows] = _solve(padded, target, kernel)
        start += len(rows)
    return sigma


def kernel_rows(distances: csr_array, sigma, kernel) -> csr_array:
    """Row-normalised kernel weights on the entries of a sparse matrix of distances.

    Parameters
    ----------
    distances : csr_array
        Explicit zeros count as neighbours.
    sigma : ndarray of shape (n,)
    kernel : GaussianKernel or StudentKernel

    Returns
    -------
    csr_array
        The same pattern; rows sum to one, rows without entries stay empty.
    """
    counts = np.diff(distances.indptr)
    filled = counts > 0
    starts = distances.indptr[:-1][filled]
    counts = counts[filled]
    if not len(counts):
        return distances.copy()
    nearest = np.repeat(np.minimum.reduceat(distances.data, starts), counts)
    weights = np.exp(kernel.log_weights(distances.data, np.repeat(sigma[filled], counts), nearest))
    weights /= np.repeat(np.add.reduceat(weights, starts), counts)
    return csr_array((weights, distances.indices.copy(), distances.indptr.copy()), shape=distances.shape)


def _settle(log_w, distances, nearest):
    """Zero for the nearest (where a tiny sigma gives 0 * inf), -inf beyond all reach."""
    log_w[distances <= nearest] = 0.0
    log_w[np.isnan(log_w)] = -np.inf
    return log_w


def _solve(distances, target, kernel):
    """One block of padded rows; rows leave the active set as they arrive."""
    distances = np.asarray(distances, dtype=float)
    finite = np.isfinite(distances)
    n_neighbors = finite.sum(axis=1)
    nearest = np.min(distances, axis=1, initial=np.inf)
    nearest = np.where(np.isfinite(nearest), nearest, 0.0)
    above = finite & (distances > nearest[:, None])
    farthest = np.max(distances, axis=1, where=finite, initial=0.0)
    second = np.min(distances, axis=1, where=above, initial=np.inf)
    spread = np.isfinite(second)
    sigma = np.where(farthest > 0, farthest, 1.0)

    def gap(d):
        return np.sqrt(d - nearest[rows]) * np.sqrt(d + nearest[rows])

    rows = np.flatnonzero(spread)
    smallest = gap(second[rows])
    floor = np.where(nearest[rows] > 0, np.minimum(smallest, nearest[rows]), smallest)
    low = np.log(np.maximum(floor * kernel.collapsed, 1e-300))
    high = np.log(np.minimum(gap(farthest[rows]), 1e300)) + np.log(1e3)
    hopeless = n_neighbors[rows] <= np.exp(target) * (1 + 1e-12)
    sigma[rows[hopeless]] = np.exp(high[hopeless])

    keep = ~hopeless
    rows, low, high = rows[keep], low[keep], high[keep]
    # The perplexity-th neighbour is a good first width.
    ranked = np.partition(distances[rows], min(int(np.exp(target)), distances.shape[1] - 1), axis=1)
    first = ranked[:, min(int(np.exp(target)), distances.shape[1] - 1)]
    start = np.where(np.isfinite(first), gap(np.where(np.isfinite(first), first, farthest[rows])), 0.0) / 2
    x = np.clip(np.log(np.maximum(start, 1e-300)), low, high)
    # The lower end decides whether the target can be met at all.
    entropy, _ = _entropy(distances[rows], np.exp(low), nearest[rows], kernel)
    sigma[rows] = np.exp(low)
    keep = entropy < target
    rows, low, high, x = rows[keep], low[keep], high[keep], x[keep]
    for _ in range(MAX_ITER):
        if not len(rows):
            break
        sigma[rows] = np.exp(x)
        entropy, slope = _entropy(distances[rows], sigma[rows], nearest[rows], kernel)
        miss = entropy - target
        low, high = np.where(miss < 0, x, low), np.where(miss < 0, high, x)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = x - miss / slope
        inside = (newton > low) & (newton < high)
        x = np.where(inside, newton, (low + high) / 2)
        open_ = (np.abs(miss) > TOLERANCE) & (high - low > 1e-14 * np.abs(x))
        rows, low, high, x = rows[open_], low[open_], high[open_], x[open_]
    return sigma


def entropies_of(distances, sigma, kernel) -> np.ndarray:
    """Entropy of each row of dense distances under its bandwidth, in nats."""
    return _entropy(distances, sigma, distances.min(axis=1), kernel)[0]


def _entropy(distances, sigma, nearest, kernel):
    """Entropy of each row and its derivative in log(sigma)."""
    sigma, nearest = sigma[:, None], nearest[:, None]
    log_w = kernel.log_weights(distances, sigma, nearest)
    p = np.exp(log_w)
    total = p.sum(axis=1, keepdims=True)
    p /= total
    np.maximum(log_w, -1e100, out=log_w)
    mean_log_w = np.einsum("ij,ij->i", p, log_w)
    slope = kernel.slope(log_w, sigma, nearest)
    # dH = -Cov_p(log w, d log w)
    covariance = np.einsum("ij,ij,ij->i", p, log_w, slope) - mean_log_w * np.einsum("ij,ij->i", p, slope)
    return np.log(total[:, 0]) - mean_log_w, -covariance
