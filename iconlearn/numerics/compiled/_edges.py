"""Sums over the edges of a graph, with their gradient, in one pass over the edges of each row.

sum_e w_e log(1 + s_e / offset)   or   sum_e w_e s_e,      s_e = |u_i - v_j|^2
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_edges

_LN2 = np.float32(np.log(2))
# The bits of sqrt(1/2) as a float: mantissas are taken from [sqrt(1/2), sqrt(2)).
_ROOT_HALF = np.int32(0x3F3504F3)
_MANTISSA = np.int32(0x7FFFFF)
# Edges whose logarithms are taken together, and at least those of one row.
_EDGES = 1024


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
    most = max(_EDGES, int(np.diff(pointers).max(initial=0)))
    offset = np.float32(1.0 if np.isinf(offset) else offset)

    def stretch(k):
        buffer = np.empty((2, most), np.float32)
        return kernel(U, V, pointers, columns, weights, offset, cuts[k], cuts[k + 1], buffer, gradient)

    return sum(in_stretches(stretch, n_threads)), gradient


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def take_logs(numbers, exponents, k):
    """Write the logarithms of the first k of some positive numbers over them, to about 1e-7.

    Both arrays are of float32, and `exponents` holds anything.
    """
    # Divisions are not checked, and no integer is wider than a float: else these loops have one number at a time.
    bits = numbers.view(np.int32)
    for e in range(k):
        high = np.int32(bits[e] - _ROOT_HALF)
        exponents[e] = np.float32(high >> np.int32(23))
        bits[e] = np.int32(np.int32(high & _MANTISSA) + _ROOT_HALF)
    # A series in the mantissas.
    for e in range(k):
        t = numbers[e] - np.float32(1)
        q = t / (np.float32(2) + t)
        qq = q * q
        series = np.float32(2 / 7) + qq * np.float32(2 / 9)
        series = np.float32(2 / 3) + qq * (np.float32(2 / 5) + qq * series)
        numbers[e] = exponents[e] * _LN2 + q * (np.float32(2) + qq * series)


@cache
def _logarithmic(d):
    @numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
    def rows(U, V, pointers, columns, weights, offset, start, stop, buffer, gradient):
        s, exponents, total, i = buffer[0], buffer[1], 0.0, start
        most = len(s)
        while i < stop:
            # Several rows, the logarithms of whose edges are taken together: in a loop of one row's few most of the
            # time would go into its beginning and its end.
            first = pointers[i]
            while i < stop and pointers[i + 1] - first <= most:
                x, px = U[i, 0], np.float32(0)
                y, py = (U[i, 1] if d > 1 else np.float32(0)), np.float32(0)
                z, pz = (U[i, 2] if d > 2 else np.float32(0)), np.float32(0)
                whole = np.float32(0)
                for e in range(pointers[i], pointers[i + 1]):
                    j, w = columns[e], weights[e]
                    dx = x - V[j, 0]
                    t = offset + dx * dx
                    if d > 1:
                        dy = y - V[j, 1]
                        t += dy * dy
                    if d > 2:
                        dz = z - V[j, 2]
                        t += dz * dz
                    s[e - first] = t
                    whole += w
                    w /= t
                    px += w * dx
                    if d > 1:
                        py += w * dy
                    if d > 2:
                        pz += w * dz
                gradient[i, 0] = 2 * px
                if d > 1:
                    gradient[i, 1] = 2 * py
                if d > 2:
                    gradient[i, 2] = 2 * pz
                total -= whole * np.log(offset)
                i += 1
            k = pointers[i] - first
            take_logs(s, exponents, k)
            part = np.float32(0)
            for e in range(k):
                part += weights[first + e] * s[e]
            total += part
        return total

    return rows


@cache
def _linear(d):
    @numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
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
