"""Heads: batches of a stream, and memory that does not grow with rows times clusters."""

import copy
import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering, recipes
from iconlearn.engines import MiniBatch
from iconlearn.estimators import _base, _clustering
from iconlearn.initialization import _assignments
from iconlearn.learned import Cluster
from iconlearn.metrics import clustering_accuracy
from iconlearn.objective import Points
from iconlearn.out_of_sample import _memberships
from iconlearn.plan import Setting
from iconlearn.supervisory import KNN

X, Y = make_blobs(600, centers=[[0, 0], [9, 0], [0, 9], [9, 9]], random_state=0)
X = (X - 4.5) / 3


@pytest.mark.parametrize("mapper", ["linear", "mlp", lambda a, b: torch.nn.Linear(a, b)])
def test_batches_one_after_another(mapper):
    model = ICONClustering(4, mapper=mapper, n_init=2, max_iter=20, random_state=0)
    for start in range(0, 600, 200):
        assert model.partial_fit(X[start : start + 200]) is model
        assert model.labels_.shape == (200,) and model.n_clusters_ == 4
    assert adjusted_rand_score(Y, model.predict(X)) == 1
    assert model.n_features_in_ == 2


def test_later_batches_teach():
    """A first batch of few rows, and what a head makes of unseen rows before and after many more."""
    X, y = load_digits(return_X_y=True)
    X, model = X / 16, ICONClustering(10, p=KNN(15), mapper="linear", n_init=4, random_state=0)
    model.partial_fit(X[:150])
    before = clustering_accuracy(y[1200:], model.predict(X[1200:]))
    numbers = model.predict(X[:150])
    for start in range(150, 1200, 150):
        model.partial_fit(X[start : start + 150])
    after = clustering_accuracy(y[1200:], model.predict(X[1200:]))
    assert after > before + 0.03
    assert (model.predict(X[:150]) == numbers).mean() > 0.7  # clusters keep their numbers


def test_sizes_are_remembered():
    """A batch of one cloud alone does not spread it over all clusters."""
    model = ICONClustering(4, mapper="linear", n_init=2, random_state=0).partial_fit(X[:200])
    one = X[Y == 2][:60]
    for _ in range(5):
        model.partial_fit(one)
    assert len(np.unique(model.labels_)) == 1
    assert adjusted_rand_score(Y, model.predict(X)) > 0.98
    share = model.q_.mean_size_.detach().numpy()
    assert share.sum() == pytest.approx(1, abs=1e-5) and share.max() > 0.9
    quick = ICONClustering(4, q=Cluster(mass_momentum=0.999), mapper="linear", n_init=2, random_state=0)
    quick.partial_fit(X[:200]).partial_fit(one)
    assert quick.q_.mean_size_.max() < 0.35


def test_a_fit_begins_anew():
    model = ICONClustering(4, mapper="linear", n_init=2, max_iter=20, random_state=0)
    alone = clone(model).fit(X).predict_proba(X)
    np.testing.assert_array_equal(model.partial_fit(X[:100]).fit(X).predict_proba(X), alone)


def test_a_batch_goes_on_from_a_fit():
    """Rows of two clouds teach nothing of the other two, and take nothing away."""
    model = ICONClustering(4, mapper="linear", n_init=2, random_state=0).fit(X)
    labels = model.labels_
    model.partial_fit(X[Y < 2])
    assert model.n_clusters_ == 4 and (model.predict(X) == labels).mean() > 0.99
    np.testing.assert_array_equal(model.labels_, model.predict(X[Y < 2]))
    # A quarter each in the fit, of which ten passes over a batch without them leave so much.
    share, rest = np.sort(model.q_.mean_size_.detach().numpy()), 0.25 * 0.9**10
    np.testing.assert_allclose(share, [rest, rest, 0.5 - rest, 0.5 - rest], atol=0.01)


def test_clusters_that_a_fit_left_empty_come_after_the_others():
    """A head of eight clusters, five of which have rows: numbers stay, whichever outputs those are."""
    module = torch.nn.Linear(2, 8)
    with torch.no_grad():
        module.weight.zero_()[[6, 2, 5, 3]] = 9 * torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
        module.bias.zero_()
    model = ICONClustering(8, mapper=module, n_init=1, max_iter=1, learning_rate=1e-12, random_state=0)
    with pytest.warns(ConvergenceWarning, match="were asked for"):
        model.set_params(warm_start=True).fit(X).fit(X)
    labels, found = model.predict(X), model.n_clusters_
    model.partial_fit(X[:200])
    np.testing.assert_array_equal(model.predict(X), labels)
    assert found < 8 == model.n_clusters_ and model.predict_proba(X).shape == (600, 8)


@pytest.mark.parametrize(
    ("first", "then"),
    [("table", {"mapper": "linear"}), ("linear", {"mapper": "mlp"}), ("linear", {"n_clusters": 5})],
)
def test_a_batch_begins_anew_where_there_is_no_such_head(first, then):
    model = ICONClustering(4, mapper=first, n_init=2, max_iter=10, random_state=0).fit(X)
    alone = clone(model).set_params(**then).partial_fit(X[:200]).predict_proba(X)
    np.testing.assert_array_equal(model.set_params(**then).partial_fit(X[:200]).predict_proba(X), alone)


