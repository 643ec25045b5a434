"""Cubic B-splines between points and a grid of one to three dimensions.

The twin of ``engines/_splines.py``, which has the formulas; a grid of fewer dimensions is one of three whose
first axes have a single node.
"""

from __future__ import annotations

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_rows

# Copies of the grid that the threads of a spreading may have between them.
MAX_COPIES = 8


def spread_points(points, low, inverse, shape, charges, n_threads):
    """Density of charges on a grid.

    Parameters
    ----------
    points : ndarray of float32 of shape (n, d)
    low : ndarray of float32 of shape (d,)
        Place of the first node.
    inverse : float
        One over the spacing.
    shape : tuple of int
        Nodes along each axis.
    charges : ndarray of float32 of shape (n,) or (0,)
        Empty for charges of one.
    n_threads : int

    Returns
    -------
    ndarray of float32 of the given shape
    """
    n_threads = min(n_threads, MAX_COPIES)
    grids = np.zeros((n_threads, *_cube(shape)), np.float32)
    cuts, inverse = cuts_of_rows(len(points), n_threads), np.float32(inverse)
    in_stretches(lambda k: _spread(points, low, inverse, charges, cuts[k], cuts[k + 1], grids[k]), n_threads)
    return (grids[0] if n_threads == 1 else grids.sum(0)).reshape(shape)


def read_points(points, low, inverse, field, n_threads):
    """Values of a field of shape (n,) and its gradient of shape (n, d) at the points."""
    value, slope = np.empty(len(points), np.float32), np.empty_like(points)
    field, cuts = field.reshape(_cube(field.shape)), cuts_of_rows(len(points), n_threads)
    inverse = np.float32(inverse)
    in_stretches(lambda k: _read(points, low, inverse, field, cuts[k], cuts[k + 1], value, slope), n_threads)
    return value, slope


def own_of_points(points, low, inverse, near, n_threads):
    """What each point reads of its own unit charge, of shape (n,), and its gradient, of shape (n, d).

    `near` is the field of a charge on one node, of shape (4,) * d.
    """
    value, slope = np.empty(len(points), np.float32), np.empty_like(points)
    near, cuts = near.reshape(_cube(near.shape)), cuts_of_rows(len(points), n_threads)
    inverse = np.float32(inverse)
    in_stretches(lambda k: _own(points, low, inverse, near, cuts[k], cuts[k + 1], value, slope), n_threads)
    return value, slope


def _cube(shape):
    return (1,) * (3 - len(shape)) + tuple(shape)


@numba.njit(nogil=True, fastmath=True, cache=True)
def _stencil(point, low, inverse, first, weights, slopes):
    """Nodes and weights of one point; axes that the map lacks have one node of weight one."""
    missing = 3 - len(point)
    for axis in range(missing, 3):
        x = (point[axis - missing] - low[axis - missing]) * inverse
        base = int(x)
        t = np.float32(x - base)
        s, tt = np.float32(1) - t, t * t
        first[axis] = base
        weights[axis, 0] = s * s * s / np.float32(6)
        weights[axis, 1] = (np.float32(3) * t * tt - np.float32(6) * tt + np.float32(4)) / np.float32(6)
        weights[axis, 2] = (np.float32(3) * (t + tt - t * tt) + np.float32(1)) / np.float32(6)
        weights[axis, 3] = t * tt / np.float32(6)
        slopes[axis, 0] = -np.float32(0.5) * s * s
        slopes[axis, 1] = np.float32(1.5) * tt - np.float32(2) * t
        slopes[axis, 2] = np.float32(0.5) + t - np.float32(1.5) * tt
        slopes[axis, 3] = np.float32(0.5) * tt


@numba.njit(nogil=True, fastmath=True, cache=True)
def _scratch(d):
    """Arrays for a stencil, and its number of nodes along each axis."""
    taps = np.full(3, 4, np.int64)
    taps[: 3 - d] = 1
    first, weights, slopes = np.zeros(3, np.int64), np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32)
    weights[: 3 - d, 0] = 1
    return taps, first, weights, slopes


