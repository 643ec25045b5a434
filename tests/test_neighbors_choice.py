"""Which search is taken, how to choose it, and that the choice is seen."""

import pickle
import sys
from types import SimpleNamespace

import numba
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.neighbors import NearestNeighbors

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.neighbors import (
    PreparedRows,
    _exact,
    _products,
    _search,
    choose_backend,
    knn,
    neighbor_graph,
)
from iconlearn.supervisory import (
    KNN,
    Debias,
    Gaussian,
    Precomputed,
    Student,
    Symmetrize,
    Walk,
    WideGaussian,
)


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(300, 6))


def rows(n):
    """An X of n rows that takes no memory."""
    return SimpleNamespace(shape=(n, 50))


@pytest.mark.parametrize("metric", ["euclidean", "l2", "cosine"])
@pytest.mark.parametrize(
    ("n", "on_cpu", "on_cuda"),
    [
        (100, "exact", "exact"),
        (15_000, "exact", "exact"),
        (15_001, "ivf", "exact"),
        (200_000, "ivf", "exact"),
        (200_001, "ivf", "ivf"),
    ],
)
def test_the_size_decides(metric, n, on_cpu, on_cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    for cuda, expected in ((False, on_cpu), (True, on_cuda)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        assert choose_backend(rows(n), metric=metric) == expected


def test_an_estimator_on_the_cpu_searches_there(monkeypatch):
    asked = []
    whole = _search.exact_search

    def noted(*arguments):
        *others, device, prepared = arguments
        asked.append(device)
        return whole(*others, torch.device("cpu"), prepared)

    monkeypatch.setattr(_search, "MAX_EXACT", 50)
    monkeypatch.setattr(_search, "exact_search", noted)
    data = np.random.default_rng(0).normal(size=(60, 4))
    model = ICONEmbedding(max_iter=2, device="cpu").fit(data)
    # As if there were a GPU from now on; no call may reach it.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    model.fit(data)
    assert model.neighbors_backend_ == "ivf"
    model.transform(data[:3] + 1)
    ICONClustering(2, device="cpu").fit(data).predict(data[:3] + 1)
    assert {device.type for device in asked} == {"cpu"}
    model.set_params(device="auto").transform(data[:3] + 1)
    assert asked[-1].type == "cuda"


def test_the_metric_and_the_form_decide():
    compiled = numba.njit(lambda a, b: 0.0)
    sparse = csr_array((50_000, 3))
    assert choose_backend(rows(40_000), metric="manhattan") == "exact"
    assert choose_backend(rows(40_001), metric="manhattan") == "pynndescent"
    assert choose_backend(rows(40_000), metric=lambda a, b: 0.0) == "exact"
    with pytest.raises(ValueError, match=r"plain Python function.*at most 40000 rows.*numba"):
        choose_backend(rows(40_001), metric=lambda a, b: 0.0)
    assert choose_backend(rows(40_001), metric=compiled) == "pynndescent"
    assert choose_backend(sparse[:40_000]) == "exact"
    assert choose_backend(sparse) == "pynndescent"
    assert choose_backend(rows(10), metric="hellinger") == "pynndescent"
    assert choose_backend(sparse, metric="precomputed", backend="ivf") == "precomputed"


def test_a_backend_that_does_not_serve_is_refused(X):
    with pytest.raises(ValueError, match=r"backend='ivf'.*sparse X.*backend='auto'"):
        knn(csr_array(X), 5, backend="ivf")
    with pytest.raises(ValueError, match=r"backend='faiss'.*metric='manhattan'"):
        knn(X, 5, metric="manhattan", backend="faiss")
    with pytest.raises(ValueError, match=r"backend='exakt'.*\"exact\""):
        knn(X, 5, backend="exakt")


def test_the_chosen_search_is_the_one_that_runs(X, monkeypatch):
    taken = []
    for name in ("exact_search", "search_cells"):
        original = getattr(_search, name)
        monkeypatch.setattr(
            _search, name, lambda *a, name=name, run=original, **k: taken.append(name) or run(*a, **k)
        )
    knn(X, 5)
    knn(X, 5, backend="ivf")
    for bound in ("MAX_EXACT", "MAX_EXACT_CUDA"):
        monkeypatch.setattr(_search, bound, 200)
    neighbor_graph(X, 5)
    neighbor_graph(X, 5, backend="exact")
    knn(X, 5, queries=X[:3], backend="ivf")
    assert taken == ["exact_search", "search_cells", "search_cells", "exact_search", "exact_search"]


@pytest.mark.parametrize(
    "make", [lambda **k: KNN(5, **k), lambda **k: Gaussian(5, **k), lambda **k: Student(5, **k)]
)
def test_a_p_takes_the_search_and_shows_it(make, X, monkeypatch):
    monkeypatch.setattr("iconlearn.neighbors._inverted_lists.RECALL", 0.5)
    exact, cells = (make(search=search).fit(X, random_state=0) for search in ("auto", "ivf"))
    assert exact.neighbors_backend_ == "exact" and cells.neighbors_backend_ == "ivf"
    assert (exact.conditional_.edges != cells.conditional_.edges).nnz > 0
    with pytest.raises(ValueError, match="backend='brute'"):
        make(search="brute").fit(X)


def test_what_is_shown_where_nothing_is_searched(X):
    D = np.abs(X[:, :1] - X[:, 0])
    assert KNN(5, metric="precomputed").fit(D).neighbors_backend_ == "precomputed"
    assert Gaussian(5, n_neighbors=None).fit(X).neighbors_backend_ == "none"
    for wrapper in (Debias, Walk, Symmetrize):
        assert wrapper(KNN(5)).fit(X).neighbors_backend_ == "exact"
        assert not hasattr(wrapper(Precomputed()).fit(np.eye(4)[::-1].copy()), "neighbors_backend_")


def test_faiss(X):
    pytest.importorskip("faiss")
    distances, indices = knn(X, 5, backend="faiss", random_state=0)
    expected, order = knn(X, 5)
    assert (indices == order).mean() > 0.95 and not (indices == np.arange(300)[:, None]).any()
    np.testing.assert_array_equal(distances[indices == order], expected[indices == order])
    np.testing.assert_array_equal(knn(X, 5, backend="faiss", random_state=0)[1], indices)


def test_without_faiss_the_mend_is_named(X, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="pip install faiss-cpu"):
        knn(X, 5, backend="faiss")


@pytest.mark.parametrize("backend", ["pynndescent", "faiss"])
@pytest.mark.parametrize("form", [np.array, csr_array])
def test_rows_that_a_library_left_unfinished_are_searched_exactly(backend, form, X, monkeypatch):
    if backend == "faiss" and form is csr_array:
        pytest.skip("faiss takes no sparse rows")
    expected = knn(form(X), 5)
    whole = np.column_stack([np.arange(300), expected[1]])
    whole[::7, 2:] = -1
    whole[5] = -1
    monkeypatch.setattr(_search, "faiss_search", lambda space, k, seed: whole.copy())
    monkeypatch.setattr(
        _search,
        "pynndescent_search",
        lambda X, k, metric, n_jobs, random_state: (np.zeros(whole.shape), whole.copy()),
    )
    distances, indices = knn(form(X), 5, backend=backend)
    np.testing.assert_array_equal(indices, expected[1])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-12)


@pytest.mark.parametrize("queries", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_what_single_precision_leaves_open_is_settled(metric, queries, monkeypatch):
    rng = np.random.default_rng(0)
    # Directions and places of a tight cluster beside a far one: the products of float32 see one point.
    X = np.vstack([1.0 + 1e-7 * rng.normal(size=(80, 4)), 100 * rng.normal(size=(80, 4))])
    Q = X[:40] + 1e-8 * rng.normal(size=(40, 4)) if queries else None
    dtypes = []
    original = _exact.nearest
    monkeypatch.setattr(
        _exact, "nearest", lambda columns, *a, **k: dtypes.append(columns.dtype) or original(columns, *a, **k)
    )
    indices = knn(X, 6, metric=metric, queries=Q)[1]
    assert dtypes == [torch.float32, torch.float64]
    A = X if Q is None else Q
    unit = lambda B: B / np.linalg.norm(B, axis=1, keepdims=True) if metric == "cosine" else B  # noqa: E731
    D = np.sqrt(((unit(A)[:, None] - unit(X)) ** 2).sum(axis=2))
    if Q is None:
        np.fill_diagonal(D, np.inf)
    np.testing.assert_array_equal(indices, np.argsort(D, axis=1, kind="stable")[:, :6])


def test_lowered_precision_of_products_is_noticed(X, monkeypatch):
    exact = knn(X, 5)[1]
    errors = []
    for setting in ("highest", "high", "medium"):
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda setting=setting: setting)
        errors.append(_products.product_error(1.0, 1.0, 6, torch.float32))
        np.testing.assert_array_equal(knn(X, 5)[1], exact)
    assert errors[0] < 1e-5 < errors[1] < errors[2] and errors[0] > _products.product_error(
        1.0, 1.0, 6, torch.float64
    )


@pytest.mark.skipif(
    not hasattr(torch.backends.mkldnn, "matmul"), reason="this torch has no setting by backend"
)
def test_precision_by_backend_is_read_there(X):
    """Torch refuses the question for all devices once the setting of one was changed."""
    exact = knn(X, 5)[1]
    plain = _products.product_error(1.0, 1.0, 6, torch.float32)
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        np.testing.assert_array_equal(knn(X, 5)[1], exact)
        np.testing.assert_array_equal(knn(X, 5, queries=X[:9])[1][:, 0], np.arange(9))
        assert _products.product_error(1.0, 1.0, 6, torch.float32) == plain
        coarser = _products.product_error(1.0, 1.0, 6, torch.float32, "cuda")
        assert coarser == plain * 2**13
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        assert _products.product_error(1.0, 1.0, 6, torch.float32) == plain * 2**16
        np.testing.assert_array_equal(knn(X, 5)[1], exact)
    finally:
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_a_batch_are_bit_identical_to_rows_alone(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 50)).astype(dtype)
    X[2500:] = X[:2500]  # every neighbour twice: ties everywhere
    Q = np.vstack([X[:20] + dtype(1e-3), rng.normal(size=(60, 50))]).astype(dtype)
    distances, indices = knn(X, 15, queries=Q)
    for at in (slice(0, 1), slice(3, 40), slice(77, 80)):
        part = knn(X, 15, queries=Q[at])
        np.testing.assert_array_equal(part[0], distances[at])
        np.testing.assert_array_equal(part[1], indices[at])


