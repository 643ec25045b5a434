"""Starts: the right subspace, the right scale, noise where the data has nothing to say."""

import tracemalloc

import numpy as np
import pytest
import torch
from reference import random_rows
from scipy.sparse import block_diag, csr_array, diags_array, random_array
from sklearn.decomposition import PCA

from iconlearn.initialization import _places
from iconlearn.initialization._places import SPREAD, initial_places, principal_axes
from iconlearn.mappers import Linear
from iconlearn.neighbors import _rows

N = 70
X = np.random.default_rng(0).normal(size=(N, 6)) * [5, 3, 1, 1, 1, 1] + 10


def start(init, X=X, edges=None, n_components=2, seed=0, **more):
    graph = csr_array(random_rows(N, density=0.2)) if edges is None else edges
    return initial_places(init, X, lambda: graph, n_components, np.random.RandomState(seed), **more)


def correlations(a, b):
    return np.abs([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T)])


@pytest.mark.parametrize("scale", [SPREAD, 2.0])
@pytest.mark.parametrize("init", ["pca", "spectral", "random"])
def test_scale_and_seed(init, scale):
    Z = start(init, scale=scale)
    assert Z.shape == (N, 2) and Z[:, 0].std() == pytest.approx(scale)
    np.testing.assert_array_equal(Z, start(init, scale=scale))
    if init == "random":
        assert np.abs(Z - start(init, scale=scale, seed=1)).max() > 0.1 * scale


