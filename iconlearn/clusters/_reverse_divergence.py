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

from ..conditional import normalize_rows
from ..neighbors import distance_block
from ._weights import BLOCK as BLOCK_OF_PAIRS
from ._weights import SMALLEST, members, sized

BLOCK = 2**22
# Training rows, or groups of them, that see the uniform share of a new row.
N_LIKE = 1000


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


def assign(p, r, n_iter=200, tol=1e-10, *, debias=0.0, balance=1.0, copies=None):
    """Assignments of new rows, given p of the new rows over the training rows and their assignments r.

    Each row minimises - sum_j p_j log[ (1 - a) sum_c t_c r_jc / s_c^b n^(1 - b) + a / n ] over the simplex: a
    mixture with known components, of which the last keeps its share a, solved by expectation-maximisation from
    the uniform start, every row on its own.  A uniform share of p is over all training rows, seen by the means of
    groups of like assignments where they are many; where the mass of a row comes from both sides, it counts
    from both sides too.  A row without support of p gets the clusters' shares.  Training rows may stand for
    several `copies` each, of mean one.
    """
    n, share, edges, mass = len(r), p.uniform, p.sparse(), p.mass
    sizes = r.sum(0) if copies is None else copies @ r
    if copies is None:
        copies = np.ones(n)
    else:
        edges = csr_array((edges.data * copies[edges.indices], edges.indices, edges.indptr), edges.shape)
        mass = None if mass is None else mass * edges.sum(axis=1)
        edges = normalize_rows(edges)
    right = (1.0 - debias) * r / sized(np.maximum(sizes, SMALLEST), n, balance)
    n_clusters = r.shape[1]
    out = np.tile(sizes / n, (edges.shape[0], 1))
    degree = np.diff(edges.indptr)
    size, mean = _like_rows(r, right, copies) if share > 0 else (np.zeros(0), right[:0])
    step = max(1, BLOCK_OF_PAIRS // max(n_clusters * degree.max(initial=1), len(size), 1))
    for start in range(0, edges.shape[0], step):
        rows = np.arange(start, min(start + step, edges.shape[0]))
        rows = rows[(degree[rows] > 0) | (share > 0)]
        if len(rows):
            weight, cols = _padded(edges, rows, degree[rows])
            if share > 0:
                weight *= (1.0 - share) * (1.0 if mass is None else mass[rows, None] / 2.0)
            common = share * size / n
            out[rows] = _mixture(weight, right[cols], common, mean, debias / n, n_iter, tol)
    return out


def _like_rows(r, right, copies):
    """Sizes of groups of rows that are assigned alike, and the mean of `right` in each; few rows are each its own."""
    n = len(r)
    if n <= N_LIKE:
        return copies, right
    first = r.argmax(axis=1)
    other = r.copy()
    other[np.arange(n), first] = -1.0
    second = other.argmax(axis=1) if r.shape[1] ** 2 <= N_LIKE else first
    order = np.lexsort((r.max(axis=1), second, first))
    pair = (first * r.shape[1] + second)[order]
    fresh = np.diff(pair, prepend=-1) != 0
    begun = np.flatnonzero(fresh)
    place = np.arange(n) - begun[np.cumsum(fresh) - 1]
    group = np.cumsum(fresh | (place % -(-n // N_LIKE) == 0)) - 1
    size = np.bincount(group, copies[order])
    return size, members(group).T @ (copies[:, None] * right)[order] / size[:, None]


def _padded(edges, rows, degree):
    """Weights and columns of some rows as rectangles; the padding weighs nothing."""
    slot = np.arange(degree.max())
    place = edges.indptr[rows][:, None] + np.minimum(slot, degree[:, None] - 1)
    return np.where(slot < degree[:, None], edges.data[place], 0.0), edges.indices[place]


def _mixture(weight, likelihood, common, mean, floor, n_iter, tol):
    """Expectation-maximisation for the proportions of each row; (rows, k) and (rows, k, clusters).

    `common` and `mean`, (m,) and (m, clusters), are weights and likelihoods that all rows have in common.
    """
    t = np.full((len(weight), likelihood.shape[2]), 1.0 / likelihood.shape[2])
    active = np.arange(len(weight))
    for _ in range(n_iter):
        mixed = np.maximum((likelihood[active] * t[active, None, :]).sum(2) + floor, 1e-300)
        explained = ((weight[active] / mixed)[:, :, None] * likelihood[active]).sum(1)
        if len(common):
            explained += (common / np.maximum(t[active] @ mean.T + floor, 1e-300)) @ mean
        new = t[active] * explained
        new /= new.sum(1, keepdims=True)
        moved = np.abs(new - t[active]).max(1)
        t[active] = new
        active = active[moved > tol]
        if not len(active):
            break
    return t
