"""The search against distances written out in full; duplicates, ties, and rows on their own."""

import pickle
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsTransformer

from iconlearn.neighbors import (
    _equal_rows,
    check_metric,
    distance_block,
    duplicate_groups,
    equal_rows,
    knn,
    neighbor_graph,
    pair_distances,
)
from iconlearn.neighbors._distances import PYNNDESCENT_ONLY
from iconlearn.supervisory import KNN, Gaussian


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(120, 6))


def reference(A, B, k, metric, own):
    D = cdist(A, B, metric.replace("manhattan", "cityblock"))
    if own:
        np.fill_diagonal(D, np.inf)
    order = np.argsort(D, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(D, order, axis=1), order


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "chebyshev"])
@pytest.mark.parametrize("queries", [False, True])
def test_knn_is_exact(X, metric, queries):
    Q = np.random.default_rng(1).normal(size=(17, 6)) if queries else None
    distances, indices = knn(X, 7, metric=metric, queries=Q)
    expected, order = reference(X if Q is None else Q, X, 7, metric, Q is None)
    np.testing.assert_allclose(distances, expected, atol=1e-14)
    np.testing.assert_array_equal(indices, order)
    assert distances.dtype == np.float64 and indices.dtype == np.int64


def test_callable_metric(X):
    d, i = knn(X[:30], 4, metric=lambda a, b: np.abs(a - b).sum())
    expected, order = reference(X[:30], X[:30], 4, "cityblock", True)
    np.testing.assert_allclose(d, expected)
    np.testing.assert_array_equal(i, order)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("form", [csr_array, csr_matrix])