def test_rows_are_not_copied_in_double_precision(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(20_000, 20)).astype(np.float32) * np.arange(
        20, 0, -1, np.float32
    )
    expected = start("pca", rows.astype(float))
    monkeypatch.setattr(_places, "BLOCK_SIZE", 2**14)
    tracemalloc.start()
    places = start("pca", rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(places, expected, atol=1e-5 * SPREAD)
    assert peak < 2 * rows.nbytes


def test_pca_is_that_of_scikit_learn():
    theirs = PCA(2).fit_transform(X)
    ours = start("pca")
    np.testing.assert_allclose(correlations(ours, theirs), 1, atol=1e-8)
    assert ours[:, 1].std() / ours[:, 0].std() == pytest.approx(
        theirs[:, 1].std() / theirs[:, 0].std(), rel=1e-6
    )
    np.testing.assert_allclose(ours.mean(axis=0), 0, atol=1e-15)


def test_neither_the_start_nor_the_search_holds_all_rows_in_double_precision(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(20_000, 30)).astype(np.float32)
    for module in (_places, _rows):
        monkeypatch.setattr(module, "BLOCK_SIZE", 2**14)
    peaks = []
    for work in (lambda: start("pca", X=rows), lambda: _rows.PreparedRows(rows, "euclidean").points):
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 0.7 * rows.nbytes


def test_pca_of_a_sparse_matrix():
    centred = X - X.mean(axis=0)
    np.testing.assert_allclose(
        correlations(start("pca", csr_array(centred)), start("pca", centred)), 1, atol=1e-5
    )


def test_pca_is_blind_to_the_unit_and_safe_from_overflow():
    for factor in (1e-150, 1e200):
        np.testing.assert_allclose(
            np.abs(start("pca", factor * X)), np.abs(start("pca")), rtol=1e-6, atol=1e-10
        )


def test_spectral_solves_the_eigenvalue_problem():
    edges = csr_array(random_rows(N, density=0.2))
    A = edges.toarray() + edges.toarray().T
    walk = A / A.sum(axis=1, keepdims=True)
    values = np.sort(np.linalg.eigvals(walk).real)[::-1]
    Z = start("spectral", edges=edges)
    for k in range(2):
        z = Z[:, k]
        residual = walk @ z - values[k + 1] * z
        assert np.abs(residual).max() < 1e-2 * np.abs(z).max()


@pytest.mark.parametrize("size", [10, 40])
def test_spectral_separates_two_parts(size):
    part = random_rows(size, self_pairs=False)
    edges = block_diag([part, random_rows(size, self_pairs=False, seed=1)]).tolil()
    edges[0, size] = 0.05
    Z = start("spectral", X=None, edges=csr_array(edges))
    side = np.sign(Z[:, 0] - Z[:, 0].mean())
    assert len(set(side[1:size])) == len(set(side[size + 1 :])) == 1 and side[1] != side[-1]


@pytest.mark.parametrize("size", [40, 300])
@pytest.mark.parametrize("seed", range(4))
def test_spectral_tells_all_parts_of_a_graph_apart(size, seed):
    """Two of three parts have equal eigenvalues; rows of one part do not share one place."""
    ring = diags_array([1.0, 1.0], offsets=[1, 1 - size], shape=(size, size))
    Z = start("spectral", X=None, edges=csr_array(block_diag([ring] * 3)), seed=seed)
    parts = Z.reshape(3, size, 2)
    middles, spread = parts.mean(1), parts.std(1).max()
    gaps = np.linalg.norm(middles[:, None] - middles, axis=2)[np.triu_indices(3, 1)]
    assert gaps.min() > 10 * spread > 0
    assert len(np.unique(Z, axis=0)) == 3 * size


def test_without_features_pca_means_spectral():
    np.testing.assert_array_equal(start("pca", X=None), start("spectral", X=None))


def test_coordinates_that_the_data_cannot_supply_are_faint_noise():
    line = np.outer(np.arange(N, dtype=float), [1.0, 2.0])
    Z = start("pca", line, n_components=4)
    assert Z[:, 0].std() == pytest.approx(SPREAD)
    np.testing.assert_allclose(Z[:, 1:].std(axis=0), SPREAD / 100, rtol=0.4)
    same = start("pca", np.ones((N, 3)))
    np.testing.assert_allclose(same.std(axis=0), SPREAD, rtol=0.4)


def test_an_array_is_taken_as_it_is():
    given = np.arange(2.0 * N).reshape(N, 2)
    Z = start(given)
    np.testing.assert_array_equal(Z, given)
    Z += 1
    assert given[0, 0] == 0
    with pytest.raises(ValueError, match=r"\(70, 3\).*\(70, 2\)"):
        start(np.ones((N, 3)))
    with pytest.raises(ValueError, match="finite"):
        start(np.full((N, 2), np.nan))


def test_an_unknown_name():
    with pytest.raises(ValueError, match="'pac' is not known"):
        start("pac")


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_principal_axes_of_a_scale_whose_squares_single_precision_has_not(scale):
    rows = X.astype(np.float32)
    axes = principal_axes(rows * np.float32(scale), 2, np.random.RandomState(0))
    np.testing.assert_allclose(axes, principal_axes(rows, 2, np.random.RandomState(0)), atol=1e-4)


def test_principal_axes():
    axes = principal_axes(X, 3, np.random.RandomState(0))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-10)
    np.testing.assert_allclose(np.abs(axes @ PCA(3).fit(X).components_.T), np.eye(3), atol=1e-6)
    assert principal_axes(X, 9, np.random.RandomState(0)).shape == (6, 6)
    of_sparse = principal_axes(csr_array(X), 3, np.random.RandomState(0))
    np.testing.assert_allclose(np.abs(of_sparse @ axes.T), np.eye(3), atol=1e-6)
    assert principal_axes(csr_array(X), 9, np.random.RandomState(0)).shape == (6, 6)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_principal_axes_of_sparse_rows_are_those_of_the_rows_at_any_scale(scale, dtype):
    rows = np.round(np.random.default_rng(0).normal(size=(9, 5)))
    sparse_rows = csr_array((rows * scale).astype(dtype))
    axes = principal_axes(sparse_rows, 2, np.random.RandomState(0))
    expected = principal_axes(rows, 2, np.random.RandomState(0))
    np.testing.assert_allclose(axes, expected, atol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_principal_axes_of_few_wide_sparse_rows(scale):
    rows = random_array((40, 3000), density=0.02, rng=0).toarray()
    axes = principal_axes(csr_array(rows * scale), 3, np.random.RandomState(0))
    expected = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(axes @ expected.T), np.eye(3), atol=1e-8)


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("n_components", [2, 9])
def test_places_along_principal_axes_are_those_of_the_cpu(scale, n_components, monkeypatch):
    monkeypatch.setattr(_places, "BLOCK_SIZE", 100)  # several blocks
    rows = X * scale
    here, there = (
        initial_places("pca", rows, None, n_components, np.random.RandomState(0), device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there, here, atol=1e-9 * SPREAD)
    mappers = [Linear().build(6, 2, 0, torch.Generator()).to(device) for device in ("cpu", "cuda")]
    for mapper in mappers:
        _places.start_at_axes(mapper, X, 2, np.random.RandomState(0))
    torch.testing.assert_close(mappers[1].weight.cpu(), mappers[0].weight)


def test_principal_axes_of_equal_wide_sparse_rows_are_the_same_every_time():
    row = random_array((1, 3000), density=0.02, rng=0).toarray()
    for rows in (np.repeat(row, 6, axis=0), np.vstack([row, 2 * row, row, row])):
        first, *others = (principal_axes(csr_array(rows), 2, np.random.RandomState(0)) for _ in range(5))
        assert np.isfinite(first).all()
        for other in others:
            np.testing.assert_array_equal(other, first)
