"""A row of weight k in a clustering is a row that is there k times."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import evaluate, make_problem
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV

from iconlearn import ICONClustering, Term, load, save
from iconlearn.clusters import pair_weights
from iconlearn.conditional import Conditional, normalize_rows
from iconlearn.divergences import KL, Hellinger, JensenShannon, TotalVariation
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cluster
from iconlearn.supervisory import Gaussian, Graph

N = 12
rng = np.random.default_rng(0)
NUMBER = rng.integers(1, 4, N)
TIMES = np.repeat(np.arange(N), NUMBER)
A = rng.random((N, N)) * (rng.random((N, N)) < 0.5)
A[np.arange(N), (np.arange(N) + 1) % N] += 0.2
A = A + A.T
np.fill_diagonal(A, 0)
LOGITS = rng.normal(size=(N, 3))


def both(q, *, mass=None, uniform=0.0, divergence=None):
    """A problem of weighted rows, and that of all copies."""

    def problem(A, Z):
        weight = None if mass is None else A.sum(axis=1)
        p = Conditional(normalize_rows(sparse.csr_array(A)), uniform, weight)
        return make_problem(p, q, Z, divergence=divergence or KL())

    return problem(A, LOGITS).of_copies(NUMBER), problem(A[TIMES][:, TIMES], LOGITS[TIMES])


@pytest.mark.parametrize("divergence", [KL(), JensenShannon(), Hellinger(), TotalVariation()])
@pytest.mark.parametrize("uniform", [0.0, 0.2])
@pytest.mark.parametrize("options", [{}, {"debias": 0.3}, {"degree_weighted": True}])
@pytest.mark.parametrize("mass", [None, "degree"])
def test_the_loss_is_that_of_all_copies(divergence, uniform, options, mass):
    few, all_rows = both(Cluster(**options), mass=mass, uniform=uniform, divergence=divergence)
    value, (slope,) = evaluate(few)
    expected, (of_copies,) = evaluate(all_rows)
    assert value == pytest.approx(expected, abs=1e-12)
    assert_allclose(slope, np.stack([of_copies[i == TIMES].sum(axis=0) for i in range(N)]), atol=1e-12)
    # In units of the mean number of copies, as both p and q are.
    assert few.entropy() + np.log(NUMBER.mean()) == pytest.approx(all_rows.entropy(), abs=1e-12)
    assert evaluate(few, MiniBatch(N))[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("uniform", [0.0, 0.2])
@pytest.mark.parametrize("options", [{"debias": 0.3}, {"balance": 0.4}])
def test_steps_are_those_of_all_copies(uniform, options):
    few, all_rows = (pair_weights([problem]) for problem in both(Cluster(**options), uniform=uniform))
    r = np.exp(LOGITS - np.logaddexp.reduce(LOGITS, 1)[:, None])
    for _ in range(3):
        (G, loss), (G_all, expected) = few.explained(r), all_rows.explained(r[TIMES])
        assert loss + np.log(NUMBER.mean()) == pytest.approx(expected, rel=1e-12)
        new, of_copies = few.improved(r, G), all_rows.improved(r[TIMES], G_all)
        assert_allclose(new[TIMES], of_copies, atol=1e-10)
        r = new


X, Y = make_blobs([40, 25, 30], cluster_std=1.0, random_state=3)
WEIGHT = rng.integers(1, 4, len(X))
REPEATED = np.repeat(np.arange(len(X)), WEIGHT)
AFFINITY = np.exp(-((X[:, None] - X) ** 2).sum(-1) / 2) * ~np.eye(len(X), dtype=bool)
NEW = np.exp(-((rng.normal(size=(9, 1, 2)) * 4 - X) ** 2).sum(-1) / 8)


@pytest.mark.parametrize(
    "options",
    [{}, {"debias": 0.2}, {"engine": "dense", "n_init": 1, "max_iter": 30}, {"p": Graph(mass="degree")},
     {"divergence": "jensen_shannon", "max_iter": 30}, {"terms": [Term(Graph(mass="degree"), weight=0.5)]}],
    ids=str,
)  # fmt: skip
def test_a_fit_is_that_of_all_copies(options):
    model = ICONClustering(3, random_state=0, **{"p": "graph", **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = pickle.loads(pickle.dumps(model.fit(AFFINITY[REPEATED][:, REPEATED])))
        model.fit(AFFINITY, sample_weight=7 * WEIGHT)
    assert adjusted_rand_score(model.labels_[REPEATED], whole.labels_) == 1
    if "engine" not in options and "divergence" not in options:
        assert model.loss_ == pytest.approx(whole.loss_, rel=1e-4)
    order = [
        whole.labels_[np.flatnonzero(np.flatnonzero(model.labels_ == c)[0] == REPEATED)[0]] for c in range(3)
    ]
    r, expected = model.predict_proba(NEW), whole.predict_proba(NEW[:, REPEATED])[:, order]
    assert_allclose(r, expected, atol=0.02)
    assert_array_equal(model.predict(AFFINITY), model.labels_)


def test_weights_move_the_optimum():
    """One cluster more for a group that is there a hundred times."""
    Z = np.r_[X[Y == 0] * 1.0, X[Y == 0] + [2.5, 0], X[Y == 1] + 30]
    weight = np.r_[np.full(80, 20.0), np.ones(25)]
    model = ICONClustering(2, p=Gaussian(5.0), random_state=0)
    plain, weighted = clone(model).fit(Z), clone(model).fit(Z, sample_weight=weight)
    assert weighted.loss_ != plain.loss_
    assert_array_equal(clone(model).fit(Z, sample_weight=np.full(105, 3)).labels_, plain.labels_)
    assert_array_equal(weighted.predict(Z), weighted.labels_)


@pytest.mark.parametrize("mapper", ["linear", "mlp"])
def test_heads_and_counts(mapper):
    model = ICONClustering(3, mapper=mapper, n_init=2, max_iter=5, random_state=0)
    labels = model.fit_predict(X, sample_weight=WEIGHT)
    assert adjusted_rand_score(Y, labels) > 0.9
    batches = ICONClustering(3, mapper=mapper, n_init=2, max_iter=5, engine=MiniBatch(32), random_state=0)
    assert adjusted_rand_score(Y, batches.fit(X, sample_weight=WEIGHT).labels_) > 0.9
    assert_array_equal(batches.partial_fit(X[:40]).predict(X[:40]), batches.labels_)
    counted = ICONClustering("auto", n_init=2, random_state=0).fit(X, sample_weight=WEIGHT)
    assert counted.n_clusters_ == counted.merge_path_.suggested
    fixed = ICONClustering(3, n_init=2, random_state=0).fit(X, sample_weight=WEIGHT)
    assert fixed.merge_path_.suggested == counted.n_clusters_


def test_files_searches_and_refits(tmp_path):
    model = ICONClustering(3, n_init=2, random_state=0).fit(X, sample_weight=WEIGHT)
    save(model, tmp_path / "model")
    rows = X + 0.1
    assert_array_equal(load(tmp_path / "model").predict_proba(rows), model.predict_proba(rows))
    with config_context(enable_metadata_routing=True):
        asked = ICONClustering(n_init=2, random_state=0).set_fit_request(sample_weight=True)
        asked.set_score_request(sample_weight=True)
        search = GridSearchCV(asked, {"n_clusters": [2, 3]}, cv=2).fit(X, sample_weight=WEIGHT)
    assert search.best_estimator_._copies is not None
    plain = model.fit(X).predict_proba(rows)
    assert_array_equal(ICONClustering(3, n_init=2, random_state=0).fit(X).predict_proba(rows), plain)


@pytest.mark.parametrize(
    ("options", "weight", "message"),
    [
        ({}, np.r_[0.0, np.ones(94)], "zero for 1 rows .*row 0.*ask predict"),
        ({}, np.r_[-1.0, np.ones(94)], "Negative"),
        ({}, np.ones(3), "shape"),
        ({}, np.r_[np.nan, np.ones(94)], "NaN"),
        ({"q": Cluster(normalize="row")}, np.ones(95), "sizes of clusters"),
        ({"divergence": "reverse_kl", "p": Gaussian(sigma=2.0, self_pairs=True)}, np.ones(95), "no meaning"),
    ],
)
def test_what_cannot_be_weighed_is_refused(options, weight, message):
    model = ICONClustering(3, n_init=1, random_state=0, **options)
    with pytest.raises(ValueError, match=message):
        model.fit(X, sample_weight=weight)
    assert not hasattr(model, "labels_")


def test_a_score_counts_the_rows_by_their_weights():
    """By hand: p of the 15 nearest, and q, over as many copies of each row."""
    X, _ = make_blobs(60, centers=[[0, 0], [6, 0], [0, 6]], random_state=0)
    weight = np.random.default_rng(0).integers(1, 5, 60).astype(float)
    model = ICONClustering(3, n_init=2, random_state=0).fit(X)
    r, copies = model.transform(X), weight / weight.mean()
    distances = np.linalg.norm(X[:, None] - X, axis=2) + np.diag(np.full(60, np.inf))
    near = np.zeros((60, 60))
    np.put_along_axis(near, np.argsort(distances, axis=1)[:, :12], 1.0, axis=1)
    near /= near @ copies[:, None]  # of one copy of a column
    p = 0.95 * near + 0.05 / 60
    q = 0.95 * (r / (copies @ r)) @ r.T + 0.05 / 60
    expected = -(copies @ (p * np.log(p / q)) @ copies) / 60
    assert model.score(X, sample_weight=7 * weight) == pytest.approx(expected, rel=1e-6)
    assert model.score(X, sample_weight=np.full(60, 3)) == pytest.approx(model.score(X), rel=1e-12)
    assert abs(model.score(X) - expected) > 1e-3
    with pytest.raises(ValueError, match="sample_weight is zero"):
        model.score(X, sample_weight=np.arange(60))
    with config_context(enable_metadata_routing=True):
        asked = ICONClustering(2, n_init=2, random_state=0).set_fit_request(sample_weight=True)
        scores = [
            GridSearchCV(found, {"n_clusters": [2, 3]}, cv=2).fit(X, sample_weight=weight).best_score_
            for found in (asked, clone(asked).set_score_request(sample_weight=True))
        ]
    assert scores[0] != scores[1]
