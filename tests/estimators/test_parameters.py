"""Every public parameter has an effect, and every one is listed here: the last test counts them."""

import inspect

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.engines import Dense, MiniBatch, Partition
from iconlearn.supervisory import KNN, Views

# Blobs that overlap, so that no choice is without consequence.
X, y = make_blobs(80, n_features=5, centers=4, cluster_std=4.0, random_state=0)

BASE = {
    ICONEmbedding: {"max_iter": 40, "random_state": 0},
    ICONClustering: {"n_clusters": 4, "n_init": 2, "max_iter": 30, "random_state": 0},
    ICONClassifier: {"max_iter": 100, "random_state": 0},
}


def fitted(kind, **params):
    return kind(**BASE[kind] | params).fit(X, y)


def answer(estimator):
    return getattr(estimator, "predict_proba", estimator.transform)(X)


def differ(a, b):
    """Whether two fits say different things, by more than rounding."""
    A, B = answer(a), answer(b)
    return A.shape != B.shape or not np.allclose(A, B, rtol=1e-4, atol=1e-6)


# Parameters whose values alone make the answers differ: (kind, parameter) -> two settings.
CHOICES = {
    (ICONEmbedding, "n_components"): (2, 3),
    (ICONEmbedding, "p"): ("gaussian", "knn"),
    (ICONEmbedding, "q"): ("student", "gaussian"),
    (ICONEmbedding, "divergence"): ("kl", "hellinger"),
    (ICONEmbedding, "mapper"): ("table", "linear"),
    (ICONEmbedding, "debias"): (0.0, 0.3),
    (ICONEmbedding, "init"): ("pca", "random"),
    (ICONEmbedding, "max_iter"): (20, 40),
    (ICONEmbedding, "learning_rate"): ("auto", 1.0),
    (ICONEmbedding, "early_exaggeration"): (1.0, 4.0),
    (ICONEmbedding, "optimizer"): ("momentum", "adam"),
    (ICONEmbedding, "terms"): (None, [Term("labels")]),
    (ICONClustering, "n_clusters"): (3, 4),
    (ICONClustering, "p"): ("knn", "gaussian"),
    (ICONClustering, "mapper"): ("table", "linear"),
    (ICONClustering, "debias"): (0.0, 0.3),
    (ICONClustering, "max_iter"): (1, 30),
    (ICONClustering, "terms"): (None, [Term("labels")]),
    (ICONClassifier, "p"): ("classes", "labels"),
    (ICONClassifier, "q"): ("dot", "gaussian"),
    (ICONClassifier, "divergence"): ("kl", "jensen_shannon"),
    (ICONClassifier, "mapper"): ("linear", "mlp"),
    (ICONClassifier, "C"): (1.0, 0.01),
    (ICONClassifier, "class_weight"): (None, {0: 5.0}),
    (ICONClassifier, "calibrate"): (False, True),
    (ICONClassifier, "early_stopping"): (False, True),
    (ICONClassifier, "debias"): (0.0, 0.3),
    (ICONClassifier, "max_iter"): (2, 100),
    (ICONClassifier, "terms"): (None, [Term("knn", q="gaussian")]),
}

# Parameters that show their effect in a test of their own.
TOLD = {}


def shows(kind, *names):
    """Register a test as the one that shows the effect of these parameters of these classes."""

    def register(test):
        for each in kind if isinstance(kind, tuple) else (kind,):
            TOLD.update({(each, name): test.__name__ for name in names})
        return test

    return register


