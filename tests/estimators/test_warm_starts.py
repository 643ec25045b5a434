"""A warm start goes by rows: which they are, not where they stand."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, recipes
from iconlearn.conditional import Conditional
from iconlearn.supervisory import KNN, Graph

X, Y = load_digits(n_class=4, return_X_y=True)
SHUFFLED = np.random.default_rng(0).permutation(120)
CHANGES = {
    "shuffled": SHUFFLED,
    "moved": np.arange(40, 160),
    "more": np.arange(150),
    "fewer": np.arange(90),
    "shuffled, some new": np.concatenate([SHUFFLED, np.arange(120, 130)]),
}
changes = pytest.mark.parametrize("rows", CHANGES.values(), ids=CHANGES)


@changes
@pytest.mark.parametrize("sparse", [False, True])
def test_rows_of_a_map_begin_where_they_were(rows, sparse):
    features = csr_array(X) if sparse else X
    model = ICONEmbedding(warm_start=True, max_iter=60, random_state=0).fit(features[:120])
    old = model.embedding_.copy()
    model.set_params(max_iter=1).fit(features[rows])
    known = rows < 120
    moved = np.linalg.norm(model.embedding_[known] - old[rows[known]], axis=1)
    assert np.median(moved) < 0.05 * np.ptp(old, axis=0).max()
    assert model.loss_history_[0] < ICONEmbedding(max_iter=1, random_state=0).fit(X[rows]).loss_history_[0]


@changes
def test_rows_of_a_clustering_begin_with_their_clusters(rows):
    model = ICONClustering(4, warm_start=True, random_state=0).fit(X[:120])
    old = model.labels_.copy()
    model.set_params(max_iter=1).fit(X[rows])
    known = rows < 120
    assert np.mean(model.labels_[known] == old[rows[known]]) > 0.97


@changes
def test_rows_without_labels_begin_with_their_classes(rows):
    given = np.where(np.arange(len(Y)) % 5 == 0, Y, -1)
    model = ICONClassifier(unlabeled=-1, warm_start=True, random_state=0).fit(X[:120], given[:120])
    model.fit(X[rows], given[rows])
    cold = ICONClassifier(unlabeled=-1, random_state=0).fit(X[rows], given[rows])
    assert model.loss_ <= cold.loss_ * 1.02
    if set(rows) == set(range(120)):
        assert model.n_iter_ <= cold.n_iter_


def test_the_same_rows_go_on_bit_by_bit():
    twice = np.concatenate([X[:60], X[:60]])  # equal rows, which features do not tell apart
    model = ICONEmbedding(warm_start=True, max_iter=60, random_state=0).fit(twice)
    places = model.mapper_.places.detach().clone()
    shown = []
    model.set_params(
        max_iter=1, learning_rate=1e-9, callback=lambda record: shown.append(record.outputs())
    ).fit(twice)
    assert_allclose(shown[0], places - places.mean(0), atol=1e-4)


def test_other_rows_are_a_cold_start():
    for make in (ICONEmbedding(max_iter=20, random_state=0), ICONClustering(4, random_state=0)):
        cold = make.fit(X[200:320])
        expected = cold.loss_history_
        warm = type(make)(**make.get_params()).set_params(warm_start=True).fit(X[:120])
        with pytest.warns(UserWarning, match="none of the rows was in the last fit"):
            warm.fit(X[200:320])
        assert_array_equal(warm.loss_history_, expected)


class Ring(BaseEstimator):
    """Each row is near the next one; rows are known by their number alone, and new ones have no p."""

    columns = "rows"

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        n = len(X)
        self.conditional_ = Conditional(csr_array((np.ones(n), (np.arange(n), np.roll(np.arange(n), 1)))))
        return self

    def extend(self, X, *, n_jobs=None):
        raise ValueError("no new rows")


@pytest.mark.parametrize("p", [Graph, Ring])
@pytest.mark.parametrize("kind", [ICONEmbedding, ICONClustering])
def test_rows_that_p_cannot_place_start_near_their_neighbours(p, kind):
    def make(n):
        return Ring() if p is Ring else Graph(kneighbors_graph(X[:n], 8))

    model = kind(3, p=make(100), warm_start=True, max_iter=100, random_state=0).fit(X[:100])
    old = (model.embedding_ if kind is ICONEmbedding else model.labels_).copy()
    model.set_params(p=make(110), max_iter=1).fit(X[:110])
    if kind is ICONEmbedding:
        extent = np.ptp(old, axis=0).max()
        assert np.median(np.linalg.norm(model.embedding_[:100] - old, axis=1)) < 0.05 * extent
        assert np.ptp(model.embedding_[100:], axis=0).max() < 1.2 * extent
    else:
        assert np.mean(model.labels_[:100] == old) > 0.95


def pairs(n, kind):
    return kneighbors_graph(X[:n], 8) if kind == "graph" else pairwise_distances(X[:n])


@pytest.mark.parametrize("kind", ["graph", "distances"])
@pytest.mark.parametrize("make", [ICONEmbedding, ICONClustering])
def test_rows_of_pairs_are_known_by_position_and_a_fit_says_so(make, kind):
    p = "graph" if kind == "graph" else KNN(8, metric="precomputed")
    model = make(3, p=p, warm_start=True, random_state=0).fit(pairs(60, kind))
    same = pairs(60, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(same)  # the same matrix needs no word
    old = model.embedding_.copy() if make is ICONEmbedding else model.labels_.copy()
    order = np.random.default_rng(0).permutation(60)
    with pytest.warns(UserWarning, match="row i is taken for row i. If the rows are others"):
        model.fit(same[order][:, order])
    model.fit(same)
    model.set_params(max_iter=1)
    old = model.embedding_.copy() if make is ICONEmbedding else model.labels_.copy()
    if kind == "graph":  # edges of the first rows change with the others
        with pytest.warns(UserWarning, match="10 further ones start near their neighbours"):
            model.fit(pairs(70, kind))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.simplefilter("ignore", category=Warning) if make is ICONClustering else None
            model.fit(pairs(70, kind))
    if make is ICONEmbedding:
        assert model.embedding_.std() > 0.7 * old.std()
    else:
        assert np.mean(model.labels_[:60] == old) > 0.9
    with pytest.warns(UserWarning, match="the fit starts afresh"):
        model.fit(pairs(50, "graph")[::-1] if kind == "graph" else pairs(50, kind)[::-1])


def test_words_are_rows_by_what_they_are():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]

    def corpus(offset):
        centre = rng.integers(0, 25, 400)
        return [[words[(c + offset + d) % 30] for d in (0, 1, 2)] for c in centre]

    model = recipes.skip_gram(n_components=3).set_params(
        mapper="table", engine="auto", warm_start=True, max_iter=30, random_state=0
    )
    model.fit(corpus(0))
    old = dict(zip(model.vocabulary_, model.mapper_.places.detach().numpy().copy(), strict=True))
    shown = []
    model.set_params(max_iter=1, learning_rate=1e-9, callback=lambda record: shown.append(record.outputs()))
    model.fit([line[::-1] for line in corpus(0)])
    order = [old[word] for word in model.vocabulary_]
    assert_allclose(shown[0], order, atol=1e-3)


def test_classes_of_other_names_are_no_start():
    model = ICONClassifier(warm_start=True, random_state=0).fit(X, Y)
    renamed = np.array(["d", "c", "b", "a"])[Y]  # sorted the other way round
    cold = ICONClassifier(random_state=0).fit(X, renamed)
    assert_array_equal(model.fit(X, renamed).loss_history_, cold.loss_history_)
