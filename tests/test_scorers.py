"""Scores without labels: what they are, and what a search picks by them."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, coo_matrix, csr_array, csr_matrix, lil_array
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.learned import Cosine
from iconlearn.metrics import cross_entropy, entropy, information_between
from iconlearn.scorers import LinearPredictability, Stability, held_out_loss, information_score
from iconlearn.supervisory import KNN, Paired, Views

X, Y = make_blobs(150, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
DIGITS = load_digits().data[:360] / 16


class Fixed:
    """Predicts what it is told."""

    def __init__(self, labels):
        self.labels = np.asarray(labels)

    def predict(self, X):
        return self.labels


def test_the_held_out_loss_is_the_score():
    model = ICONClustering(3, n_init=1, random_state=0).fit(X[:100])
    assert held_out_loss(model, X[100:]) == model.score(X[100:])


def test_stability_is_one_where_clusters_are_plain_and_falls_with_too_many():
    right, many = (KMeans(k, n_init=1, random_state=0).fit(X) for k in (3, 8))
    assert Stability()(right, X) == 1
    assert Stability()(many, X) < 0.8
    assert Stability(random_state=1)(many, X) != Stability()(many, X) == Stability()(many, X)
    assert Stability(share=1.0)(many, X) != Stability(share=0.5)(many, X)
    assert Stability(n_fits=2)(many, X) != Stability(n_fits=5)(many, X)


def test_information_is_mutual_information_and_bounded_by_the_entropy_of_the_sizes():
    model = KMeans(3, n_init=1, random_state=0).fit(X)
    entropy = mutual_info_score(model.labels_, model.labels_)
    assert Stability(agreement="information")(model, X) == pytest.approx(entropy)
    with pytest.raises(ValueError, match="agreement='variation'"):
        Stability(agreement="variation")(model, X)


def test_information_does_not_like_one_large_cluster():
    """Two clouds and a distant pair: setting the pair apart is as stable as telling the clouds apart, and says less."""
    rng = np.random.default_rng(0)
    clouds = np.concatenate(
        [rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + [5, 0], [[0, 60], [0, 61]] * 6]
    )

    class Told:
        """Clusters by a rule of its own."""

        def __init__(self, column, threshold):
            self.column, self.threshold = column, threshold

        def get_params(self, deep=True):
            return {"column": self.column, "threshold": self.threshold}

        def fit(self, X):
            return self

        def predict(self, X):
            return (X[:, self.column] > self.threshold).astype(int)

    pair, halves = Told(1, 30), Told(0, 2.5)
    assert Stability()(pair, clouds) == Stability()(halves, clouds) == 1
    told = Stability(agreement="information")
    assert told(pair, clouds) < 0.3 < told(halves, clouds)


def test_stability_leaves_the_estimator_alone():
    model = KMeans(3, n_init=1, random_state=0).fit(X)
    centers = model.cluster_centers_.copy()
    Stability()(model, X[:60])
    np.testing.assert_array_equal(model.cluster_centers_, centers)
    assert model.random_state == 0


@pytest.mark.parametrize("scorer", [held_out_loss, Stability(2), LinearPredictability()])
@pytest.mark.parametrize("kind", ["data frame", "list", "sparse", "tensor"])
def test_rows_may_come_in_any_container(scorer, kind):
    rows = X[:90]
    if kind == "data frame":
        frame = pytest.importorskip("pandas").DataFrame(rows, columns=["a", "b"])
        other = frame.set_index(np.arange(90)[::-1])  # an index is no position
    else:
        other = {"list": rows.tolist(), "sparse": csr_array(rows), "tensor": torch.from_numpy(rows)}[kind]
    model = ICONClustering(3, n_init=1, random_state=0)
    assert scorer(model.fit(other), other) == pytest.approx(scorer(model.fit(rows), rows), abs=1e-6)


def test_a_linear_classifier_predicts_what_is_linear():
    inside = (np.linalg.norm(X - X.mean(axis=0), axis=1) < 5).astype(int)
    noise = np.random.default_rng(0).integers(2, size=len(X))
    linear, ring, none = (LinearPredictability()(Fixed(labels), X) for labels in (Y, inside, noise))
    assert linear == 1 and linear > ring + 0.2 and abs(none) < 0.3
    assert LinearPredictability()(Fixed(np.zeros(150, dtype=int)), X) == 0
    few = np.where(np.arange(150) < 149, 0, 1)
    assert LinearPredictability()(Fixed(few), X) <= 0
    half = np.where(np.arange(150) % 2 == 0, Y, -1)
    assert LinearPredictability()(Fixed(half), X) == 1
    overlapping = np.round(X[:, 0]).astype(int)
    more, fewer = (LinearPredictability(n)(Fixed(overlapping), X) for n in (5, 2))
    assert more != fewer


@pytest.mark.parametrize(("scoring", "n"), [(held_out_loss, 360), (Stability(), 240)])
def test_a_search_does_not_take_the_largest_share(scoring, n):
    search = GridSearchCV(
        ICONClustering(10, p=KNN(20), n_init=1, random_state=0),
        {"debias": [0.0, 0.3, 0.9]},
        cv=2,
        scoring=scoring,
    ).fit(DIGITS[:n])
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all() and search.best_params_["debias"] != 0.9


def test_stability_finds_the_number_of_clouds():
    search = GridSearchCV(
        ICONClustering(n_init=1, random_state=0), {"n_clusters": [2, 3, 5, 8]}, cv=2, scoring=Stability(2)
    ).fit(X)
    assert search.best_params_ == {"n_clusters": 3}


@pytest.mark.parametrize(
    ("scorer", "name"),
    [(Stability(0), "n_fits"), (Stability(share=0.0), "share"), (LinearPredictability(1), "n_splits")],
)
def test_wrong_parameters_are_named(scorer, name):
    with pytest.raises(ValueError, match=name):
        scorer(Fixed(Y), X)


@pytest.mark.parametrize("kind", [coo_matrix, coo_array, csr_array, lil_array, np.asarray, list])
@pytest.mark.parametrize("score", [Stability(1), LinearPredictability()], ids=["stability", "linear"])
def test_rows_of_every_kind_are_sliced(kind, score):
    model = ICONClustering(3, n_init=1, random_state=0).fit(X)
    rows = X.tolist() if kind is list else kind(X)
    assert score(model, rows) == pytest.approx(score(model, X))


@pytest.mark.parametrize("kind", [coo_matrix, csr_matrix, lambda A: A.toarray()])
def test_pairs_are_sliced_on_both_sides(kind):
    graph = kind(kneighbors_graph(X, 8) + kneighbors_graph(X, 8).T)
    for model in (
        ICONClustering(3, p="graph", n_init=1, random_state=0),
        SpectralClusters(3, random_state=0),
    ):
        assert Stability(2)(model.fit(graph), graph) > 0.95
    assert (
        LinearPredictability()(ICONClustering(3, p="graph", n_init=1, random_state=0).fit(graph), graph) > 0.9
    )


class SpectralClusters(SpectralClustering):
    """Clusters of a given affinity, and of rows beside it: the cluster with most of a row's weight."""

    def __init__(self, n_clusters=8, *, affinity="precomputed", random_state=None):
        super().__init__(n_clusters, affinity=affinity, random_state=random_state)

    def predict(self, A):
        return np.asarray(A @ np.eye(self.n_clusters)[self.labels_]).argmax(axis=1)


