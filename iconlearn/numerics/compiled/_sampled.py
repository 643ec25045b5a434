"""A loss with sums over sampled columns, and its gradient, in one pass over the rows.

The twin of ``engines/_sampled.py``, which has the formulas, for the kernel 1 / (1 + s), s = |u_i - u_j|^2.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from ..threads import in_stretches
from ._edges import take_logs
from ._threads import cuts_of_rows

# Rows that go through the columns together, so that a column's place is read once for all of them.
_ROWS = 4
# Places are padded to a multiple of so many numbers.
_LANES = 8
# Columns are filled up to a multiple of so many, a number that the compiler knows.
_STRIDE = 256
_TINY = np.float32(np.finfo(np.float32).tiny)


def sampled_terms(
    U, pointers, near, weights, row_weights, columns, means, scale, memory, pull, exclude_self, n_threads
):
    """Weighted sum of log(1 + s) over the edges, and the gradient of the whole loss.

    Parameters
    ----------
    U : ndarray of float32 of shape (n, d)
    pointers : ndarray of int64 of shape (n + 1,)
    near : ndarray of uint32 of shape (n_edges,)
        Other ends of the edges of each row.
    weights : ndarray of float32 of shape (n_edges,)
        What the edges are weighed by.
    row_weights : ndarray of float32 of shape (n,)
        What the logarithms of the row sums are weighed by.
    columns : ndarray of int64 of shape (m,)
        Those that were drawn, all different.
    means : ndarray of float32 of shape (n,)
        The rows' mean sums before this step, zeros before the first one; those after it are written over them.
    scale : float
        How many columns each drawn one stands for.
    memory : float
        What is left of them.
    pull : float
        The gradient of the edges is multiplied by it.
    exclude_self : bool
        Whether a row's own column is no part of its sum.
    n_threads : int

    Returns
    -------
    total : float
    gradient : ndarray of float32 of shape (n, d)
        Of ``pull * total + sum_i row_weights_i log means_i``, in which the change of the mean is that of the sum.
    """
    n, d = U.shape
    width = -(-d // _LANES) * _LANES
    padded = np.zeros((n, width), np.float32)
    padded[:, :d] = U
    drawn = np.zeros(n, np.float32)
    drawn[columns] = 1.0
    stride = -(-len(columns) // _STRIDE) * _STRIDE
    V = np.zeros((d + 1, stride), np.float32)
    V[:d, : len(columns)] = U[columns].T
    V[d] = np.square(V[:d]).sum(0)
    # Columns that fill up the last lanes have kernels of zero.
    V[d, len(columns) :] = 1e30
    cuts, most = cuts_of_rows(n, n_threads), int(np.diff(pointers).max(initial=0))
    own = np.float32(1.0 if exclude_self else 0.0)
    numbers = np.float32(scale), np.float32(1.0 - memory), np.float32(pull), own
    loop = _loop(d, stride)
    totals = np.zeros((n_threads, n, width), np.float32)
    of_columns = np.zeros((n_threads, d + 1, stride), np.float32)

    def stretch(k):
        buffers = np.empty(_ROWS * stride, np.float32), np.empty((3, _ROWS * most), np.float32)
        return loop(
            padded, pointers, near, weights, row_weights, V, drawn, means, *numbers, cuts[k], cuts[k + 1],
            *buffers, totals[k], of_columns[k],
        )  # fmt: skip

    found = sum(in_stretches(stretch, n_threads))
    gradient = totals[0] if n_threads == 1 else totals.sum(0)
    gradient = np.ascontiguousarray(gradient[:, :d])
    pulls = of_columns.sum(0)
    gradient[columns] += 2 * (V[:d] * pulls[d] - pulls[:d])[:, : len(columns)].T
    return found, gradient


# Differences of places eight at a time, all of which are read before any is written: so they become vectors.


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _gaps(U, i, j, c):
    return (
        U[i, c] - U[j, c], U[i, c + 1] - U[j, c + 1], U[i, c + 2] - U[j, c + 2], U[i, c + 3] - U[j, c + 3],
        U[i, c + 4] - U[j, c + 4], U[i, c + 5] - U[j, c + 5], U[i, c + 6] - U[j, c + 6], U[i, c + 7] - U[j, c + 7],
    )  # fmt: skip


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _squared(a):
    even = (a[0] * a[0] + a[4] * a[4]) + (a[2] * a[2] + a[6] * a[6])
    return even + ((a[1] * a[1] + a[5] * a[5]) + (a[3] * a[3] + a[7] * a[7]))


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _plus(h, t, a):
    return (
        h[0] + t * a[0], h[1] + t * a[1], h[2] + t * a[2], h[3] + t * a[3],
        h[4] + t * a[4], h[5] + t * a[5], h[6] + t * a[6], h[7] + t * a[7],
    )  # fmt: skip


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _add(G, i, c, t, a):
    h = (G[i, c], G[i, c + 1], G[i, c + 2], G[i, c + 3], G[i, c + 4], G[i, c + 5], G[i, c + 6], G[i, c + 7])
    h = _plus(h, t, a)
    G[i, c], G[i, c + 1], G[i, c + 2], G[i, c + 3] = h[0], h[1], h[2], h[3]
    G[i, c + 4], G[i, c + 5], G[i, c + 6], G[i, c + 7] = h[4], h[5], h[6], h[7]


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _near_sums(U, i, pointers, near, drawn, s, kernels):
    """1 + s and kernels of a row's edges; sums of the kernels, and of those whose column was drawn."""
    first, size = pointers[i], pointers[i + 1] - pointers[i]
    for e in range(size):
        s[e] = np.float32(1)
    for c in range(0, U.shape[1], _LANES):
        for e in range(size):
            s[e] += _squared(_gaps(U, i, near[first + e], c))
    total, again = np.float32(0), np.float32(0)
    for e in range(size):
        kernels[e] = np.float32(1) / s[e]
        total += kernels[e]
        again += kernels[e] * drawn[near[first + e]]
    return total, again


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _near_gradient(U, i, pointers, near, slopes, G):
    zero = np.float32(0)
    first, size = pointers[i], pointers[i + 1] - pointers[i]
    for c in range(0, U.shape[1], _LANES):
        h = (zero, zero, zero, zero, zero, zero, zero, zero)
        for e in range(size):
            a = _gaps(U, i, near[first + e], c)
            h = _plus(h, slopes[e], a)
            _add(G, near[first + e], c, -slopes[e], a)
        _add(G, i, c, np.float32(1), h)


