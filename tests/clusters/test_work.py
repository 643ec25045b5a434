"""Which form the step takes: by its work, and not by the rows alone; the forms agree."""

import numpy as np
import pytest
from scipy import sparse

from iconlearn import ICONClassifier, ICONClustering
from iconlearn.clusters import PairWeights, _weights, refine, soften

N, M = 260, 6


def weights(density, debias=0.0, size=None):
    rng = np.random.default_rng(0)
    edges = sparse.random_array((N, N), density=density, rng=rng, format="csr") / N
    return PairWeights(edges, np.zeros(N), debias, size)


def assignments():
    sharp = np.exp(4 * np.random.default_rng(1).normal(size=(N, M)))
    return sharp / sharp.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("debias", [0.0, 0.4])
@pytest.mark.parametrize("size", [None, np.arange(1.0, N + 1)])
def test_edges_as_a_matrix_are_the_same_sum(debias, size, monkeypatch):
    r, dense = assignments(), weights(0.5, debias, size)
    with monkeypatch.context() as patch:
        patch.setattr(dense, "_explained", None)
        G, loss = dense.explained(r)
    monkeypatch.setattr(_weights, "DENSE", 2.0)
    expected, expected_loss = weights(0.5, debias, size).explained(r)
    np.testing.assert_allclose(G, expected, rtol=1e-10, atol=1e-16)
    assert loss == pytest.approx(expected_loss, rel=1e-12)


def test_few_edges_are_no_matrix():
    assert weights(0.05)._square is None and weights(0.5)._square is not None


def test_steps_are_compiled_by_edges_times_clusters():
    graph, searched = weights(0.1), weights(0.1).coarsened(np.arange(N))
    assert not graph.compiled(2) and not searched.compiled(2) and graph.compiled(10**5)
    assert searched.compiled(60) and not graph.compiled(60)  # a search takes many times as many steps
    assert searched.coarsened(np.arange(N) // 2).compiled(60)
    assert searched.balanced(0.1).compiled(60) and searched.grouped(np.arange(N) // 2).compiled(60)


def count(monkeypatch):
    taken = {"numpy": 0, "compiled": 0}
    for name, kind in (("_explained", "numpy"), ("compiled", "compiled")):
        whole = getattr(PairWeights, name)

        def counted(self, *args, whole=whole, kind=kind):
            answer = whole(self, *args)
            taken[kind] += bool(kind == "numpy" or answer)
            return answer

        monkeypatch.setattr(PairWeights, name, counted)
    return taken


def test_many_clusters_of_few_rows_are_searched_by_the_compiled_step(monkeypatch):
    X = np.random.default_rng(0).normal(size=(200, 5))
    taken = count(monkeypatch)
    ICONClustering(60, n_init=2, max_iter=10, random_state=0).fit(X)
    assert taken["numpy"] == 0 and taken["compiled"] > 100


def test_many_classes_of_few_rows_too(monkeypatch):
    rng = np.random.default_rng(0)
    X = np.repeat(10 * rng.normal(size=(40, 10)), 8, axis=0) + rng.normal(size=(320, 10))
    y = np.where(np.arange(320) % 8 == 0, np.arange(320) // 8, -1)
    taken = count(monkeypatch)
    model = ICONClassifier(unlabeled=-1, max_iter=10, random_state=0).fit(X, y)
    assert model.score(X, np.arange(320) // 8) > 0.95
    assert taken["compiled"] > 20 * taken["numpy"]


def test_few_clusters_of_few_rows_load_no_compiler(monkeypatch):
    taken = count(monkeypatch)
    ICONClustering(3, n_init=2, random_state=0).fit(np.random.default_rng(0).normal(size=(150, 4)))
    assert taken["compiled"] == 0 and taken["numpy"] > 100


def test_forms_descend_alike(monkeypatch):
    labels = np.arange(N) % M
    expected = refine(weights(0.1), soften(labels, M), max_iter=25, tol=0.0)
    monkeypatch.setattr(_weights, "MUCH_WORK", 0)
    found = refine(weights(0.1), soften(labels, M), max_iter=25, tol=0.0)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-8)
    np.testing.assert_allclose(found[1].history, expected[1].history, rtol=1e-9)
