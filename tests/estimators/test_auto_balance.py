"""The pull towards equal sizes is as strong as lets clusters say most about p, and let go where groups lie apart."""

from functools import cache

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import scale

from iconlearn import Checkpoint, ICONClustering, Term, load, recipes, save
from iconlearn.clusters import assign
from iconlearn.clusters._search import _chosen, _most_informed
from iconlearn.divergences import Hellinger
from iconlearn.learned import Cluster
from iconlearn.supervisory import KNN
from iconlearn.supervisory.neighborhoods import _graph


def uneven_blobs(seed, n_large=600, n_small=60):
    """A wide blob and two small ones beside it."""
    rng = np.random.RandomState(seed)
    X = np.vstack(
        [
            rng.normal([0, 0], 1.0, (n_large, 2)),
            rng.normal([4, 0], 0.3, (n_small, 2)),
            rng.normal([0, 4], 0.3, (n_small, 2)),
        ]
    )
    return X, np.repeat([0, 1, 2], [n_large, n_small, n_small])


@cache
def of_uneven_blobs():
    """A fit with the defaults, which tests read and do not change."""
    return ICONClustering(3, random_state=0).fit(uneven_blobs(0)[0])


def test_classes_of_very_different_sizes_are_found():
    X, y = uneven_blobs(1)
    free = ICONClustering(3, random_state=0).fit(X)
    pulled = ICONClustering(3, q=Cluster(balance=1.0), random_state=0).fit(X)
    assert free.q_.balance_ == 0.1
    assert adjusted_rand_score(y, free.labels_) > 0.95
    assert adjusted_rand_score(y, pulled.labels_) < 0.5


@pytest.mark.parametrize("load_data", [load_digits, load_iris, load_wine])
def test_where_classes_touch_the_pull_stays(load_data):
    X, y = load_data(return_X_y=True)
    X = X[:800] if load_data is load_digits else scale(X)
    n_classes = len(np.unique(y))
    model = ICONClustering(n_classes, random_state=0).fit(X)
    pulled = ICONClustering(n_classes, q=Cluster(balance=1.0), random_state=0).fit(X)
    assert model.q_.balance_ == 1.0
    assert adjusted_rand_score(model.labels_, pulled.labels_) > 0.97


def test_a_weaker_pull_is_taken_where_its_clusters_say_more():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    q = (model := ICONClustering(2, random_state=0).fit(X)).q_
    pulled = ICONClustering(2, q=Cluster(balance=1.0), random_state=0).fit(X)
    said = dict(zip(q.candidates_["balance"], q.candidates_["information"], strict=True))
    assert 0.1 < q.balance_ < 1.0 and said[q.balance_] == max(said.values()) > 1.01 * said[1.0]
    assert adjusted_rand_score(y, model.labels_) > adjusted_rand_score(y, pulled.labels_) + 0.04


def test_candidates_are_told():
    _, y = uneven_blobs(0)
    q = of_uneven_blobs().q_
    table = q.candidates_
    assert list(table) == ["balance", "information", "entropy", "cut", "n_clusters", "smallest"]
    np.testing.assert_array_equal(table["balance"], [1.0, 0.7, 0.5, 0.3, 0.2, 0.1])
    np.testing.assert_array_equal(table["n_clusters"], 3)
    last = {name: column[-1] for name, column in table.items()}
    assert last["balance"] == q.balance_ and last["cut"] < table["cut"][0] / 3
    assert last["smallest"] == pytest.approx(60 / 720, abs=0.01)
    # Of three groups that lie apart the ends of an edge tell as much as the sizes do.
    size = np.bincount(y) / len(y)
    assert last["information"] == pytest.approx(-(size * np.log(size)).sum(), abs=0.03)
    assert (table["information"] < table["entropy"]).all() and last["entropy"] < last["information"] + 0.03


def test_the_last_candidate_is_the_first_that_has_lost_a_cluster():
    number = ICONClustering(3, random_state=0).fit(scale(load_iris().data)).q_.candidates_["n_clusters"]
    assert (number[:-1] == 3).all() and number[-1] < 3


def test_as_much_is_said_under_the_stronger_pull():
    number = np.full(3, 2)
    assert _most_informed(10**6, np.array([0.7, 0.7005, 0.7]), number) == 0
    assert _most_informed(10**6, np.array([0.7, 0.71, 0.7]), number) == 1
    assert _most_informed(50, np.array([0.7, 0.71, 0.7]), number) == 0
    assert _most_informed(10**6, np.array([0.7, 0.71, 0.72]), np.array([2, 2, 1])) == 1


def candidates(**columns):
    n_candidates = len(columns["cut"])
    number, smallest = np.full(n_candidates, 2), np.full(n_candidates, 0.2)
    return {name: np.array(column) for name, column in columns.items()} | {
        "n_clusters": number,
        "smallest": smallest,
    }