@cache
def _loop(d, m):
    """The loop over rows, four at a time, for m columns and the d first numbers of each place."""

    @numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
    def rows(U, pointers, near, weights, row_weights, V, drawn, means, scale, fresh, pull, own, start, stop,
             far, edges, G, P):  # fmt: skip
        one, two, zero = np.float32(1), np.float32(2), np.float32(0)
        s, exponents, slopes = edges[0], edges[1], edges[2]
        sums, factors, total, i = np.empty(_ROWS, np.float32), np.empty(_ROWS, np.float32), 0.0, start
        while i < stop:
            n_rows = min(_ROWS, stop - i)
            # Where there are fewer, the last one stands for the others, and counts nothing there.
            i0, i1, i2, i3 = i, min(i + 1, stop - 1), min(i + 2, stop - 1), min(i + 3, stop - 1)
            n0 = n1 = n2 = n3 = one
            for c in range(d):
                n0 += U[i0, c] * U[i0, c]
                n1 += U[i1, c] * U[i1, c]
                n2 += U[i2, c] * U[i2, c]
                n3 += U[i3, c] * U[i3, c]
            v = V[d]
            for j in range(m):
                y = v[j]
                far[j], far[m + j], far[2 * m + j], far[3 * m + j] = n0 + y, n1 + y, n2 + y, n3 + y
            # Two axes at a time: each time the sums are read and written.
            for c in range(0, d - 1, 2):
                x0, x1, x2, x3 = two * U[i0, c], two * U[i1, c], two * U[i2, c], two * U[i3, c]
                b, v, w = c + 1, V[c], V[c + 1]
                z0, z1, z2, z3 = two * U[i0, b], two * U[i1, b], two * U[i2, b], two * U[i3, b]
                for j in range(m):
                    y, z = v[j], w[j]
                    far[j] -= x0 * y + z0 * z
                    far[m + j] -= x1 * y + z1 * z
                    far[2 * m + j] -= x2 * y + z2 * z
                    far[3 * m + j] -= x3 * y + z3 * z
            for c in range(d - d % 2, d):
                x0, x1, x2, x3 = two * U[i0, c], two * U[i1, c], two * U[i2, c], two * U[i3, c]
                v = V[c]
                for j in range(m):
                    y = v[j]
                    far[j] -= x0 * y
                    far[m + j] -= x1 * y
                    far[2 * m + j] -= x2 * y
                    far[3 * m + j] -= x3 * y
            t0 = t1 = t2 = t3 = zero
            for j in range(m):
                k0, k1 = one / max(far[j], one), one / max(far[m + j], one)
                k2, k3 = one / max(far[2 * m + j], one), one / max(far[3 * m + j], one)
                t0 += k0
                t1 += k1
                t2 += k2
                t3 += k3
                far[j], far[m + j], far[2 * m + j], far[3 * m + j] = k0 * k0, k1 * k1, k2 * k2, k3 * k3
            sums[0], sums[1], sums[2], sums[3] = t0, t1, t2, t3
            factors[:] = zero
            first = pointers[i]
            for r in range(n_rows):
                row, at = i + r, pointers[i + r] - first
                near_sum, again = _near_sums(U, row, pointers, near, drawn, s[at:], slopes[at:])
                # Drawn neighbours, and the row itself, are no part of the rest.
                rest, times = sums[r] - again - own * drawn[row], scale
                if rest < zero:
                    rest = times = zero
                found = max(near_sum + scale * rest, _TINY)
                mean = found if means[row] == zero else means[row] + fresh * (found - means[row])
                means[row] = mean
                share = row_weights[row] / mean
                factors[r] = -share * times
                for e in range(at, pointers[row + 1] - first):
                    k, part = slopes[e], one - times * drawn[near[first + e]]
                    slopes[e] = two * (pull * weights[first + e] * k - share * part * k * k)
                _near_gradient(U, row, pointers, near, slopes[at:], G)
            size = pointers[i + n_rows] - first
            take_logs(s, exponents, size)
            part = zero
            for e in range(size):
                part += weights[first + e] * s[e]
            total += part
            f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
            h0 = h1 = h2 = h3 = zero
            p = P[d]
            for j in range(m):
                b0, b1, b2, b3 = f0 * far[j], f1 * far[m + j], f2 * far[2 * m + j], f3 * far[3 * m + j]
                far[j], far[m + j], far[2 * m + j], far[3 * m + j] = b0, b1, b2, b3
                h0 += b0
                h1 += b1
                h2 += b2
                h3 += b3
                p[j] += (b0 + b1) + (b2 + b3)
            for c in range(d):
                x0, x1, x2, x3 = U[i0, c], U[i1, c], U[i2, c], U[i3, c]
                v, p = V[c], P[c]
                g0 = g1 = g2 = g3 = zero
                for j in range(m):
                    b0, b1, b2, b3, y = far[j], far[m + j], far[2 * m + j], far[3 * m + j], v[j]
                    g0 += b0 * y
                    g1 += b1 * y
                    g2 += b2 * y
                    g3 += b3 * y
                    p[j] += (b0 * x0 + b1 * x1) + (b2 * x2 + b3 * x3)
                G[i0, c] += two * (h0 * x0 - g0)
                G[i1, c] += two * (h1 * x1 - g1)
                G[i2, c] += two * (h2 * x2 - g2)
                G[i3, c] += two * (h3 * x3 - g3)
            i += n_rows
        return total

    return rows