def test_torch_keeps_its_threads(X):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = knn(X, 5), knn(X, 5, backend="ivf", random_state=0)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        one = knn(X, 5), knn(X, 5, backend="ivf", random_state=0)
        np.testing.assert_array_equal(one, two)
    finally:
        torch.set_num_threads(before)


def sklearn_neighbors(X, queries, metric):
    search = NearestNeighbors(n_neighbors=3, metric=metric, algorithm="brute").fit(X.astype(float))
    return search.kneighbors(queries.astype(float))


def test_a_search_sees_the_array_at_hand(X):
    rng = np.random.default_rng(0)
    for rows in (X, X * rng.normal(size=X.shape), X[: len(X) // 2]):
        for metric in ("euclidean", "cosine", "euclidean"):
            _, found = knn(rows, 3, metric=metric, queries=X[:7])
            _, true = sklearn_neighbors(rows, X[:7], metric)
            np.testing.assert_array_equal(found, true)


def changes(X):
    """What users do to an array in place."""
    yield np.copyto, X * np.array([1e3, 1, 1, 1, 1, 1e-3])
    yield np.copyto, (X - X.mean(0)) / X.std(0)
    column = X.copy()
    column[:, 0] = 0.0
    yield np.copyto, column
    yield np.copyto, np.random.default_rng(5).normal(size=X.shape)


@pytest.mark.parametrize("form", [np.array, csr_array])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_a_search_sees_the_numbers_that_are_in_the_array_now(form, metric, X):
    buffer = form(X)
    for change, new in changes(X):
        knn(buffer, 3, metric=metric)
        change(buffer if form is np.array else buffer.data.reshape(X.shape), new)
        fresh = knn(form(new), 3, metric=metric), knn(form(new), 3, metric=metric, queries=new[:9] + 0.1)
        again = knn(buffer, 3, metric=metric), knn(buffer, 3, metric=metric, queries=new[:9] + 0.1)
        np.testing.assert_array_equal(again[0], fresh[0])
        np.testing.assert_array_equal(again[1], fresh[1])


FITS = {
    "map": lambda: ICONEmbedding(max_iter=3, random_state=0),
    "gaussian map": lambda: ICONEmbedding(p="gaussian", max_iter=3, random_state=0),
    "linear map": lambda: ICONEmbedding(p=Symmetrize(KNN(5)), mapper="linear", max_iter=3, random_state=0),
    "clusters": lambda: ICONClustering(3, n_init=1, random_state=0, max_iter=3),
    "few labels": lambda: ICONClassifier(unlabeled=-1, random_state=0),
}


@pytest.mark.parametrize("name", FITS)
def test_a_second_fit_of_an_array_changed_in_place_sees_the_new_numbers(name, X):
    if name == "few labels":
        X = X[:100]
    y = np.where(np.arange(len(X)) < 20, np.arange(len(X)) % 2, -1)
    # A fit of few labels takes a second, and is of the same p.
    for change, new in [*changes(X)][: 1 if name == "few labels" else 3]:
        buffer = X.copy()
        FITS[name]().fit(buffer, y)
        change(buffer, new)
        again, fresh = (FITS[name]().fit(rows, y) for rows in (buffer, new.copy()))
        assert again.loss_ == fresh.loss_
        np.testing.assert_array_equal(again.p_.conditional_.row_mass, fresh.p_.conditional_.row_mass)
        ask = "predict_proba" if hasattr(again, "predict_proba") else "transform"
        np.testing.assert_array_equal(getattr(again, ask)(new + 0.1), getattr(fresh, ask)(new + 0.1))


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("form", [np.array, csr_array, torch.tensor])
def test_a_fitted_model_does_not_change_with_the_array_that_it_was_fitted_to(name, form, X):
    if form is torch.tensor and name == "few labels":
        pytest.skip("y is no tensor here")
    if name == "few labels":
        X = X[:100]
    y = np.where(np.arange(len(X)) < 20, np.arange(len(X)) % 2, -1)
    buffer = form(X)
    model = FITS[name]().fit(buffer, y)
    ask = getattr(model, "predict_proba" if hasattr(model, "predict_proba") else "transform")
    new = form(np.vstack([X[:5], X[5:10] + 0.1]))
    before = np.asarray(ask(new))
    for value in (7.0, -3.0):
        (buffer.data if form is csr_array else buffer)[...] = value
        np.testing.assert_array_equal(ask(new), before)


@pytest.mark.parametrize(
    "p",
    [KNN(5), Gaussian(5), Gaussian(sigma=1.0), Student(5), Debias(Walk(KNN(5))), WideGaussian()],
    ids=repr,
)
def test_a_fitted_p_does_not_change_with_its_array_and_keeps_no_second_copy(p, X):
    buffer, new = X.copy(), X[:4] + 0.1
    expected = p.fit(X.copy()).extend(new)
    block = expected.block() if expected.dense else expected.sparse().toarray()
    p.fit(buffer)
    buffer[:] = 7.0
    found = p.extend(new)
    np.testing.assert_array_equal(found.block() if found.dense else found.sparse().toarray(), block)
    # What cannot change need not be copied.
    X.flags.writeable = False
    inner = p
    while hasattr(inner.fit(X), "p_"):
        inner = inner.p_
    assert inner._X is X


def test_prepared_rows_answer_as_the_rows_do_and_are_no_part_of_a_pickle(X):
    for metric in ("euclidean", "cosine", "manhattan"):
        prepared = PreparedRows(X, metric)
        for queries in (X[:3] + 0.1, X[7:8] + 0.2):
            np.testing.assert_array_equal(
                knn(X, 4, metric=metric, queries=queries, prepared=prepared),
                knn(X, 4, metric=metric, queries=queries),
            )
    p = KNN(5).fit(X)
    p.extend(X[:1] + 0.1)
    assert "_prepared" in vars(p)
    assert "_prepared" not in vars(pickle.loads(pickle.dumps(p)))
    # A second fit forgets them.
    p.fit(2 * X)
    np.testing.assert_array_equal(
        p.extend(2 * X[:4]).edges.indices, KNN(5).fit(2 * X).extend(2 * X[:4]).edges.indices
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_that_are_kept_lie_in_memory_as_they_did(order, X):
    rows = np.asarray(X, order=order)
    kept = KNN(5).fit(rows)._X
    assert kept is not rows and kept.strides == rows.strides and not kept.flags.writeable
    np.testing.assert_array_equal(kept, rows)
