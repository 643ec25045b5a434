"""New rows beside places that stay: each descends by itself; the twin of ``out_of_sample/_placed.py``.

    f(z) = at_one - sum_j p_j log k(|z - v_j|^2) + (sum_j p_j) log S(z),      S(z) = sum_j k(|z - v_j|^2)

with S read off a grid, or summed over all places where the grid does not reach.  What a coarse grid leaves out of the
kernel is summed over near places: k(s) less a parabola, see ``engines/mesh/_near.py``.  The steps are those of
``optim/_rows.py``, in double precision.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from ..threads import in_stretches
from ._near import SortedPoints
from ._threads import cuts_of_edges


class Kernel(NamedTuple):
    """factor * log(1 + s / offset), or factor * s for an infinite offset."""

    factor: float
    offset: float


class NearPlaces(NamedTuple):
    """Places by cells of half the reach, so that a row of cells is one stretch of memory.

    Attributes
    ----------
    columns : ndarray of shape (3, n)
        Coordinates cell by cell; axes that the map lacks come first, with zeros.
    low : ndarray of shape (3,)
    inverse : float
        Cells over one unit of length.
    cells : ndarray of int64 of shape (3,)
    starts : ndarray of int32
        Where each cell begins.
    reach2 : float
        Squared distance up to which places are near; zero where none is.
    parabola : ndarray of shape (3,)
        What the grid carries of the kernel there, by powers of s less the squared reach.
    """

    columns: np.ndarray
    low: np.ndarray
    inverse: float
    cells: np.ndarray
    starts: np.ndarray
    reach2: float
    parabola: np.ndarray

    @classmethod
    def of(cls, places, reach, parabola):
        """Those of an array of shape (n, d)."""
        if not reach:
            none = np.zeros((3, 0)), np.zeros(3), 0.0, np.ones(3, np.int64), np.zeros(2, np.int32)
            return cls(*none, 0.0, parabola)
        # In single precision a place may come to lie in the next cell: then it is missed as far as the reach at most,
        # where the rest is zero.
        points, columns = SortedPoints(places.astype(np.float32), reach), np.zeros((3, len(places)))
        columns[3 - places.shape[1] :] = places[points.order].T
        return cls(
            columns,
            columns.min(axis=1),
            2.0 / reach,
            points.cells,
            points.starts,
            float(reach) ** 2,
            parabola,
        )


class Sums(NamedTuple):
    """Row sums on a grid.

    Attributes
    ----------
    low : ndarray of shape (d,)
        Place of the first node.
    spacing : float
    field : ndarray of one to three dimensions
        Cubic splines through it, plus `constant`, are the sums, but for what is left to near places.
    constant : float
    least : float
        Sums that are not larger are found over all places.
    near : NearPlaces
    """

    low: np.ndarray
    spacing: float
    field: np.ndarray
    constant: float
    least: float
    near: NearPlaces


class Steps(NamedTuple):
    """What ``optim.minimise_rows`` goes by, under its names."""

    first_step: float
    longest: float
    tolerance: float
    n_steps: int
    least_curvature: float
    growth: float
    least_decrease: float
    rounding: float


def placed_rows(places, pointers, columns, p, at_one, kernel, sums, steps, n_tried, n_threads):
    """Places of new rows, ndarray of shape (m, d).

    Each starts at the place of the least divergence among those of its `n_tried` likeliest columns and the mean of all;
    one without columns stays in the middle.

    Parameters
    ----------
    places : ndarray of float64 of shape (n, d)
        Of the columns.
    pointers, columns, p : ndarray
        p of the new rows in CSR form.
    at_one : ndarray of shape (m,)
        Their divergence at q = 1.
    kernel : Kernel
    sums : Sums
        Over all places.
    steps : Steps
    n_tried : int
    n_threads : int
    """
    out, cuts = np.empty((len(pointers) - 1, places.shape[1])), cuts_of_edges(pointers, n_threads)
    grid = (1,) * (3 - sums.field.ndim) + sums.field.shape
    empty = pointers[1:] == pointers[:-1]
    if empty.any():
        out[empty] = places.mean(axis=0)
    sums = sums._replace(field=sums.field.reshape(grid))

    def stretch(k):
        _place(
            places, pointers, columns, p, at_one, kernel, sums, steps, n_tried, cuts[k], cuts[k + 1], out
        )  # fmt: skip

    in_stretches(stretch, n_threads)
    return out


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _place(places, pointers, columns, p, at_one, kernel, sums, steps, n_tried, start, stop, out):
    d = places.shape[1]
    z, best, g, y = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    s, turned, inverse = np.empty(d), np.empty(d), np.empty((d, d))
    scratch = np.empty((3, 4)), np.empty((3, 4)), np.empty(3, np.int64)
    for i in range(start, stop):
        js, ps = columns[pointers[i] : pointers[i + 1]], p[pointers[i] : pointers[i + 1]]
        if len(js) == 0:
            continue
        best[:] = 0.0
        for e in range(len(js)):
            for a in range(d):
                best[a] += ps[e] * places[js[e], a]
        z[:] = best
        f, below, last = np.inf, np.inf, -1
        for t in range(min(n_tried, len(js)) + 1):
            if t:
                # The next lighter column, or the next of equal weight.
                chosen, heaviest = -1, -np.inf
                for e in range(len(js)):
                    follows = ps[e] < below or (ps[e] == below and js[e] > last)
                    if follows and (ps[e] > heaviest or (ps[e] == heaviest and js[e] < js[chosen])):
                        chosen, heaviest = e, ps[e]
                below, last = heaviest, js[chosen]
                z[:] = places[last]
            value = _divergence(z, places, js, ps, at_one[i], kernel, sums, g, scratch)
            if value < f:
                f, best[:] = value, z
        z[:] = best
        _descend(z, places, js, ps, at_one[i], kernel, sums, steps, g, y, s, inverse, turned, scratch)
        out[i] = z


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _descend(z, places, js, ps, at_one, kernel, sums, steps, g, y, s, inverse, turned, scratch):
    d, fresh = len(z), True
    inverse[:] = 0.0
    for a in range(d):
        inverse[a, a] = steps.first_step
    f, slope, length = np.inf, 0.0, np.inf
    s[:], g[:] = 0.0, 0.0
    for step in range(steps.n_steps + 1):
        f_new = _divergence(z, places, js, ps, at_one, kernel, sums, y, scratch)
        accepted = step == 0 or f_new <= f + steps.least_decrease * slope + steps.rounding * abs(f)
        if not accepted:
            for a in range(d):
                z[a] -= s[a]
        if not length > steps.tolerance:
            return
        most = steps.longest
        if not accepted:
            shorter = -0.5 * slope / (f_new - f - slope)
            most = length * (0.5 if np.isnan(shorter) else min(max(shorter, 0.1), 0.5))
        sy, yy, ss = 0.0, 0.0, 0.0
        for a in range(d):
            change = y[a] - g[a]
            if accepted:
                g[a] = y[a]
            y[a] = change
            sy, yy, ss = sy + s[a] * change, yy + change * change, ss + s[a] * s[a]
        if accepted:
            f = f_new
        if sy > steps.least_curvature * np.sqrt(ss * yy):
            if fresh:
                inverse[:] = 0.0
                for a in range(d):
                    inverse[a, a] = sy / yy
                fresh = False
            bent = 0.0
            for a in range(d):
                turned[a] = 0.0
                for b in range(d):
                    turned[a] += inverse[a, b] * y[b]
                bent += y[a] * turned[a]
            for a in range(d):
                for b in range(d):
                    both = s[a] * turned[b] + turned[a] * s[b]
                    inverse[a, b] += ((1 + bent / sy) * s[a] * s[b] - both) / sy
        elif sy < 0 and accepted:
            inverse *= steps.growth
        if step == steps.n_steps:
            return
        length = 0.0
        for a in range(d):
            s[a] = 0.0
            for b in range(d):
                s[a] -= inverse[a, b] * g[b]
            length += s[a] * s[a]
        length = np.sqrt(length)
        share, slope = min(most / max(length, 1e-300), 1.0), 0.0
        length *= share
        for a in range(d):
            s[a] *= share
            slope += g[a] * s[a]
            z[a] += s[a]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _divergence(z, places, js, ps, at_one, kernel, sums, g, scratch):
    """f(z), and in g its gradient."""
    value, total, d = at_one, 0.0, len(z)
    g[:] = 0.0
    for e in range(len(js)):
        s = 0.0
        for a in range(d):
            s += (z[a] - places[js[e], a]) ** 2
        log_k, slope = _kernel(s, kernel)
        value, total = value - ps[e] * log_k, total + ps[e]
        for a in range(d):
            g[a] -= 2.0 * ps[e] * slope * (z[a] - places[js[e], a])
    return value + total * _log_sum(z, places, kernel, sums, total, g, scratch)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _kernel(s, kernel):
    """The log kernel of a squared distance, and its derivative."""
    if np.isinf(kernel.offset):
        return kernel.factor * s, kernel.factor
    return kernel.factor * np.log1p(s / kernel.offset), kernel.factor / (s + kernel.offset)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _near_sum(z, kernel, near):
    """What the grid leaves out of the sum, and its gradient along three axes."""
    missing, cells, columns, parabola = 3 - len(z), near.cells, near.columns, near.parabola
    x = z[0] if missing < 1 else 0.0
    y = z[1 - missing] if missing < 2 else 0.0
    w = z[2 - missing]
    a, b, c = (
        int(np.floor((x - near.low[0]) * near.inverse)),
        int(np.floor((y - near.low[1]) * near.inverse)),
        int(np.floor((w - near.low[2]) * near.inverse)),
    )
    value, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
    inverse = kernel.factor == -1.0 and not np.isinf(kernel.offset)
    for k in range(max(a - 2, 0), min(a + 3, cells[0])):
        for m in range(max(b - 2, 0), min(b + 3, cells[1])):
            row = (k * cells[1] + m) * cells[2]
            low, high = max(c - 2, 0), min(c + 3, cells[2])
            if low >= high:
                continue
            for j in range(near.starts[row + low], near.starts[row + high]):
                dx, dy, dz = x - columns[0, j], y - columns[1, j], w - columns[2, j]
                s = dx * dx + dy * dy + dz * dz
                if s >= near.reach2:
                    continue
                if inverse:
                    slope = -1.0 / (s + kernel.offset)
                    k_s = -slope * kernel.offset
                else:
                    log_k, slope = _kernel(s, kernel)
                    k_s = np.exp(log_k)
                gap = s - near.reach2
                value += k_s - (parabola[0] + gap * (parabola[1] + gap * parabola[2]))
                slope = 2.0 * (k_s * slope - (parabola[1] + 2.0 * gap * parabola[2]))
                g0, g1, g2 = g0 + slope * dx, g1 + slope * dy, g2 + slope * dz
    return value, g0, g1, g2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _log_sum(z, places, kernel, sums, weight, g, scratch):
    """log S(z); `weight` times its gradient is added to g."""
    field, missing, d = sums.field, 3 - len(z), len(z)
    (w, dw, first), inside = scratch, True
    w[:], dw[:], first[:] = 0.0, 0.0, 0
    for axis in range(3):
        if axis < missing:
            w[axis, 0] = 1.0
            continue
        x = (z[axis - missing] - sums.low[axis - missing]) / sums.spacing
        if not 0 <= x <= field.shape[axis] - 4:
            inside = False
            break
        first[axis] = int(x)
        t = x - first[axis]
        s, tt = 1.0 - t, t * t
        w[axis, 0], w[axis, 3] = s * s * s / 6, t * tt / 6
        w[axis, 1], w[axis, 2] = (3 * t * tt - 6 * tt + 4) / 6, (3 * (t + tt - t * tt) + 1) / 6
        dw[axis, 0], dw[axis, 3] = -0.5 * s * s, 0.5 * tt
        dw[axis, 1], dw[axis, 2] = 1.5 * tt - 2 * t, 0.5 + t - 1.5 * tt
    if inside:
        value, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
        for a in range(4 if missing < 1 else 1):
            for b in range(4 if missing < 2 else 1):
                v, dv = 0.0, 0.0
                for c in range(4):
                    node = field[first[0] + a, first[1] + b, first[2] + c]
                    v += w[2, c] * node
                    dv += dw[2, c] * node
                value += w[0, a] * w[1, b] * v
                g0 += dw[0, a] * w[1, b] * v
                g1 += w[0, a] * dw[1, b] * v
                g2 += w[0, a] * w[1, b] * dv
        g0, g1, g2 = g0 / sums.spacing, g1 / sums.spacing, g2 / sums.spacing
        value += sums.constant
        if sums.near.reach2 > 0.0:
            more, n0, n1, n2 = _near_sum(z, kernel, sums.near)
            value, g0, g1, g2 = value + more, g0 + n0, g1 + n1, g2 + n2
        if value > sums.least:
            share = weight / value
            g[d - 1] += share * g2
            if d > 1:
                g[d - 2] += share * g1
            if d > 2:
                g[0] += share * g0
            return np.log(value)
    # From the largest kernel on, since all may be too small for a sum.
    nearest = np.inf
    for j in range(len(places)):
        s = 0.0
        for a in range(d):
            s += (z[a] - places[j, a]) ** 2
        nearest = min(nearest, s)
    largest, value = _kernel(nearest, kernel)[0], 0.0
    slopes = w[0]
    slopes[:] = 0.0
    for j in range(len(places)):
        s = 0.0
        for a in range(d):
            s += (z[a] - places[j, a]) ** 2
        log_k, slope = _kernel(s, kernel)
        k = np.exp(log_k - largest)
        value += k
        for a in range(d):
            slopes[a] += 2.0 * k * slope * (z[a] - places[j, a])
    for a in range(d):
        g[a] += weight * slopes[a] / value
    return largest + np.log(value)
