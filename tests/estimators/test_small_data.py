"""Ten to a few hundred rows: numbers of neighbours that follow the rows and the size of their groups."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term, recipes
from iconlearn.learned import Cluster, Student
from iconlearn.metrics import neighbor_recall
from iconlearn.out_of_sample._score import reference_score
from iconlearn.supervisory import KNN, Gaussian, Walk

FAR = [[0, 0], [30, 0], [0, 30]]
DIGITS, IRIS = load_digits(return_X_y=True), load_iris(return_X_y=True)
SIX = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])


def blobs(sizes, seed=0, centres=FAR):
    return make_blobs(sizes, centers=centres, cluster_std=1, random_state=seed)


def drawn(data, n, seed):
    rows = np.random.RandomState(seed).permutation(len(data[0]))[:n]
    return data[0][rows], data[1][rows]


CASES = {
    "six points": (SIX, np.repeat([0, 1], 3)),
    "seven rows": blobs([4, 3], 1, FAR[:2]),
    "tens": blobs([10] * 3),
    "fifteens": blobs([15] * 3, 1),
    "a small one beside large ones": blobs([100, 100, 12], 0, [[0, 0], [30, 0], [0, 300]]),
    "equal rows": (np.repeat(np.eye(5), 10, axis=0), np.repeat(np.arange(5), 10)),
    "many of five": blobs([5] * 10, 0, np.random.RandomState(0).uniform(-100, 100, (10, 4))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("error")
def test_far_groups_are_found_whatever_their_size(case):
    X, y = CASES[case]
    model = ICONClustering(len(np.unique(y)), random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1
    assert adjusted_rand_score(y, model.predict(X + 0.01)) == 1


@pytest.mark.parametrize(("data", "n_clusters", "n", "draws"), [(DIGITS, 10, 50, 3), (IRIS, 3, 24, 5)])
def test_small_parts_of_real_data_are_clustered_about_as_well_as_by_k_means(data, n_clusters, n, draws):
    ours, theirs = [], []
    for seed in range(draws):
        X, y = drawn(data, n, seed)
        ours.append(adjusted_rand_score(y, ICONClustering(n_clusters, random_state=0).fit(X).labels_))
        theirs.append(adjusted_rand_score(y, KMeans(n_clusters, n_init=10, random_state=0).fit(X).labels_))
    assert np.mean(ours) > np.mean(theirs) - 0.05


@pytest.mark.parametrize("p", ["knn", "gaussian"])
@pytest.mark.filterwarnings("error")
def test_a_p_by_name_follows_the_groups_too(p):
    for per in (10, 15):
        X, y = blobs([per] * 3)
        assert adjusted_rand_score(y, ICONClustering(3, p=p, random_state=0).fit(X).labels_) == 1


@pytest.mark.parametrize("per", [4, 6, 12])
def test_auto_counts_small_groups(per):
    X, _ = blobs([per] * 8, 0, np.random.RandomState(0).uniform(-100, 100, (8, 5)))
    model = ICONClustering("auto", random_state=0).fit(X)
    assert per < 6 or model.n_clusters_ == 8
    assert model.n_clusters_ >= 2


@pytest.mark.parametrize("n", [3, 5, 8, 12, 13])
def test_auto_finds_two_clusters_at_least(n):
    X = np.random.RandomState(n).normal(size=(n, 2))
    assert ICONClustering("auto", random_state=0).fit(X).n_clusters_ >= 2


def test_parts_that_are_auto_are_set_and_numbers_stay():
    X, _ = blobs([15] * 3)
    model = ICONClustering(
        3, p=Walk(KNN("auto"), 2), terms=[Term(Gaussian("auto"))], n_init=1, random_state=0
    )
    fit = model.fit(X)
    assert fit.p_.p.n_neighbors == 7 and model.p.p.n_neighbors == "auto"
    assert ICONClustering(3, p=KNN(4), random_state=0).fit(X).p_.n_neighbors == 4
    assert ICONEmbedding(p=Gaussian("auto"), random_state=0, max_iter=5).fit(
        X
    ).p_.perplexity == pytest.approx(44 / 3)


def test_the_first_batch_of_a_stream_may_be_small():
    X, y = blobs([17] * 3)
    model = ICONClustering(3, mapper="linear", random_state=0).partial_fit(X)
    assert adjusted_rand_score(y, model.predict(X)) == 1


@pytest.mark.parametrize("graph", ["auto", "knn", "recipe"])
@pytest.mark.filterwarnings("error")
def test_two_classes_of_eight_rows_are_told_apart(graph):
    X, y = blobs([8, 8], 0, FAR[:2])
    some = np.full(16, -1)
    some[[np.flatnonzero(y == 0)[0], np.flatnonzero(y == 1)[0]]] = 0, 1
    model = recipes.held_labels() if graph == "recipe" else ICONClassifier(graph=graph, unlabeled=-1)
    model.set_params(random_state=0).fit(X, some)
    assert (model.predict(X) == y).all()


@pytest.mark.parametrize("p", ["knn", "gaussian"])
@pytest.mark.filterwarnings("error")
def test_maps_of_few_rows_keep_neighbours(p):
    """As many of three as two principal components do; with 15 neighbours of 16 rows nothing was asked of them."""
    for n in (10, 17, 25, 45):
        X, _ = drawn(DIGITS, n, n)
        Z = ICONEmbedding(p=p, random_state=0).fit_transform(X)
        assert neighbor_recall(X, Z, 3) >= neighbor_recall(X, PCA(2).fit_transform(X), 3)
        assert Z.std() > 0.1


@pytest.mark.parametrize(("per", "seed"), [(10, 0), (15, 1)])
def test_a_search_over_few_rows_finds_the_groups(per, seed):
    X, _ = blobs([per] * 3, seed)
    model = ICONClustering(3, n_init=4, random_state=0)
    search = GridSearchCV(model, {"n_clusters": [1, 2, 3, 5]}, cv=3).fit(X)
    assert search.best_params_ == {"n_clusters": 3}


def test_fewer_than_ten_rows_say_little_and_score_says_so():
    X, _ = blobs([15] * 3)
    model = ICONClustering(3, n_init=1, random_state=0).fit(X)
    with pytest.warns(UserWarning, match="9 rows say little: give at least 10"):
        assert np.isfinite(model.score(X[:9]))


def test_the_reference_of_clusters_is_the_same_for_all_candidates():
    """Against a directly written sum of one p and one q, whatever balance and normalisation were fitted."""
    X, y = blobs([20] * 3)
    r = np.full((60, 3), 0.05)
    r[np.arange(60), y] = 0.9
    n, k, share = 60, 12, 0.05
    distances = np.linalg.norm(X[:, None] - X, axis=2)
    np.fill_diagonal(distances, np.inf)
    p = np.zeros((n, n))
    np.put_along_axis(p, distances.argsort(axis=1)[:, :k], 1 / k, axis=1)
    p = (1 - share) * p + share / n
    q = (1 - share) * r @ (r / r.sum(axis=0)).T + share / n
    expected = -(p * np.log(p / q)).sum() / n
    for kernel in (
        Cluster(),
        Cluster(balance=0.1),
        Cluster(normalize="row"),
        Cluster(degree_weighted=True, debias=0.3),
    ):
        kernel.begin()
        kernel.balance_ = 0.1
        assert reference_score(X, torch.from_numpy(np.log(r)), kernel) == pytest.approx(expected, rel=1e-9)


def test_the_reference_of_maps_is_normalised_by_rows():
    X, _ = blobs([20] * 3)
    Z = torch.from_numpy(X[:, :2] / 10)
    kernels = [Student(normalize=normalize) for normalize in ("row", "joint")]
    for kernel in kernels:
        kernel.begin()
    assert len({reference_score(X, Z, kernel) for kernel in kernels}) == 1