def test_groups_that_touch_are_not_taken_for_groups_that_lie_apart():
    """A poor clustering, or one that others equal, is no measure; nor is a cut where edges tell little."""
    apart = candidates(information=[0.62, 0.54], entropy=[0.69, 0.57], cut=[0.0145, 0.0050])
    assert _chosen(400, apart) == (1, True)
    poor = candidates(
        information=[1.769, 1.786, 1.577], entropy=[1.933, 1.933, 1.644], cut=[0.0341, 0.0290, 0.0119]
    )
    assert _chosen(2000, poor) == (1, False)
    equalled = candidates(
        information=[1.762, 1.750, 1.576], entropy=[1.935, 1.899, 1.643], cut=[0.0348, 0.0292, 0.0120]
    )
    assert _chosen(2000, equalled) == (0, False)
    few_rows = candidates(information=[0.439, 0.258], entropy=[0.693, 0.348], cut=[0.070, 0.021])
    assert _chosen(400, few_rows) == (0, False)


def test_a_clump_of_outliers_is_no_reason():
    rng = np.random.RandomState(0)
    X = np.vstack([rng.normal(size=(1500, 2)) * [3, 1], rng.normal([30, 0], 0.1, (30, 2))])
    model = ICONClustering(2, random_state=0).fit(X)
    assert model.q_.balance_ == 1.0
    assert np.bincount(model.labels_).min() > 500


def test_fewer_clusters_are_no_reason():
    """Without a pull a cloud stays in one piece, and nothing is cut at all."""
    X = np.random.RandomState(0).normal(size=(400, 3))
    model = ICONClustering(4, random_state=0).fit(X)
    assert model.n_clusters_ == 4 and np.bincount(model.labels_).min() > 40


@pytest.mark.parametrize("options", [{"init": "kmeans"}, {"divergence": Hellinger()}], ids=str)
def test_it_is_a_matter_of_merges_and_kl(options):
    X, _ = uneven_blobs(0)
    assert ICONClustering(3, random_state=0, **options).fit(X).q_.balance_ == 1.0


def test_a_number_is_taken_as_it_is():
    X, _ = uneven_blobs(0)
    q = ICONClustering(3, q=Cluster(balance=0.7), random_state=0).fit(X).q_
    assert (q.balance_, q.candidates_) == (0.7, None)


def test_new_rows_and_further_fits_know_of_it(tmp_path):
    X, y = uneven_blobs(0)
    model = ICONClustering(3, warm_start=True, random_state=0).fit(X)
    labels, new = model.labels_, uneven_blobs(7)
    assert adjusted_rand_score(new[1], model.predict(new[0])) > 0.95
    joined = assign(model.p_.reciprocal(new[0]), model.transform(X), balance=0.1)
    np.testing.assert_allclose(model.transform(new[0]), joined, atol=1e-8)
    save(model, tmp_path / "model")
    kept, candidates = load(tmp_path / "model").q_, model.q_.candidates_
    assert kept.balance_ == 0.1
    again = model.fit(X).q_
    assert again.balance_ == 0.1
    for q in (kept, again):
        np.testing.assert_equal(q.candidates_, candidates)
    np.testing.assert_array_equal(model.labels_, labels)
    assert adjusted_rand_score(y, labels) > 0.95


def test_a_fit_that_goes_on_knows_of_it(tmp_path):
    X, whole = uneven_blobs(0)[0], of_uneven_blobs()

    def stop(record):
        raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "fit", every=1)
    with pytest.raises(KeyboardInterrupt):
        ICONClustering(3, random_state=0, callback=[checkpoint, stop]).fit(X)
    model = ICONClustering(3, random_state=0, callback=checkpoint).fit(X)
    assert model.q_.balance_ == 0.1
    assert model.loss_ == pytest.approx(whole.loss_, rel=1e-6)


def test_parameters_of_the_default_p_can_be_set():
    X, _ = uneven_blobs(0)
    model = clone(of_uneven_blobs())
    assert of_uneven_blobs().p_.n_neighbors == 20
    model.set_params(p__n_neighbors=12)
    assert isinstance(model.p, KNN)
    assert model.fit(X).p_.n_neighbors == 12


def test_mutual_neighbours_weigh_twice_among_many_rows(monkeypatch):
    """Where p is the default."""
    X, _ = uneven_blobs(0)
    monkeypatch.setattr(_graph, "MANY", len(X))
    fits = [
        ICONClustering(3, p=p, n_init=1, random_state=0).fit(rows).p_
        for p, rows in (("auto", X), ("auto", X[1:]), (KNN(20), X))
    ]
    assert [p.mutual_weight for p in fits] == [2.0, 1.0, 1.0]
    of_row = fits[0].conditional_.sparse()[[0]].toarray()[0]
    assert np.isclose(of_row.max(), 2.0 * of_row[of_row > 0.01].min())


FAR = make_blobs([200, 20], centers=[[0, 0], [30, 0]], cluster_std=1, random_state=0, shuffle=False)
RECIPES = ("dcd", "pmi_clustering", "clustering_jsd")


@pytest.mark.parametrize("key", RECIPES)
def test_recipes_find_groups_of_different_sizes_with_a_gap_between_them(key):
    """Tables, heads, and the divergences that begin where KL would."""
    X, y = FAR
    model = getattr(recipes, key)(n_clusters=2, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1.0
    assert model.q_.balance_ == (0.1 if key in ("dcd", "pmi_clustering") else 1.0)


def test_a_head_has_one_balance_in_all_terms():
    X, _ = FAR
    model = ICONClustering(
        2, p="views", mapper="linear", terms=[Term("knn")], max_iter=2, random_state=0
    ).fit(X)
    assert model.q_.balance_ == 0.1
