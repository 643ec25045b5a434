"""Orders of the rows of a graph."""

import numpy as np
import pytest
from scipy import sparse

from iconlearn.numerics import graphs
from iconlearn.numerics.graphs import order_by_neighbors, parts_of_graph


def ring(n, rng):
    """A ring whose edges are light to all but the next row, with its rows shuffled, and its rows in turn."""
    at = np.arange(n)
    rows, columns = np.concatenate([at, at]), np.concatenate([(at + 1) % n, rng.permutation(n)])
    shuffled = rng.permutation(n)
    weights = np.repeat([1.0, 0.1], n)
    return sparse.csr_array((weights, (shuffled[rows], shuffled[columns])), shape=(n, n)), shuffled


def test_neighbors_come_to_lie_near_each_other():
    graph, in_turn = ring(400, np.random.RandomState(0))
    place = np.argsort(order_by_neighbors(graph))[in_turn]
    # The walk goes two ways around the ring at most, and is cut where the tree is.
    gaps = np.abs(np.diff(place))
    assert np.count_nonzero(gaps > 1) <= 2


@pytest.mark.parametrize("density", [0.0, 0.02, 0.3])
def test_every_row_has_one_place(density):
    graph = sparse.csr_array(sparse.random(60, 60, density, random_state=0))
    graph.data[::3] = 0.0  # edges of p may have no weight
    assert sorted(order_by_neighbors(graph)) == list(range(60))


def test_blocks_of_rows_change_nothing(monkeypatch):
    graph, _ = ring(400, np.random.RandomState(0))
    graph.data *= np.random.default_rng(0).random(graph.nnz)
    order = order_by_neighbors(graph)
    monkeypatch.setattr(graphs, "BLOCK", 37)
    np.testing.assert_array_equal(order_by_neighbors(graph), order)


def test_parts_of_a_graph_of_wide_indices(monkeypatch):
    """Of which scipy 1.11 says that there are none."""
    graph = sparse.csr_array(([1.0, 0.0, 2.0], ([0, 2, 4], [3, 1, 4])), shape=(6, 6))
    graph.indices, graph.indptr = graph.indices.astype(np.int64), graph.indptr.astype(np.int64)
    before, seen = graph.copy(), []
    find = graphs.connected_components
    monkeypatch.setattr(
        graphs, "connected_components", lambda g, **kw: seen.append(g.indices.dtype) or find(g, **kw)
    )
    np.testing.assert_array_equal(parts_of_graph(graph), [0, 1, 1, 0, 2, 3])
    assert seen == [np.dtype(np.int32)] and graph.indices.dtype == np.int64
    assert (graph != before).nnz == 0
    np.testing.assert_array_equal(parts_of_graph(sparse.coo_array(graph)), [0, 1, 1, 0, 2, 3])
    assert parts_of_graph(sparse.csr_array((0, 0))).tolist() == []
