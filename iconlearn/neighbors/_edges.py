"""Graphs as others keep them, as matrices: those of networkx, lists of edges, and lists of each row's neighbours."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, issparse

from .._checks import check_number
from .._torch_state import as_array


def as_matrix(A, n_rows=None):
    """A graph as a matrix of weights, where it is one of networkx or a list of edges; anything else as it is.

    Parameters
    ----------
    A : networkx graph, array-like of shape (n_edges, 2) or (n_edges, 3), or any matrix
        Rows (source, target) or (source, target, weight), sources and targets being row numbers.  An edge of such a
        list joins both ends, and those that are listed several times in one direction are added up.  A graph of
        networkx may be directed; the attribute "weight" of an edge is its weight (1 where it has none).
    n_rows : int or None, default=None
        The number of rows; None: one more than the largest row number.

    Returns
    -------
    csr_array of shape (n_rows, n_rows), or A

    Raises
    ------
    ValueError
        For edges of rows that there are not, or nodes whose order is not known.
    """
    if is_network(A):
        return _of_network(A)
    edges = _listed(A)
    return A if edges is None else _of_edges(edges, n_rows)


def is_network(A) -> bool:
    """Whether an object is a graph of networkx, which need not be installed."""
    return any(cls.__module__.partition(".")[0] == "networkx" for cls in type(A).__mro__)


def is_neighbor_lists(value) -> bool:
    """Whether a value is (indices, distances) or (distances, indices) of the neighbours of each row."""
    if not isinstance(value, list | tuple) or len(value) not in (2, 3):
        return False
    one, other = value[:2]
    if not all(hasattr(part, "shape") and len(part.shape) == 2 for part in (one, other)) or issparse(one):
        return False
    kinds = {np.asarray(as_array(part)).dtype.kind for part in (one, other)}
    return tuple(one.shape) == tuple(other.shape) and bool(kinds & set("iu")) and "f" in kinds


def n_listed(lists) -> int:
    """How many neighbours a row has in lists of them, itself left out."""
    indices = _indices_and_distances(lists)[0]
    own = (indices == np.arange(len(indices))[:, None]).any()
    return indices.shape[1] - int(own and indices.shape[1] > 1)


def neighbor_matrix(lists, n_rows) -> csr_array:
    """Distances to the neighbours of each row, from lists of them.

    Parameters
    ----------
    lists : tuple
        (indices, distances) in either order, of shape (n_rows, k) each, as scikit-learn's ``kneighbors`` and
        pynndescent's ``neighbor_graph`` give them; a third part, as in umap-learn's `precomputed_knn`, is not
        looked at.  The row itself may be among its neighbours; -1 or an infinite distance stands for none.
    n_rows : int

    Returns
    -------
    csr_array of shape (n_rows, n_rows)
        Distances of zero are stored; the rows themselves are left out.

    Raises
    ------
    ValueError
        Naming the first entry that cannot be one.
    """
    if not is_neighbor_lists(lists):
        raise ValueError(
            f"neighbors={lists!r:.100} must be two arrays of one shape (n_rows, k): the row numbers of each row's "
            f"neighbours (integers) and their distances (floats)"
        )
    indices, distances = _indices_and_distances(lists)
    if len(indices) != n_rows:
        raise ValueError(
            f"the neighbours are those of {len(indices)} rows, and X has {n_rows}: they must be of the same rows, in "
            f"the same order"
        )
    known = (indices >= 0) & np.isfinite(distances)
    wrong = known & ((indices >= n_rows) | (distances < 0)) | np.isnan(distances)
    if wrong.any():
        row, at = np.argwhere(wrong)[0]
        raise ValueError(
            f"neighbour {at} of row {row} is row {indices[row, at]} at distance {distances[row, at]:g}: row numbers "
            f"must be below {n_rows}, and distances at least 0"
        )
    rows = np.repeat(np.arange(n_rows), indices.shape[1]).reshape(indices.shape)
    known &= indices != rows
    i, j = rows[known], indices[known]
    matrix = csr_array((distances[known].astype(float), (i, j)), shape=(n_rows, n_rows))
    matrix.sum_duplicates()
    if matrix.nnz < len(i):
        first = int(np.flatnonzero(np.diff(matrix.indptr) < known.sum(axis=1))[0])
        raise ValueError(f"row {first} lists a neighbour twice; give each neighbour of a row once")
    return matrix


def _indices_and_distances(lists):
    one, other = (np.asarray(as_array(part)) for part in lists[:2])
    return (one, other) if one.dtype.kind in "iu" else (other, one)


def _of_network(graph):
    nodes = list(graph.nodes)
    number = {node: i for i, node in enumerate(nodes)}
    if nodes != sorted(number.values()) and set(nodes) == set(range(len(nodes))):
        raise ValueError(
            f"the nodes of the graph are the numbers 0 to {len(nodes) - 1} in another order ({nodes[0]!r} comes "
            f"first), so it is not clear which node a row is: give networkx.to_scipy_sparse_array(G, "
            f"nodelist=range(len(G))) where row i is node i, or networkx.to_scipy_sparse_array(G) where rows are in "
            f"the order of G.nodes"
        )
    ends = [(number[u], number[v], 1.0 if w is None else w) for u, v, w in graph.edges(data="weight")]
    i, j, weight = np.array(ends, dtype=float).reshape(-1, 3).T
    shape = (len(nodes), len(nodes))
    matrix = csr_array((weight, (i.astype(int), j.astype(int))), shape=shape)
    if not graph.is_directed():
        matrix = csr_array(matrix + matrix.T)
    return matrix


def _listed(A):
    """The rows of a list of edges as numbers; None where A is something else."""
    if issparse(A) or (isinstance(A, list | tuple) and not len(A)):
        return None
    try:
        edges = np.asarray(as_array(A))
    except (TypeError, ValueError):
        return None
    if edges.ndim != 2 or edges.shape[1] not in (2, 3) or len(edges) == edges.shape[1]:
        return None
    if edges.dtype.kind not in "iuf":
        try:
            edges = edges.astype(float)
        except (TypeError, ValueError):
            raise ValueError(
                f"the edges join {edges[0, :2].tolist()}, which are no row numbers: number the nodes 0 to "
                f"n - 1, as in numbers, names = pandas.factorize(edges[:, :2].ravel())"
            ) from None
    ends = edges[:, :2]
    return edges if np.isfinite(ends).all() and (ends == np.floor(ends)).all() and ends.min() >= 0 else None


def _of_edges(edges, n_rows):
    ends = edges[:, :2].astype(np.int64)
    weight = edges[:, 2].astype(float) if edges.shape[1] == 3 else np.ones(len(edges))
    largest = int(ends.max())
    if n_rows is None:
        n_rows = largest + 1
        named = len(np.unique(ends))
        if named < n_rows / 2:
            raise ValueError(
                f"the edges name {named} nodes by numbers up to {largest}: number them 0 to {named - 1}, as by "
                f"numpy.unique(edges[:, :2], return_inverse=True)"
            )
    check_number("the number of rows", n_rows, low=1, integer=True)
    if largest >= n_rows:
        at = int(np.argmax(ends.max(axis=1)))
        raise ValueError(
            f"edge {at}, {tuple(ends[at].tolist())}, names row {largest}, but X has rows 0 to {n_rows - 1}; rows are "
            f"counted from 0"
        )
    matrix = csr_array((weight, ends.T), shape=(n_rows, n_rows))
    matrix.sum_duplicates()
    return csr_array(matrix.maximum(matrix.T))