def test_sparse_equals_dense(X, metric, form):
    X = np.where(np.abs(X) > 1, X, 0.0)
    dense, sparse = knn(X, 5, metric=metric), knn(form(X), 5, metric=metric)
    np.testing.assert_allclose(dense[0], sparse[0], atol=1e-12)
    new = knn(form(X), 5, metric=metric, queries=form(X[:9] * 1.5))
    np.testing.assert_allclose(new[0], knn(X, 5, metric=metric, queries=X[:9] * 1.5)[0], atol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_dense_queries_against_sparse_rows_and_the_other_way(X, metric):
    X = np.where(np.abs(X) > 1, X, 0.0)
    Q = X[:9] * 1.5
    expected = knn(X, 5, metric=metric, queries=Q)[0]
    for rows, new in ((csr_array(X), Q), (X, csr_array(Q))):
        distances, indices = knn(rows, 5, metric=metric, queries=new)
        np.testing.assert_allclose(distances, expected, atol=1e-12)
        block = distance_block(new, rows, metric=metric)
        np.testing.assert_allclose(np.take_along_axis(block, indices, axis=1), expected, atol=1e-12)
    assert (equal_rows(X[:4], csr_array(X)) == equal_rows(X[:4], X)).all()


def test_self_is_excluded_by_index_and_duplicates_stay():
    X = np.repeat(np.random.default_rng(0).normal(size=(5, 3)), 8, axis=0)
    distances, indices = knn(X, 7)
    assert not (indices == np.arange(40)[:, None]).any()
    np.testing.assert_array_equal(distances, 0.0)
    np.testing.assert_array_equal(indices // 8, np.repeat(np.arange(40) // 8, 7).reshape(40, 7))
    few = knn(X, 3)[1]
    assert not (few == np.arange(40)[:, None]).any() and (few // 8 == np.arange(40)[:, None] // 8).all()


def test_far_from_the_origin_and_float32(X):
    expected = knn(X, 5)[0]
    np.testing.assert_allclose(knn(X + 1e7, 5)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(knn(X.astype(np.float32), 5)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(distance_block(X + 1e7, X + 1e7), cdist(X, X), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales(X, scale):
    d, i = knn(X * scale, 5)
    expected = knn(X, 5)
    np.testing.assert_allclose(d / scale, expected[0], rtol=1e-12)
    np.testing.assert_array_equal(i, expected[1])


@pytest.mark.parametrize("scale", [1e-25, 1e25])
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_scales_whose_squares_single_precision_has_not(X, form, scale):
    rows = np.round(4 * X).astype(np.float32)
    expected = knn(rows, 5)
    d, i = knn(form(rows * np.float32(scale)), 5)
    np.testing.assert_allclose(d / scale, expected[0], rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows[:, None] - rows[i], axis=2), expected[0], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_a_query_does_not_depend_on_its_batch_even_among_ties(dtype, metric):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, size=(400, 5)).astype(dtype)
    Q = rng.integers(0, 3, size=(12, 5)).astype(dtype)
    distances, indices = knn(X, 6, metric=metric, queries=Q)
    for row in range(12):
        d, i = knn(X, 6, metric=metric, queries=Q[[row]])
        np.testing.assert_array_equal(d[0], distances[row])
        np.testing.assert_array_equal(i[0], indices[row])
    order = np.argsort(np.round(cdist(Q, X, metric.replace("manhattan", "cityblock")), 9), kind="stable")
    if metric != "cosine":  # rows of zeros differ there
        np.testing.assert_array_equal(indices, order[:, :6])


def test_cosine_with_rows_of_zeros_is_finite(X):
    X[3] = 0.0
    d, _ = knn(X, 5, metric="cosine")
    assert np.isfinite(d).all() and np.all(d[3] == 1.0)
    assert np.isfinite(distance_block(X, X, metric="cosine")).all()


def test_distance_block_and_pairs_agree_with_cdist(X):
    X[1] = X[0] + 1e-9
    for metric in ("euclidean", "cosine"):
        block = distance_block(X, X[:30], metric=metric)
        np.testing.assert_allclose(block, cdist(X, X[:30], metric), atol=1e-12)
        i, j = np.indices(block.shape).reshape(2, -1)
        pairs = pair_distances(X, X[:30], i, j, metric=metric)
        np.testing.assert_allclose(pairs, block.ravel(), rtol=1e-9, atol=1e-300)
    assert pair_distances(X, X, [0], [1])[0] == pytest.approx(1e-9 * np.sqrt(6), rel=1e-6)
    assert distance_block(X, X)[0, 1] == pytest.approx(1e-9 * np.sqrt(6), rel=1e-6)
    assert np.all(np.diagonal(distance_block(X, X)) == 0)
    np.testing.assert_allclose(distance_block(X, X, metric="cityblock"), cdist(X, X, "cityblock"))


def test_graph_keeps_zero_distances():
    X = np.repeat(np.arange(4.0)[:, None], 2, axis=0)
    graph = neighbor_graph(X, 2)
    assert graph.nnz == 16 and graph.shape == (8, 8)
    assert (graph.data.reshape(8, 2)[:, 0] == 0).all()


def test_precomputed_dense_and_sparse_agree_with_the_search(X):
    D = cdist(X, X)
    expected = knn(X, 6)
    for source in (D, KNeighborsTransformer(mode="distance", n_neighbors=10).fit_transform(X)):
        d, i = knn(source, 6, metric="precomputed")
        np.testing.assert_allclose(d, expected[0], atol=1e-7)
        np.testing.assert_array_equal(i, expected[1])
    Q = X[:5] + 0.01
    d, i = knn(D, 6, metric="precomputed", queries=cdist(Q, X))
    np.testing.assert_array_equal(i, knn(X, 6, queries=Q)[1])
    graph = neighbor_graph(
        csr_array(np.array([[0, 1.0, 0], [1, 0, 2], [0, 2, 0]])), None, metric="precomputed"
    )
    assert list(np.diff(graph.indptr)) == [1, 2, 1]
    with pytest.raises(ValueError, match="fewer than k=2"):
        knn(graph, 2, metric="precomputed")


def test_sparse_distances_keep_duplicates_and_drop_self():
    graph = csr_array(
        (
            np.array([0.0, 0.0, 2.0, 0.0, 0.0, 1.0]),
            np.array([0, 1, 2, 0, 1, 0]),
            np.array([0, 3, 5, 6]),
        ),
        shape=(3, 3),
    )
    kept = neighbor_graph(graph, None, metric="precomputed")
    assert list(kept.indices) == [1, 2, 0, 0] and list(kept.data) == [0.0, 2.0, 0.0, 1.0]
    assert graph.nnz == 6


@pytest.mark.parametrize("metric", ["correlation", lambda a, b: 1.0 if a.any() and b.any() else np.nan])
def test_distances_that_are_not_defined_are_refused(X, metric):
    X = np.vstack([X, np.zeros((2, 6))])
    with pytest.raises(
        ValueError, match=r"gives NaN for the distance of row 12[01] and row \d+ .*; leave such rows"
    ):
        knn(X, 5, metric=metric)
    with pytest.raises(ValueError, match="gives NaN for the distance of new row 2 and training row"):
        neighbor_graph(X[:100], 5, metric="correlation", queries=X[[3, 4, 120]])


def test_cosine_and_undefined_pairs_that_no_row_needs(X):
    """Rows of zeros are at distance 1 for the cosine; for Bray-Curtis two of them are alike by no measure."""
    X = np.vstack([np.abs(X), np.zeros((2, 6))])
    distances, _ = knn(X, 5, metric="cosine")
    np.testing.assert_array_equal(distances[-2:], 1.0)
    assert np.isfinite(knn(X, 5, metric="braycurtis")[0]).all()


def test_unknown_metric_names_the_nearest():
    with pytest.raises(ValueError, match='"euclidean"'):
        check_metric("euclidian")
    with pytest.raises(ValueError, match="StandardScaler"):
        check_metric("seuclidean")


@pytest.mark.slow
def test_approximate_search_by_pynndescent(X):
    exact = reference(X, X, 5, "euclidean", True)
    d, i = knn(X, 5, backend="pynndescent", random_state=0)
    assert not (i == np.arange(120)[:, None]).any() and (i >= 0).all()
    assert np.mean([len(set(a) & set(b)) for a, b in zip(i, exact[1])]) > 4.5
    np.testing.assert_allclose(d, np.take_along_axis(cdist(X, X), i, axis=1), atol=1e-12)
    again = knn(X, 5, backend="pynndescent", random_state=0)
    np.testing.assert_array_equal(i, again[1])
    new = knn(X, 5, queries=X[:4] + 0.1)
    np.testing.assert_array_equal(new[1], reference(X[:4] + 0.1, X, 5, "euclidean", False)[1])


def test_failed_rows_of_the_approximate_search_are_repaired(X, monkeypatch):
    class Broken:
        def __init__(self, X, n_neighbors, **kwargs):
            D = cdist(X, X)
            indices = np.argsort(D, axis=1)[:, :n_neighbors].astype(np.int32)
            indices[::7, 2:] = -1
            self.neighbor_graph = indices, np.take_along_axis(D, indices, axis=1).astype(np.float32)

    # A stand-in for the library, whose import takes long.
    monkeypatch.setitem(sys.modules, "pynndescent", SimpleNamespace(NNDescent=Broken))
    np.testing.assert_array_equal(
        knn(X, 5, backend="pynndescent")[1], reference(X, X, 5, "euclidean", True)[1]
    )


@pytest.mark.slow
def test_metric_of_pynndescent_only(X):
    from pynndescent.distances import named_distances

    assert set(PYNNDESCENT_ONLY) <= set(named_distances)
    d, i = knn(np.abs(X), 4, metric="hellinger", random_state=0)
    block = distance_block(np.abs(X), np.abs(X), metric="hellinger")
    np.testing.assert_allclose(d, np.take_along_axis(block, i, axis=1), atol=1e-3)
    new, _ = knn(np.abs(X), 4, metric="hellinger", queries=np.abs(X[:3]))
    assert np.allclose(new[:, 0], 0, atol=1e-3)


def test_rows_with_the_same_print_are_compared(X, monkeypatch):
    monkeypatch.setattr(_equal_rows, "_prints", lambda X: np.zeros(X.shape[0], np.uint64))
    np.testing.assert_array_equal(equal_rows(X[[0, 3]], X), [0, -1])
    assert len(set(duplicate_groups(X))) == len(X)


@pytest.mark.parametrize("form", [np.array, csr_array])
def test_equal_rows(X, form):
    X[:, 0] = 0.0
    X[9] = X[4]
    Q = np.vstack([X[9], X[2] * (1 + 1e-15), X[7], np.ones(6)])
    Q[2, 0] = -0.0
    np.testing.assert_array_equal(equal_rows(form(Q), form(X)), [4, -1, 7, -1])
    np.testing.assert_array_equal(equal_rows(X.astype(np.float32), X.astype(np.float32))[[4, 9]], 4)


@pytest.mark.parametrize("form", [np.array, csr_array])
def test_duplicate_groups(form):
    X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, -0.0], [0.0, 2.0], [3.0, 3.0]])
    np.testing.assert_array_equal(duplicate_groups(form(X)), [0, 1, 0, 1, 2])


@pytest.mark.parametrize("equal", [False, True])
def test_groups_in_several_blocks(X, equal, monkeypatch):
    monkeypatch.setattr(_equal_rows, "PRINT_BLOCK", 50)
    if equal:
        X[[7, 60, 119]] = X[7]
    _, first, expected = np.unique(X, axis=0, return_index=True, return_inverse=True)
    expected = np.argsort(np.argsort(first))[expected.ravel()]
    found = duplicate_groups(X)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        equal_rows(X[100:], X), np.where(equal & (np.arange(100, 120) == 119), 7, np.arange(100, 120))
    )


def test_inputs_are_left_alone(X):
    before = X.copy()
    X.setflags(write=False)
    S = csr_array(np.where(X > 0, X, 0))
    copy = pickle.loads(pickle.dumps(S))
    for source in (X, S):
        (
            knn(source, 3),
            knn(source, 3, queries=source),
            duplicate_groups(source),
            equal_rows(source, source),
        )
        knn(source, 3, metric="cosine")
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(S.indices, copy.indices)
    np.testing.assert_array_equal(S.data, copy.data)


def test_sparse_rows_that_are_not_tidy_are_left_alone(X):
    tidy = csr_array(np.where(X > 0, X, 0))
    halves = csr_array(
        (np.repeat(tidy.data / 2, 2), np.repeat(tidy.indices, 2), 2 * tidy.indptr), shape=X.shape
    )
    for part in (halves.data, halves.indices, halves.indptr):
        part.flags.writeable = False
    for metric in ("euclidean", "manhattan"):
        np.testing.assert_array_equal(knn(halves, 3, metric=metric), knn(tidy, 3, metric=metric))
    assert halves.nnz == 2 * tidy.nnz


@pytest.mark.parametrize(
    "metric", ["hellinger", "jaccard", "correlation", "chebyshev", "canberra", "true_angular"]
)
@pytest.mark.parametrize("backend", ["auto", "exact", "pynndescent"])
def test_metrics_of_dense_rows_refuse_sparse_ones_in_the_fit_and_afterwards(X, metric, backend):
    S = csr_array(np.abs(X))
    with pytest.raises(ValueError, match=rf"{metric}.*dense rows only.*toarray.*'manhattan'"):
        knn(S, 5, metric=metric, backend=backend)
    with pytest.raises(ValueError, match="dense rows only"):
        distance_block(S, S, metric=metric)
    for p in (
        KNN(5, metric=metric),
        Gaussian(5, metric=metric, n_neighbors=None),
        Gaussian(sigma=1, metric=metric),
    ):
        with pytest.raises(ValueError, match="dense rows only"):
            p.fit(S)


@pytest.mark.parametrize("metric", ["manhattan", "cityblock", "l1", "cosine", "l2"])
def test_metrics_of_sparse_rows_answer_for_new_ones(X, metric):
    S = csr_array(np.where(X > 0, X, 0))
    found = KNN(5, metric=metric).fit(S).extend(S[:7] * 1.5)
    assert (
        found.sparse() != KNN(5, metric=metric).fit(S.toarray()).extend(S[:7].toarray() * 1.5).sparse()
    ).nnz == 0


@pytest.mark.parametrize("metric", ["jaccard", "dice", "rogerstanimoto", "russellrao", "yule"])
@pytest.mark.parametrize("dtype", [bool, np.float32, np.int64])
def test_metrics_of_booleans_take_zeros_and_ones_without_a_warning(metric, dtype):
    B = np.random.default_rng(0).random((60, 12)) > 0.5
    expected, order = knn(B, 5, metric=metric)
    np.testing.assert_allclose(expected, np.take_along_axis(cdist(B, B, metric), order, axis=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distances, _ = knn(B.astype(dtype), 5, metric=metric)
        new, _ = knn(B.astype(dtype), 5, metric=metric, queries=B[:4].astype(dtype))
        block = distance_block(B.astype(dtype), B.astype(dtype), metric=metric)
    np.testing.assert_allclose(distances, expected)
    np.testing.assert_allclose(new[:, 1:], expected[:4, :4])
    np.testing.assert_allclose(block, cdist(B, B, metric))
    with pytest.warns(match="converted to boolean"):
        knn(3.0 * B, 5, metric=metric)


@pytest.mark.parametrize("form", [np.array, csr_array])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_no_numbers_are_refused(X, form, bad):
    broken = X.copy()
    broken[3, 4] = bad
    with pytest.raises(ValueError, match="X holds NaN or infinity"):
        knn(form(broken), 3)
    with pytest.raises(ValueError, match="queries holds NaN or infinity"):
        knn(form(X), 3, queries=form(broken))


def test_numbers_whose_sum_overflows_are_no_infinities(X):
    huge = np.abs(X[:20]).astype(np.float32) * np.float32(1e38)
    assert np.isfinite(knn(huge, 3, metric="chebyshev")[0]).all()


def test_counts_and_shapes_that_do_not_fit_are_named(X):
    for k in (0, -1, 2.5):
        with pytest.raises((ValueError, TypeError), match="k="):
            knn(X, k)
    with pytest.raises(ValueError, match="k=120 neighbours are more than the 119 other rows"):
        knn(X, 120)
    with pytest.raises(ValueError, match="k=121 neighbours are more than the 120 rows"):
        knn(X, 121, queries=X[:3])
    with pytest.raises(ValueError, match="queries have 5 columns, and X has 6"):
        knn(X, 3, queries=X[:3, :5])
    with pytest.raises(ValueError, match="X has 1 axes"):
        knn(X[:, 0], 3)
