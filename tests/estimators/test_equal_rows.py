"""Rows with equal entries: one row where X is features, several where X is pairs or p knows rows by their number."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.datasets import load_iris
from sklearn.metrics import pairwise_distances

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.displays import EmbeddingDisplay, NeighborDistributionDisplay
from iconlearn.supervisory import KNN, Graph, Symmetrize

pytestmark = pytest.mark.filterwarnings("ignore:.*have no edge:UserWarning")
IRIS = load_iris().data


def star(n):
    A = np.zeros((n, n))
    A[0, 1:] = A[1:, 0] = 1
    return A


def tree(n, isolated=0):
    """A binary tree, whose leaves come in pairs of equal rows, and nodes without edges."""
    A = np.zeros((n + isolated, n + isolated))
    children = np.arange(1, n)
    parents = (children - 1) // 2
    A[children, parents] = A[parents, children] = 1
    return A


MATRICES = {
    "star": ("graph", star(15)),
    "sparse star": ("graph", csr_array(star(15))),
    "tree": ("graph", tree(31)),
    "isolated nodes": ("graph", tree(15, isolated=3)),
    "symmetrised": (Symmetrize(Graph()), tree(31)),
    "distances": (KNN(4, metric="precomputed"), pairwise_distances(np.repeat(IRIS[::15], 3, axis=0))),
    "weights": ("precomputed", star(15) / star(15).sum(axis=1, keepdims=True)),
}
each = pytest.mark.parametrize("name", MATRICES)


@each
def test_the_training_rows_are_where_the_fit_put_them(name):
    p, X = MATRICES[name]
    model = ICONEmbedding(p=p, max_iter=60, random_state=0).fit(X)
    assert_array_equal(model.transform(X), model.embedding_)
    clusters = ICONClustering(3, p=p, random_state=0).fit(X)
    assert_array_equal(clusters.predict(X), clusters.labels_)
    assert_array_equal(clusters.predict_proba(X), clusters.probabilities_)


@pytest.mark.parametrize("name", ["star", "tree", "isolated nodes"])
def test_equal_nodes_keep_their_own_classes(name):
    _, X = MATRICES[name]
    y = np.full(len(X), -1)
    y[[1, 2, -1, -2]] = 0, 1, 0, 1  # leaves with the same edges and different labels
    if name != "star":
        y[[0, 3]] = 0, 1
    model = ICONClassifier(graph="graph", unlabeled=-1, random_state=0).fit(X, y)
    assert_array_equal(model.predict(X)[y >= 0], y[y >= 0])
    assert_array_equal(model.predict(X), model.transduction_)
    assert_allclose(model.predict_proba(X), model.label_distributions_, atol=1e-9)


def test_one_of_several_equal_rows_is_placed_by_its_p():
    X = star(15)
    model = ICONEmbedding(p="graph", random_state=0).fit(X)
    alone = model.transform(X[[5]])
    assert_allclose(alone, model.transform(X[[9, 5]])[1:], atol=1e-9)
    others = np.delete(np.arange(15), 5)

    # Its own loss: -log q(hub), lower than on the place of any other leaf.
    def cost(z):
        k = 1 / (1 + np.square(model.embedding_ - z).sum(axis=1))
        return -np.log(k[0] / k.sum())

    assert cost(alone[0]) <= min(cost(model.embedding_[leaf]) for leaf in others[1:]) + 1e-6


def test_rows_that_p_knows_by_number_keep_their_own_places():
    """A graph beside features that are all alike."""
    A = tree(31)
    model = ICONEmbedding(p=Graph(A), max_iter=60, random_state=0).fit(np.zeros((31, 1)))
    assert len(np.unique(model.embedding_, axis=0)) == 31
    assert_array_equal(model.transform(np.zeros((31, 1))), model.embedding_)
    assert_allclose(model.transform(np.zeros((1, 1)))[0], model.embedding_.mean(axis=0), atol=1e-6)
    clusters = ICONClustering(3, p=Graph(A), random_state=0).fit(np.zeros((31, 1)))
    assert clusters.n_clusters_ == 3
    assert_array_equal(clusters.predict(np.zeros((31, 1))), clusters.labels_)


def test_equal_features_are_one_row():
    twice = np.repeat(IRIS[::10], 2, axis=0)
    for p in (KNN(5), Symmetrize(KNN(5))):
        model = ICONEmbedding(p=p, max_iter=40, random_state=0).fit(twice)
        assert_array_equal(model.embedding_[::2], model.embedding_[1::2])
        assert_allclose(model.transform(twice[[4]])[0], model.embedding_[4], rtol=1e-12)


def test_pictures_draw_the_places_of_the_fit():
    pytest.importorskip("matplotlib").use("agg")
    from matplotlib import pyplot

    X = star(15)
    model = ICONEmbedding(p="graph", random_state=0).fit(X)
    assert_array_equal(EmbeddingDisplay.from_estimator(model, X).embedding, model.embedding_)
    k = 1 / (1 + np.square(model.embedding_[5] - model.embedding_).sum(axis=1))
    k[5] = 0
    drawn = NeighborDistributionDisplay.from_estimator(model, X, index=5).q
    assert_allclose(drawn, k / k.sum(), rtol=1e-5)
    pyplot.close("all")


RETURNED = {
    "fit_transform": (ICONEmbedding(max_iter=10), "embedding_"),
    "transform": (ICONEmbedding(max_iter=10), "embedding_"),
    "fit_predict": (ICONClustering(3), "labels_"),
    "predict": (ICONClustering(3), "labels_"),
    "predict_proba": (ICONClustering(3), "probabilities_"),
    "transform, projection": (ICONEmbedding(mapper="linear", max_iter=5), "embedding_"),
    "fit_transform, clusters": (ICONClustering(3), "probabilities_"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_a_method_returns_is_the_callers(name):
    model, attribute = RETURNED[name]
    model.set_params(random_state=0)
    method = getattr(model, name.partition(",")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = (
            method(IRIS) if name.startswith("fit") else getattr(model.fit(IRIS), name.partition(",")[0])(IRIS)
        )
    before = np.array(getattr(model, attribute))
    result *= 0
    assert_array_equal(getattr(model, attribute), before)
    assert_allclose(model.transform(IRIS), model.fit_transform(IRIS), atol=1e-4)
