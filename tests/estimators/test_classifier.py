"""What a classifier can do besides: weights of classes, held-out rows, further rows and classes, explanations."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from iconlearn import ICONClassifier, Term, recipes
from iconlearn.classification._held_out import hold_out
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine, Dot
from iconlearn.mappers import MLP
from iconlearn.metrics import expected_calibration_error
from iconlearn.plan import Setting
from iconlearn.supervisory import Debias, Paired, Views

DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS / 16
TRAIN, TEST, Y_TRAIN, Y_TEST = train_test_split(DIGITS, DIGIT, test_size=0.3, random_state=0, stratify=DIGIT)
X, Y = make_blobs(120, n_features=4, centers=3, cluster_std=2.5, random_state=0)


# -- as logistic regression --------------------------------------------------------------------------------


def test_the_recipe_has_the_coefficients_of_logistic_regression():
    ours = recipes.cross_entropy(C=1.0).fit(DIGITS, DIGIT)
    theirs = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000).fit(DIGITS, DIGIT)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    assert ours.n_iter_ < 100  # the second moments say most of the Hessian; without them it takes 240


def test_one_entry_of_the_history_an_iteration():
    model = ICONClassifier().fit(DIGITS, DIGIT)
    assert len(model.loss_history_) == model.n_iter_ > 10
    assert (np.diff(model.loss_history_) < 1e-9).all()


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 2: 0.5}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weight_is_that_of_logistic_regression(class_weight, weighted):
    rows, labels = X[Y != 1][:70], Y[Y != 1][:70]
    weight = np.random.default_rng(0).uniform(0.1, 2, size=70) if weighted else None
    if weighted and class_weight == "balanced":
        pytest.skip("scikit-learn counts rows by their weights only in later versions")
    options = {"tol": 1e-9, "class_weight": class_weight}
    ours = ICONClassifier(**options).fit(rows, labels, sample_weight=weight)
    theirs = LogisticRegression(max_iter=5000, **options).fit(rows, labels, sample_weight=weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)


def test_balanced_classes_weigh_alike_whatever_their_rows_weigh():
    weight = np.random.default_rng(0).uniform(0.1, 2, size=len(Y))
    model = ICONClassifier(class_weight="balanced").fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(model._class_mass, model._class_mass.mean())


# -- held-out rows -----------------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_state():
    options = {"mapper": "mlp", "C": None, "engine": MiniBatch(32), "learning_rate": 0.02, "random_state": 0}
    model = ICONClassifier(early_stopping=True, n_iter_no_change=4, **options).fit(X, Y)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == model.n_iter_ < 100 and model.converged_
    assert np.argmax(model.validation_scores_) == model.n_iter_ - 5
    patient = clone(model).set_params(n_iter_no_change=8).fit(X, Y)
    assert patient.n_iter_ > model.n_iter_
    # The score is the mean log probability of the rows that were held out; the rest were learned from.
    learn, held = hold_out(Y, 0.1, np.random.RandomState(0))
    assert -log_loss(Y[held], model.predict_proba(X[held])) == pytest.approx(model.best_validation_score_)
    assert model._class_mass.sum() == len(learn)


def with_running_means():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))


def test_early_stopping_keeps_running_means_of_the_best_state():
    options = {"mapper": with_running_means(), "n_iter_no_change": 30, "learning_rate": 0.05, "max_iter": 60}
    model = ICONClassifier(early_stopping=True, random_state=0, **options).fit(X, Y)
    held = hold_out(Y, 0.1, np.random.RandomState(0))[1]
    assert np.argmax(model.validation_scores_) < model.n_iter_ - 5
    score = np.log(model.predict_proba(X[held])[np.arange(len(held)), Y[held]]).mean()
    assert score == pytest.approx(model.best_validation_score_, abs=1e-5)


def test_running_means_are_those_of_the_state_that_is_kept():
    """The loss soon rises again, by steps that are far too long."""
    seen = []

    def callback(record):
        seen.append(record.loss)

    model = ICONClassifier(
        mapper=with_running_means(), C=None, optimizer="momentum", learning_rate=30.0, engine="dense",
        max_iter=12, random_state=0, callback=callback,
    ).fit(X, Y)  # fmt: skip
    steps = int(np.argmin(seen)) + 1
    assert steps < 12 and int(model.mapper_[1].num_batches_tracked) == steps
    of_classes = model.predict_proba(X)[
        np.arange(len(Y)), Y
    ]  # by the running means, not by those of the step
    assert model.loss_ == pytest.approx(-np.log(of_classes).mean(), rel=1e-5)


def test_a_callback_still_ends_an_early_stopping_fit():
    model = ICONClassifier(early_stopping=True, callback=lambda record: record.iteration == 2)
    assert model.fit(X, Y).n_iter_ == 2


@pytest.mark.parametrize("p, q", [("labels", "cosine"), ("classes", "student")])
def test_early_stopping_for_every_kind_of_prototype(p, q):
    model = ICONClassifier(p=p, q=q, early_stopping=True, max_iter=15, random_state=0).fit(X, Y)
    assert np.isfinite(model.validation_scores_).all()


def test_a_temperature_makes_probabilities_as_sure_as_they_are_right():
    model = ICONClassifier(C=0.01, random_state=0)
    plain, calibrated = (clone(model).set_params(calibrate=c).fit(TRAIN, Y_TRAIN) for c in (False, True))
    assert plain.temperature_ == 1 and calibrated.temperature_ < 0.8  # a strong penalty is far too modest
    errors = [expected_calibration_error(Y_TEST, m.predict_proba(TEST)) for m in (plain, calibrated)]
    assert errors[1] < 0.3 * errors[0]
    assert log_loss(Y_TEST, calibrated.predict_proba(TEST)) < log_loss(Y_TEST, plain.predict_proba(TEST))
    np.testing.assert_array_equal(calibrated.predict(TEST), calibrated.predict_proba(TEST).argmax(1))


def test_the_temperature_is_the_one_that_fits_best():
    from iconlearn.classification._held_out import best_temperature

    rng = np.random.default_rng(0)
    log_k = torch.as_tensor(rng.normal(size=(4000, 4)))
    codes = np.array([rng.choice(4, p=p) for p in torch.softmax(log_k / 0.5, 1).numpy()])
    assert best_temperature(log_k, codes) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("weights", [{1: 0.05, 3: 30.0, 8: 200.0}, {8: 0.0}], ids=str)
def test_calibration_leaves_predictions_as_they_are_beside_class_means(weights):
    """Odds of the classes are part of what the temperature divides, and of what it is fitted to."""
    model = ICONClassifier(p="labels", q="cosine", class_weight=weights, max_iter=20, random_state=0)
    model.set_params(calibrate=True, validation_fraction=0.3).fit(TRAIN, Y_TRAIN)
    scores, t = model.decision_function(TEST), model.temperature_
    assert t != 1 and np.isfinite(t)
    model.temperature_ = 1.0
    plain = model.decision_function(TEST)
    np.testing.assert_allclose(scores, plain / t, rtol=1e-5)
    np.testing.assert_array_equal(scores.argmax(1), plain.argmax(1))
    held = hold_out(Y_TRAIN, 0.3, np.random.RandomState(0))[1]
    weight = np.array([weights.get(c, 1.0) for c in Y_TRAIN[held]])
    logits = model.decision_function(TRAIN[held]).astype(float)

    def cost(temperature):
        log_q = logits / temperature - logsumexp(logits / temperature, axis=1, keepdims=True)
        return -(weight * log_q[np.arange(len(held)), Y_TRAIN[held]])[weight > 0].sum()

    assert cost(t) <= min(cost(0.97 * t), cost(1.03 * t))


def test_early_stopping_scores_the_answers_that_are_given_beside_class_means():
    weights = {0: 5.0, 1: 0.2}
    model = ICONClassifier(
        p="labels", q="cosine", class_weight=weights, early_stopping=True, max_iter=8, random_state=0
    )
    model.fit(TRAIN, Y_TRAIN)
    held = hold_out(Y_TRAIN, 0.1, np.random.RandomState(0))[1]
    log_q = model.predict_log_proba(TRAIN[held])[np.arange(len(held)), Y_TRAIN[held]]
    weight = np.array([weights.get(c, 1.0) for c in Y_TRAIN[held]])
    assert model.best_validation_score_ == pytest.approx(np.average(log_q, weights=weight), abs=1e-4)


@pytest.mark.parametrize("C", [0.05, 1.0, None])
def test_the_loss_is_the_mean_divergence_and_the_penalty(C):
    model = ICONClassifier(C=C).fit(DIGITS, DIGIT)
    divergence = log_loss(DIGIT, model.predict_proba(DIGITS))
    penalty = 0.0 if C is None else (model.coef_**2).sum() / (2 * C * len(DIGIT))
    assert model.loss_ == pytest.approx(divergence + penalty, rel=1e-4, abs=1e-6)
    assert model.loss_parts_[-1, 0] == pytest.approx(divergence, rel=0.05, abs=1e-4)


def test_the_share_of_rows_held_out():
    sizes = [
        ICONClassifier(calibrate=True, validation_fraction=f).fit(X, Y)._class_mass.sum() for f in (0.1, 0.4)
    ]
    assert sizes == [108, 72]


# -- calibration error -------------------------------------------------------------------------------------


def test_expected_calibration_error_by_hand():
    P = np.array([[0.55, 0.45], [0.58, 0.42], [0.05, 0.95], [0.02, 0.98]])
    y = ["a", "b", "b", "b"]
    by_hand = 0.5 * abs(0.5 - 0.565) + 0.5 * abs(1 - 0.965)
    assert expected_calibration_error(y, P, n_bins=10) == pytest.approx(by_hand)
    assert expected_calibration_error(y, P, n_bins=1) == pytest.approx(abs(0.75 - 0.765))
    other = expected_calibration_error(["c", "b", "c", "c"], P, classes=["b", "c"], n_bins=1)
    assert other == pytest.approx(abs(0.75 - 0.765))
    with pytest.raises(ValueError, match="give classes="):
        expected_calibration_error(["a", "b", "c", "c"], P)
    with pytest.raises(ValueError, match="sum to one"):
        expected_calibration_error(y, 2 * P)


# -- more classes than rows of a batch ---------------------------------------------------------------------


def many_classes(k):
    draw = np.random.RandomState(0)
    y = np.repeat(np.arange(k), 6)
    return draw.randn(k, 20)[y] * 3 + draw.randn(6 * k, 20) * 0.5, y


@pytest.mark.parametrize("q", ["dot", "gaussian"])
def test_a_network_of_more_classes_than_rows_of_a_batch(q):
    Z, y = many_classes(70)
    model = ICONClassifier(mapper=MLP(64), q=q, engine=MiniBatch(50), max_iter=40, C=None, random_state=0)
    assert model.fit(Z, y).score(Z, y) > 0.95
    assert model.prototypes_.shape[0] == 70


def test_partial_fit_of_more_classes_than_rows_of_a_step():
    Z, y = many_classes(70)
    model = ICONClassifier(random_state=0)
    for _ in range(30):
        model.partial_fit(Z, y, classes=np.arange(70))
    assert model.score(Z, y) > 0.95


# -- further rows and classes ------------------------------------------------------------------------------


@pytest.mark.parametrize("q, least", [("dot", 0.95), ("gaussian", 0.93), ("cosine", 0.93)])
def test_epochs_of_partial_fit_learn(q, least):
    model, halves = ICONClassifier(q=q, random_state=0), (slice(0, 600), slice(600, None))
    for _ in range(15):
        for half in halves:
            model.partial_fit(TRAIN[half], Y_TRAIN[half], classes=range(10))
    assert model.score(TEST, Y_TEST) >= least


def test_one_batch_moves_as_adam_does():
    """A step on rows that fit one batch is kept, and the next call goes on with the same optimiser."""
    model = ICONClassifier(C=None, random_state=0, learning_rate=0.05)
    linear = torch.nn.Linear(4, 3).double()
    torch.nn.init.zeros_(linear.weight), torch.nn.init.zeros_(linear.bias)
    adam = torch.optim.Adam(linear.parameters(), lr=0.05)
    model.fit(X[:3], [0, 1, 2])
    model.mapper_.load_state_dict(linear.state_dict())
    for part in (slice(0, 30), slice(30, 60)):
        model.partial_fit(X[part], Y[part])
        adam.zero_grad()
        torch.nn.functional.cross_entropy(
            linear(torch.as_tensor(X[part])), torch.as_tensor(Y[part])
        ).backward()
        adam.step()
    np.testing.assert_allclose(model.coef_, linear.weight.detach(), atol=1e-10)


@pytest.mark.parametrize("params", [{}, {"mapper": MLP(8)}, {"q": "cosine"}], ids=str)
def test_a_partial_fit_that_fails_changes_nothing(params):
    def fail(record):
        raise RuntimeError("in a callback")

    model = ICONClassifier(random_state=0, **params).partial_fit(X[:40], Y[:40], classes=[0, 1, 2])
    untouched, twin = copy.deepcopy(model), copy.copy(model)
    with pytest.raises(RuntimeError, match="in a callback"):
        model.set_params(callback=fail).partial_fit(X[40:80], Y[40:80])
    twin.partial_fit(X[40:80], Y[40:80])
    model.set_params(callback=None).partial_fit(X[80:], Y[80:])
    expected = untouched.partial_fit(X[80:], Y[80:]).predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_classes_may_come_one_after_the_other():
    model = ICONClassifier(random_state=0)
    for _ in range(40):
        for c in np.random.RandomState(0).permutation(3):
            model.partial_fit(X[c == Y][:20], Y[c == Y][:20], classes=[0, 1, 2])
    assert model.score(X, Y) > 0.6


def test_means_of_pairs_are_those_of_all_rows():
    model = ICONClassifier(p="labels", q="cosine", max_iter=10, random_state=0).fit(X[:60], Y[:60])
    weights = {name: value.clone() for name, value in model.mapper_.state_dict().items()}
    model.partial_fit(X[60:90], Y[60:90]).partial_fit(X[90:], Y[90:])
    Z = model.transform(X)
    np.testing.assert_allclose(model.prototypes_, [Z[c == Y].mean(0) for c in range(3)], atol=1e-12)
    assert all(torch.equal(weights[n], v) for n, v in model.mapper_.state_dict().items())
    assert model.explain(X[100:101], 1).indices == [[100]]
    assert repr(model.explain(X[:50], 9)).startswith("<Explanation of 50 rows by 9 training rows each")
    assert "\n" not in repr(model.explain(X[:50], 9))


@pytest.mark.parametrize("params", [{}, {"p": "labels", "q": "cosine", "max_iter": 10}], ids=str)
def test_partial_fit_weighs_classes(params):
    """A class of weight three is one whose rows weigh three each."""
    weighed = ICONClassifier(class_weight={0: 3.0, 2: 0.5}, random_state=0, **params)
    plain = ICONClassifier(random_state=0, **params)
    weight = np.array([3.0, 1.0, 0.5])[Y]
    for part in (slice(0, 60), slice(60, 90), slice(90, None)):
        weighed.partial_fit(X[part], Y[part], classes=[0, 1, 2])
        plain.partial_fit(X[part], Y[part], classes=[0, 1, 2], sample_weight=weight[part])
    np.testing.assert_allclose(weighed.prototypes_, plain.prototypes_, atol=1e-12)
    np.testing.assert_allclose(weighed.transform(X), plain.transform(X), atol=1e-12)
    np.testing.assert_allclose(weighed._class_mass, plain._class_mass)


def test_rows_of_a_class_without_weight_teach_nothing():
    model = ICONClassifier(class_weight={2: 0.0}, random_state=0).partial_fit(X, Y, classes=[0, 1, 2])
    before = model.predict_proba(X)
    np.testing.assert_array_equal(model.partial_fit(X[Y == 2], Y[Y == 2]).predict_proba(X), before)


@pytest.mark.parametrize("name", ["early_stopping", "calibrate"])
def test_partial_fit_holds_nothing_out(name):
    model = ICONClassifier(random_state=0, max_iter=20, **{name: True})
    with pytest.raises(ValueError, match=f"{name}=True holds rows out, .*set_params.{name}=False"):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    assert not hasattr(model, "classes_")
    temperature = model.fit(X, Y).temperature_
    with pytest.raises(ValueError, match=f"{name}=True"):
        model.partial_fit(X, Y)
    model.set_params(**{name: False}).partial_fit(X, Y)
    assert model.temperature_ == temperature
    # Class means are those of the rows, whichever of these a first fit held out.
    pairs = ICONClassifier(p="labels", q="cosine", random_state=0, max_iter=5, **{name: True})
    pairs.partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)


def test_partial_fit_refuses_balanced_weights():
    with pytest.raises(ValueError, match=r"class_weight='balanced' needs the rows of all calls.*a dict"):
        ICONClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


def test_partial_fit_says_what_is_wrong():
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        ICONClassifier().partial_fit(X, Y)
    with pytest.raises(ValueError, match="class is the mean of its rows"):
        ICONClassifier(p="labels", q="cosine").partial_fit(X, Y, classes=[0, 1, 2, 3])
    model = ICONClassifier().fit(X, Y)
    before = model.coef_.copy()
    with pytest.raises(ValueError, match=r"class 7, .*add_classes"):
        model.partial_fit(X[:2], [0, 7])
    with pytest.raises(ValueError, match="not those of the first call"):
        model.partial_fit(X, Y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="known already"):
        model.add_classes(X[:2], [0, 5])
    with pytest.raises(ValueError, match="give the new ones numbers"):
        model.add_classes(X[:2], ["a", "b"])
    np.testing.assert_array_equal(model.coef_, before)


@pytest.mark.parametrize(
    "params, least",
    [
        ({}, 0.9),
        ({"q": "gaussian"}, 0.86),
        ({"p": "labels", "q": "cosine", "max_iter": 20}, 0.84),
    ],
    ids=str,
)
def test_new_classes_from_five_rows_each(params, least):
    old = Y_TRAIN % 5 != 3  # three and eight are new: they belong in the middle and behind
    model = ICONClassifier(random_state=0, **params).fit(TRAIN[old], Y_TRAIN[old])
    few = np.concatenate([np.flatnonzero(c == Y_TRAIN)[:5] for c in (8, 3)])
    model.add_classes(TRAIN[few], Y_TRAIN[few])
    np.testing.assert_array_equal(model.classes_, np.arange(10))
    assert model.predict_proba(TEST).shape == (len(TEST), 10)
    assert model.score(TEST, Y_TEST) >= least
    assert np.mean(model.predict(TEST[Y_TEST % 5 == 3]) == Y_TEST[Y_TEST % 5 == 3]) > 0.4
    if params:
        np.testing.assert_allclose(model.prototypes_[3], model.transform(TRAIN[few][5:]).mean(0), atol=1e-12)
    model.partial_fit(TRAIN, Y_TRAIN)
    assert model.score(TEST, Y_TEST) > 0.9


def test_a_new_class_needs_a_layer_that_can_grow():
    model = ICONClassifier(mapper="mlp", max_iter=2, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="use q='cosine' or q='gaussian'"):
        model.add_classes(X[:3], [5, 5, 5])


# -- explanations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"q": "student"}, {"p": "labels", "q": "cosine"}], ids=str)
def test_an_explanation_is_the_nearest_rows_and_their_shares(params):
    model = ICONClassifier(max_iter=15, random_state=0, **params).fit(X, Y)
    new = X[:7] + 0.01
    found = model.explain(new, n_neighbors=4)
    Z, known = model.transform(new), model.transform(X)
    d = np.linalg.norm(Z[:, None] - known, axis=2)
    np.testing.assert_array_equal(found.indices, np.argsort(d, axis=1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(d, axis=1)[:, :4])
    np.testing.assert_array_equal(found.labels, Y[found.indices])
    kernel = {
        "dot": lambda s: np.exp(-s / 2),
        "student": lambda s: 1 / (1 + s),
        "cosine": lambda s: np.exp(-s / 0.2),
    }[params.get("q", "dot")](d**2)
    share = kernel / kernel.sum(1, keepdims=True)
    np.testing.assert_allclose(found.shares, np.take_along_axis(share, found.indices, 1), rtol=1e-6)
    np.testing.assert_allclose(model.explain(new, len(X)).shares.sum(1), 1)


def test_explanations_by_a_sample_of_many_rows(monkeypatch):
    monkeypatch.setattr("iconlearn.classification._explanation.MAX_KEPT", 60)
    model = ICONClassifier(random_state=0).fit(X, Y)
    found = model.explain(X[:5], 60)
    assert sorted(np.bincount(found.labels[0])) == [20, 20, 20]
    np.testing.assert_array_equal(found.labels, Y[found.indices])
    with pytest.raises(ValueError, match="at most 60"):
        model.explain(X, 61)


# -- labels and bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda y: np.array(["zero", "one", "two"])[y],
        lambda y: pd.Series(np.array(["zero", "one", "two"])[y]).astype("category"),
        lambda y: pd.Categorical(y),
        lambda y: pd.Series(y, dtype="Int64"),
        lambda y: y == 1,
        lambda y: (y == 1).tolist(),
        lambda y: np.array(["zero", "one", "two"])[y].tolist(),
        lambda y: torch.as_tensor(y),
    ],
    ids=["str", "category", "Categorical", "Int64", "bool", "list of bool", "list of str", "tensor"],
)
def test_labels_of_every_kind(make):
    labels = make(Y)
    model = ICONClassifier(random_state=0).fit(X, labels)
    plain = ICONClassifier(random_state=0).fit(X, np.unique(np.asarray(labels), return_inverse=True)[1])
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), np.unique(np.asarray(labels))[plain.predict(X)])


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.zeros(120), "one class only"),
        (["a", *Y[1:].tolist()], "mixed type"),
        ([None, *map(str, Y[1:])], "missing labels"),
        (np.array([pd.NA, *map(str, Y[1:])], dtype=object), "missing labels"),
    ],
    ids=["one class", "mixed", "missing", "missing in pandas"],
)
def test_labels_that_cannot_be(labels, words):
    with pytest.raises(ValueError, match=words):
        ICONClassifier().fit(X, labels)


@pytest.mark.parametrize(
    "params, words",
    [
        ({"class_weight": {7: 1.0}}, "names the class 7"),
        ({"class_weight": {0: -1.0}}, "class_weight.0.=-1.0 is out of range"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, "zero for every class"),
        ({"class_weight": "even"}, "'balanced' or a dict"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0 is out of range"),
        ({"n_iter_no_change": 0}, "n_iter_no_change=0 is out of range"),
        ({"calibrate": True, "validation_fraction": 0.99}, "leaves no room"),
    ],
    ids=str,
)
def test_parameters_that_cannot_be(params, words):
    with pytest.raises(ValueError, match=words):
        ICONClassifier(**params).fit(X, Y)


@pytest.mark.parametrize("weight", [np.zeros(120), np.full(120, -1.0)], ids=["zero", "negative"])
def test_weights_that_cannot_be(weight):
    with pytest.raises(ValueError, match=r"at least one weight|[Nn]egative"):
        ICONClassifier().fit(X, Y, sample_weight=weight)


def test_a_class_of_one_row():
    labels = Y.copy()
    labels[0] = 3
    assert ICONClassifier().fit(X, labels).predict_proba(X).shape == (120, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ICONClassifier(p="labels", q="cosine", max_iter=5).fit(X, labels).prototypes_.shape[0] == 4
    with pytest.raises(ValueError, match="one row only"):
        ICONClassifier(early_stopping=True).fit(X, labels)


@pytest.mark.parametrize(
    "p", [Paired(split=2), "cooccurrence", Views(cross=True), Debias(Paired(split=2))], ids=str
)
@pytest.mark.parametrize(
    "params", [{"mapper": "linear"}, {"mapper": "linear", "q": "cosine"}, {"unlabeled": 0}]
)
def test_columns_that_are_no_classes_are_refused(p, params):
    with pytest.raises(
        ValueError, match=r"relates rows to (features|contexts|views), .*p='classes' or 'labels'"
    ):
        ICONClassifier(p=p, **params).fit(X, Y)


def test_columns_of_a_term_that_are_no_logits_are_learned():
    """Outputs are logits of as many classes as there are outputs; other columns have places."""
    params = {"p": "labels", "q": "cosine", "n_components": 2, "max_iter": 30, "random_state": 0}
    model = ICONClassifier(terms=[Term("cooccurrence", q="dot")], **params).fit(np.abs(X), Y)
    assert model.loss_parts_[-1, 1] < model.loss_parts_[0, 1]
    setting = Setting(torch.float64, torch.device("cpu"), torch.Generator(), np.random.RandomState(0))
    for n_outputs in (2, 3):
        columns = model._prototypes(Dot(), 3, n_outputs, setting).places
        assert columns.shape == (3, n_outputs) and columns.requires_grad == (n_outputs == 2)


# -- a learned temperature ---------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [Dot(0.1, learnable=True), Cosine(0.1, learnable=True)], ids=repr)
def test_a_temperature_beyond_its_bound_comes_back(q):
    rows, labels = load_iris(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)
    q.begin(dtype=torch.float64)
    with torch.no_grad():
        q.log_scale_.fill_(np.log(150.0))
    Z = torch.as_tensor(np.random.default_rng(0).normal(size=(150, 3)))
    log_k = q.place(Z) @ q.place(torch.eye(3, dtype=torch.float64)).T
    assert q.temperature_ == pytest.approx(0.01)
    # Random places: a softer softmax is better, and the gradient says so from outside the bound.
    torch.nn.functional.cross_entropy(log_k, torch.as_tensor(labels)).backward()
    assert q.log_scale_.grad > 0
    q.log_scale_.grad = None
    # Where a sharper one would be better, it leads no further out.
    log_k = q.place(10 * torch.eye(3, dtype=torch.float64)) @ q.place(torch.eye(3, dtype=torch.float64)).T
    torch.nn.functional.cross_entropy(log_k * 1e-3, torch.arange(3)).backward()
    assert q.log_scale_.grad == 0
