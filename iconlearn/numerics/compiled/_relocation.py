"""Beside which other row each row pays least; the twin of ``engines/_relocation.py``, which has the formulas."""

from __future__ import annotations

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_edges


def cheapest_rows(U, pointers, columns, weights, factor, offset, paid, share, there, n_tried, n_threads):
    """The row beside which each row pays least, ndarray of int32 of shape (n,); -1 where none is cheaper.

    Parameters
    ----------
    U : ndarray of float32 of shape (n, d)
    pointers, columns, weights : ndarray
        Ties of each row in CSR form.
    factor, offset : float
        A tie costs ``w factor log(1 + s / offset)``, offset finite.
    paid, share, there : ndarray of float32 of shape (n,)
        What row i pays besides its ties: paid[i] at its own place, share[i] * there[j] beside row j.
    n_tried : int
        Other rows that are tried, the heaviest ties first.
    n_threads : int
    """
    at, cuts = np.empty(len(U), np.int32), cuts_of_edges(pointers, n_threads)
    most, d = int(np.diff(pointers).max(initial=0)), U.shape[1]
    scales = np.float32(factor), np.float32(1.0 / offset)

    def stretch(k):
        near, tried = np.empty((d, most), np.float32), np.empty(n_tried, np.int64)
        _search(
            U, pointers, columns, weights, *scales, paid, share, there, cuts[k], cuts[k + 1], near, tried, at
        )

    in_stretches(stretch, n_threads)
    return at


@numba.njit(nogil=True, fastmath=True, cache=True)
def _search(U, pointers, columns, weights, factor, scale, paid, share, there, start, stop, near, tried, at):
    d, n_tried, one = U.shape[1], len(tried), np.float32(1)
    for i in range(start, stop):
        first, k = pointers[i], pointers[i + 1] - pointers[i]
        own = np.float32(0)
        for e in range(k):
            s = np.float32(0)
            for c in range(d):
                near[c, e] = U[columns[first + e], c]
                s += (U[i, c] - near[c, e]) ** 2
            own += weights[first + e] * np.log(one + s * scale)
        best, at[i] = factor * own + paid[i], -1
        m = min(k, n_tried)
        if k <= n_tried:
            for t in range(k):
                tried[t] = t
        else:
            below, last = np.float32(np.inf), -1
            for t in range(m):
                # The next lighter tie, or the next of equal weight.
                chosen, heaviest = -1, np.float32(-np.inf)
                for e in range(k):
                    w = weights[first + e]
                    if (w < below or (w == below and e > last)) and w > heaviest:
                        chosen, heaviest = e, w
                tried[t], below, last = chosen, heaviest, chosen
        for t in range(m):
            j = columns[first + tried[t]]
            cost = share[i] * there[j]
            for e in range(k):
                s = np.float32(0)
                for c in range(d):
                    s += (near[c, tried[t]] - near[c, e]) ** 2
                cost += factor * weights[first + e] * np.log(one + s * scale)
            if cost < best:
                best, at[i] = cost, j
