"""Any finite rows: few or many, equal, constant, in parts, of any scale and precision.

Whatever comes in, a fit ends, all that it gives is finite, training rows are where it put them, a second fit gives
the same bits, and nothing that the user passed is changed.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding

ESTIMATORS = {
    "map": ICONEmbedding(max_iter=12, random_state=0),
    "map of a Gaussian": ICONEmbedding(p="gaussian", q="gaussian", max_iter=12, random_state=0),
    "linear map": ICONEmbedding(mapper="linear", max_iter=20, random_state=0),
    "clusters": ICONClustering(3, n_init=2, max_iter=10, random_state=0),
    "debiased clusters": ICONClustering(2, p="gaussian", debias=0.2, n_init=2, max_iter=10, random_state=0),
    "classes": ICONClassifier(max_iter=20, random_state=0),
    "prototypes": ICONClassifier(q="student", max_iter=20, random_state=0),
}
# Squares of larger numbers are none in single precision.
LARGEST = 1e15

each = pytest.mark.parametrize("name", ESTIMATORS)


@st.composite
def rows(draw, smallest=2):
    """Rows of one of several shapes, times a power of ten, in single or double precision, dense or sparse."""
    n, d = draw(st.integers(smallest, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    X = rng.normal(size=(n, d))
    shape = draw(
        st.sampled_from(
            ["plain", "equal rows", "constant columns", "parts", "whole", "an outlier", "a point"]
        )
    )
    if shape == "equal rows":
        X = X[rng.integers(0, max(1, n // 4), n)]
    elif shape == "constant columns":
        X[:, rng.random(d) < 0.6] = rng.normal()
    elif shape == "parts":
        X += 1e4 * rng.integers(0, 3, n)[:, None]
    elif shape == "whole":
        X = np.round(X)
    elif shape == "an outlier":
        X[0] *= 1e6
    elif shape == "a point":
        X[:] = X[0]
    X = X * 10.0 ** draw(st.integers(-30, 30))
    X = X.astype(draw(st.sampled_from([np.float64, np.float32])))
    return sparse.csr_array(X) if draw(st.booleans()) and shape == "whole" else X


def classes(n):
    return np.arange(n) % 2


def answer(estimator, X):
    return np.asarray(getattr(estimator, "predict_proba", estimator.transform)(X))


def dense(X):
    return X.toarray() if sparse.issparse(X) else X


def quiet(work):
    """Run without the warnings that such rows deserve, but not without numpy's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        return work()


def assert_holds(name, X):
    n, y, before = X.shape[0], classes(X.shape[0]), dense(X).copy()
    estimator = clone(ESTIMATORS[name])
    if name.endswith("clusters"):
        estimator.set_params(n_clusters=min(estimator.n_clusters, n))
    try:
        fit = quiet(lambda: clone(estimator).fit(X, y))
    except ValueError as error:
        # Weights that are learned have the precision of the rows, and their squares must be numbers in it.
        assert (
            estimator.mapper in ("auto", "linear")
            and np.abs(dense(X)).max() > LARGEST
            and "that X is scaled" in str(error)
        )
        return
    assert np.isfinite(fit.loss_) and np.isfinite(fit.loss_history_).all()
    Z = quiet(lambda: answer(fit, X))
    assert Z.shape[0] == n and np.isfinite(Z).all() and Z.dtype == X.dtype
    if hasattr(fit, "embedding_"):
        # Single precision is as good as the largest number in it.
        assert_allclose(Z, fit.embedding_, rtol=1e-5, atol=1e-5 * np.abs(fit.embedding_).max())
    if hasattr(fit, "labels_"):
        assert_array_equal(fit.predict(X), fit.labels_)
    # Rows between the training rows; never outside their range, which may be the end of single precision.
    between = 0.5 * X[:1] + 0.5 * X[-1:]
    assert np.isfinite(quiet(lambda: answer(fit, between))).all()
    assert_array_equal(quiet(lambda: answer(clone(estimator).fit(X, y), X)), Z)
    assert_array_equal(dense(X), before)


@each
@settings(max_examples=10, derandomize=True)
@given(X=rows())
def test_any_rows(name, X):
    assert_holds(name, X)


@pytest.mark.slow
@each
@settings(max_examples=600)
@given(X=rows())
def test_many_more_rows(name, X):
    assert_holds(name, X)


@each
@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_very_few_rows(name, n):
    assert_holds(name, np.random.default_rng(n).normal(size=(n, 3)))


@each
def test_one_row_is_too_few(name):
    with pytest.raises(ValueError, match=r"1 sample|one class"):
        ESTIMATORS[name].fit(np.ones((1, 3)), [0])
