"""A coarse map first: large maps start from that of a few of their rows.

The early, exaggerated part of an optimisation sorts the rows into groups, for which an eighth of them does
as well at an eighth of the price.  The map of these landmarks is spread over all rows along the edges of p
and widened; a few exaggerated steps draw the newcomers into their groups, and the rest is detail.
"""

from __future__ import annotations

import numpy as np
import torch

from ..neighbors import expected_search
from ..numerics.geometry import Edges

# From so many rows on a coarse map pays; and its share of the rows.
LARGE = 20_000
SHARE = 8
# Steps along the edges, after which all rows near a landmark have been reached.
N_SPREADS = 6
# Of the width of the kernel: rows that share their landmarks are not left on one point.
JITTER = 0.1
N_ITER = 200
# Seconds for each row and step of a coarse map in two dimensions; three take about twice as long.
SECONDS_PER_STEP = 7e-7


def expected_start(shape, n_components):
    """Seconds that :func:`coarse_places` takes, about; from measured rates."""
    n_rows, n_columns = shape
    few, slower = n_rows // SHARE, 2 if n_components > 2 else 1
    return expected_search((few, n_columns)) + few * N_ITER * SECONDS_PER_STEP * slower


def coarse_places(fit, X, y, edges, rng, device):
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
    device : torch.device
        Where the places are spread.
    """
    n = X.shape[0]
    rows = np.sort(rng.choice(n, n // SHARE, replace=False))
    few = fit(X[rows], None if y is None else y[rows], int(rng.randint(2**31 - 1)))
    places = spread_over(edges, rows, few, device)
    places += JITTER * rng.standard_normal(places.shape)
    # A map's area, or volume, grows as the number of its points.
    return places * SHARE ** (1 / places.shape[1])


@torch.no_grad()
def spread_over(edges, rows, places, device="cpu"):
    """Places for all rows by repeated averaging over their edges, those of `rows` held.

    Parameters
    ----------
    edges : csr_array of shape (n, n)
        Non-negative weights.
    rows : ndarray of int of shape (m,)
    places : ndarray of shape (m, d)
    device : torch.device or str, default="cpu"
        Where that is computed, in double precision.

    Returns
    -------
    ndarray of shape (n, d)
        A row that no path of so few steps joins to any of `rows` gets the place of one of them, in turn.
    """
    n, d, device = edges.shape[0], places.shape[1], torch.device(device)
    sums_of = _both_ways(edges, device)
    at = torch.from_numpy(rows).to(device)
    held = torch.from_numpy(np.column_stack([places, np.ones(len(places))])).to(device)
    known = held.new_zeros(n, d + 1).index_copy_(0, at, held)
    for _ in range(N_SPREADS):
        sums = sums_of(known)
        total = sums[:, d:]
        known = torch.where(total > 0, sums / total, known).index_copy_(0, at, held)
    known = known.cpu().numpy()
    lost = np.flatnonzero(known[:, d] == 0)
    known[lost, :d] = places[lost % len(places)]
    return known[:, :d]


def _both_ways(edges, device):
    """``f(V)`` is the sum of V over the edges of each row in both directions, on a device."""
    if device.type == "cpu":
        back = edges.T.tocsr()
        return lambda V: torch.from_numpy(edges @ V.numpy() + back @ V.numpy())
    counts = torch.from_numpy(np.diff(edges.indptr)).to(device)
    i = torch.arange(edges.shape[0], device=device).repeat_interleave(counts, output_size=edges.nnz)
    pairs = Edges(i, torch.from_numpy(edges.indices).to(device).long(), edges.shape)
    weights = torch.from_numpy(edges.data).to(device)
    return lambda V: pairs.product(weights, V) + pairs.transposed_product(weights, V)
