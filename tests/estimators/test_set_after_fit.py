"""Parameters that are set after a fit change the next fit, and no answer of the last one."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.mappers import MLP

pytestmark = pytest.mark.filterwarnings("ignore:max_iter=.*:sklearn.exceptions.ConvergenceWarning")

X, Y = make_blobs(60, n_features=4, random_state=0)
NEW = X[:12] + 0.3
GRAPH = kneighbors_graph(X, 6)
FEW = np.where(np.arange(60) < 12, Y, -1)

QUICK = {"random_state": 0, "max_iter": 20}
FITS = {
    "map": (ICONEmbedding(**QUICK), X, None, NEW),
    "linear map": (ICONEmbedding(mapper="linear", **QUICK), X, None, NEW),
    "map of a graph": (ICONEmbedding(p="graph", **QUICK), GRAPH, None, GRAPH[:5]),
    "clusters": (ICONClustering(3, n_init=1, min_confidence=0.6, random_state=0), X, None, NEW),
    "head": (ICONClustering(3, n_init=1, mapper="linear", **QUICK), X, None, NEW),
    "clusters of a graph": (ICONClustering(3, n_init=1, p="graph", random_state=0), GRAPH, None, GRAPH[:5]),
    "logits": (ICONClassifier(random_state=0), X, Y + 1, NEW),
    "class means": (ICONClassifier(p="labels", q="cosine", n_components=2, **QUICK), X, Y, NEW),
    "few labels": (ICONClassifier(unlabeled=-1, random_state=0), X, FEW, NEW),
}
# Of every parameter a value that no fit above has, and that would be another fit.
OTHER = {
    "n_components": 3, "n_clusters": 5, "p": "graph", "q": "gaussian", "divergence": "hellinger", "mapper": MLP((3,)),
    "column_mapper": "linear", "debias": 0.3, "engine": "dense", "init": "random", "n_init": 3, "max_iter": 1,
    "tol": 0.5, "learning_rate": 0.7, "early_exaggeration": 3.0, "optimizer": "adam", "warm_start": True,
    "terms": [Term("knn")], "random_state": 5, "min_confidence": 0.999, "graph": "graph", "graph_weight": 9.0,
    "class_prior": [0.8, 0.1, 0.1], "unlabeled": 1, "C": 1e-3, "class_weight": {1: 50.0}, "early_stopping": True,
    "n_iter_no_change": 1, "calibrate": True, "validation_fraction": 0.3,
}  # fmt: skip
HARMLESS = {"device", "n_jobs", "verbose", "callback"}
ANSWERS = ["transform", "predict", "predict_proba", "predict_log_proba", "decision_function", "explain"]
ATTRIBUTES = [
    "embedding_",
    "labels_",
    "probabilities_",
    "loss_",
    "entropy_",
    "coef_",
    "prototypes_",
    "classes_",
]


def answers(model, rows, X, y):
    """What a fitted model says, by the name of what was asked."""
    said = {}
    for name in ANSWERS:
        if name == "explain" and (y is None or not hasattr(model, "coef_")):
            continue
        if hasattr(model, name):
            said[name] = getattr(model, name)(rows)
            said[f"{name} of the training rows"] = getattr(model, name)(X)
    for name in ATTRIBUTES:
        if hasattr(model, name):
            said[name] = getattr(model, name)
    said["names"] = model.get_feature_names_out()
    for name, ask in {
        "score": lambda: model.score(X, y),
        "inverse": lambda: model.inverse_transform(model.embedding_[:4]),
        "path": lambda: model.merge_path_.loss,
    }.items():
        try:
            said[name] = ask()
        except (ValueError, AttributeError) as error:
            said[name] = type(error).__name__
    return said


@pytest.mark.parametrize("name", FITS)
def test_answers_are_those_of_the_fit(name):
    estimator, rows, y, new = FITS[name]
    model = clone(estimator).fit(rows, y)
    before = answers(copy.deepcopy(model), new, rows, y)
    left = set(model.get_params(deep=False)) - HARMLESS - set(OTHER)
    assert not left
    model.set_params(**{name: OTHER[name] for name in set(OTHER) & set(model.get_params(deep=False))})
    for asked, said in answers(model, new, rows, y).items():
        assert_array_equal(said, before[asked], err_msg=asked)


@pytest.mark.parametrize(
    "fitted, changed, match",
    [
        (
            {},
            {"p": "labels"},
            "p='labels' was set since the fit and is over rows, and the fit was over classes",
        ),
        ({}, {"q": "cosine"}, "q='cosine' was set since the fit and is of another kind"),
        ({}, {"mapper": MLP((3,))}, "mapper=.*was set since the fit and is of other shapes"),
        ({"p": "labels", "q": "gaussian"}, {"p": "classes"}, "p='classes' was set"),
        ({"p": "labels", "q": "gaussian"}, {"q": "dot"}, "q='dot' was set"),
        ({"unlabeled": -1}, {"mapper": "linear"}, "mapper='linear' was set.*the fit had a table"),
    ],
)
def test_further_rows_of_a_classifier(fitted, changed, match):
    model = ICONClassifier(max_iter=3, random_state=0, **fitted).fit(X, FEW if "unlabeled" in fitted else Y)
    before = model.predict_proba(NEW)
    model.set_params(**changed)
    with pytest.raises(ValueError, match=match):
        model.partial_fit(X, Y)
    if "mapper" not in changed:
        with pytest.raises(ValueError, match=match):
            model.add_classes(NEW, np.full(12, 7))
    assert_array_equal(model.predict_proba(NEW), before)


def test_a_classifier_of_descriptions_has_the_kernel_of_the_fit():
    model = ICONEmbedding(2, p="knn", q="cosine", mapper="linear", **QUICK).fit(X)
    model.set_params(q="student")
    assert type(model.classifier(X[:3], [0, 1, 2]).add_classes(NEW[:1], [5]).q_).__name__ == "Cosine"


def reference(Z, X, weight, clusters):
    """The score, written out: neighbours of the rows, a share of 0.05 on both sides, weights as numbers of copies."""
    n, k = len(X), min(15, len(X) // 5)
    D = ((X[:, None] - X) ** 2).sum(-1)
    np.fill_diagonal(D, np.inf)
    P = np.zeros((n, n))
    np.put_along_axis(P, np.argsort(D, axis=1)[:, :k], 1.0, axis=1)
    copies = weight / weight.mean() if clusters else np.ones(n)
    P *= copies
    P = 0.95 * P / P.sum(1, keepdims=True)
    if clusters:
        # q to one copy of each column, by the sizes of clusters over all copies; the row itself is a candidate.
        Q = (Z / (copies @ Z)) @ Z.T * copies
        P, Q = P + 0.05 * copies / n, 0.95 * Q + 0.05 * copies / n
    else:
        Q = 1 / (1 + ((Z[:, None] - Z) ** 2).sum(-1))
        np.fill_diagonal(Q, 0)
        off = ~np.eye(n, dtype=bool) / (n - 1)
        P, Q = P + 0.05 * off, 0.95 * Q / Q.sum(1, keepdims=True) + 0.05 * off
    on = P > 0
    kl = np.where(on, P * np.log(np.where(on, P, 1) / np.where(on, Q, 1)), 0).sum(1)
    return -(weight * kl).sum() / weight.sum()


def test_weights_of_scores():
    weight = np.random.default_rng(0).integers(1, 5, 60)
    model = clone(FITS["map"][0]).fit(X)
    Z = model.embedding_.astype(float)
    assert model.score(X, sample_weight=weight) == pytest.approx(reference(Z, X, weight, False), abs=1e-9)
    assert model.score(X) == pytest.approx(model.score(X, sample_weight=np.full(60, 2.0)), abs=1e-12)
    some = np.where(np.arange(60) < 7, 0.0, weight)  # rows of no weight remain neighbours
    assert model.score(X, sample_weight=some) == pytest.approx(reference(Z, X, some, False), abs=1e-9)
    model = clone(FITS["clusters"][0]).fit(X)
    r = np.maximum(model.transform(X), 1e-12)
    r /= r.sum(1, keepdims=True)
    assert model.score(X, sample_weight=weight) == pytest.approx(reference(r, X, weight, True), abs=1e-9)
    assert model.score(X) == pytest.approx(reference(r, X, np.ones(60), True), abs=1e-9)
    with pytest.raises(ValueError, match="sample_weight is zero for 7 rows"):
        model.score(X, sample_weight=some)


def test_weights_of_batches():
    model = ICONClustering(3, mapper="linear", n_init=1, max_iter=4, random_state=0)
    weight = np.where(Y == 0, 9.0, 1.0)
    plain = copy.deepcopy(model).partial_fit(X).partial_fit(X)
    first = copy.deepcopy(model).partial_fit(X, sample_weight=weight)
    second = copy.deepcopy(first).partial_fit(X, sample_weight=weight)
    group = plain.predict(X)[Y == 0][0]
    assert_allclose(plain.q_.mean_size_[group], 1 / 3, atol=0.05)
    group = second.predict(X)[Y == 0][0]
    assert_allclose(second.q_.mean_size_[group], 9 / 11, atol=0.05)
    # The sizes of the first batch are of its copies too.
    then = copy.deepcopy(first).partial_fit(X)
    assert then.q_.mean_size_[group] > 0.9 * 9 / 11 * 0.9 ** (4 - 1)
    alike = copy.deepcopy(model).partial_fit(X).partial_fit(X, sample_weight=np.full(60, 3.0))
    assert_allclose(alike.predict_proba(X), plain.predict_proba(X), atol=1e-6)
    with pytest.raises(ValueError, match="sample_weight is zero for 20 rows"):
        first.partial_fit(X, sample_weight=(Y > 0).astype(float))
