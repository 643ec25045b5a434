"""How many clusters: the path of merges against its definitions, and n_clusters="auto"."""

import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest
from reference import random_rows, sparse_p
from scipy.sparse import block_diag, csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV

from iconlearn import ICONClustering, Term
from iconlearn.clusters import MergePath, _count, merge_path
from iconlearn.supervisory import Gaussian, Graph

X, Y = make_blobs(240, centers=[[0, 0], [9, 0], [0, 9], [9, 9]], random_state=0)
N = 24
P = random_rows(N, density=0.3, seed=2)


def path_of(P, seed=0):
    return merge_path(sparse_p(P), np.random.RandomState(seed))


@pytest.fixture
def rows_as_they_are(monkeypatch):
    """Every row a micro-cluster of its own, in one start."""
    monkeypatch.setattr(_count, "ROWS_PER_NODE", 1)
    monkeypatch.setattr(_count, "N_STARTS", 1)


def test_eigengaps_are_those_of_the_walk(rows_as_they_are):
    A = (P + P.T) / 2
    values = np.sort(np.linalg.eigvals(A / A.sum(axis=1, keepdims=True)).real)[::-1]
    found = path_of(P)
    gaps = (values[1:-1] - values[2:]) / (1.02 - values[1:-1])
    np.testing.assert_allclose(found.eigengap, gaps[: len(found.eigengap)])
    score = found.eigengap * (np.exp(found.information) - 1) * np.sqrt(found.relative_gap + 0.2)
    np.testing.assert_allclose(found.score, score)


def test_losses_and_information_are_those_of_the_merged_clusters(rows_as_they_are, monkeypatch):
    """The hard, debiased loss and the mutual information written out, at the labels of the path."""
    kept = {}
    monkeypatch.setattr(_count, "_agreement", lambda labels: kept.setdefault(len(kept), labels[0]) is None)
    rng = np.random.RandomState(3)
    sample = np.random.RandomState(3).permutation(N)
    found, a = merge_path(sparse_p(P), rng), _count.RESOLUTION
    losses, informations = [], []
    for k, labels in kept.items():
        r = np.zeros((N, N))
        r[sample, labels] = 1.0
        r = r[:, r.any(axis=0)]
        assert r.shape[1] == k + 2 == found.n_clusters[k]
        q = (1 - a) * (r @ (r / r.sum(axis=0)).T) + a / N
        losses.append(-(((1 - a) * P + a / N) * np.log(q)).sum() / N)
        W = r.T @ (P + P.T) @ r / (2 * N)
        informations.append(
            (W * np.log(np.where(W > 0, W, 1) / np.outer(W.sum(0), W.sum(0)) ** (W > 0))).sum()
        )
    np.testing.assert_allclose(found.loss, losses, rtol=1e-10)
    np.testing.assert_allclose(found.information, informations, rtol=1e-9)
    np.testing.assert_allclose(found.gain[:-1], np.diff(losses), rtol=1e-8, atol=1e-12)


def test_the_relative_gap_compares_what_merges_need(rows_as_they_are):
    """Three pairs of parts, each pair tied more strongly than the pairs are to one another."""
    inner = np.kron(np.eye(6), np.ones((4, 4)))
    pairs, all_ = np.kron(np.eye(3), np.ones((8, 8))), np.ones((24, 24))
    A = inner + 0.02 * pairs + 1e-5 * all_
    np.fill_diagonal(A, 0)
    found = path_of(A / A.sum(axis=1, keepdims=True))
    gap = dict(zip(found.n_clusters, found.relative_gap, strict=True))
    assert sorted(sorted(gap, key=gap.get)[-2:]) == [3, 6]


def test_relative_gaps_are_those_of_weighted_prices(rows_as_they_are, monkeypatch):
    """What an edge must cost, times the rows of the smaller cluster, written out for every merge."""
    kept, merges = [], _count.merges
    monkeypatch.setattr(_count, "merges", lambda *a: (kept.append(m) or m for m in merges(*a)))
    found, A = path_of(P), (P + P.T) / 2
    labels, prices = np.arange(N), []
    for merge in kept:
        c, d = labels == merge.keep, labels == merge.drop
        W, V, B = A[c][:, c].sum(), A[d][:, d].sum(), A[c][:, d].sum()
        n, m = c.sum(), d.sum()
        T = ((W + V + 2 * B) * np.log(n + m) - W * np.log(n) - V * np.log(m)) / (2 * B)
        prices.append(T * min(n, m))
        labels[d] = merge.keep
    gap = np.diff(np.log(np.maximum.accumulate(prices)))[::-1]
    np.testing.assert_allclose(found.relative_gap, gap[: len(found.relative_gap)], atol=1e-12)


def test_stability_is_the_mean_rand_index():
    rng = np.random.default_rng(0)
    a, b = rng.integers(4, size=50), rng.integers(3, size=50)
    assert _count._rand(a, b) == pytest.approx(adjusted_rand_score(a, b))
    assert _count._rand(a, a) == _count._rand(0 * a, 0 * a) == 1
    found = path_of(csr_array(block_diag([np.ones((20, 20)) / 20] * 3)).toarray())
    assert found.stability[1] == 1


