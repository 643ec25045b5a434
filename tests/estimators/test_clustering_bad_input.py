"""Rows that no clustering can be proud of: a clear error or a sensible result, never NaN or an empty cluster."""

import warnings

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering, Term
from iconlearn.learned import Cluster
from iconlearn.supervisory import KNN, Graph, MustLink

RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(30, 2))
HEADS = ["table", "linear"]


def check(model, X):
    """Finite probabilities, labels without gaps, and new rows that are told alike."""
    r = model.probabilities_
    assert np.isfinite(r).all() and np.isfinite(model.loss_)
    np.testing.assert_allclose(r.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.unique(model.labels_), np.arange(model.n_clusters_))
    assert r.shape == (X.shape[0], model.n_clusters_)
    if not model.p_.pairwise:  # equal rows of a graph need not be one node
        np.testing.assert_array_equal(model.predict(X), model.labels_)
    return model


def fit(X, n_clusters, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return check(ICONClustering(n_clusters, n_init=2, max_iter=20, random_state=0, **options).fit(X), X)


def test_more_clusters_than_rows():
    with pytest.raises(ValueError, match="n_clusters=31 is more than n_samples=30"):
        ICONClustering(31).fit(CLOUD)


@pytest.mark.parametrize("mapper", HEADS)
@pytest.mark.parametrize("debias", [0.0, 0.3])
def test_more_clusters_than_distinct_rows(mapper, debias):
    X = np.repeat(CLOUD[:3], 5, axis=0)
    with pytest.warns(ConvergenceWarning, match="were asked for"):
        model = ICONClustering(6, p=KNN(4), n_init=2, mapper=mapper, debias=debias, random_state=0).fit(X)
    assert check(model, X).n_clusters_ <= 3


@pytest.mark.parametrize("n_clusters", [2, 15, 30, "auto"])
@pytest.mark.parametrize("mapper", HEADS)
def test_many_clusters_of_few_rows(n_clusters, mapper):
    fit(CLOUD, n_clusters, mapper=mapper)


@pytest.mark.parametrize("mapper", HEADS)
@pytest.mark.parametrize("n_clusters", [1, 2, "auto"])
def test_two_rows(n_clusters, mapper):
    fit(CLOUD[:2], n_clusters, mapper=mapper)


@pytest.mark.parametrize("mapper", HEADS)
@pytest.mark.parametrize("debias", [0.0, 0.3])
def test_one_cluster(mapper, debias):
    model = fit(CLOUD, 1, mapper=mapper, debias=debias)
    assert (model.labels_ == 0).all() and model.probabilities_.min() == 1


@pytest.mark.parametrize("n_clusters", [1, 3, "auto"])
@pytest.mark.parametrize("mapper", HEADS)
def test_constant_data(n_clusters, mapper):
    model = fit(np.ones((40, 3)), n_clusters, mapper=mapper)
    assert model.n_clusters_ == 1


@pytest.mark.parametrize("init", ["agglomerate", "kmeans", "k-means++", "spectral", "random"])
def test_duplicates_share_a_cluster(init):
    X = np.vstack([CLOUD, CLOUD[:10], CLOUD[:10] + 9])
    labels = fit(X, 3, init=init).labels_
    np.testing.assert_array_equal(labels[:10], labels[30:40])


@pytest.mark.parametrize("n_clusters", [2, 4, "auto"])
@pytest.mark.parametrize("debias", [0.0, 0.3])
def test_isolated_nodes(n_clusters, debias):
    A = np.zeros((44, 44))
    A[:20, :20] = A[20:40, 20:40] = 1
    model = fit(A, n_clusters, p=Graph(), debias=debias)
    assert adjusted_rand_score(model.labels_[:40], np.arange(40) // 20) > (0.5 if n_clusters == 4 else 0.99)


@pytest.mark.parametrize("n_clusters", [2, 5, 7])
@pytest.mark.parametrize("balance", [1.0, 0.3])
def test_several_components(n_clusters, balance):
    """Fewer clusters than parts join whole parts; more cut some."""
    A = csr_array(block_diag([np.ones((12, 12)) - np.eye(12)] * 5))
    labels = fit(A, n_clusters, p=Graph(), q=Cluster(balance=balance)).labels_
    whole = [len(np.unique(part)) == 1 for part in labels.reshape(5, 12)]
    assert sum(whole) >= 5 - max(n_clusters - 5, 0)


@pytest.mark.parametrize(
    ("init", "seen"),
    [
        (CLOUD[:3], r"an array of shape \(3, 2\)"),
        (lambda X, k, random_state: X[:k], "a function"),
        ({0: 1}, "a dict"),
        (["a"] * 30, r"an array of shape \(30,\)"),
    ],
    ids=["centres", "function", "dict", "names"],
)
def test_a_start_that_is_no_labels_is_named(init, seen):
    with pytest.raises(ValueError, match=f"init is {seen}.*30 integers from 0 to n_clusters - 1 = 2"):
        fit(CLOUD, 3, init=init)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "spectral"])
@pytest.mark.parametrize("debias", [0.0, 0.3])
def test_starts_of_a_graph_in_more_parts_than_clusters(init, debias):
    """Without features a start is merged from the graph, parts without an edge between them included."""
    A = csr_array(block_diag([np.ones((12, 12)) - np.eye(12)] * 5))
    model = fit(A, 2, p=Graph(), init=init, debias=debias)
    assert model.n_clusters_ == 2
    assert all(len(np.unique(part)) == 1 for part in model.labels_.reshape(5, 12))


def test_a_graph_without_edges():
    with pytest.raises(ValueError, match="any edge"):
        ICONClustering(2, p=Graph()).fit(np.zeros((20, 20)))


def test_links_that_contradict_each_other():
    labels = np.full(30, -1)
    labels[:2] = 0, 1
    term = Term(MustLink([(0, 1)], labels), weight=0.1)
    model = ICONClustering(2, terms=[term])
    with pytest.raises(ValueError, match="must-links contradict the labels: rows 0 and 1"):
        model.fit(CLOUD)
    assert not hasattr(model, "labels_")
