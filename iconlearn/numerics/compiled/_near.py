"""Sums of short radial functions over near pairs, by cells.

The twin of ``engines/mesh/_near.py``, which has the formulas.  Points are sorted by cells of half the reach, so that a
row of cells is one stretch of memory; a map of fewer dimensions is one of three whose first axes are one
cell wide.  The function comes as a table over the bits of the float 1 + s / unit: so many entries for every
doubling, and straight lines between them.
"""

from __future__ import annotations

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_rows

# Entries of a table for every doubling of 1 + s / unit.
_BITS = 7
ENTRIES = 1 << _BITS
_SHIFT, _FIRST = np.int32(23 - _BITS), np.int32(127 << _BITS)
_REST, _PART = np.int32((1 << (23 - _BITS)) - 1), np.float32(1.0 / (1 << (23 - _BITS)))
# Points that are looked up at a time.
_CHUNK = 256
# Rows of cells that a ball of two cells' radius may touch.
_MAX_RUNS = 36


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


def near_sums(points, table, unit, n_threads, part=(0, 1)):
    """Sum of a radial function over the points near each one, of shape (n,); its own pair is not among them.

    Parameters
    ----------
    points : SortedPoints
    table : ndarray of float32 of shape (2, n_entries)
        Values of the function, and how far it is to the next; zero from the reach on.
    unit : float
        Squared distance that the table counts in.
    n_threads : int
    part : tuple of int, default=(0, 1)
        Which of how many parts of the pairs are summed.
    """
    return _by_stretches(_sums, points, (), table, unit, (), n_threads, part)


def near_pulls(points, table, unit, charges, n_threads, part=(0, 1)):
    """sum_j (c_i + c_j) f(s_ij) 2 (u_i - u_j), of shape (n, 3), over the same pairs.

    Axes that the map lacks come first, with zeros; `table` is that of f.
    """
    return _by_stretches(_pulls, points, (3,), table, unit, (charges[points.order],), n_threads, part).T


def _by_stretches(loop, points, width, table, unit, charges, n_threads, part):
    """What a loop adds up over the pairs (i, j > i), in the order of the points as they came.

    Each pair serves both of its ends, so every thread has a copy of the sums.
    """
    n, per_unit = len(points.order), np.float32(1.0 / unit)
    first, last = (n * k // part[1] for k in (part[0], part[0] + 1))
    found, cuts = (
        np.zeros((n_threads, *width, n), np.float32),
        [first + cut for cut in cuts_of_rows(last - first, n_threads)],
    )

    def stretch(k):
        loop(points.columns, points.starts, points.inverse, points.cells, points.reach2, per_unit, table,
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
def _outside(x, cell, side):
    """How far a coordinate lies from the interval of a cell."""
    return max(np.float32(cell) * side - x, x - np.float32(cell + 1) * side, np.float32(0))


@numba.njit(nogil=True, fastmath=True, cache=True)
def _runs_near(x, y, z, inverse, cells, reach2, starts, runs):
    """Find the stretches of sorted points in the rows of cells that a ball touches; returns their number."""
    side, reach, n_runs = np.float32(1) / inverse, np.sqrt(reach2), 0
    for a in range(max(int((x - reach) * inverse), 0), min(int((x + reach) * inverse) + 1, cells[0])):
        left = reach2 - _outside(x, a, side) ** 2
        for b in range(max(int((y - reach) * inverse), 0), min(int((y + reach) * inverse) + 1, cells[1])):
            rest = left - _outside(y, b, side) ** 2
            if rest <= 0:
                continue
            half, row = np.sqrt(rest), (a * cells[1] + b) * cells[2]
            first = starts[row + max(int((z - half) * inverse), 0)]
            last = starts[row + min(int((z + half) * inverse) + 1, cells[2])]
            if last > first:
                runs[n_runs, 0], runs[n_runs, 1] = first, last
                n_runs += 1
    return n_runs


@numba.njit(nogil=True, fastmath=True, cache=True)
def _scratch():
    return np.empty((_MAX_RUNS, 2), np.int64), np.empty(_CHUNK, np.float32)


@numba.njit(nogil=True, fastmath=True, cache=True)
def _sums(columns, starts, inverse, cells, reach2, per_unit, table, start, stop, out):
    runs, t = _scratch()
    bits, values, changes = t.view(np.int32), table[0], table[1]
    xs, ys, zs = columns[0], columns[1], columns[2]
    for i in range(start, stop):
        x, y, z = xs[i], ys[i], zs[i]
        total = np.float32(0)
        for run in range(_runs_near(x, y, z, inverse, cells, reach2, starts, runs)):
            for first in range(max(runs[run, 0], i + 1), runs[run, 1], _CHUNK):
                m = min(runs[run, 1] - first, _CHUNK)
                for k in range(m):
                    j = first + k
                    s = (xs[j] - x) ** 2 + (ys[j] - y) ** 2 + (zs[j] - z) ** 2
                    t[k] = np.float32(1) + min(s, reach2) * per_unit
                for k in range(m):
                    e = (bits[k] >> _SHIFT) - _FIRST
                    f = values[e] + changes[e] * (_PART * np.float32(bits[k] & _REST))
                    total += f
                    out[first + k] += f
        out[i] += total


@numba.njit(nogil=True, fastmath=True, cache=True)
def _pulls(columns, starts, inverse, cells, reach2, per_unit, table, charges, start, stop, out):
    runs, t = _scratch()
    bits, values, changes = t.view(np.int32), table[0], table[1]
    xs, ys, zs = columns[0], columns[1], columns[2]
    for i in range(start, stop):
        x, y, z, charge = xs[i], ys[i], zs[i], np.float32(2) * charges[i]
        px, py, pz = np.float32(0), np.float32(0), np.float32(0)
        for run in range(_runs_near(x, y, z, inverse, cells, reach2, starts, runs)):
            for first in range(max(runs[run, 0], i + 1), runs[run, 1], _CHUNK):
                m = min(runs[run, 1] - first, _CHUNK)
                for k in range(m):
                    j = first + k
                    s = (xs[j] - x) ** 2 + (ys[j] - y) ** 2 + (zs[j] - z) ** 2
                    t[k] = np.float32(1) + min(s, reach2) * per_unit
                for k in range(m):
                    e = (bits[k] >> _SHIFT) - _FIRST
                    t[k] = values[e] + changes[e] * (_PART * np.float32(bits[k] & _REST))
                for k in range(m):
                    j = first + k
                    f = t[k] * (charge + np.float32(2) * charges[j])
                    gx, gy, gz = f * (x - xs[j]), f * (y - ys[j]), f * (z - zs[j])
                    px += gx
                    py += gy
                    pz += gz
                    out[0, j] -= gx
                    out[1, j] -= gy
                    out[2, j] -= gz
        out[0, i] += px
        out[1, i] += py
        out[2, i] += pz
