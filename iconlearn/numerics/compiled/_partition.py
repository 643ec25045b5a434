"""The majorise-minimise step of soft assignments, in one pass over the edges and one over the rows.

G_ic = 2 (1 - a) r_ic sum_j w_ij t_jc / q_ij,     q_ij = (1 - a) sum_c r_ic t_jc + a / n,     t = r / s
r_ic = G_ic / (lambda_i + price_c),               sum_c r_ic = 1
"""

from __future__ import annotations

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_edges, cuts_of_rows

__all__ = ["explained_by_clusters", "onto_simplex"]

# Sums may be taken in any order; infinities are left alone.
_REORDER = {"reassoc", "contract", "nsz"}


def explained_by_clusters(r, right, pointers, columns, weights, debias, share, n_threads):
    """What each cluster explains of each row's weight.

    Parameters
    ----------
    r, right : ndarray of float64 of shape (n, n_clusters)
        Assignments, and the same over the clusters' masses.
    pointers, columns : ndarray of int
    weights : ndarray of float64
        Symmetric pair weights in CSR form.
    debias, share : float
        a, and a / n for the n rows that these stand for.
    n_threads : int

    Returns
    -------
    G : ndarray of shape (n, n_clusters)
    loss : float
    """
    G, cuts = np.empty_like(r), cuts_of_edges(pointers, n_threads)

    def stretch(k):
        return _explain(r, right, pointers, columns, weights, debias, share, cuts[k], cuts[k + 1], G)

    return G, sum(in_stretches(stretch, n_threads))


def onto_simplex(G, price, r, smallest, n_threads):
    """The assignments that minimise the bound; rows that nothing explains keep those in `r`."""
    # A G far below the prices would be lost beside them, so these are counted from the least.
    new, price = np.empty_like(r), price - price.min()
    cuts = cuts_of_rows(len(r), n_threads)
    in_stretches(lambda k: _solve(G, price, r, smallest, cuts[k], cuts[k + 1], new), n_threads)
    return new


@numba.njit(nogil=True, fastmath=_REORDER, cache=True)
def _explain(r, right, pointers, columns, weights, debias, share, start, stop, G):
    n_clusters, rest, loss = r.shape[1], 1.0 - debias, 0.0
    pulled = np.empty(n_clusters)
    for i in range(start, stop):
        pulled[:] = 0.0
        for e in range(pointers[i], pointers[i + 1]):
            j, q = columns[e], 0.0
            for c in range(n_clusters):
                q += r[i, c] * right[j, c]
            q = max(rest * q + share, 1e-300)
            over = weights[e] / q
            loss -= weights[e] * np.log(q)
            for c in range(n_clusters):
                pulled[c] += over * right[j, c]
        for c in range(n_clusters):
            G[i, c] = 2.0 * rest * r[i, c] * pulled[c]
    return loss


@numba.njit(nogil=True, fastmath=_REORDER, cache=True)
def _solve(G, price, r, smallest, start, stop, new):
    n_clusters = G.shape[1]
    for i in range(start, stop):
        # Prices count from the lowest of the row, beside which its G may be next to nothing.
        lowest, at = np.inf, -np.inf
        for c in range(n_clusters):
            if G[i, c] > 0.0:
                lowest = min(lowest, price[c])
        if lowest == np.inf:
            new[i] = r[i]
            continue
        for c in range(n_clusters):
            at = max(at, G[i, c] - max(price[c] - lowest, 0.0))
        # Newton's method from the left of the root.
        for _ in range(60):
            excess, slope = -1.0, 0.0
            for c in range(n_clusters):
                over = 1.0 / max(at + max(price[c] - lowest, 0.0), 1e-300)
                ratio = G[i, c] * over
                excess += ratio
                slope += ratio * over
            at += excess / slope
            if abs(excess) <= 1e-12:
                break
        total = 0.0
        for c in range(n_clusters):
            new[i, c] = max(G[i, c] / max(at + max(price[c] - lowest, 0.0), 1e-300), smallest)
            total += new[i, c]
        for c in range(n_clusters):
            new[i, c] /= total
