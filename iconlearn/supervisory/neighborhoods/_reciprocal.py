"""Pairs of a new row and a training row, seen from both sides.

A training row counts a new one among its k neighbours where the new one is nearer than its k-th.  Those rows are
looked for among the nearest of the new row, some times as many as it has neighbours itself.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ...conditional import Conditional, normalize_rows

# So many times as many rows as a new row has neighbours are asked whether it is a neighbour of theirs.
WIDER = 4


def reach(graph, k):
    """Within which distance another row would be among the k nearest of each row.

    Parameters
    ----------
    graph : csr_array of shape (n, n)
        Distances to the nearest, ascending in every row.
    k : int

    Returns
    -------
    reach : ndarray of shape (n,)
        Infinite where a row has found fewer than k.
    """
    full = np.diff(graph.indptr) >= k
    far = np.full(graph.shape[0], np.inf)
    far[full] = graph.data[graph.indptr[1:][full] - 1]
    return far


def first(graph, k):
    """Which entries of a graph of ascending distances are among the k first of their row."""
    return np.arange(graph.nnz) - np.repeat(graph.indptr[:-1], np.diff(graph.indptr)) < k


def both_sides(graph, ours, theirs):
    """The sum of two weights for the entries of a graph, as probabilities; the mass of a row is what they sum to."""
    own = csr_array((ours, graph.indices, graph.indptr), shape=graph.shape, copy=True)
    own.eliminate_zeros()
    edges = csr_array((ours + theirs, graph.indices, graph.indptr), shape=graph.shape)
    edges.eliminate_zeros()
    return Conditional(normalize_rows(edges), mass=np.asarray(edges.sum(axis=1)).ravel(), own=own)
