"""The compiled step against the one in numpy."""

import numpy as np
import pytest
from scipy import sparse

from iconlearn.clusters import SMALLEST, PairWeights, refine
from iconlearn.clusters import _weights as numpy_form
from iconlearn.numerics.compiled import explained_by_clusters, onto_simplex

N, M = 300, 7


@pytest.fixture
def graph():
    edges = sparse.random_array((N, N), density=0.05, rng=np.random.default_rng(0), format="csr")
    edges.data[edges.indices == 5] = 0.0
    edges = sparse.diags_array((np.arange(N) != 5).astype(float)) @ edges  # row 5 has no neighbours
    return lambda debias: PairWeights(edges, np.zeros(N), debias)


@pytest.fixture
def r():
    sharp = np.exp(8 * np.random.default_rng(1).normal(size=(N, M)))
    return np.maximum(sharp / sharp.sum(1, keepdims=True), SMALLEST)


def test_small_problems_are_left_to_numpy():
    assert numpy_form.MANY_POINTS > N


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("debias", [0.0, 0.3])
def test_what_clusters_explain(graph, r, debias, n_threads):
    weights = graph(debias)
    edges, right = weights.edges, r / r.sum(0)
    G, loss = explained_by_clusters(
        r, right, edges.indptr, edges.indices, edges.data, debias, debias / N, n_threads
    )
    expected, expected_loss = weights.explained(r)
    np.testing.assert_allclose(G, expected, rtol=1e-9, atol=1e-9)
    assert loss == pytest.approx(expected_loss, rel=1e-9)
    for compiled in (False, True):
        weights.compiled = lambda _, compiled=compiled: compiled
        same, none = weights.explained(r, valued=False)
        np.testing.assert_allclose(same, expected, rtol=1e-9, atol=1e-9)
        assert none == 0.0


@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_projection(graph, r, n_threads):
    G, _ = graph(0.1).explained(r)
    assert (G[5] == 0).all()
    price = 0.5 * G.sum(0) / r.sum(0)
    new = onto_simplex(G, price, r, SMALLEST, n_threads)
    np.testing.assert_allclose(new, numpy_form._project(G, price, r), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(new[5], r[5])
    far = new * (new / r) ** 0.75
    far[5] = r[5]
    far /= far.sum(axis=1, keepdims=True)
    for found in (
        onto_simplex(G, price, r, SMALLEST, n_threads, True),
        numpy_form._project(G, price, r, True),
    ):
        np.testing.assert_allclose(found, far, rtol=1e-9, atol=1e-9)


def test_steps_go_far_from_assignments_that_are_zero(graph, r):
    hard = np.eye(r.shape[1])[r.argmax(axis=1)]
    weights = graph(0.1)
    G, _ = weights.explained(hard)
    price = 0.5 * G.sum(0) / hard.sum(0)
    for found in (onto_simplex(G, price, hard, SMALLEST, 1, True), numpy_form._project(G, price, hard, True)):
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert np.isfinite(refine(weights, hard, max_iter=9, tol=0.0, far=True)[0]).all()


def test_many_rows_go_through_the_compiled_step(graph, r, monkeypatch):
    expected = refine(graph(0.05), r, max_iter=25, tol=0.0)
    calls = []
    monkeypatch.setattr(numpy_form, "MANY_POINTS", N)
    monkeypatch.setattr(numpy_form, "available", lambda: calls.append(1) or 2)
    found = refine(graph(0.05), r, max_iter=25, tol=0.0)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-8)
    np.testing.assert_allclose(found[1].history, expected[1].history, rtol=1e-9)
    assert len(calls) == 2 * 25
