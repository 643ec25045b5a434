"""Sums of short radial functions over near pairs, by cells.

The twin of ``engines/mesh/_near.py``, which has the formulas.  Points are sorted by cells of half the reach, so that a
row of cells is one stretch of memory; a map of fewer dimensions is one of three whose first axes are one
cell wide.  The points of a cell meet the same others, of which copies lie side by side: so the loops over these are
long, and have vectors.

The function is what a parabola leaves of 1 / (1 + s / unit); or it comes as a table over the bits of the float
1 + s / unit: so many entries for every doubling, and straight lines between them.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_rows

# Entries of a table for every doubling of 1 + s / unit.
_BITS = 7
ENTRIES = 1 << _BITS
_SHIFT, _FIRST = np.int32(23 - _BITS), np.int32(127 << _BITS)
_REST, _PART = np.int32((1 << (23 - _BITS)) - 1), np.float32(1.0 / (1 << (23 - _BITS)))
# Points that meet the same others, and how many of these are copied at a time.
_BLOCK, _CHUNK = 32, 512
# Rows of cells at most two from that of a point along both axes, from its own on.
_MAX_RUNS = 13


class SortedPoints:
    """Points in the order of their cells.

    Parameters
    ----------
    points : ndarray of float32 of shape (n, d)
    reach : float
        Distance up to which pairs are near; a cell's side is half of it.

    Attributes
    ----------
    order : ndarray of int32 of shape (n,)
        Which point is at each place.
    columns : ndarray of float32 of shape (3, n)
        Coordinates in that order, less the lowest.
    starts : ndarray of int32
        Where each cell begins in that order.
    """

    def __init__(self, points, reach):
        d = points.shape[1]
        self.reach2, self.inverse = np.float32(reach * reach), np.float32(2.0 / reach)
        columns = np.zeros((3, len(points)), np.float32)
        columns[3 - d :] = points.T
        columns[3 - d :] -= columns[3 - d :].min(1, keepdims=True)
        self.cells = (columns.max(1) * self.inverse).astype(np.int64) + 1
        self.order = np.empty(len(points), np.int32)
        self.starts = np.zeros(int(self.cells.prod()) + 1, np.int32)
        _sort(columns, self.inverse, self.cells, self.order, self.starts)
        self.columns = columns[:, self.order]

    def crowd(self):
        """Pairs of points that share a cell, each counted from both ends."""
        return int((np.diff(self.starts).astype(np.int64) ** 2).sum())


def near_sums(points, function, unit, n_threads, part=(0, 1)):
    """Sum of a radial function over the points near each one, of shape (n,); its own pair is not among them.

    Parameters
    ----------
    points : SortedPoints
    function : ndarray of float32 of shape (2, n_entries) or (3,)
        Values of the function at the entries of a table, and how far it is to the next; zero from the reach on.  Or the
        coefficients of the parabola: by powers of s less the squared reach.
    unit : float
        Squared distance that the table counts in, or over which the kernel falls to a half.
    n_threads : int
    part : tuple of int, default=(0, 1)
        Which of how many parts of the pairs are summed.
    """
    return _by_stretches(_sums, points, (), function, unit, (), n_threads, part)


def near_pulls(points, function, unit, charges, n_threads, part=(0, 1)):
    """sum_j (c_i + c_j) f(s_ij) 2 (u_i - u_j), of shape (n, 3), over the same pairs.

    Axes that the map lacks come first, with zeros.  A table is that of f, the slope of the function; a parabola is that
    of the function itself.
    """
    return _by_stretches(_pulls, points, (3,), function, unit, (charges[points.order],), n_threads, part).T


def _by_stretches(loop, points, width, function, unit, charges, n_threads, part):
    """What a loop adds up over the pairs (i, j > i), in the order of the points as they came.

    Each pair serves both of its ends, so every thread has a copy of the sums.
    """
    n, per_unit, loop = len(points.order), np.float32(1.0 / unit), loop(function.ndim == 1)
    first, last = (n * k // part[1] for k in (part[0], part[0] + 1))
    found, cuts = (
        np.zeros((n_threads, *width, n), np.float32),
        [first + cut for cut in cuts_of_rows(last - first, n_threads)],
    )

    def stretch(k):
        loop(points.columns, points.starts, points.inverse, points.cells, points.reach2, per_unit, function,
             *charges, cuts[k], cuts[k + 1], found[k])  # fmt: skip

    in_stretches(stretch, n_threads)
    out = np.empty((*width, n), np.float32)
    out[..., points.order] = found[0] if n_threads == 1 else found.sum(0)
    return out


@numba.njit(nogil=True, fastmath=True, cache=True)
def _sort(columns, inverse, cells, order, starts):
    n = columns.shape[1]
    of = np.empty(n, np.int32)
    for i in range(n):
        a, b, c = columns[0, i] * inverse, columns[1, i] * inverse, columns[2, i] * inverse
        of[i] = (int(a) * cells[1] + int(b)) * cells[2] + int(c)
        starts[of[i] + 1] += 1
    for k in range(len(starts) - 1):
        starts[k + 1] += starts[k]
    ends = starts[:-1].copy()
    for i in range(n):
        order[ends[of[i]]] = i
        ends[of[i]] += 1


@numba.njit(nogil=True, fastmath=True, cache=True)
def _runs_beside(columns, starts, inverse, cells, i, stop, runs):
    """The points that share the cell of point i, from it on, and the runs of those that they meet from there on.

    Returns
    -------
    end : int
        The first point that is not one of them.
    n_runs : int
        The first run begins with point i.
    """
    a, b, c = int(columns[0, i] * inverse), int(columns[1, i] * inverse), int(columns[2, i] * inverse)
    end, n_runs = min(i + _BLOCK, stop, starts[(a * cells[1] + b) * cells[2] + c + 1]), 0
    for k in range(a, min(a + 3, cells[0])):
        for m in range(b if k == a else max(b - 2, 0), min(b + 3, cells[1])):
            row = (k * cells[1] + m) * cells[2]
            first = i if n_runs == 0 else starts[row + max(c - 2, 0)]
            last = starts[row + min(c + 3, cells[2])]
            if last > first:
                runs[n_runs, 0], runs[n_runs, 1] = first, last
                n_runs += 1
    return end, n_runs


@numba.njit(nogil=True, fastmath=True, cache=True)
def _next_of(runs, n_runs, taken):
    """Note which points of the runs come next, as stretches `taken` of them; returns how many."""
    m = 0
    for run in range(n_runs):
        first = runs[run, 0]
        runs[run, 0] = min(first + _CHUNK - m, runs[run, 1])
        taken[run, 0], taken[run, 1] = first, runs[run, 0]
        m += runs[run, 0] - first
    return m


@numba.njit(nogil=True, fastmath=True, cache=True)
def _copy(numbers, taken, n_runs, copies):
    m = 0
    for run in range(n_runs):
        first = taken[run, 0]
        for k in range(taken[run, 1] - first):
            copies[m + k] = numbers[first + k]
        m += taken[run, 1] - first


@numba.njit(nogil=True, fastmath=True, cache=True)
def _add(parts, taken, n_runs, sums):
    m = 0
    for run in range(n_runs):
        first = taken[run, 0]
        for k in range(taken[run, 1] - first):
            sums[first + k] += parts[m + k]
        m += taken[run, 1] - first


@numba.njit(nogil=True, fastmath=True, cache=True)
def _looked_up(table, x, y, z, xs, ys, zs, reach2, per_unit, t, found):
    """Write what a table has at the squared distances of others to `found`; `t` is written over."""
    bits, values, changes = t.view(np.int32), table[0], table[1]
    for j in range(len(xs)):
        s = (xs[j] - x) ** 2 + (ys[j] - y) ** 2 + (zs[j] - z) ** 2
        t[j] = np.float32(1) + min(s, reach2) * per_unit
    for j in range(len(t)):
        e = (bits[j] >> _SHIFT) - _FIRST
        found[j] = values[e] + changes[e] * (_PART * np.float32(bits[j] & _REST))


# In the loops over others all arrays begin at zero: where they begin elsewhere these loops have one number at a time.


@cache
def _sums(of_parabola):
    @numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
    def rows(columns, starts, inverse, cells, reach2, per_unit, function, start, stop, out):
        runs, taken, one = (
            np.empty((_MAX_RUNS, 2), np.int64),
            np.empty((_MAX_RUNS, 2), np.int64),
            np.float32(1),
        )
        others, scratch = np.empty((3, _CHUNK), np.float32), np.empty((3, _CHUNK), np.float32)
        i = start
        while i < stop:
            end, n_runs = _runs_beside(columns, starts, inverse, cells, i, stop, runs)
            with_own, m = True, _next_of(runs, n_runs, taken)
            while m > 0:
                for axis in range(3):
                    _copy(columns[axis], taken, n_runs, others[axis])
                scratch[0, :m] = np.float32(0)
                for k in range(i, end):
                    x, y, z, total = columns[0, k], columns[1, k], columns[2, k], np.float32(0)
                    # Each pair is met from the end that comes first.
                    first = k - i + 1 if with_own else 0
                    xs, ys, zs = others[0, first:m], others[1, first:m], others[2, first:m]
                    parts, t, found = scratch[0, first:m], scratch[1, first:m], scratch[2, first:m]
                    if of_parabola:
                        for j in range(len(xs)):
                            s = (xs[j] - x) ** 2 + (ys[j] - y) ** 2 + (zs[j] - z) ** 2
                            s = min(s, reach2)
                            gap = s - reach2
                            f = one / (one + s * per_unit)
                            f -= function[0] + gap * (function[1] + gap * function[2])
                            total += f
                            parts[j] += f
                    else:
                        _looked_up(function, x, y, z, xs, ys, zs, reach2, per_unit, t, found)
                        for j in range(len(xs)):
                            total += found[j]
                            parts[j] += found[j]
                    out[k] += total
                _add(scratch[0], taken, n_runs, out)
                with_own, m = False, _next_of(runs, n_runs, taken)
            i = end

    return rows


@cache
def _pulls(of_parabola):
    @numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
    def rows(columns, starts, inverse, cells, reach2, per_unit, function, charges, start, stop, out):
        runs, taken, one = (
            np.empty((_MAX_RUNS, 2), np.int64),
            np.empty((_MAX_RUNS, 2), np.int64),
            np.float32(1),
        )
        others, scratch, two = (
            np.empty((4, _CHUNK), np.float32),
            np.empty((5, _CHUNK), np.float32),
            np.float32(2),
        )
        i = start
        while i < stop:
            end, n_runs = _runs_beside(columns, starts, inverse, cells, i, stop, runs)
            with_own, m = True, _next_of(runs, n_runs, taken)
            while m > 0:
                for axis in range(3):
                    _copy(columns[axis], taken, n_runs, others[axis])
                _copy(charges, taken, n_runs, others[3])
                scratch[:3, :m] = np.float32(0)
                for k in range(i, end):
                    x, y, z, charge = columns[0, k], columns[1, k], columns[2, k], charges[k]
                    px, py, pz = np.float32(0), np.float32(0), np.float32(0)
                    first = k - i + 1 if with_own else 0
                    xs, ys, zs = others[0, first:m], others[1, first:m], others[2, first:m]
                    xp, yp, zp = scratch[0, first:m], scratch[1, first:m], scratch[2, first:m]
                    cs, t, found = others[3, first:m], scratch[3, first:m], scratch[4, first:m]
                    if not of_parabola:
                        _looked_up(function, x, y, z, xs, ys, zs, reach2, per_unit, t, found)
                    for j in range(len(xs)):
                        gx, gy, gz = x - xs[j], y - ys[j], z - zs[j]
                        if of_parabola:
                            s = min(gx * gx + gy * gy + gz * gz, reach2)
                            f = one / (one + s * per_unit)
                            f = -f * f * per_unit - (function[1] + two * (s - reach2) * function[2])
                        else:
                            f = found[j]
                        f *= two * (charge + cs[j])
                        gx, gy, gz = f * gx, f * gy, f * gz
                        px += gx
                        py += gy
                        pz += gz
                        xp[j] -= gx
                        yp[j] -= gy
                        zp[j] -= gz
                    out[0, k] += px
                    out[1, k] += py
                    out[2, k] += pz
                for axis in range(3):
                    _add(scratch[axis], taken, n_runs, out[axis])
                with_own, m = False, _next_of(runs, n_runs, taken)
            i = end

    return rows
