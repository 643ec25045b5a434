"""The direction from q to p: k-means, its robust sibling, spectral clustering and normalised cuts."""

import warnings

import numpy as np
import pytest
import torch
from reference import assert_slopes, evaluate, make_problem, softmax, sqdist
from sklearn.base import clone
from sklearn.cluster import KMeans, SpectralClustering, k_means
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONClustering, ICONEmbedding, Term
from iconlearn.divergences import KL, ReverseKL
from iconlearn.engines import Closed, Dense, MiniBatch
from iconlearn.engines._closed import lloyd
from iconlearn.learned import Cluster, WideGaussian
from iconlearn.mappers import Linear
from iconlearn.supervisory import KNN, Cut, Debias, Gaussian, Graph, Labels, Spectral, Student

IRIS = load_iris().data
DIGITS = load_digits().data[:400]
N, M = 30, 4
X = IRIS[::5]
LOGITS = np.random.default_rng(0).normal(size=(N, M))
R = softmax(LOGITS)
Q = (R / R.sum(axis=0)) @ R.T
D = sqdist(X, X)


def soft_inertia(r, X):
    means = (r.T @ X) / r.sum(axis=0)[:, None]
    return (r * sqdist(X, means)).sum()


def entropy_of_rows(Q):
    return -(Q * np.log(Q)).sum()


@pytest.mark.parametrize("sigma", [0.8, 2.0])
@pytest.mark.parametrize("bonus", [0.0, 0.4, 1.0])
def test_k_means_and_its_entropy(sigma, bonus):
    p = Gaussian(sigma=sigma, self_pairs=True).fit(X).conditional_
    problem = make_problem(p, Cluster(), LOGITS, divergence=ReverseKL(entropy=bonus))
    log_z = np.log(np.exp(-D / (2 * sigma**2)).sum(axis=1)).sum()
    expected = soft_inertia(R, X) / sigma**2 - bonus * entropy_of_rows(Q) + log_z
    assert N * evaluate(problem)[0] == pytest.approx(expected, rel=1e-10)
    assert_slopes(problem)
    np.testing.assert_allclose(evaluate(problem, MiniBatch(64))[1][0], evaluate(problem)[1][0], atol=1e-12)


@pytest.mark.parametrize("dof", [1.0, 4.0])
def test_t_k_means(dof):
    p = Student(dof=dof, self_pairs=True).fit(X).conditional_
    problem = make_problem(p, Cluster(), LOGITS, divergence=ReverseKL())
    cost = 0.5 * (dof + 1) * np.log1p(D / dof)
    expected = (Q * cost).sum() - entropy_of_rows(Q) + np.log(np.exp(-cost).sum(axis=1)).sum()
    assert N * evaluate(problem)[0] == pytest.approx(expected, rel=1e-10)
    assert_slopes(problem)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_normalised_cuts(scale):
    W = kneighbors_graph(X, 5).toarray()
    W = W + W.T
    np.fill_diagonal(W, 0)
    d = W.sum(axis=1)
    p = Cut(Graph(mass="degree"), scale).fit(W).conditional_
    g = softmax(scale * W / d)
    np.testing.assert_allclose(p.entries().p, g, atol=1e-13)
    np.testing.assert_allclose(p.entries(np.arange(3), np.arange(9)).p.sum(axis=1), 1)
    problem = make_problem(p, Cluster(degree_weighted=True), LOGITS, divergence=ReverseKL())
    volume = d @ R
    cut = ((volume - np.einsum("ic,ij,jc->c", R, W, R)) / volume).sum()
    q = (R / volume) @ (R * d[:, None]).T
    log_z = np.log(np.exp(scale * W / d).sum(axis=1)).sum()
    expected = scale * (cut - M) - entropy_of_rows(q) + log_z
    assert N * evaluate(problem)[0] == pytest.approx(expected, rel=1e-10)
    assert_slopes(problem)


# --- closed forms --------------------------------------------------------------------------------


def k_means_model(n_clusters, **options):
    p = Gaussian(sigma="scale", self_pairs=True)
    return ICONClustering(n_clusters, p=p, divergence=ReverseKL(entropy=0), random_state=0, **options)


