"""What callbacks are shown, and what of their answers counts."""

import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, recipes
from iconlearn.mappers import Linear
from iconlearn.metrics import InformationBound

X, y = load_iris(return_X_y=True)
X, y = X[::3], y[::3]
SOME = np.where(np.arange(len(y)) % 3 == 0, y, -1)
DROPPING = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3)).double()
FITS = {
    "map": ICONEmbedding(max_iter=20, random_state=0),
    "projection": ICONEmbedding(mapper="linear", max_iter=12, random_state=0),
    "batches": ICONEmbedding(engine="minibatch", mapper="mlp", max_iter=4, random_state=0),
    "directions": ICONEmbedding(
        p="identity", q="wide_gaussian", mapper=Linear(orthonormal=True), random_state=0
    ),
    "clusters": ICONClustering(3, n_init=2, random_state=0),
    "k-means": recipes.k_means(n_clusters=3).set_params(n_init=2, random_state=0),
    "head": ICONClustering(3, mapper="linear", n_init=2, max_iter=12, random_state=0),
    "classes": ICONClassifier(random_state=0),
    "dropout": ICONClassifier(mapper=DROPPING, max_iter=5, random_state=0),
    "few labels": ICONClassifier(unlabeled=-1, random_state=0),
    "few labels, linear": ICONClassifier(unlabeled=-1, mapper="linear", max_iter=6, random_state=0),
}
each = pytest.mark.parametrize("name", FITS)
several = pytest.mark.parametrize(
    "name", ["map", "batches", "clusters", "k-means", "head", "classes", "few labels"]
)


def fitted(name, callback=None):
    labels = SOME if name.startswith("few") else y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(FITS[name]).set_params(callback=callback).fit(X, labels)


def answers():
    """Truthy values that functions return which count, write or keep something."""
    log, seen = io.StringIO(), {}
    yield lambda record: log.write("loss")
    yield lambda record: seen.setdefault("first", record.loss)
    yield lambda record: np.ones(3)
    yield lambda record: torch.tensor(True)
    yield lambda record: [False]


@several
def test_no_answer_but_true_stops_a_fit(name):
    plain, heard = fitted(name), fitted(name, list(answers()))
    assert_array_equal(heard.loss_history_, plain.loss_history_)
    assert heard.stop_reason_ == plain.stop_reason_ != "callback"


@several
@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_stops_a_fit_which_says_so(name, answer):
    labels = SOME if name.startswith("few") else y
    model = clone(FITS[name]).set_params(callback=[lambda record: None, lambda record: answer])
    with pytest.warns(ConvergenceWarning, match="returned True after iteration 1 of at most"):
        model.fit(X, labels)
    assert (model.n_iter_, model.stop_reason_, model.converged_) == (1, "callback", False)


def test_a_later_stop_is_meant():
    short = ICONEmbedding(callback=lambda record: record.iteration >= 110, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert short.fit(X).stop_reason_ == "callback"
    with pytest.warns(ConvergenceWarning, match="still exaggerated"):
        short.set_params(callback=lambda record: record.iteration >= 30).fit(X)
    assert short.n_iter_ == 30


def test_why_a_fit_ended():
    assert fitted("map").stop_reason_ == "max_iter"
    assert fitted("classes").stop_reason_ == "plateau"
    with pytest.raises(AttributeError, match="once the estimator is fitted"):
        _ = ICONEmbedding().stop_reason_


def test_a_bound_hands_on_the_answer_of_what_follows_it():
    for answer, n_iter in ((7, 20), (True, 1)):
        bound = InformationBound(50, entropy=np.log(15), then=lambda record, answer=answer: answer)
        assert fitted("map", bound).n_iter_ == n_iter


@each
def test_records_give_the_present_outputs_and_leave_the_fit_as_it_was(name):
    shown, records = [], []

    def watch(record):
        outputs = record.outputs()
        shown.append(outputs.copy())
        records.append(record)
        outputs *= 0  # they are the callback's own

    heard, plain = fitted(name, watch), fitted(name)
    assert_array_equal(heard.loss_history_, plain.loss_history_)
    assert all(len(outputs) == len(X) and np.isfinite(outputs).all() for outputs in shown)
    if name in ("clusters", "k-means", "head", "few labels"):
        assert_allclose(np.sum(shown, axis=2), 1, atol=1e-6)
    with pytest.raises(RuntimeError, match="iteration 1 is over"):
        records[0].outputs()
    assert pickle.loads(pickle.dumps(records))[0].loss == records[0].loss


@pytest.mark.parametrize(
    "name, attribute",
    [("directions", "embedding_"), ("k-means", "probabilities_"), ("few labels", "label_distributions_"),
     ("clusters", "transform")],
)  # fmt: skip
def test_the_last_outputs_are_those_of_the_fit(name, attribute):
    shown = []
    model = fitted(name, lambda record: shown.append(record.outputs()))
    # Rows that are equal share the mean, and clusters are the ones in use.
    expected = model.transform(X) if attribute == "transform" else getattr(model, attribute)
    assert_allclose(shown[-1], expected, atol=1e-4)


def test_a_map_moves_before_the_eyes():
    shown = []
    fitted("map", lambda record: shown.append(record.outputs()))
    assert [outputs.shape for outputs in shown] == [(50, 2)] * 20 and shown[0].dtype == X.dtype
    assert np.std(shown[-1]) > 5 * np.std(shown[0])


def test_outputs_cost_nothing_where_nobody_asks(monkeypatch):
    from iconlearn import solve

    def fail(plan):
        raise AssertionError("nobody asked")

    monkeypatch.setattr(solve, "_present_outputs", fail)
    assert fitted("map", lambda record: None).n_iter_ == 20


def test_a_stop_while_a_head_learns_its_start_ends_the_fit():
    seen = []

    def stop(record):
        seen.append(record.phase)
        return len(seen) == 20

    model = ICONClustering(3, mapper="linear", n_init=2, callback=stop, random_state=0).fit(X)
    assert set(seen) == {"start"} and model.stop_reason_ == "callback"
    assert model.predict(X).shape == (50,)
