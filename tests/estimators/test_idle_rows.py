"""Rows of which p says nothing: nodes without edges, rows of no mass."""

import inspect

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONClustering
from iconlearn.clusters import _count
from iconlearn.estimators import _clustering
from iconlearn.supervisory import KNN, Graph

SIZES = (40, 30, 20)
X, Y = make_blobs(SIZES, centers=[[0, 0], [8, 0], [0, 8]], random_state=0)
A = kneighbors_graph(X, 8)
A = A.maximum(A.T)
N_IDLE = 5
WITH_IDLE = sparse.block_diag([A, sparse.csr_matrix((N_IDLE, N_IDLE))]).tocsr()

pytestmark = pytest.mark.filterwarnings("ignore:.*have no edge")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"debias": 0.3},
        {"init": "spectral"},
        {"init": np.append(Y, np.zeros(N_IDLE, dtype=int))},
        {"divergence": "jensen_shannon"},
        {"divergence": "hellinger", "init": "random"},
    ],
    ids=str,
)
def test_nodes_without_edges_have_the_shares_of_the_clusters(options):
    model = ICONClustering(3, p="graph", min_confidence=0.8, random_state=0, **options).fit(WITH_IDLE)
    r, idle = model.probabilities_, model.probabilities_[-N_IDLE:]
    np.testing.assert_allclose(idle, np.tile(r[:-N_IDLE].mean(axis=0), (N_IDLE, 1)), atol=0.02)
    assert (model.labels_[-N_IDLE:] == -1).all()
    # Under a share the rows of the fit see each other's, and a new one sees theirs alone.
    atol = 0.01 if "debias" in options else 1e-3
    np.testing.assert_allclose(model.predict_proba(sparse.csr_matrix((1, len(r)))), idle[:1], atol=atol)


def test_they_change_nothing_for_the_others():
    alone = ICONClustering(3, p="graph", random_state=0).fit(A)
    beside = ICONClustering(3, p="graph", random_state=0).fit(WITH_IDLE)
    np.testing.assert_allclose(beside.probabilities_[:-N_IDLE], alone.probabilities_, atol=1e-6)
    # The same rows of q, but each over more columns.
    assert beside.loss_ == pytest.approx(alone.loss_ + np.log(WITH_IDLE.shape[0] / len(X)), abs=1e-6)
    assert (np.diff(beside.loss_history_) <= 1e-12).all()


def test_rows_of_no_mass_that_no_row_is_near_to():
    class Weighed(KNN):
        def fit(self, X, y=None, **options):
            super().fit(X, y, **options)
            mass = np.ones(len(X))
            mass[-1] = 0.0
            self.conditional_ = self.conditional_.with_mass(mass)
            return self

    far = np.vstack([X, [[500.0, 500.0]]])
    model = ICONClustering(3, p=Weighed(8), random_state=0).fit(far)
    r = model.transform(far)
    np.testing.assert_allclose(r[-1], r[:-1].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(model.probabilities_[-1], r[-1])


def test_the_merge_path_is_that_of_the_rows_with_edges():
    alone = ICONClustering(3, p="graph", random_state=0).fit(A).merge_path_
    beside = ICONClustering(3, p="graph", random_state=0).fit(WITH_IDLE).merge_path_
    for name in alone._fields:
        np.testing.assert_allclose(getattr(beside, name), getattr(alone, name), err_msg=name)


def test_the_loss_of_the_merge_path_is_a_mean_cross_entropy():
    """Far apart groups: the merges end at them, whatever the start."""
    directed = WITH_IDLE.tolil()
    directed[0, :] = 0  # a node that others point to, without edges of its own
    p = Graph().fit(directed.tocsr()).conditional_
    a, n = _count.RESOLUTION, len(X)
    path = _count.merge_path(p, np.random.RandomState(0))
    P = p.sparse().toarray()[:n, :n]
    weight = (1 - a) * P + a / n
    q = np.where(Y[:, None] == Y, (1 - a) / np.bincount(Y)[Y], 0) + a / n
    expected = -(weight * np.log(q)).sum() / weight.sum()
    assert path.loss[path.n_clusters == 3] == pytest.approx(expected, rel=1e-9)


def test_who_looks_at_an_estimator_does_not_wait_for_merges(monkeypatch):
    calls = []
    found = _clustering.merge_path
    monkeypatch.setattr(_clustering, "merge_path", lambda *a, **k: calls.append(1) or found(*a, **k))
    model = ICONClustering(3, random_state=0).fit(X)
    model._repr_html_()
    repr(model), vars(model), dir(model), inspect.getmembers(model)
    assert not calls and "merge_path_" not in dir(model)
    assert model.merge_path_.suggested == 3
    assert len(calls) == 1 and "merge_path_" in dir(model)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_a_new_node_without_edges_is_like_one_of_the_fit(share):
    A = np.zeros((31, 31))
    for start, stop in [(0, 12), (12, 22), (22, 28)]:
        A[start:stop, start:stop] = 1
    model = ICONClustering(3, p="graph", debias=share, random_state=0).fit(A)
    new = model.predict_proba(np.zeros((2, 31)))
    np.testing.assert_allclose(new, model.probabilities_[-2:], atol=1e-12)
    assert (model.predict(np.zeros((1, 31))) == model.labels_[-1]).all()
