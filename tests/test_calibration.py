"""Bandwidths against scikit-learn's t-SNE, against the entropy itself, and where none exists."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.manifold._utils import _binary_search_perplexity

from iconlearn.neighbors import neighbor_graph
from iconlearn.supervisory.neighborhoods._calibration import (
    GaussianKernel,
    StudentKernel,
    calibrate,
    kernel_rows,
)

KERNELS = [GaussianKernel(), StudentKernel(1.0), StudentKernel(5.0)]


def distances(n=60, scale=1.0, n_dims=5):
    X = np.random.default_rng(0).normal(size=(n, n_dims)) * scale
    D = cdist(X, X)
    return np.sort(D, axis=1)[:, 1:]


def weights(D, sigma, kernel):
    with np.errstate(over="ignore"):
        t = (D / sigma[:, None]) ** 2
    if isinstance(kernel, GaussianKernel):
        w = np.exp(-(t - t.min(axis=1, keepdims=True)) / 2)
    else:
        w = (1 + t / kernel.dof) ** (-(kernel.dof + 1) / 2)
    return w / w.sum(axis=1, keepdims=True)


def entropy(p):
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1)


def test_matches_sklearn():
    D = distances()[:, :30]
    sigma = calibrate(D, 9.0, GaussianKernel())
    expected = _binary_search_perplexity((D**2).astype(np.float32), 9.0, 0)
    np.testing.assert_allclose(weights(D, sigma, GaussianKernel()), expected, atol=2e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("perplexity", [2, 9.5, 50])
def test_entropy_is_met_at_every_scale(kernel, scale, perplexity):
    # In one dimension even a Student tail is narrower than two neighbours, for most rows.
    D = distances(scale=scale, n_dims=1)
    sigma = calibrate(D, perplexity, kernel)
    with np.errstate(divide="ignore"):
        narrowest = entropy(weights(D / D.min(axis=1, keepdims=True), np.full(60, 1e-6), kernel))
    attainable = narrowest < np.log(perplexity)
    assert attainable.mean() > (0.75 if perplexity > 2 else 0.1)
    reached = entropy(weights(D, sigma, kernel))
    np.testing.assert_allclose(reached[attainable], np.log(perplexity), atol=1e-7)
    np.testing.assert_allclose(reached[~attainable], narrowest[~attainable], atol=1e-6)


def test_near_equal_distances_and_outliers():
    D = 1.0 + 1e-9 * distances()
    sigma = calibrate(D, 9.0, GaussianKernel())
    gap = (D - D.min(axis=1, keepdims=True)) * (D + D.min(axis=1, keepdims=True))
    p = np.exp(-gap / (2 * sigma[:, None] ** 2))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(entropy(p), np.log(9), atol=1e-6)
    D = distances()
    D[:, -1] = 1e25
    p = weights(D, calibrate(D, 9.0, GaussianKernel()), GaussianKernel())
    np.testing.assert_allclose(entropy(p), np.log(9), atol=1e-7)


@pytest.mark.parametrize("kernel", KERNELS)
def test_ragged_rows_equal_dense_rows(kernel):
    D = distances()
    counts = np.random.default_rng(1).integers(12, 59, size=60)
    counts[5] = 0
    padded = np.where(np.arange(59) < counts[:, None], D, np.inf)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    columns = np.concatenate([np.arange(c) for c in counts])
    graph = csr_array((padded[np.isfinite(padded)], columns, indptr), shape=(60, 59))
    np.testing.assert_allclose(calibrate(graph, 8.0, kernel), calibrate(padded, 8.0, kernel))
    sigma = calibrate(graph, 8.0, kernel)
    rows = kernel_rows(graph, sigma, kernel).toarray()
    full = np.arange(60) != 5
    np.testing.assert_allclose(rows.sum(axis=1), full)
    for i in np.flatnonzero(full):
        expected = weights(D[[i], : counts[i]], sigma[[i]], kernel)[0]
        np.testing.assert_allclose(rows[i, : counts[i]], expected, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_without_a_solution_are_finite(kernel):
    D = np.array(
        [
            [0.0, 0, 0, 0, 0, 0],  # all duplicates
            [3.0, 3, 3, 3, 3, 3],  # all equally far
            [0.0, 0, 0, 0, 1, 2],  # more duplicates than perplexity
            [1.0, 2, np.inf, np.inf, np.inf, np.inf],  # fewer neighbours than perplexity
            [np.inf] * 6,  # no neighbour
            [0.0, 1e-30, 1e-30, 1, 1, 1e30],
        ]
    )
    sigma = calibrate(D, 3.0, kernel)
    assert np.isfinite(sigma).all() and (sigma > 0).all()
    counts = np.isfinite(D).sum(axis=1)
    columns = np.concatenate([np.arange(c) for c in counts])
    graph = csr_array((D[np.isfinite(D)], columns, np.concatenate([[0], np.cumsum(counts)])), shape=D.shape)
    p = kernel_rows(graph, calibrate(graph, 3.0, kernel), kernel).toarray()
    np.testing.assert_allclose(p[:2], 1 / 6)
    np.testing.assert_allclose(p[2], [0.25] * 4 + [0, 0], atol=1e-8)
    np.testing.assert_allclose(p[3, :2], 0.5, atol=1e-5)
    assert p[4].sum() == 0
    assert np.isfinite(p).all()


def test_student_tail_wider_than_the_perplexity_is_the_power_law():
    D = 1 + 0.1 * distances()
    sigma = calibrate(D, 2.0, StudentKernel())
    p = D**-2.0
    np.testing.assert_allclose(
        weights(D, sigma, StudentKernel()), p / p.sum(axis=1, keepdims=True), rtol=1e-6
    )


def test_kernel_rows_with_tiny_and_huge_sigma():
    X = np.random.default_rng(0).normal(size=(30, 3))
    X[1] = X[0]
    graph = neighbor_graph(X * 1e10, 5)
    for kernel in KERNELS:
        for sigma in (1e-300, 1e-20, 1e20, 1e300):
            p = kernel_rows(graph, np.full(30, sigma), kernel)
            assert np.isfinite(p.data).all()
            np.testing.assert_allclose(p.sum(axis=1), 1)