@numba.njit(nogil=True, fastmath=True, cache=True)
def _spread(points, low, inverse, charges, start, stop, grid):
    taps, first, w, slopes = _scratch(points.shape[1])
    flat, rows, columns = grid.reshape(-1), np.uint64(grid.shape[1]), np.uint64(grid.shape[2])
    unit = len(charges) == 0
    for i in range(start, stop):
        _stencil(points[i], low, inverse, first, w, slopes)
        charge = np.float32(1) if unit else charges[i]
        w0, w1, w2, w3 = w[2, 0], w[2, 1], w[2, 2], w[2, 3]
        for a in range(taps[0]):
            for b in range(taps[1]):
                part = charge * w[0, a] * w[1, b]
                at = (np.uint64(first[0] + a) * rows + np.uint64(first[1] + b)) * columns + np.uint64(
                    first[2]
                )
                flat[at] += part * w0
                flat[at + np.uint64(1)] += part * w1
                flat[at + np.uint64(2)] += part * w2
                flat[at + np.uint64(3)] += part * w3


@numba.njit(nogil=True, fastmath=True, cache=True)
def _read(points, low, inverse, field, start, stop, value, slope):
    d = points.shape[1]
    taps, first, w, dw = _scratch(d)
    flat, rows, columns = field.reshape(-1), np.uint64(field.shape[1]), np.uint64(field.shape[2])
    for i in range(start, stop):
        _stencil(points[i], low, inverse, first, w, dw)
        w0, w1, w2, w3 = w[2, 0], w[2, 1], w[2, 2], w[2, 3]
        d0, d1, d2, d3 = dw[2, 0], dw[2, 1], dw[2, 2], dw[2, 3]
        total, g0, g1, g2 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for a in range(taps[0]):
            for b in range(taps[1]):
                at = (np.uint64(first[0] + a) * rows + np.uint64(first[1] + b)) * columns + np.uint64(
                    first[2]
                )
                f0, f1 = flat[at], flat[at + np.uint64(1)]
                f2, f3 = flat[at + np.uint64(2)], flat[at + np.uint64(3)]
                v = w0 * f0 + w1 * f1 + w2 * f2 + w3 * f3
                dv = d0 * f0 + d1 * f1 + d2 * f2 + d3 * f3
                total += w[0, a] * w[1, b] * v
                g0 += dw[0, a] * w[1, b] * v
                g1 += w[0, a] * dw[1, b] * v
                g2 += w[0, a] * w[1, b] * dv
        value[i] = total
        slope[i, d - 1] = g2 * inverse
        if d > 1:
            slope[i, d - 2] = g1 * inverse
        if d > 2:
            slope[i, d - 3] = g0 * inverse


@numba.njit(nogil=True, fastmath=True, cache=True)
def _own(points, low, inverse, near, start, stop, value, slope):
    d = points.shape[1]
    taps, first, w, dw = _scratch(d)
    # Sums of products of weights that lie 0 to 3 nodes apart, both ways, and their derivatives.
    both, d_both = np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32)
    both[:, 0] = 1
    total = np.empty(3, np.float32)
    for i in range(start, stop):
        _stencil(points[i], low, inverse, first, w, dw)
        for axis in range(3 - d, 3):
            for gap in range(4):
                r, dr = np.float32(0), np.float32(0)
                for k in range(4 - gap):
                    r += w[axis, k] * w[axis, k + gap]
                    dr += w[axis, k] * dw[axis, k + gap] + dw[axis, k] * w[axis, k + gap]
                twice = np.float32(1 if gap == 0 else 2)
                both[axis, gap], d_both[axis, gap] = twice * r, twice * dr
        sum_, total[:] = np.float32(0), 0
        for a in range(taps[0]):
            for b in range(taps[1]):
                v, dv = np.float32(0), np.float32(0)
                for c in range(4):
                    v += both[2, c] * near[a, b, c]
                    dv += d_both[2, c] * near[a, b, c]
                sum_ += both[0, a] * both[1, b] * v
                total[0] += d_both[0, a] * both[1, b] * v
                total[1] += both[0, a] * d_both[1, b] * v
                total[2] += both[0, a] * both[1, b] * dv
        value[i] = sum_
        for axis in range(d):
            slope[i, axis] = np.float32(0.5) * total[3 - d + axis] * inverse
