"""Beside which other row each row pays least; the twin of ``engines/_relocation.py``, which has the formulas."""

from __future__ import annotations

import numba
import numpy as np

from ..threads import in_stretches
from ._edges import take_logs
from ._threads import cuts_of_edges


def cheapest_rows(U, pointers, columns, weights, factor, offset, paid, share, there, n_tried, n_threads):
    """The row beside which each row pays least, ndarray of int32 of shape (n,); -1 where none is cheaper.

    Parameters
    ----------
    U : ndarray of float32 of shape (n_columns, d)
        Places of the columns, those of the n rows first.
    pointers, columns, weights : ndarray
        Ties of each row in CSR form.
    factor, offset : float
        A tie costs ``w factor log(1 + s / offset)``, offset finite.
    paid, share : ndarray of float32 of shape (n,)
    there : ndarray of float32 of shape (n_columns,)
        What row i pays besides its ties: paid[i] at its own place, share[i] * there[j] beside row j.
    n_tried : int
        Other rows that are tried, the heaviest ties first.
    n_threads : int
    """
    at, cuts = np.empty(len(paid), np.int32), cuts_of_edges(pointers, n_threads)
    most, d = int(np.diff(pointers).max(initial=0)), U.shape[1]
    scales = np.float32(factor), np.float32(1.0 / offset)

    def stretch(k):
        near, order = np.empty((d, most), np.float32), np.empty(n_tried, np.int64)
        # Of the ties at the row's own place, and then at each one that is tried.
        logs = np.empty((2, (n_tried + 1) * most), np.float32)
        _search(
            U, pointers, columns, weights, *scales, paid, share, there, cuts[k], cuts[k + 1], near, order,
            logs, at,
        )  # fmt: skip

    in_stretches(stretch, n_threads)
    return at


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _search(
    U, pointers, columns, weights, factor, scale, paid, share, there, start, stop, near, order, logs, at
):
    d, one = U.shape[1], np.float32(1)
    numbers, exponents = logs[0], logs[1]
    for i in range(start, stop):
        first, k = pointers[i], pointers[i + 1] - pointers[i]
        m = _heaviest(weights, first, k, order)
        for c in range(d):
            for e in range(k):
                near[c, e] = U[columns[first + e], c]
        for t in range(m + 1):
            begin = t * k
            for e in range(k):
                numbers[begin + e] = one
            for c in range(d):
                x = U[i, c] if t == 0 else near[c, order[t - 1]]
                for e in range(k):
                    gap = x - near[c, e]
                    numbers[begin + e] += scale * gap * gap
        take_logs(numbers, exponents, (m + 1) * k)
        best, at[i] = np.float32(0), -1
        for t in range(m + 1):
            ties = np.float32(0)
            for e in range(k):
                ties += weights[first + e] * numbers[t * k + e]
            if t == 0:
                best = factor * ties + paid[i]
                continue
            j = columns[first + order[t - 1]]
            cost = factor * ties + share[i] * there[j]
            if cost < best:
                best, at[i] = cost, j


@numba.njit(nogil=True, cache=True)
def _heaviest(weights, first, k, order):
    """Write the places of the heaviest of k ties to `order`, the first of equals first; how many these are."""
    m = 0
    for e in range(k):
        w = weights[first + e]
        if m < len(order):
            m += 1
        elif w <= weights[first + order[m - 1]]:
            continue
        t = m - 1
        while t > 0 and weights[first + order[t - 1]] < w:
            order[t] = order[t - 1]
            t -= 1
        order[t] = e
    return m
