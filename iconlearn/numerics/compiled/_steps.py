"""Steps of gradient descent with momentum and gains, and what bounds a map; all in one pass over the rows.

The twin of ``optim/_momentum.py``, which has the formulas.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_rows


def momentum_step(places, gradient, velocity, gains, rate, momentum, max_step, n_threads):
    """Move rows by :class:`iconlearn.optim._momentum.MomentumGains`.

    Parameters
    ----------
    places, gradient, velocity, gains : ndarray of float32 of shape (n, d)
        All but the gradient are changed in place.
    rate, momentum : float
    max_step : float or None
        Longest step of a row; None is half the root of the mean squared length of the rows.
    n_threads : int
    """
    cuts = cuts_of_rows(len(places), n_threads)
    longest = max_step
    if max_step is None:
        squares = in_stretches(lambda k: _squares(places, cuts[k], cuts[k + 1]), n_threads)
        longest = 0.5 * math.sqrt(sum(squares) / len(places))
    # A map that is a single point at the origin has no radius to measure a step by.
    numbers = (np.float32(number) for number in (rate, momentum, longest or math.inf))
    rate, momentum, longest = numbers
    in_stretches(
        lambda k: _move(places, gradient, velocity, gains, rate, momentum, longest, cuts[k], cuts[k + 1]),
        n_threads,
    )


def ends_of_points(points, n_threads):
    """The lowest and the highest number along each axis, of shape (2, d); not a number where any is none."""
    cuts = cuts_of_rows(len(points), n_threads)
    found = np.stack(in_stretches(lambda k: _ends(points, cuts[k], cuts[k + 1]), n_threads))
    return np.stack([found[:, 0].min(0), found[:, 1].max(0)])


def counts_beyond(points, low, high, n_threads):
    """How many of the points are below `low` and above `high` along each axis, of shape (2, d)."""
    cuts = cuts_of_rows(len(points), n_threads)
    return sum(in_stretches(lambda k: _beyond(points, low, high, cuts[k], cuts[k + 1]), n_threads))


@numba.njit(nogil=True, fastmath=True, cache=True)
def _squares(places, start, stop):
    total = 0.0
    for i in range(start, stop):
        for c in range(places.shape[1]):
            total += places[i, c] * places[i, c]
    return total


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _move(places, gradient, velocity, gains, rate, momentum, longest, start, stop):
    for i in range(start, stop):
        square = np.float32(0)
        for c in range(places.shape[1]):
            g, v = gradient[i, c], velocity[i, c]
            # The velocity points downhill where it opposes the gradient; at rest it points nowhere.
            turning = v != 0 and g * v >= 0
            gain = gains[i, c] * np.float32(0.8) if turning else gains[i, c] + np.float32(0.2)
            gain = max(gain, np.float32(0.01))
            v = momentum * v - rate * gain * g
            gains[i, c], velocity[i, c] = gain, v
            square += v * v
        if square > longest * longest:
            share = longest / np.sqrt(square)
            for c in range(places.shape[1]):
                velocity[i, c] *= share
        for c in range(places.shape[1]):
            places[i, c] += velocity[i, c]


@numba.njit(nogil=True, cache=True)
def _ends(points, start, stop):
    d = points.shape[1]
    found = np.empty((2, d), np.float32)
    for c in range(d):
        low, high, off = np.float32(np.inf), np.float32(-np.inf), np.float32(0)
        for i in range(start, stop):
            x = points[i, c]
            low, high = min(low, x), max(high, x)
            off += x * np.float32(0)
        found[0, c], found[1, c] = low + off, high + off
    return found


@numba.njit(nogil=True, cache=True)
def _beyond(points, low, high, start, stop):
    d = points.shape[1]
    counts = np.zeros((2, d), np.int64)
    for i in range(start, stop):
        for c in range(d):
            counts[0, c] += points[i, c] < low[c]
            counts[1, c] += points[i, c] > high[c]
    return counts