def test_wrong_batches():
    with pytest.raises(AttributeError) as told:
        ICONClustering(4).partial_fit(X)
    assert "mapper='table' gives every row" in str(told.value.__cause__)
    model = ICONClustering(4, mapper="linear", n_init=2, max_iter=5, random_state=0)
    with pytest.raises(ValueError, match="the first batch has 2 distinct rows"):
        model.partial_fit(np.repeat(X[:2], 10, axis=0))
    assert not hasattr(model, "labels_")
    model.partial_fit(X[:100])
    before = model.predict(X)
    with pytest.raises(ValueError, match="at least 2 rows"):
        model.partial_fit(X[:1])
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:50, :1])
    np.testing.assert_array_equal(model.predict(X), before)


def test_a_batch_that_fails_changes_nothing():
    def fail(record):
        raise RuntimeError("in a callback")

    model = ICONClustering(4, mapper="linear", n_init=2, random_state=0).partial_fit(X[:200])
    model.partial_fit(X[200:300])
    untouched, twin = copy.deepcopy(model), copy.copy(model)
    with pytest.raises(RuntimeError, match="in a callback"):
        model.set_params(callback=fail).partial_fit(X[300:400])
    twin.partial_fit(X[300:400])
    model.set_params(callback=None).partial_fit(X[400:])
    np.testing.assert_array_equal(model.predict_proba(X), untouched.partial_fit(X[400:]).predict_proba(X))


def test_a_start_of_a_part_is_as_good(monkeypatch):
    monkeypatch.setattr(_clustering, "MAX_TAUGHT", 4 * 150)
    monkeypatch.setattr(_memberships, "BLOCK", 4 * 64)
    model = ICONClustering(4, mapper="linear", engine=MiniBatch(128), max_iter=5, n_init=2, random_state=0)
    assert adjusted_rand_score(Y, model.fit_predict(X)) == 1
    assert model.probabilities_.shape == (600, 4)
    np.testing.assert_array_equal(model.probabilities_, model.predict_proba(X))


@pytest.mark.parametrize("engine", ["dense", MiniBatch(128)])
def test_rows_may_stay_in_their_file(engine, tmp_path, monkeypatch):
    """Few of them are a tensor all the same."""
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = ICONClustering(4, mapper="linear", engine=engine, max_iter=5, n_init=2, random_state=0)
    expected = clone(model).fit(X).predict_proba(X)
    monkeypatch.setattr(_base, "MAX_DENSE_INPUTS", 1000)
    seen = []
    rows = Points._dense_rows
    monkeypatch.setattr(
        Points, "_dense_rows", lambda points, chosen: seen.append(chosen) or rows(points, chosen)
    )
    np.testing.assert_allclose(model.fit(mapped).predict_proba(mapped), expected, atol=1e-12)
    setting = Setting(torch.float64, torch.device("cpu"), torch.Generator(), np.random.RandomState(0))
    assert seen and _base.ICONBase._inputs(mapped, setting) is mapped
    assert isinstance(_base.ICONBase._inputs(X, setting), torch.Tensor)


def peak(n_rows, n_clusters):
    rng = np.random.default_rng(0)
    X = (
        rng.normal(size=(n_rows, 16))
        + 4 * rng.normal(size=(n_clusters, 16))[rng.integers(n_clusters, size=n_rows)]
    )
    q = Cluster(mass_momentum=0.9)
    model = ICONClustering(
        n_clusters, q=q, mapper="linear", engine=MiniBatch(512), init="k-means++", n_init=1, max_iter=1,
        random_state=0,
    )  # fmt: skip
    tracemalloc.start()
    try:
        model.fit(X)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_is_not_rows_times_clusters(monkeypatch):
    """What grows is the neighbour graph, some hundred bytes a row, and not 8 bytes for each of the clusters."""
    monkeypatch.setattr(_clustering, "MAX_TAUGHT", 200 * 400)
    monkeypatch.setattr(_assignments, "N_REFINE", 5)
    few, many = peak(2000, 200), peak(6000, 200)
    assert (many - few) / 4000 < 1000 < 8 * 200


def test_rows_that_are_one_batch_get_steps_enough():
    """Thirty epochs of one batch were thirty steps, and forty lessons taught no start."""
    for sizes in ([40, 40, 40], [140, 48, 12]):
        Z, y = make_blobs(sizes, centers=[[0, 0], [12, 0], [0, 12]], random_state=0)
        model = recipes.infonce_clustering(n_clusters=3, random_state=0).fit(Z)
        assert model.n_iter_ == 300 and adjusted_rand_score(y, model.labels_) == 1
    # Of several batches an epoch has more steps, and a number that is given is one of epochs.
    model = ICONClustering(3, mapper="linear", n_init=1, engine=MiniBatch(20), tol=0.0, random_state=0).fit(Z)
    assert model.n_iter_ == 30
    assert model.set_params(max_iter=4).fit(Z).n_iter_ == 4
