"""Parts of a graph, leading eigenvectors of the random walk on it, and an order of its rows.

W u = lambda d u,      d the row sums of W
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, depth_first_order, minimum_spanning_tree
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from .._randomness import random_source

__all__ = ["MANY_ROWS", "order_by_neighbors", "parts_of_graph", "vectors_of_graph", "walk_eigenvectors"]

# Below this many rows all eigenvectors are found at once.
SMALL = 500
# Edges of each row, the heaviest ones, that an order of the rows goes by, and rows from which on it pays: one or two
# numbers for each of them do not stay in the cache.
N_HEAVIEST, MANY_ROWS = 2, 300_000
# Rows whose heaviest edges are found at once.
BLOCK = 2**18


def walk_eigenvectors(W, degree, k, random_state, *, tol=0.0):
    """Leading eigenpairs of the walk W / d, largest first; vectors scaled so that sum_i d_i u_i^2 = 1.

    Parameters
    ----------
    W : csr_array of shape (n, n)
        Symmetric and non-negative.
    degree : ndarray of shape (n,)
        Its row sums; a row of none has zeros in every vector but, perhaps, those of eigenvalue zero.
    k : int
        How many pairs; at most n.
    random_state : int, RandomState or None
        Where Lanczos' method begins.
    tol : float, default=0.0
        Its relative accuracy; zero is that of the machine.

    Returns
    -------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
    """
    root = np.where(degree > 0, 1.0 / np.sqrt(np.where(degree > 0, degree, 1.0)), 0.0)
    walk = sparse.csr_array(sparse.diags(root) @ W @ sparse.diags(root))
    if W.shape[0] <= SMALL or k >= W.shape[0] - 1:
        values, vectors = np.linalg.eigh(walk.toarray())
    else:
        values, vectors = _leading(walk, root, k, random_state, tol)
    order = np.argsort(values)[::-1][:k]
    return values[order], vectors[:, order] * root[:, None]


def vectors_of_graph(edges, k, random_state, *, tol):
    """Leading eigenvectors of the walk on the symmetrised graph, None where Lanczos' method does not end.

    Parameters are those of :func:`walk_eigenvectors`; `edges` may be directed.

    Returns
    -------
    ndarray of shape (n, k) or None
    """
    graph = sparse.csr_array(edges + edges.T)
    try:
        return walk_eigenvectors(graph, np.asarray(graph.sum(axis=1)).ravel(), k, random_state, tol=tol)[1]
    except ArpackError:
        return None


def _leading(walk, root, k, random_state, tol):
    """Eigenpairs of the symmetric walk, by Lanczos' method but for those of eigenvalue one.

    Each part of a graph has its own vector of eigenvalue one, sqrt(d) on its rows.  Lanczos' method sees one of
    several equal eigenvalues, and rounding decides whether it finds the others, so they are not asked of it.
    """
    n = len(root)
    label = parts_of_graph(walk)
    label = np.unique(label[root > 0], return_inverse=True)[1]
    ones = np.zeros((n, label.max(initial=-1) + 1))
    ones[np.flatnonzero(root > 0), label] = 1.0 / root[root > 0]
    ones /= np.linalg.norm(ones, axis=0)
    ones = ones[:, np.argsort(-np.count_nonzero(ones, axis=0), kind="stable")[:k]]
    rest = k - ones.shape[1]
    if rest == 0:
        return np.ones(k), ones

    def step(x):
        # One is added, so that the leading eigenvalues are the largest in magnitude.
        x = np.ravel(x)
        return walk @ x + x - 2.0 * (ones @ (ones.T @ x))

    start = random_source(random_state).uniform(-1.0, 1.0, n)
    values, vectors = eigsh(
        LinearOperator((n, n), matvec=step, dtype=float), k=rest, v0=start, maxiter=100 * n, tol=tol
    )
    return np.append(values - 1.0, np.ones(ones.shape[1])), np.hstack([vectors, ones])


def parts_of_graph(edges):
    """Which part of a graph each row is in, numbers from zero on, whatever the directions of the edges.

    Parameters
    ----------
    edges : sparse array of shape (n, n)
        An entry is an edge whatever its weight.

    Returns
    -------
    ndarray of int32 of shape (n,)
    """
    graph = sparse.csr_array(edges)
    if graph.nnz <= np.iinfo(np.int32).max:
        # Of wider indices scipy 1.11 finds no parts, and does not say so.
        indices, pointers = (part.astype(np.int32, copy=False) for part in (graph.indices, graph.indptr))
        graph = sparse.csr_array((graph.data, indices, pointers), shape=graph.shape)
    return connected_components(graph, directed=False)[1]


def order_by_neighbors(graph):
    """An order of the rows by which neighbours are near in memory.

    Loops that read the other ends of edges find them in the cache more often.  The order is that of a walk along the
    spanning tree of the heaviest edges, branch by branch.

    Parameters
    ----------
    graph : csr_array of shape (n, n)
        Not negative; an entry is an edge whatever its weight.

    Returns
    -------
    ndarray of int of shape (n,)
        The row at each place.
    """
    n, heaviest = graph.shape[0], _heaviest(graph)
    parts = parts_of_graph(heaviest)
    first = np.unique(parts, return_index=True)[1]
    # One more row holds the parts together.
    heaviest = heaviest.tocoo()
    rows, columns = np.append(heaviest.row, np.full(len(first), n)), np.append(heaviest.col, first)
    ends = rows.astype(np.int32), columns.astype(np.int32)
    lengths = np.append(2.0 - heaviest.data / heaviest.data.max(initial=1e-300), np.ones(len(first)))
    tree = minimum_spanning_tree(sparse.csr_array((lengths, ends), shape=(n + 1, n + 1)))
    return depth_first_order(tree, n, directed=False, return_predecessors=False)[1:]


def _heaviest(graph):
    """The graph with no more than the heaviest edges of each row, the first of equals first."""
    kept = np.zeros(graph.nnz, dtype=bool)
    for begin in range(0, graph.shape[0], BLOCK):
        pointers = graph.indptr[begin : begin + BLOCK + 1]
        counts, part = np.diff(pointers), slice(pointers[0], pointers[-1])
        rows = np.flatnonzero(counts)
        starts, counts, left = pointers[rows] - part.start, counts[rows], graph.data[part].copy()
        of = np.repeat(rows, counts)
        for _ in range(N_HEAVIEST if len(rows) else 0):
            at = np.flatnonzero(left == np.repeat(np.maximum.reduceat(left, starts), counts))
            at = at[np.diff(of[at], prepend=-1) > 0]
            left[at], kept[part.start + at] = -1.0, True
    # Older versions of scipy find no trees by wider numbers.
    pointers = np.concatenate([[0], np.cumsum(kept)])[graph.indptr].astype(np.int32)
    columns = graph.indices[kept].astype(np.int32)
    return sparse.csr_array((graph.data[kept], columns, pointers), shape=graph.shape)