@pytest.mark.parametrize("seed", range(3))
def test_lloyd_from_the_same_start_is_sklearn_s(seed):
    start = np.random.default_rng(seed).integers(10, size=len(DIGITS))
    means = np.array([DIGITS[start == c].mean(axis=0) for c in range(10)])
    theirs = KMeans(10, init=means, n_init=1, tol=0, algorithm="lloyd").fit(DIGITS)
    model = k_means_model(10, init=start).fit(DIGITS)
    assert isinstance(model.engine_, Closed)
    assert adjusted_rand_score(model.labels_, theirs.labels_) == 1
    assert soft_inertia(np.eye(10)[model.labels_], DIGITS) == pytest.approx(theirs.inertia_, rel=1e-10)
    assert (np.diff(model.loss_history_) <= 1e-12).all() and model.n_iter_ > 3
    # Its loss is the problem's own: the inertia, scaled, and the data's normalisers.
    sigma = DIGITS.std(axis=0) @ DIGITS.std(axis=0)
    log_z = np.log(np.exp(-sqdist(DIGITS, DIGITS) / (2 * sigma)).sum(axis=1)).mean()
    assert model.loss_ == pytest.approx(theirs.inertia_ / sigma / len(DIGITS) + log_z, rel=1e-10)
    np.testing.assert_array_equal(
        model.predict(load_digits().data[400:500] + 0.01),
        np.array([model.labels_[theirs.labels_ == c][0] for c in range(10)])[
            theirs.predict(load_digits().data[400:500] + 0.01)
        ],
    )


def test_k_means_from_far_apart_rows_is_as_good_as_sklearn_s():
    model = k_means_model(10, init="k-means++", n_init=10).fit(DIGITS)
    best = KMeans(10, n_init=10, random_state=0).fit(DIGITS).inertia_
    assert soft_inertia(np.eye(10)[model.labels_], DIGITS) <= 1.01 * best


def test_gradients_find_the_same_k_means():
    start = (IRIS[:, 2] > 4.5).astype(int) + (IRIS[:, 2] > 5.5)
    exact = k_means_model(3, init=start).fit(IRIS)
    soft = k_means_model(3, init=start, engine="dense", max_iter=3000, tol=0).fit(IRIS)
    assert soft.loss_ == pytest.approx(exact.loss_, rel=1e-5)
    assert adjusted_rand_score(soft.labels_, exact.labels_) == 1


def test_empty_clusters_are_filled():
    start = np.zeros(150, dtype=int)
    model = k_means_model(5, init=start).fit(IRIS)
    assert model.n_clusters_ == 5
    for points in (IRIS, IRIS - 40.0):  # wherever the origin lies
        labels, reason = lloyd(points, start, 5, 100)
        assert (np.bincount(labels, minlength=5) > 0).all() and reason == "plateau"
    np.testing.assert_array_equal(start, 0)


def test_the_inertia_keeps_its_digits_in_tight_clusters():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    points = 1e4 * np.eye(3)[labels] + 1e-2 * rng.normal(size=(60, 3))
    told = []
    lloyd(points - points.mean(axis=0), labels, 3, 10, told.append)
    means = np.array([points[labels == c].mean(axis=0) for c in range(3)])
    assert told == [pytest.approx(np.square(points - means[labels]).sum(), rel=1e-9)]


