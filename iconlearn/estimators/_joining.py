"""New rows where the divergence runs from q to p: each joins the clusters whose cost it raises least.

With e_ij = - log p(j|i), w_j the weights of the columns and V_c = sum_j w_j r_jc, the cost of a clustering is
sum_c (1 / V_c) sum_ij r_ic r_jc w_j e_ij.  A small share of a row x that joins cluster c raises it by

    delta_c(x) = (2 / V_c) sum_j w_j r_jc e_xj - (w_x / V_c^2) sum_ij r_ic r_jc w_j e_ij

up to a constant of the row; for a Gaussian p that is |x - mean_c|^2 / (2 sigma^2).  With a bonus b for the
entropy of q the row's assignments are proportional to V_c exp(-delta_c / b).

Where e_ij is a precision times |x_i - x_j|^2, up to a constant of the row, no pair is looked at: with the mean and
the variance of every cluster

    (1 / V_c) sum_j w_j r_jc e_xj = precision (|x - mean_c|^2 + variance_c)
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, issparse

from ..neighbors import distance_block

__all__ = ["joined", "within"]

BLOCK = 2**22


def within(p, r):
    """(w_x / V_c^2) sum_ij r_ic r_jc w_j e_ij of every cluster, the normalisers of p taken off."""
    w = weights(p)
    volume = np.maximum(w @ r, 1e-300)
    costs = mean_costs(p, r * w[:, None] / volume, tied=True)
    total = sum(np.einsum("ic,ic->c", r[rows], costs(rows)) for rows in blocks(p))
    return w.mean() * total / volume


def joined(p, r, within, entropy, column_weights):
    """Assignments of new rows, shape (n_new, n_clusters), every row on its own."""
    w = weights(p) if column_weights is None else column_weights
    volume = np.maximum(w @ r, 1e-300)
    costs = mean_costs(p, r * w[:, None] / volume)
    out = np.zeros((p.n_rows, r.shape[1]))
    for rows in blocks(p):
        cost = 2.0 * costs(rows) - within
        cost -= cost.min(axis=1, keepdims=True)
        if entropy == 0:
            out[rows, cost.argmin(axis=1)] = 1.0
        else:
            out[rows] = volume * np.exp(-cost / entropy)
    return out / out.sum(axis=1, keepdims=True)


def mean_costs(p, shares, *, tied=False):
    """A function that gives sum_j shares_jc e_xj of some rows x, up to a constant of the row.

    Parameters
    ----------
    p : Conditional or BlockConditional
    shares : ndarray of shape (n_cols, n_clusters)
        What each column has in each cluster; the columns of `shares` sum to one.
    tied : bool, default=False
        Whether row i is column i, at which its constant is chosen such that e_ii = 0.
    """
    quadratic = getattr(getattr(p, "block", None), "quadratic", None)
    if quadratic is not None and p.uniform == 0:
        columns, precision = quadratic
        means = shares.T @ columns
        variance = np.einsum("jc,jc->c", shares, _sqdist(columns, means))
        return lambda rows: precision * (_sqdist(p.block.points[rows], means) + variance)

    def by_pairs(rows):
        e = -log_rows(p, rows)
        if tied:
            e -= e[np.arange(len(rows)), rows, None]
        return e @ shares

    return by_pairs


def _sqdist(rows, means):
    """Squared distances of rows, dense or sparse, from a few means."""
    means = csr_array(means) if issparse(rows) else np.asarray(means)
    return np.square(distance_block(rows, means))


def weights(p):
    return np.ones(p.n_cols) if p.column_weights is None else np.asarray(p.column_weights, dtype=float)


def blocks(p):
    step = max(1, BLOCK // p.n_cols)
    return (np.arange(start, min(start + step, p.n_rows)) for start in range(0, p.n_rows, step))


def log_rows(p, rows):
    """log p of some rows, without underflow where p can tell."""
    log = getattr(getattr(p, "block", None), "log", None)
    if log is not None and p.uniform == 0:
        return log(rows, None)
    e = p.entries(rows)
    full = e.p
    if e.i is not None:
        full = np.full((len(rows), p.n_cols), e.floor)
        full[e.i, e.j] = e.p
    return np.log(np.maximum(full, np.finfo(float).tiny))
