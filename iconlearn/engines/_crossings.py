"""Crossings of clusterings: pairs of rows that two of them keep together stay so, and the pieces are merged anew.

Two clusterings of about the same loss are often wrong in different places.  Their common refinement has a few
pieces more than either has clusters, and the greedy merges of so few pieces find combinations that neither steps
nor single splits reach.  The idea is that of evolutionary graph partitioning.

References
----------
Sanders and Schulz, "Distributed evolutionary graph partitioning", ALENEX 2012.
"""

from __future__ import annotations

import numpy as np

from ._agglomeration import agglomerate
from ._partition import refined, soften

__all__ = ["cross"]


def cross(graph, found, resolutions, rng, *, n_crossings, n_steps):
    """Improve a set of clusterings by crossing pairs of them; a child takes the place of the worst.

    Parameters
    ----------
    graph : PairWeights
    found : list of (float, ndarray of shape (n, n_clusters))
        Losses and assignments.
    resolutions : sequence of float
        Debias weights of the merges; each crossing draws one.
    rng : RandomState
    n_crossings : int
    n_steps : int
        Steps that refine each child.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
        Those of the lowest loss.
    """
    found = sorted(found, key=_loss)
    edges, n_clusters = graph.edges / graph.unit, found[0][1].shape[1]
    for _ in range(n_crossings if len(found) > 1 else 0):
        one, other = (found[k][1].argmax(axis=1) for k in rng.permutation(len(found))[:2])
        resolution = resolutions[rng.randint(len(resolutions))]
        pieces = np.unique(one * n_clusters + other, return_inverse=True)[1]
        if pieces.max() + 1 <= n_clusters:
            continue
        labels = agglomerate(edges, pieces, n_clusters, resolution, graph.size, graph.balance)
        r, loss = refined(graph, soften(labels, n_clusters), max_iter=n_steps, tol=0.0)
        # A twin would crowd out what there is to cross with.
        if loss < found[-1][0] and not any(np.isclose(loss, known, rtol=1e-6) for known, _ in found):
            found = sorted([*found[:-1], (loss, r)], key=_loss)
    return found[0][1]


def _loss(start):
    return start[0]
