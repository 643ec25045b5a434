"""Cubic B-splines between points and a grid of one to three dimensions.

The twin of ``engines/mesh/_splines.py``, which has the formulas; a grid of fewer dimensions is one of three whose
first axes have a single node.  What a point reads of its own charge is a polynomial of t (1 - t) along each axis, with
t in [0, 1) its place between nodes: sums of products of weights some nodes apart are such, without a linear term.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_rows

# Copies of the grid that the threads of a spreading may have between them.
MAX_COPIES = 8
NOTHING = np.empty(0, np.float32)


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
    cuts, inverse, spread = (
        cuts_of_rows(len(points), n_threads),
        np.float32(inverse),
        _spread(points.shape[1]),
    )
    in_stretches(lambda k: spread(points, low, inverse, charges, cuts[k], cuts[k + 1], grids[k]), n_threads)
    if n_threads > 1:
        flat = grids.reshape(n_threads, -1)
        cuts = cuts_of_rows(flat.shape[1], n_threads)
        in_stretches(lambda k: _add_up(flat, cuts[k], cuts[k + 1]), n_threads)
    return grids[0].reshape(shape)


def read_points(points, low, inverse, field, n_threads, own=NOTHING, charges=NOTHING):
    """Values of a field of shape (n,) and its gradient of shape (n, d) at the points.

    With `own`, of shape (3,) * d, less what each point reads of its own charge: coefficients of powers 0, 2 and 3 of
    t (1 - t) along each axis.  Without `charges` these are one.
    """
    value, slope = np.empty(len(points), np.float32), np.empty_like(points)
    field, cuts = field.reshape(_cube(field.shape)), cuts_of_rows(len(points), n_threads)
    read, inverse, own = _read(points.shape[1]), np.float32(inverse), own.reshape(-1)
    in_stretches(
        lambda k: read(points, low, inverse, field, own, charges, cuts[k], cuts[k + 1], value, slope),
        n_threads,
    )
    return value, slope


def _cube(shape):
    return (1,) * (3 - len(shape)) + tuple(shape)


def _add_up(grids, start, stop):
    for grid in grids[1:]:
        grids[0, start:stop] += grid[start:stop]


@numba.njit(nogil=True, inline="always")
def _ones(n):
    return np.ones(n, np.float32)


@numba.njit(nogil=True, inline="always")
def _zeros(n):
    return np.zeros(n, np.float32)


@numba.njit(nogil=True, fastmath=True, inline="always")
def _weights(t):
    s, tt = np.float32(1) - t, t * t
    return (
        s * s * s * np.float32(1 / 6),
        (np.float32(0.5) * t - np.float32(1)) * tt + np.float32(2 / 3),
        (s * t + np.float32(1)) * t * np.float32(0.5) + np.float32(1 / 6),
        tt * t * np.float32(1 / 6),
    )


@numba.njit(nogil=True, fastmath=True, inline="always")
def _slopes(t):
    s, tt = np.float32(1) - t, t * t
    return (
        -np.float32(0.5) * s * s,
        (np.float32(1.5) * t - np.float32(2)) * t,
        np.float32(0.5) + t - np.float32(1.5) * tt,
        np.float32(0.5) * tt,
    )


@cache
def _spread(d):
    planes, lines = 4 if d > 2 else 1, 4 if d > 1 else 1

    @numba.njit(nogil=True, fastmath=True, cache=True)
    def rows(points, low, inverse, charges, start, stop, grid):
        n_lines, n_columns = grid.shape[1], grid.shape[2]
        flat, wz, wy = grid.reshape(-1), np.ones(4, np.float32), np.ones(4, np.float32)
        for i in range(start, stop):
            x = (points[i, d - 1] - low[d - 1]) * inverse
            at = int(x)
            w0, w1, w2, w3 = _weights(x - np.float32(at))
            if d > 1:
                y = (points[i, d - 2] - low[d - 2]) * inverse
                cell = int(y)
                at += cell * n_columns
                wy[0], wy[1], wy[2], wy[3] = _weights(y - np.float32(cell))
            if d > 2:
                z = (points[i, 0] - low[0]) * inverse
                cell = int(z)
                at += cell * n_lines * n_columns
                wz[0], wz[1], wz[2], wz[3] = _weights(z - np.float32(cell))
            charge = np.float32(1) if len(charges) == 0 else charges[i]
            for a in range(planes):
                for b in range(lines):
                    k = np.uint64(at + (a * n_lines + b) * n_columns)
                    w = charge * wz[a] * wy[b]
                    flat[k] += w * w0
                    flat[k + np.uint64(1)] += w * w1
                    flat[k + np.uint64(2)] += w * w2
                    flat[k + np.uint64(3)] += w * w3

    return rows


@cache
def _read(d):
    planes, lines = 4 if d > 2 else 1, 4 if d > 1 else 1
    plane_powers, line_powers = 3 if d > 2 else 1, 3 if d > 1 else 1

    @numba.njit(nogil=True, fastmath=True, cache=True)
    def rows(points, low, inverse, field, own, charges, start, stop, value, slope):
        n_lines, n_columns = field.shape[1], field.shape[2]
        one, two, zero = np.float32(1), np.float32(2), np.float32(0)
        # Weights along the first axes with their derivatives, and powers 0, 2 and 3 of t (1 - t) with theirs.
        wz, wy, dz, dy = _ones(4), _ones(4), _zeros(4), _zeros(4)
        vz, vy, ez, ey = _ones(3), _ones(3), _zeros(3), _zeros(3)
        flat = field.reshape(-1)
        for i in range(start, stop):
            x, ty, tz = (points[i, d - 1] - low[d - 1]) * inverse, zero, zero
            at = int(x)
            tx = x - np.float32(at)
            if d > 1:
                y = (points[i, d - 2] - low[d - 2]) * inverse
                cell = int(y)
                at += cell * n_columns
                ty = y - np.float32(cell)
                wy[0], wy[1], wy[2], wy[3] = _weights(ty)
                dy[0], dy[1], dy[2], dy[3] = _slopes(ty)
            if d > 2:
                z = (points[i, 0] - low[0]) * inverse
                cell = int(z)
                at += cell * n_lines * n_columns
                tz = z - np.float32(cell)
                wz[0], wz[1], wz[2], wz[3] = _weights(tz)
                dz[0], dz[1], dz[2], dz[3] = _slopes(tz)
            # Sums over lines, for each of the four nodes along the last axis: of values and of both slopes.
            a0, a1, a2, a3 = zero, zero, zero, zero
            y0, y1, y2, y3 = zero, zero, zero, zero
            z0, z1, z2, z3 = zero, zero, zero, zero
            for a in range(planes):
                for b in range(lines):
                    k = np.uint64(at + (a * n_lines + b) * n_columns)
                    f0, f1 = flat[k], flat[k + np.uint64(1)]
                    f2, f3 = flat[k + np.uint64(2)], flat[k + np.uint64(3)]
                    w = wz[a] * wy[b] if d > 2 else wy[b]
                    a0, a1, a2, a3 = a0 + w * f0, a1 + w * f1, a2 + w * f2, a3 + w * f3
                    if d > 1:
                        w = wz[a] * dy[b] if d > 2 else dy[b]
                        y0, y1, y2, y3 = y0 + w * f0, y1 + w * f1, y2 + w * f2, y3 + w * f3
                    if d > 2:
                        w = dz[a] * wy[b]
                        z0, z1, z2, z3 = z0 + w * f0, z1 + w * f1, z2 + w * f2, z3 + w * f3
            w0, w1, w2, w3 = _weights(tx)
            d0, d1, d2, d3 = _slopes(tx)
            total = w0 * a0 + w1 * a1 + w2 * a2 + w3 * a3
            gx = d0 * a0 + d1 * a1 + d2 * a2 + d3 * a3
            gy = w0 * y0 + w1 * y1 + w2 * y2 + w3 * y3
            gz = w0 * z0 + w1 * z1 + w2 * z2 + w3 * z3
            if len(own):
                v = tx * (one - tx)
                squared, cubed = v * v, v * v * v
                if d > 1:
                    u = ty * (one - ty)
                    vy[1], vy[2], ey[1], ey[2] = u * u, u * u * u, two * u, np.float32(3) * u * u
                if d > 2:
                    u = tz * (one - tz)
                    vz[1], vz[2], ez[1], ez[2] = u * u, u * u * u, two * u, np.float32(3) * u * u
                mine, mx, my, mz = zero, zero, zero, zero
                for a in range(plane_powers):
                    part, px, py = zero, zero, zero
                    for b in range(line_powers):
                        k = 9 * a + 3 * b
                        along = own[k] + own[k + 1] * squared + own[k + 2] * cubed
                        part += vy[b] * along
                        px += vy[b] * (two * own[k + 1] * v + np.float32(3) * own[k + 2] * squared)
                        py += ey[b] * along
                    mine += vz[a] * part
                    mx += vz[a] * px
                    my += vz[a] * py
                    mz += ez[a] * part
                charge = one if len(charges) == 0 else charges[i]
                # By symmetry the slope of the field is half of that of the value along the point's own way.
                half = np.float32(0.5) * charge
                total -= charge * mine
                gx -= half * mx * (one - two * tx)
                gy -= half * my * (one - two * ty)
                gz -= half * mz * (one - two * tz)
            value[i] = total
            slope[i, d - 1] = gx * inverse
            if d > 1:
                slope[i, d - 2] = gy * inverse
            if d > 2:
                slope[i, 0] = gz * inverse

    return rows