def test_parts_without_edges_between_them_are_counted():
    P = block_diag([random_rows(30, density=0.5, seed=k) for k in range(5)]).toarray()
    assert path_of(P).suggested == 5


def test_a_graph_of_isolated_nodes_stays_small():
    A = np.zeros((3000, 3000), dtype=np.float32)
    A[:40, :40] = 1
    found = merge_path(sparse_p(A / np.maximum(A.sum(axis=1, keepdims=True), 1)), np.random.RandomState(0))
    assert np.isfinite(found.loss).all()


def test_auto_takes_the_suggestion():
    model = ICONClustering("auto", random_state=0).fit(X)
    assert model.n_clusters_ == model.merge_path_.suggested == 4
    assert adjusted_rand_score(Y, model.labels_) == 1
    assert isinstance(model.merge_path_, MergePath)
    assert clone(model).n_clusters == "auto"


@pytest.mark.parametrize("mapper", ["linear", "mlp"])
def test_auto_with_a_head(mapper):
    model = ICONClustering("auto", mapper=mapper, max_iter=5, n_init=2, random_state=0).fit(X)
    assert model.n_clusters_ == 4 and model.predict_proba(X[:3]).shape == (3, 4)


def test_auto_is_near_the_ten_digits():
    model = ICONClustering("auto", n_init=1, max_iter=1, random_state=0).fit(load_digits().data)
    assert 5 <= model.n_clusters_ <= 20


def test_any_number_of_clusters_has_the_path():
    model = ICONClustering(3, random_state=0, n_init=2).fit(X)
    assert model.n_clusters_ == 3 and model.merge_path_.suggested == 4
    assert model.merge_path_ is model.merge_path_
    with pytest.raises(AttributeError, match="once the estimator is fitted"):
        clone(model).merge_path_  # noqa: B018


def test_the_path_is_found_when_it_is_read(monkeypatch):
    """Not when somebody asks whether there is one, shows the estimator or copies it."""
    found = []
    counted = merge_path
    monkeypatch.setattr(
        "iconlearn.estimators._clustering.merge_path", lambda *a, **k: found.append(1) or counted(*a, **k)
    )
    model = ICONClustering(3, random_state=0, n_init=2).fit(X)
    assert hasattr(model, "merge_path_") and "merge_path_" not in dir(model)
    path = model.merge_path_
    with config_context(display="diagram"):
        repr(model), model._repr_mimebundle_(), dict(inspect.getmembers(model))
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert len(path) == len(MergePath._fields) and not found
    assert path.suggested == 4 and len(found) == 1
    assert model.merge_path_ is path.found and "merge_path_" in dir(model) and repr(path) == repr(path.found)
    n_clusters, loss, *_ = path
    assert (
        n_clusters is path.n_clusters
        and loss is path[1]
        and path._asdict()["loss"] is loss
        and len(found) == 1
    )
    np.testing.assert_array_equal(again.merge_path_.score, path.score)
    copied = pickle.loads(pickle.dumps(path))
    assert isinstance(copied, MergePath) and (copied.loss == loss).all()


def test_a_refit_has_a_path_of_its_own():
    model = ICONClustering(2, random_state=0, n_init=2).fit(X)
    assert model.merge_path_.suggested == 4
    assert model.fit(X[Y < 2]).merge_path_.suggested == 2


def test_a_search_may_hold_it():
    search = GridSearchCV(ICONClustering(n_init=2, random_state=0), {"n_clusters": [2, "auto"]}, cv=2).fit(X)
    assert search.best_params_ == {"n_clusters": "auto"}


def test_where_there_is_no_path():
    dense = Gaussian(5, n_neighbors=None)
    with pytest.raises(ValueError, match="n_clusters='auto' cannot count clusters here: p has no sparse"):
        ICONClustering("auto", p=dense).fit(X)
    model = ICONClustering(4, p=dense, n_init=2, max_iter=5, random_state=0).fit(X)
    assert not hasattr(model, "merge_path_")
    with pytest.raises(ValueError, match="n_clusters='autp' is not known"):
        ICONClustering("autp").fit(X)


@pytest.mark.parametrize("options", [{"p": "views"}, {"terms": [Term("views", weight=0.5)]}])
def test_views_are_not_counted(options):
    with pytest.raises(ValueError, match="n_clusters='auto' counts the groups among the rows"):
        ICONClustering("auto", mapper="linear", max_iter=2, **options).fit(X)


def test_views_have_no_path():
    """They are several to a row, and know of no pair of rows; a further term leaves that of p as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # clusters may end without rows
        views = ICONClustering(4, p="views", mapper="linear", max_iter=2, random_state=0).fit(X)
    assert not hasattr(views, "merge_path_")
    terms = [Term("views", weight=0.5)]
    model = ICONClustering(4, terms=terms, mapper="linear", max_iter=2, n_init=2, random_state=0).fit(X)
    assert model.merge_path_.suggested == 4


def test_few_rows():
    assert ICONClustering("auto", p=Graph(), random_state=0).fit(np.ones((2, 2))).n_clusters_ == 1
    assert ICONClustering("auto", p=Graph(), random_state=0).fit(np.ones((3, 3))).n_clusters_ <= 2
