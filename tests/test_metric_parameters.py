"""Parameters of a metric reach every search, against scipy's distances."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.base import clone

import iconlearn
from iconlearn import ICONEmbedding
from iconlearn.neighbors import choose_backend, knn
from iconlearn.supervisory import KNN, Gaussian, Student, SymmetricEntropic, WideGaussian

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)) @ np.diag([1.0, 3.0, 0.3, 1.0])
NEW = X[:5] + 0.1
VI = np.linalg.inv(np.cov(X.T) + 0.1)
W = np.array([1.0, 0.2, 5.0, 1.0])


def skewed(a, b, power=1.0):
    return float((np.abs(a - b) ** power).sum())


CASES = [
    ("minkowski", {"p": 3}),
    ("minkowski", {"p": 1.5, "w": W}),
    ("seuclidean", {"V": X.var(0).tolist()}),
    ("mahalanobis", {"VI": VI}),
    (skewed, {"power": 0.5}),
]
each = pytest.mark.parametrize("metric, params", CASES)


def true(A, B, metric, params):
    if callable(metric):
        return np.array([[metric(a, b, **params) for b in B] for a in A])
    return cdist(A, B, metric, **params)


@each
def test_knn(metric, params):
    D = true(X, X, metric, params)
    np.fill_diagonal(D, np.inf)
    distances, indices = knn(X, 5, metric=metric, metric_params=params)
    np.testing.assert_allclose(distances, np.sort(D)[:, :5], rtol=1e-9)
    np.testing.assert_array_equal(indices, np.argsort(D)[:, :5])
    distances, indices = knn(X, 5, metric=metric, metric_params=params, queries=NEW)
    np.testing.assert_array_equal(indices, np.argsort(true(NEW, X, metric, params))[:, :5])


@each
@pytest.mark.parametrize(
    "make",
    [lambda **k: KNN(4, **k), lambda **k: Gaussian(5, **k), Student, lambda **k: Gaussian(sigma=1.0, **k)],
)
def test_every_p_that_searches(metric, params, make):
    p = make(metric=metric, metric_params=params)
    given = make(metric="precomputed")
    D = true(X, X, metric, params)
    expected = clone(given).fit(D)
    p.fit(X)
    np.testing.assert_allclose(
        p.conditional_.sparse().toarray(), expected.conditional_.sparse().toarray(), rtol=1e-7, atol=1e-12
    )
    new = true(NEW, X, metric, params)
    np.testing.assert_allclose(
        p.extend(NEW).sparse().toarray(), expected.extend(new).sparse().toarray(), rtol=1e-7, atol=1e-12
    )
    again = pickle.loads(pickle.dumps(p))
    np.testing.assert_array_equal(again.extend(NEW).sparse().toarray(), p.extend(NEW).sparse().toarray())


@each
def test_p_over_all_pairs(metric, params):
    D, new = true(X, X, metric, params), true(NEW, X, metric, params)
    wide = WideGaussian(metric=metric, metric_params=params).fit(X)
    np.testing.assert_allclose(wide.conditional_.block(), D**2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(wide.extend(NEW).block(), new**2, rtol=1e-9)
    entropic = SymmetricEntropic(4.0, metric=metric, metric_params=params).fit(X)
    given = SymmetricEntropic(4.0, metric="precomputed").fit(D)
    for found, expected in (
        (entropic.conditional_, given.conditional_),
        (entropic.extend(NEW), given.extend(new)),
    ):
        np.testing.assert_allclose(
            found.sparse().toarray(), expected.sparse().toarray(), rtol=1e-5, atol=1e-9
        )
    with pytest.raises(ValueError, match="'euclidean' takes no metric_params"):
        WideGaussian(metric_params=params).fit(X)


SLOW = pytest.mark.slow  # a compilation for each metric


@pytest.mark.parametrize(
    "metric, params",
    [pytest.param(*CASES[k], marks=SLOW) for k in (0, 2, 3)],
)
def test_pynndescent_searches_the_same(metric, params):
    many = rng.normal(size=(600, 4)) @ np.diag([1.0, 3.0, 0.3, 1.0])
    D = true(many, many, metric, params)
    np.fill_diagonal(D, np.inf)
    distances, _ = knn(many, 5, metric=metric, metric_params=params, backend="pynndescent", random_state=0)
    assert np.isclose(distances[:, 0], D.min(1), rtol=1e-4).mean() > 0.98  # it is approximate


@pytest.mark.parametrize(
    "metric, params, backend, error, match",
    [
        ("euclidean", {"p": 3}, "auto", ValueError, "'euclidean' takes no metric_params.*'minkowski'"),
        ("minkowski", {"q": 3}, "auto", ValueError, "takes p and w: 'q' is not among them"),
        ("minkowski", {"w": W}, "auto", ValueError, "'p' is missing"),
        ("minkowski", {"p": 0.5}, "auto", ValueError, "at least 1"),
        ("minkowski", 3, "auto", TypeError, "metric_params=3 must be a dict"),
        ("mahalanobis", {"VI": np.eye(3)}, "auto", ValueError, r"VI.*shape \(3, 3\), and the rows have 4"),
        ("mahalanobis", {"VI": np.ones(4)}, "auto", ValueError, "square matrix"),
        ("seuclidean", {"V": [1.0, np.nan, 1.0, 1.0]}, "auto", ValueError, "finite"),
        ("minkowski", {"p": 3}, "ivf", ValueError, "backend='ivf'"),
        ("minkowski", {"p": 3}, "faiss", ValueError, "backend='faiss'"),
        ("minkowski", {"p": 3, "w": W}, "pynndescent", ValueError, "backend='exact'"),
        (skewed, {"power": 2}, "pynndescent", ValueError, "backend='exact'"),
    ],
)
def test_wrong_parameters_are_refused(metric, params, backend, error, match):
    with pytest.raises(error, match=match):
        knn(X, 3, metric=metric, metric_params=params, backend=backend)
    with pytest.raises(error, match=match):
        KNN(3, metric=metric, metric_params=params, search=backend).fit(X)


def test_metrics_that_lack_their_parameters_say_which():
    with pytest.raises(ValueError, match=r'metric_params=\{"VI": \.\.\.\}'):
        KNN(3, metric="mahalanobis").fit(X)
    with pytest.raises(ValueError, match="dense rows only"):
        choose_backend(csr_array(X), metric="minkowski", metric_params={"p": 3})


def test_they_are_saved(tmp_path):
    p = Gaussian(5, metric="mahalanobis", metric_params={"VI": VI})
    fitted = ICONEmbedding(p=p, max_iter=5, random_state=0).fit(X)
    iconlearn.save(fitted, tmp_path / "map")
    np.testing.assert_array_equal(iconlearn.load(tmp_path / "map").transform(NEW), fitted.transform(NEW))