def test_the_entropy_bonus_evens_out_clusters():
    """The bonus is greatest for one soft cluster, so it leaves fewer or softer clusters than k-means."""
    entropies = []
    for bonus in (0.0, 1.0):
        model = clone(k_means_model(3, init="kmeans", engine="dense", max_iter=200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(divergence=ReverseKL(entropy=bonus)).fit(IRIS)
        r = model.probabilities_
        entropies.append(entropy_of_rows(np.maximum((r / r.sum(axis=0)) @ r.T, 1e-300)))
    assert entropies[1] > entropies[0]


@pytest.mark.parametrize("p", [KNN(5), Debias(KNN(5), 0.3), Labels(), Labels(self_pairs=True)], ids=str)
def test_directions_are_the_minimum(p):
    X, y = DIGITS[:150], load_digits().target[:150]
    options = {"p": p, "q": WideGaussian(sphere=False), "mapper": Linear(orthonormal=True), "random_state": 0}
    closed = ICONEmbedding(3, **options).fit(X, y)
    assert isinstance(closed.engine_, Closed) and closed.n_iter_ == 1
    descended = ICONEmbedding(3, engine="dense", init="random", max_iter=400, tol=0, **options).fit(X, y)
    assert closed.loss_ == pytest.approx(descended.loss_, rel=1e-4)
    assert closed.loss_ <= descended.loss_ + 1e-9 * abs(closed.loss_)
    W = [model.mapper_.weight.detach().numpy() for model in (closed, descended)]
    assert np.linalg.svd(W[0] @ W[1].T, compute_uv=False).min() > 0.999


def test_directions_of_two_terms():
    X, y = DIGITS[:150], load_digits().target[:150]
    options = {"q": WideGaussian(sphere=False), "mapper": Linear(orthonormal=True), "random_state": 0}
    options |= {"p": "labels", "terms": [Term("identity", weight=2.0)]}
    closed = ICONEmbedding(2, **options).fit(X, y)
    descended = ICONEmbedding(2, engine="dense", max_iter=400, tol=0, **options).fit(X, y)
    assert closed.loss_ == pytest.approx(descended.loss_, rel=1e-4)


def test_identity_is_sklearn_s_pca():
    model = ICONEmbedding(5, p="identity", q=WideGaussian(sphere=False), mapper=Linear(orthonormal=True))
    model.fit(DIGITS)
    pca = PCA(5).fit(DIGITS)
    W = model.mapper_.weight.detach().numpy()
    np.testing.assert_allclose(np.linalg.svd(W @ pca.components_.T, compute_uv=False), 1, atol=1e-10)
    assert model.loss_ == pytest.approx(-2 * pca.explained_variance_.sum() * 399 / 400, rel=1e-10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"divergence": "kl"}, "entropy=0"),
        ({"p": Student(self_pairs=True)}, "one sigma"),
        ({"p": Gaussian(perplexity=40, self_pairs=True)}, "one sigma"),
        ({"p": Gaussian(sigma=1.0)}, "debias"),
        ({"mapper": "linear"}, "table"),
        ({"q": Cluster(debias=0.1)}, "share"),
    ],
)
def test_the_closed_engine_refuses_what_it_cannot_solve(change, words):
    with pytest.raises(ValueError, match=words):
        k_means_model(3, engine="closed").set_params(**change).fit(IRIS)


# --- graphs --------------------------------------------------------------------------------------


def test_spectral_clustering_on_the_same_affinity():
    X, _ = make_blobs(300, centers=4, cluster_std=1.2, random_state=1)
    W = rbf_kernel(X, gamma=0.5)
    p = Spectral(Graph(mass="degree"), n_components=4)
    model = ICONClustering(4, p=p, divergence=ReverseKL(entropy=0), init="k-means++", random_state=0).fit(W)
    theirs = SpectralClustering(4, affinity="precomputed", random_state=0, n_init=20).fit(W)
    assert adjusted_rand_score(model.labels_, theirs.labels_) == 1
    # The relaxation: eigenvalues of the walk, by another road.
    A = W - np.diag(np.diag(W))
    values = np.sort(np.linalg.eigvals(A / A.sum(axis=1, keepdims=True)).real)[::-1][:4]
    np.testing.assert_allclose(model.p_.eigenvalues_, values, atol=1e-10)
    _, labels, _ = k_means(model.p_.eigenvectors_, 4, random_state=0, n_init=10)
    assert adjusted_rand_score(model.labels_, labels) == 1


def test_spectral_places_new_rows_by_their_neighbours():
    X, y = make_blobs(700, centers=4, cluster_std=0.6, random_state=1)
    p = Spectral(KNN(10), n_components=4)
    model = ICONClustering(4, p=p, divergence=ReverseKL(entropy=0), init="k-means++", random_state=0)
    model.fit(X[:600])
    assert adjusted_rand_score(model.predict(X[600:]), y[600:]) == 1
    walk = model.p_.eigenvectors_
    W = KNN(10).fit(X[:600]).conditional_.edges
    W = W + W.T
    np.testing.assert_allclose(W @ walk, W.sum(axis=1)[:, None] * walk * model.p_.eigenvalues_, atol=1e-7)