KINDS = (ICONEmbedding, ICONClustering, ICONClassifier)
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("kind, name", CHOICES, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_two_settings_give_two_answers(kind, name):
    one, two = CHOICES[kind, name]
    assert differ(fitted(kind, **{name: one}), fitted(kind, **{name: two}))


@shows(ICONEmbedding, "column_mapper")
def test_column_mapper():
    options = {"p": Views(cross=True), "mapper": "linear", "engine": MiniBatch(40)}
    keys = [fitted(ICONEmbedding, column_mapper=m, **options).column_embedding_ for m in (None, "ema", "mlp")]
    assert not any(np.array_equal(a, b) for a, b in ((keys[0], keys[1]), (keys[0], keys[2])))


@shows(KINDS, "engine")
@kinds
def test_engine(kind):
    dense = fitted(kind, engine="dense")
    batches = fitted(kind, engine=MiniBatch(16))
    assert isinstance(dense.engine_, Dense)
    assert isinstance(batches.engine_, MiniBatch)
    assert batches.engine_ is not batches.engine
    assert differ(dense, batches)
    expected = Partition if kind is ICONClustering else Dense
    assert isinstance(fitted(kind).engine_, expected)


@shows(KINDS, "tol")
@kinds
def test_tol(kind):
    loose = fitted(kind, tol=0.1, max_iter=500, engine="dense")
    tight = fitted(kind, tol=1e-7, max_iter=500, engine="dense")
    assert loose.n_iter_ < tight.n_iter_
    assert loose.converged_
    assert tight.loss_ <= loose.loss_


@shows((ICONClustering, ICONClassifier), "learning_rate", "optimizer")
@pytest.mark.parametrize("kind", [ICONClustering, ICONClassifier])
def test_steps_by_gradients(kind):
    # The start that a search finds is an optimum, which no step may leave.
    start = {"init": "random"} if kind is ICONClustering else {}

    def run(**params):
        return fitted(kind, engine="dense", **start, **params)

    assert differ(run(optimizer="adam", learning_rate=1e-3), run(optimizer="adam", learning_rate=3e-2))
    assert differ(run(optimizer="adam"), run(optimizer="momentum"))


@shows(ICONClustering, "divergence")
def test_divergence_of_clusters():
    assert differ(fitted(ICONClustering, engine="dense"), fitted(ICONClustering, divergence="hellinger"))
    assert fitted(ICONClustering, divergence="hellinger").loss_ <= 1


@shows(ICONClustering, "q")
def test_q_of_clusters():
    q = ICONClustering(q="cluster").set_params(q__debias=0.2).q
    assert differ(fitted(ICONClustering), fitted(ICONClustering, q=q))
    assert fitted(ICONClustering, q=q, debias=0.4).q_.debias == 0.2
    assert fitted(ICONClustering, debias=0.4).q_.debias == 0.4


@shows(ICONClustering, "init")
def test_init_of_clusters():
    given = fitted(ICONClustering, init=y, max_iter=1)
    assert np.mean(given.labels_ == y) > 0.8  # under their own numbers
    starts = {
        name: fitted(ICONClustering, init=name, n_init=1) for name in ("agglomerate", "kmeans", "random")
    }
    assert differ(starts["agglomerate"], starts["random"])
    assert differ(starts["kmeans"], starts["random"])
    assert differ(starts["kmeans"], starts["agglomerate"])


@shows(ICONClustering, "n_init")
def test_more_starts_find_a_lower_loss():
    few, many = (
        np.mean([fitted(ICONClustering, init="random", n_init=n, random_state=s).loss_ for s in range(5)])
        for n in (1, 12)
    )
    assert many < few


@shows(ICONClustering, "min_confidence")
def test_doubtful_rows():
    sure = fitted(ICONClustering).probabilities_.max(axis=1)
    threshold = float(np.median(sure))
    marked = fitted(ICONClustering, min_confidence=threshold).labels_ == -1
    np.testing.assert_array_equal(marked, sure < threshold)


@shows(ICONClassifier, "n_components")
def test_dimensions_of_a_classifier():
    assert fitted(ICONClassifier, q="gaussian", n_components=2).transform(X).shape == (80, 2)
    assert fitted(ICONClassifier, q="gaussian").transform(X).shape == (80, 4)
    assert fitted(ICONClassifier, n_components=2).transform(X).shape == (80, 4)  # outputs are logits


@shows(ICONClassifier, "C")
def test_no_penalty_is_a_large_C():
    free, large = (fitted(ICONClassifier, C=C, max_iter=1000) for C in (None, 1e8))
    assert_allclose(answer(free), answer(large), atol=1e-3)
    assert np.abs(free.coef_).max() > np.abs(fitted(ICONClassifier).coef_).max()


@shows(ICONClassifier, "validation_fraction", "n_iter_no_change")
def test_rows_that_are_held_out():
    few, many = (fitted(ICONClassifier, calibrate=True, validation_fraction=f) for f in (0.1, 0.5))
    assert differ(few, many)
    soon, late = (
        fitted(
            ICONClassifier, early_stopping=True, optimizer="adam", max_iter=300, tol=0.01, n_iter_no_change=n
        )
        for n in (2, 20)
    )
    assert soon.n_iter_ < late.n_iter_


@shows(ICONClassifier, "graph", "graph_weight", "class_prior", "unlabeled")
@pytest.mark.parametrize(
    "one, two",
    [
        ({}, {"graph": KNN(5)}),
        ({}, {"graph": "gaussian"}),
        ({}, {"graph_weight": 0.1}),
        ({}, {"class_prior": [0.7, 0.1, 0.1, 0.1]}),
        ({}, {"mapper": "linear"}),
        ({"mapper": "table"}, {"mapper": "table", "debias": 0.3}),
        ({"unlabeled": 0}, {"unlabeled": 1}),
    ],
    ids=lambda value: "-".join(value),
)
def test_parameters_of_unlabelled_rows(one, two):
    some = np.where(np.arange(len(y)) % 4 == 0, y, -1)
    marker = {"unlabeled": -1}
    a, b = (ICONClassifier(**{"random_state": 0} | marker | params) for params in (one, two))
    labels = y if "unlabeled" in one else some
    assert differ(a.fit(X, labels), b.fit(X, labels))


@shows(KINDS, "random_state")
@kinds
def test_random_state(kind):
    chance = (
        {"init": "random", "n_init": 1, "max_iter": 2} if kind is not ICONClassifier else {"q": "gaussian"}
    )
    chance = {k: v for k, v in chance.items() if k in kind().get_params()}
    a, b, c = (fitted(kind, **chance | {"random_state": seed}) for seed in (0, 0, 1))
    assert_array_equal(answer(a), answer(b))
    assert differ(a, c)


@shows(KINDS, "warm_start")
@kinds
def test_warm_start(kind):
    estimator = fitted(kind, warm_start=True, engine="dense")
    last = estimator.loss_
    first = estimator.set_params(max_iter=1).fit(X, y).loss_history_[0]
    cold = clone(estimator).set_params(warm_start=False).fit(X, y).loss_history_[0]
    assert abs(first - last) < 0.1 * abs(cold - last) or kind is ICONClustering
    assert first <= cold + 1e-9
    assert first == pytest.approx(last, rel=0.05)


@shows(KINDS, "device")
@kinds
def test_device(kind, capsys):
    fitted(kind, device="cpu", verbose=1)
    assert "on cpu" in capsys.readouterr().out
    with pytest.raises(ValueError, match="device"):
        fitted(kind, device="nowhere")


@shows(KINDS, "n_jobs")
@kinds
def test_n_jobs_reaches_the_neighbour_search(kind, monkeypatch):
    from iconlearn.supervisory import _base

    asked = []
    search = _base.graph_of_all

    def spy(*args, n_jobs=None, **kwargs):
        asked.append(n_jobs)
        return search(*args, n_jobs=n_jobs, **kwargs)

    monkeypatch.setattr(_base, "graph_of_all", spy)
    fitted(kind, p="knn", n_jobs=2)
    assert asked == [2]
    with joblib.parallel_config(n_jobs=1):
        fitted(kind, p="knn")
    assert asked == [2, None]


@shows(KINDS, "verbose")
@kinds
def test_verbose(kind, capsys):
    lengths = []
    for verbose in (0, 1, 2):
        fitted(kind, verbose=verbose)
        lengths.append(len(capsys.readouterr().out))
    assert lengths[0] == 0 < lengths[1] <= lengths[2]


@shows(KINDS, "callback")
@kinds
def test_callback(kind):
    records = []
    fitted(kind, callback=records.append)
    assert len(records) > 1
    assert fitted(kind, callback=lambda record: True, engine="dense").n_iter_ <= 10


@shows(Term, "p", "q", "divergence", "weight")
@pytest.mark.parametrize(
    "one, two",
    [
        (Term("labels"), Term("knn")),
        (Term("labels"), Term("labels", q="gaussian")),
        (Term("labels"), Term("labels", divergence="hellinger")),
        (Term("labels"), Term("labels", weight=0.1)),
    ],
    ids=["p", "q", "divergence", "weight"],
)
def test_term(one, two):
    a, b = (fitted(ICONEmbedding, terms=[term]) for term in (one, two))
    assert differ(a, b)
    assert not np.allclose(a.loss_parts_[:, 1], b.loss_parts_[:, 1])


def test_a_weight_scales_its_term():
    a, b = (fitted(ICONEmbedding, max_iter=1, terms=[Term("labels", weight=w)]) for w in (1.0, 0.25))
    assert_allclose(b.loss_parts_[:, 1], 0.25 * a.loss_parts_[:, 1], rtol=1e-6)


def test_the_default_q_of_a_term_is_the_estimators():
    a, b = (fitted(ICONEmbedding, q="gaussian", terms=[Term("labels", q=q)]) for q in (None, "gaussian"))
    assert not differ(a, b)


@pytest.mark.parametrize("kind", [*KINDS, Term], ids=lambda kind: kind.__name__)
def test_every_parameter_is_listed_and_described(kind):
    names = set(inspect.signature(kind.__init__).parameters) - {"self"}
    shown = {name for each, name in [*CHOICES, *TOLD] if each is kind}
    assert names - shown == set(), "no test shows the effect of these"
    assert shown - names == set(), "these are no parameters any more"
    text = inspect.getdoc(kind)
    described = {
        word for line in text.splitlines() if " : " in line for word in line.split(" : ")[0].split(", ")
    }
    borrowed = {word for line in text.splitlines() if ", " in line for word in line.strip().split(", ")}
    assert names <= described | borrowed


@kinds
def test_defaults_are_plain_values(kind):
    for value in kind().get_params().values():
        assert value is None or isinstance(value, str | int | float | bool)


def test_no_parameter_is_changed_by_a_fit():
    p, q = torch.nn.Linear(5, 2), Dense()
    estimator = fitted(ICONEmbedding, mapper=p, engine=q)
    assert estimator.mapper is p
    assert estimator.engine is q
    for kind in KINDS:
        estimator = kind(**BASE[kind])
        before = estimator.get_params()
        assert estimator.fit(X, y).get_params() == before
