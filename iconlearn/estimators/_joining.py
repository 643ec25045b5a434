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
    shares, form = r * w[:, None] / volume, quadratic(p)
    if form is not None:
        columns, precision = form
        distances = sqdist(columns, shares.T @ columns)
        total = precision * np.einsum("ic,ic->c", r + shares * r.sum(axis=0), distances)
    else:
        total = np.zeros(r.shape[1])
        for rows in blocks(p):
            e = -p.log(rows)
            e -= e[np.arange(len(rows)), rows, None]  # a row is at no distance from itself
            total += np.einsum("ic,ic->c", r[rows], e @ shares)
    return w.mean() * total / volume


def joined(p, r, within, entropy, column_weights):
    """Assignments of new rows, shape (n_new, n_clusters), every row on its own."""
    w = weights(p) if column_weights is None else column_weights
    volume = np.maximum(w @ r, 1e-300)
    cost = 2.0 * costs(p, r * w[:, None] / volume) - within
    cost -= cost.min(axis=1, keepdims=True)
    if entropy == 0:
        out = np.zeros_like(cost)
        out[np.arange(len(cost)), cost.argmin(axis=1)] = 1.0
    else:
        out = volume * np.exp(-cost / entropy)
    return out / out.sum(axis=1, keepdims=True)


def costs(p, shares):
    """sum_j shares_jc e_xj of every row x, up to a constant of the row, shape (n_rows, n_clusters).

    `shares` is what each column has in each cluster; those of a cluster sum to one.
    """
    form = quadratic(p)
    if form is None:
        return np.concatenate([-(p.log(rows) @ shares) for rows in blocks(p)])
    columns, precision = form
    means = shares.T @ columns
    variance = np.einsum("jc,jc->c", shares, sqdist(columns, means))
    return precision * (sqdist(p.block.points, means) + variance)


def quadratic(p):
    """Columns and precision where - log p is a precision times a squared distance and a constant of the row."""
    return p.quadratic if p.uniform == 0 else None


def sqdist(rows, means):
    """Squared distances of rows, dense or sparse, from a few means."""
    return np.square(distance_block(rows, csr_array(means) if issparse(rows) else means))


def weights(p):
    return np.ones(p.n_cols) if p.column_weights is None else np.asarray(p.column_weights, dtype=float)


def blocks(p):
    step = max(1, BLOCK // p.n_cols)
    return (np.arange(start, min(start + step, p.n_rows)) for start in range(0, p.n_rows, step))