@pytest.mark.parametrize("n_components", [2, 4, 7])
def test_every_part_of_a_graph_has_its_eigenvector(n_components):
    X, _ = make_blobs(700, centers=4, cluster_std=0.6, random_state=1)
    W = KNN(10).fit(X).conditional_.edges
    W = W + W.T
    true = np.linalg.eigvals((W / W.sum(axis=1)[:, None]).toarray()).real
    for seed in range(4):
        p = Spectral(KNN(10), n_components=n_components).fit(X, random_state=seed)
        walk = p.eigenvectors_
        np.testing.assert_allclose(p.eigenvalues_, np.sort(true)[::-1][:n_components], atol=1e-8)
        np.testing.assert_allclose(W @ walk, W.sum(axis=1)[:, None] * walk * p.eigenvalues_, atol=1e-7)


def test_normalised_cuts_are_as_small_as_spectral_clustering_s():
    X, _ = make_blobs(150, centers=3, cluster_std=2.0, random_state=3)
    W = kneighbors_graph(X, 10).toarray()
    W = np.maximum(W, W.T)
    p = Cut(Graph(mass="degree"), scale=200.0)
    model = ICONClustering(
        3, p=p, q=Cluster(degree_weighted=True), divergence=ReverseKL(entropy=0.0), init="spectral", n_init=4,
        max_iter=500, random_state=0,
    ).fit(W)  # fmt: skip
    theirs = SpectralClustering(3, affinity="precomputed", random_state=0).fit(W)

    def cut(labels):
        r = np.eye(labels.max() + 1)[labels]
        volume = W.sum(axis=1) @ r
        return ((volume - np.einsum("ic,ij,jc->c", r, W, r)) / volume).sum()

    assert cut(model.labels_) <= 1.02 * cut(theirs.labels_)
    assert isinstance(model.engine_, Dense)


def test_new_rows_join_the_clusters_of_a_cut():
    X, y = make_blobs(200, centers=3, cluster_std=0.8, random_state=3)
    p = Cut(KNN(10), scale=50.0)
    model = ICONClustering(
        3, p=p, q=Cluster(degree_weighted=True), divergence=ReverseKL(entropy=0.0), n_init=4, random_state=0
    ).fit(X[:150])
    assert adjusted_rand_score(model.labels_, y[:150]) == 1
    assert adjusted_rand_score(model.predict(X[150:]), y[150:]) == 1


def test_isolated_nodes_of_a_cut_carry_no_mass():
    W = np.zeros((6, 6))
    W[0, 1] = W[1, 0] = W[2, 3] = W[3, 2] = 1
    with pytest.warns(UserWarning, match="carry no weight"):
        p = Cut(Graph(mass="degree")).fit(W).conditional_
    np.testing.assert_array_equal(p.row_mass[4:], 0)
    assert np.isfinite(p.entries().p).all()


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Gaussian(sigma=1.0, n_neighbors=5, self_pairs=True).fit(X), ValueError, "n_neighbors=None"),
        (lambda: Gaussian(sigma=1.0, self_pairs="no").fit(X), TypeError, "self_pairs"),
        (lambda: Cut(KNN(3), scale=0).fit(X), ValueError, "scale"),
        (lambda: Spectral(KNN(3), n_components=99).fit(X), ValueError, "n_components=99"),
        (lambda: Spectral("knn").fit(X), TypeError, "object"),
        (lambda: ReverseKL(entropy=2)(torch.ones(1), torch.zeros(1)), ValueError, "entropy"),
    ],
)
def test_wrong_parameters_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_self_pairs_change_the_rows_of_p():
    with_self, without = (Gaussian(sigma=1.0, self_pairs=s).fit(X).conditional_ for s in (True, False))
    k = np.exp(-D / 2)
    np.testing.assert_allclose(with_self.entries().p, k / k.sum(axis=1, keepdims=True), atol=1e-12)
    np.fill_diagonal(k, 0)
    np.testing.assert_allclose(without.entries().p, k / k.sum(axis=1, keepdims=True), atol=1e-12)
    scaled = Gaussian(sigma="scale").fit(X)
    assert scaled.sigma_[0] ** 2 == pytest.approx(X.var(axis=0).sum())
    from_distances = Gaussian(sigma="scale", metric="precomputed").fit(np.sqrt(D))
    assert from_distances.sigma_[0] == pytest.approx(scaled.sigma_[0], rel=1e-6)
    assert KL().reverse is False and ReverseKL().reverse
