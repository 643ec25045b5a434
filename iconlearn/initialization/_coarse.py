"""A coarse map first: large maps start from that of a few of their rows.

The early, exaggerated part of an optimisation sorts the rows into groups, for which an eighth of them does
as well at an eighth of the price.  The map of these landmarks is spread over all rows along the edges of p
and widened; a few exaggerated steps draw the newcomers into their groups, and the rest is detail.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..neighbors import expected_search

__all__ = ["LARGE", "N_ITER", "coarse_places", "expected_start", "spread_over"]

# From so many rows on a coarse map pays; and its share of the rows.
LARGE = 20_000
SHARE = 8
# Steps along the edges, after which all rows near a landmark have been reached.
N_SPREADS = 6
# Of the width of the kernel: rows that share their landmarks are not left on one point.
JITTER = 0.1
N_ITER = 200
# Seconds for each row and step of a coarse map in two dimensions; three take about four times as long.
SECONDS_PER_STEP = 7e-7


def expected_start(shape, n_components):
    """Seconds that :func:`coarse_places` takes, about; from measured rates."""
    n_rows, n_columns = shape
    few, slower = n_rows // SHARE, 4 if n_components > 2 else 1
    return expected_search((few, n_columns)) + few * N_ITER * SECONDS_PER_STEP * slower


def coarse_places(fit, X, y, edges, rng):
    """Places of all rows from the map of some, shape (n, n_components).

    Parameters
    ----------
    fit : callable
        ``fit(X, y, seed)`` gives the places of a map of those rows.
    X : ndarray or sparse matrix of shape (n, n_features)
    y : ndarray or None
    edges : csr_array
        p of all rows.
    rng : RandomState
    """
    n = X.shape[0]
    rows = np.sort(rng.choice(n, n // SHARE, replace=False))
    few = fit(X[rows], None if y is None else y[rows], int(rng.randint(2**31 - 1)))
    places = spread_over(edges, rows, few)
    places += JITTER * rng.standard_normal(places.shape)
    # A map's area, or volume, grows as the number of its points.
    return places * SHARE ** (1 / places.shape[1])


def spread_over(edges, rows, places):
    """Places for all rows by repeated averaging over their edges, those of `rows` held.

    Parameters
    ----------
    edges : csr_array of shape (n, n)
        Non-negative weights.
    rows : ndarray of int of shape (m,)
    places : ndarray of shape (m, d)

    Returns
    -------
    ndarray of shape (n, d)
        A row that no path of so few steps joins to any of `rows` gets the place of one of them, in turn.
    """
    n, d = edges.shape[0], places.shape[1]
    held = np.column_stack([places, np.ones(len(places))])
    known = np.zeros((n, d + 1))
    known[rows] = held
    both = sparse.csr_array(edges + edges.T)
    for _ in range(N_SPREADS):
        sums = both @ known
        reached = sums[:, d] > 0
        known[reached] = sums[reached] / sums[reached, d:]
        known[rows] = held
    lost = np.flatnonzero(known[:, d] == 0)
    known[lost, :d] = places[lost % len(places)]
    return known[:, :d]
