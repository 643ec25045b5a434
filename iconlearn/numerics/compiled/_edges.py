"""Sums over the edges of a graph, with their gradient, in one pass over the edges of each row.

sum_e w_e log(1 + s_e / offset)   or   sum_e w_e s_e,      s_e = |u_i - v_j|^2
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_edges

__all__ = ["edge_terms"]

_LN2 = np.float32(np.log(2))
# The bits of sqrt(1/2) as a float: mantissas are taken from [sqrt(1/2), sqrt(2)).
_ROOT_HALF = np.int32(0x3F3504F3)
_MANTISSA = np.int32(0x7FFFFF)


def edge_terms(U, V, pointers, columns, weights, offset, n_threads):
    """Weighted sum of log(1 + s / offset) over the edges, and its gradient for the rows.

    Parameters
    ----------
    U, V : ndarray of float32 of shape (n_rows, d) and (n_cols, d)
        Places, C-contiguous.
    pointers : ndarray of int64 of shape (n_rows + 1,)
    columns : ndarray of int32 of shape (n_edges,)
    weights : ndarray of float32 of shape (n_edges,)
        The edges as a sparse matrix in CSR form.
    offset : float
        Infinite for the plain sum of w s.
    n_threads : int

    Returns
    -------
    total : float
    gradient : ndarray of float32 of shape (n_rows, d)
    """
    d = U.shape[1]
    gradient = np.empty_like(U)
    kernel = _linear(d) if np.isinf(offset) else _logarithmic(d)
    cuts = cuts_of_edges(pointers, n_threads)
    most = int(np.diff(pointers).max(initial=0))
    offset = np.float32(1.0 if np.isinf(offset) else offset)

    def stretch(k):
        buffer = np.empty((d + 1, most), np.float32)
        return kernel(U, V, pointers, columns, weights, offset, cuts[k], cuts[k + 1], buffer, gradient)

    return sum(in_stretches(stretch, n_threads)), gradient


@cache
def _logarithmic(d):
    @numba.njit(nogil=True, fastmath=True, cache=True)
    def rows(U, V, pointers, columns, weights, offset, start, stop, buffer, gradient):
        s = buffer[d]
        bits, total = s.view(np.int32), 0.0
        for i in range(start, stop):
            first = pointers[i]
            k = pointers[i + 1] - first
            s[:k] = offset
            for c in range(d):
                u, gaps = U[i, c], buffer[c]
                for e in range(k):
                    gaps[e] = u - V[columns[first + e], c]
                for e in range(k):
                    s[e] += gaps[e] * gaps[e]
            for c in range(d):
                gaps, pull = buffer[c], np.float32(0)
                for e in range(k):
                    pull += weights[first + e] / s[e] * gaps[e]
                gradient[i, c] = 2 * pull
            # The logarithm of many numbers at a time: their exponents, and a series in the mantissas.
            exponents = buffer[0]
            for e in range(k):
                high = bits[e] - _ROOT_HALF
                exponents[e] = np.float32(high >> np.int32(23))
                bits[e] = (high & _MANTISSA) + _ROOT_HALF
            row = np.float32(0)
            for e in range(k):
                t = s[e] - np.float32(1)
                q = t / (np.float32(2) + t)
                z = q * q
                series = np.float32(2 / 7) + z * np.float32(2 / 9)
                series = np.float32(2 / 3) + z * (np.float32(2 / 5) + z * series)
                row += weights[first + e] * (exponents[e] * _LN2 + q * (np.float32(2) + z * series))
            whole = np.float32(0)
            for e in range(k):
                whole += weights[first + e]
            total += row - whole * np.log(offset)
        return total

    return rows


@cache
def _linear(d):
    @numba.njit(nogil=True, fastmath=True, cache=True)
    def rows(U, V, pointers, columns, weights, offset, start, stop, buffer, gradient):
        total = 0.0
        for i in range(start, stop):
            first = pointers[i]
            k = pointers[i + 1] - first
            row = np.float32(0)
            for c in range(d):
                u, pull = U[i, c], np.float32(0)
                for e in range(k):
                    gap = u - V[columns[first + e], c]
                    pull += weights[first + e] * gap
                    row += weights[first + e] * gap * gap
                gradient[i, c] = 2 * pull
            total += row
        return total

    return rows