# -- information ------------------------------------------------------------------------------------------------

IMAGES = (load_digits().data[:300] / 16).astype(np.float32)
ENCODER = {"mapper": "mlp", "engine": "minibatch", "max_iter": 4, "random_state": 0}


def test_information_of_views_is_what_contrast_tells():
    fit = ICONEmbedding(8, p=Views(strength=0.3), q=Cosine(0.2), **ENCODER).fit(IMAGES[:150])
    new = IMAGES[150:]
    assert information_score(fit, new) == information_score(
        fit, new
    )  # the views are drawn by a seed of their own
    views = [new + 0.3 * fit.p_._spread * np.random.default_rng(k).normal(size=new.shape) for k in (0, 1)]
    U, V = (fit.transform(view.astype(np.float32)) for view in views)
    assert information_score(fit, new) == pytest.approx(information_between(U, V, temperature=0.2), abs=0.15)


def test_information_of_pairs_goes_from_one_group_to_the_other():
    fit = ICONEmbedding(8, p=Paired(32), q=Cosine(0.2), optimizer="adam", **ENCODER).fit(IMAGES[:150])
    new = IMAGES[150:]
    expected = information_between(fit.transform(new), fit.transform_columns(new), temperature=0.2)
    assert information_score(fit, new) == pytest.approx(expected, abs=1e-5)


def test_information_of_neighbours_by_its_definition():
    fit = ICONEmbedding(p=KNN(5), mapper="mlp", max_iter=30, random_state=0).fit(IMAGES[:150])
    new = IMAGES[150:]
    P = KNN(5).fit(new).conditional_
    Z = fit.transform(new).astype(float)
    k = 1 / (1 + ((Z[:, None] - Z) ** 2).sum(axis=2)) * ~np.eye(150, dtype=bool)
    crossed = cross_entropy(P.full(), k / k.sum(axis=1, keepdims=True)).mean()
    assert information_score(fit, new) == pytest.approx(entropy(P.full().mean(axis=0)) - crossed, abs=1e-4)


def test_a_grid_is_searched_by_information():
    model = ICONEmbedding(8, p=Views(strength=0.3), q=Cosine(0.1), **ENCODER)
    search = GridSearchCV(model, {"q__temperature": [0.1, 2.0]}, scoring=information_score, cv=2).fit(IMAGES)
    assert search.best_params_ == {"q__temperature": 0.1}
    cold, warm = search.cv_results_["mean_test_score"]
    assert (
        warm < 1.0 < cold < np.log(150)
    )  # a cosine over two says less than a nat, whatever the representation knows


@pytest.mark.parametrize("model", [ICONClassifier(max_iter=3), ICONClustering(3, n_init=1)])
def test_what_has_no_columns_to_find_is_refused(model):
    fit = model.fit(IMAGES[:60], np.arange(60) % 3)
    with pytest.raises(ValueError, match="information_score asks an encoder"):
        information_score(fit, IMAGES[60:90])
