"""New rows among clusters."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances

from iconlearn import ICONClustering
from iconlearn.learned import Cluster
from iconlearn.supervisory import KNN, Debias, Gaussian, Mix, Symmetrize, Walk
from iconlearn.supervisory.neighborhoods import _graph, _kernel

X = load_digits().data[:400] / 16
K = 8


@pytest.fixture(scope="module")
def model():
    return ICONClustering(10, p=KNN(K), random_state=0).fit(X[:320])


def sides(row):
    """How a new row and each of its 4 k nearest chose each other, had the new row been there in the fit."""
    old = X[:320]
    to_row = np.linalg.norm(old - row, axis=1)
    among = pairwise_distances(old) + np.diag(np.full(len(old), np.inf))
    ours = np.zeros(len(old))
    ours[np.argsort(to_row)[:K]] = 1 / K
    theirs = to_row < np.sort(among, axis=1)[:, K - 1]
    theirs[np.argsort(to_row)[4 * K :]] = False
    return ours + theirs / K


def objective(weight, r, t):
    """Of the mean loss, what depends on the assignments t of one more row beside those r of the others."""
    return -weight @ np.log(np.maximum(r / r.sum(axis=0) @ t, 1e-300))


def test_new_rows_take_the_assignments_that_explain_both_sides_best(model):
    known, found, one_sided = model.transform(X[:320]), model.transform(X[320:]), 0
    for row, t in zip(X[320:], found, strict=True):
        weight = sides(row)

        def of_logits(z, weight=weight):
            return objective(weight, known, np.exp(z - np.logaddexp.reduce(z)))

        best = min(
            minimize(of_logits, np.log(np.maximum(start, 1e-6))).fun for start in (np.full(10, 0.1), t)
        )
        assert objective(weight, known, t) < best + 1e-6
        one_sided += np.array_equal(weight > 0, np.isin(np.arange(320), np.argsort(weight)[-K:]))
    assert one_sided < 60  # else nothing is said about the other side


@pytest.mark.parametrize("p", [KNN(K), KNN(K, far_weight=0.5), Gaussian(3.0)], ids=str)
def test_probabilities_of_new_rows_take_one_search(p, monkeypatch):
    """It finds what rows give by themselves as well, which is what a search for that alone finds."""
    model = ICONClustering(4, p=p, n_init=2, max_iter=5, random_state=0).fit(X[:200])
    searched = []
    for module in (_graph, _kernel):
        search = module.graph_of_all
        monkeypatch.setattr(
            module, "graph_of_all", lambda *a, search=search, **k: searched.append(1) or search(*a, **k)
        )
    found = model.predict_proba(X[200:])
    assert len(searched) == 1
    sides, own = model.p_.reciprocal(X[200:]), model.p_.extend(X[200:]).sparse()
    np.testing.assert_allclose(sides.own.toarray(), own.toarray(), atol=1e-12)
    theirs = sides.edges.toarray() * sides.mass[:, None] - own.toarray()
    mutual, either = np.minimum(own.toarray(), theirs), own.toarray() + theirs
    r = model.transform(X[:200])
    t = mutual @ r + 0.1 * either @ r / either.sum(axis=1, keepdims=True) + 0.005 / model.n_clusters_
    t /= t.sum(axis=1, keepdims=True)
    agree = t.argmax(axis=1) == model.transform(X[200:]).argmax(axis=1)
    assert agree.mean() > 0.9
    np.testing.assert_allclose(found[agree], t[agree], atol=1e-6)


def test_a_p_of_one_side_is_enough(model):
    class OneSided(KNN):
        _reciprocal = KNN._extend

    other = ICONClustering(10, p=OneSided(K), random_state=0).fit(X[:320])
    new = X[320:]
    assert (other.predict(new) == model.predict(new)).mean() > 0.9
    assert not np.array_equal(other.predict_proba(new), model.predict_proba(new))


@pytest.mark.parametrize(
    "p",
    [
        Debias(KNN(20), 0.8),
        Walk(Debias(KNN(20), 0.5)),
        Debias(Symmetrize(KNN(20)), 0.5),
        Mix([Debias(KNN(20), 0.6), KNN(30)]),
    ],
    ids=str,
)
def test_a_new_row_beside_a_training_row_is_as_sure_as_it(p):
    model = ICONClustering(10, p=p, q=Cluster(debias=0.3), n_init=2, random_state=0).fit(X)
    near = model.predict_proba(X + 1e-9 * np.random.default_rng(0).normal(size=X.shape))
    # Four rows of 400 under the walk, and no fewer where the fit is followed to its end (tol=1e-7).
    assert (near.argmax(axis=1) != model.labels_).mean() <= 0.01
    assert near.max(axis=1).mean() == pytest.approx(model.probabilities_.max(axis=1).mean(), abs=0.015)


def test_wrappers_see_both_sides():
    old, new, inner = X[:320], X[320:], KNN(K).fit(X[:320])
    both = inner.reciprocal(new).sparse().toarray()
    for p in (Debias(KNN(K), 0.4), Symmetrize(KNN(K)), Mix([KNN(K), KNN(K)])):
        np.testing.assert_allclose(p.fit(old).reciprocal(new).sparse().toarray(), both, atol=1e-12)
        assert np.abs(p.extend(new).sparse().toarray() - both).max() > 0.01
    step = inner.conditional_.sparse().toarray()
    walked = both + both @ step
    np.testing.assert_allclose(
        Walk(KNN(K)).fit(old).reciprocal(new).sparse().toarray(),
        walked / walked.sum(axis=1, keepdims=True),
        atol=1e-12,
    )
