"""Graphs as people have them: of networkx, lists of edges, one-way matrices; and matrices given for the other kind."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, random_array, triu
from scipy.spatial.distance import cdist
from sklearn.datasets import load_iris
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONClustering, ICONEmbedding
from iconlearn.supervisory import KNN, Gaussian, Graph, Precomputed, Student

X = load_iris().data[::5]
EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (0, 2), (5, 3)])
DENSE = np.zeros((6, 6))
DENSE[EDGES[:, 0], EDGES[:, 1]] = DENSE[EDGES[:, 1], EDGES[:, 0]] = 1.0


def rows_of(p):
    return p.conditional_.sparse().toarray()


def of(A):
    return A / A.sum(1, keepdims=True)


@pytest.mark.parametrize(
    "form",
    [
        lambda edges: edges,
        lambda edges: edges.astype(float),
        lambda edges: edges.tolist(),
        lambda edges: [tuple(edge) for edge in edges.tolist()],
        lambda edges: pd.DataFrame(edges, columns=["source", "target"]),
        lambda edges: np.vstack([edges, edges[:, ::-1]]),
    ],
)
def test_a_list_of_edges_is_a_graph(form):
    np.testing.assert_allclose(rows_of(Graph().fit(form(EDGES))), of(DENSE))
    np.testing.assert_allclose(rows_of(Graph(form(EDGES)).fit(np.zeros((6, 2)))), of(DENSE))
    map_ = ICONEmbedding(p="graph", max_iter=3, random_state=0).fit(form(EDGES))
    assert map_.embedding_.shape == (6, 2)
    np.testing.assert_array_equal(
        map_.embedding_, ICONEmbedding(p="graph", max_iter=3, random_state=0).fit(DENSE).embedding_
    )


def test_weights_of_listed_edges():
    weights = np.arange(1.0, 8.0)
    A = np.zeros((7, 7))
    A[EDGES[:, 0], EDGES[:, 1]] = A[EDGES[:, 1], EDGES[:, 0]] = weights
    with pytest.warns(UserWarning, match="1 of 7 rows"):
        p = Graph(np.column_stack([EDGES, weights])).fit(np.zeros((7, 2)))
    np.testing.assert_allclose(rows_of(p)[:6], of(A[:6]))


@pytest.mark.parametrize(
    "edges, n_rows, match",
    [
        (EDGES + 1, 6, r"edge 6, \(6, 4\), names row 6, but X has rows 0 to 5"),
        (EDGES * 1000, None, "6 nodes by numbers up to 5000: number them 0 to 5"),
        (
            np.array([("a", "b"), ("b", "c"), ("c", "d")]),
            None,
            r"\['a', 'b'\], which are no row numbers.*factorize",
        ),
        (EDGES + 0.5, None, "square"),
    ],
)
def test_edges_of_other_rows_are_refused(edges, n_rows, match):
    with pytest.raises(ValueError, match=match):
        Graph().fit(edges) if n_rows is None else Graph(edges).fit(np.zeros((n_rows, 2)))


@pytest.mark.parametrize("kind", ["Graph", "DiGraph", "MultiGraph"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_graph_of_networkx(kind, weighted):
    nx = pytest.importorskip("networkx")
    G = getattr(nx, kind)()
    G.add_nodes_from("fedcba")
    for at, (i, j) in enumerate(EDGES):
        G.add_edge("fedcba"[i], "fedcba"[j], **({"weight": at + 1.0} if weighted else {}))
    if kind == "DiGraph":
        G.add_edge("f", "a")
        G.add_edge("a", "c")
    expected = nx.to_scipy_sparse_array(G).toarray()
    np.testing.assert_allclose(rows_of(Graph().fit(G)), of(expected))
    for p, data in [
        ("graph", G),
        (G, np.arange(12.0).reshape(6, 2)),
        (Graph(G), np.arange(12.0).reshape(6, 2)),
    ]:
        fitted = ICONEmbedding(p=p, max_iter=3, init="random", random_state=0).fit(data)
        np.testing.assert_allclose(fitted.p_.conditional_.sparse().toarray(), of(expected))
    with pytest.raises(TypeError, match=r"networkx.*p='graph'"):
        ICONClustering(2).fit(G)


def test_nodes_in_another_order_than_their_numbers_are_asked_about():
    nx = pytest.importorskip("networkx")
    G = nx.Graph([(3, 1), (1, 0), (0, 2)])
    with pytest.raises(ValueError, match=r"another order \(3 comes first\).*nodelist=range"):
        Graph(G).fit(np.zeros((4, 2)))
    assert Graph().fit(nx.to_scipy_sparse_array(G, nodelist=range(4))).conditional_.shape == (4, 4)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_one_way_edges_are_warned_of_with_the_remedy(form):
    with pytest.warns(UserWarning, match=r"3 of 6 rows have no edge.*edges to 2 of them.*A \+ A.T"):
        Graph().fit(form(np.triu(DENSE) * (np.arange(6)[:, None] != 3)))


@pytest.mark.parametrize("p", [KNN(3, metric="precomputed"), Gaussian(2, metric="precomputed")])
def test_distances_of_one_way_are_warned_of_with_the_remedy(p):
    D = triu(csr_array(cdist(X, X)), 1)
    with pytest.warns(UserWarning, match=r"1 of 30 rows have no neighbour.*edges to 1 of them.*D \+ D.T"):
        p.fit(D)


@pytest.mark.parametrize("metric", ["euclidean", "cityblock", "chebyshev", "sqeuclidean"])
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_distances_are_no_weights(metric, form):
    D = cdist(X, X, metric)
    for p, data in [("graph", form(D)), (form(D), X), (Graph(form(D)), X)]:
        with pytest.raises(
            ValueError, match=r"adjacency looks like .* distances.*KNN\(metric='precomputed'\)"
        ):
            ICONEmbedding(p=p, max_iter=3).fit(data)
    few = cdist(X[::6], X[::6], metric)
    with pytest.raises(ValueError, match="adjacency looks like"):
        Graph(form(few)).fit(X[::6])
    # The diagonal is the way to insist.
    Graph(form(D + np.eye(len(D)))).fit(X)


@pytest.mark.parametrize("k", [3, 10])
def test_distances_of_neighbours_are_no_weights(k):
    D = kneighbors_graph(X, k, mode="distance")
    with pytest.raises(ValueError, match="adjacency looks like"):
        Graph().fit(D)
    D.data = np.exp(-(D.data**2))
    Graph().fit(D)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 3.0, 10.0])
def test_weights_are_weights(scale):
    D = cdist(X, X)
    for weights in (
        np.exp(-((D / scale) ** 2)),
        np.exp(-D / scale),
        1 / (scale + D),
        1 / (1 + (D / scale) ** 2),
    ):
        np.fill_diagonal(weights, 0.0)
        Graph().fit(weights)
        Graph(csr_array(weights)).fit(X)
    for density in (0.05, 0.5, 1.0):
        A = random_array((40, 40), density=density, rng=int(10 * scale))
        upper = triu(A, 1)
        for weights in (A, upper + upper.T):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # rows without an edge
                Graph().fit(weights)
    Graph().fit(np.ones((12, 12)) - np.eye(12))


@pytest.mark.parametrize(
    "p",
    [KNN(5, metric="precomputed"), Gaussian(5, metric="precomputed"), Student(metric="precomputed"),
     Precomputed("distance", perplexity=5)],
)  # fmt: skip
def test_similarities_are_no_distances(p):
    S = np.exp(-(cdist(X, X) ** 2))
    with pytest.raises(ValueError, match=r"looks like one of similarities.*1 - S.*p='graph'"):
        p.fit(S)
    products = X @ X.T
    with pytest.raises(ValueError, match="looks like one of similarities"):
        p.fit(products)
    p.fit(1 - S)
    p.fit(cdist(X, X) + 1e-3 * np.eye(len(X)))
