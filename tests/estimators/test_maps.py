"""Maps as people use them: back to features, with rows added, from a coarse start, with the time it took."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, issparse, random_array
from sklearn.datasets import load_digits, make_blobs
from sklearn.neighbors import KNeighborsClassifier

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term, recipes
from iconlearn.engines import Dense, Mesh
from iconlearn.estimators import _embedding
from iconlearn.initialization import _coarse
from iconlearn.metrics import neighbor_recall
from iconlearn.supervisory import KNN, Debias, Gaussian, Graph, Mix, Symmetrize, Walk
from iconlearn.supervisory.neighborhoods import _graph


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(1200, n_features=8, centers=6, cluster_std=1.5, random_state=0)
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def fitted(blobs):
    return ICONEmbedding(max_iter=150, random_state=0).fit(blobs[0])


# --- back to features ----------------------------------------------------------------------------


def test_the_place_of_a_row_gives_the_row_back(fitted, blobs):
    np.testing.assert_allclose(fitted.inverse_transform(fitted.embedding_), blobs[0], rtol=1e-6)


def test_between_places_lie_rows_between(fitted, blobs):
    X, y = blobs
    centre = fitted.embedding_[y == 2].mean(axis=0)
    row = fitted.inverse_transform(centre[None])
    assert row.shape == (1, 8) and row.dtype == np.float32
    assert np.linalg.norm(X - row, axis=1).argmin() in np.flatnonzero(y == 2)
    far = fitted.inverse_transform([[1e8, 1e8]])
    assert np.isfinite(far).all() and (far >= X.min(axis=0) - 1e-3).all()


def test_equal_places_share_and_sparse_stays_sparse(blobs):
    X = np.repeat(np.where(np.abs(blobs[0][:60]) > 4, blobs[0][:60], 0), 2, axis=0)
    dense = ICONEmbedding(max_iter=20, random_state=0).fit(X)
    np.testing.assert_allclose(dense.inverse_transform(dense.embedding_), X, rtol=1e-5)
    back = ICONEmbedding(max_iter=20, random_state=0).fit(csr_array(X)).inverse_transform(dense.embedding_)
    assert issparse(back) and back.shape == X.shape


def test_a_map_of_another_width_is_refused(fitted):
    with pytest.raises(ValueError, match=r"3 columns.*2 dimensions"):
        fitted.inverse_transform(np.zeros((2, 3)))
    graph = ICONEmbedding(p="graph", max_iter=5, random_state=0).fit(np.ones((9, 9)) - np.eye(9))
    with pytest.raises(ValueError, match="needs features"):
        graph.inverse_transform(graph.embedding_)


# --- rows added ----------------------------------------------------------------------------------


def test_a_warm_start_with_more_rows_keeps_the_old_ones_near(blobs):
    X, y = blobs
    model = ICONEmbedding(max_iter=150, random_state=0, warm_start=True).fit(X[:900])
    before, extent = model.embedding_.copy(), np.ptp(model.embedding_, axis=0).max()
    model.set_params(max_iter=30).fit(X)
    moved = np.linalg.norm(model.embedding_[:900] - before, axis=1)
    assert np.median(moved) < 0.1 * extent
    assert (
        KNeighborsClassifier(5).fit(model.embedding_[:900], y[:900]).score(model.embedding_[900:], y[900:])
        > 0.95
    )
    afresh = ICONEmbedding(max_iter=30, random_state=1, init="random").fit(X)
    assert model.loss_ < afresh.loss_
    model.fit(X[::2])
    assert model.embedding_.shape == (600, 2)


# --- a coarse start ------------------------------------------------------------------------------


def test_spreading_reaches_all_rows_and_holds_the_landmarks():
    n = 40
    chain = csr_array(np.eye(n, k=1))
    rows, places = np.array([0, 13, 26, 39]), np.array([[0.0], [13.0], [26.0], [39.0]])
    found = _coarse.spread_over(chain, rows, places)
    np.testing.assert_array_equal(found[rows], places)
    assert np.abs(found[:, 0] - np.arange(n)).max() < 8
    lonely = _coarse.spread_over(csr_array((5, 5)), rows[:1], places[1:2])
    assert (lonely == 13).all()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_spreading_averages_over_the_edges_of_both_directions(device):
    rng = np.random.default_rng(0)
    edges = random_array((200, 200), density=0.01, format="csr", rng=rng)
    rows, places = np.arange(0, 200, 9), rng.normal(size=(23, 2))
    weights = edges.toarray() + edges.toarray().T
    expected, reached = np.zeros((200, 2)), np.isin(np.arange(200), rows)
    expected[rows] = places
    for _ in range(_coarse.N_SPREADS):
        total = weights @ reached
        mean = weights @ expected / np.where(total > 0, total, 1)[:, None]
        expected = np.where(total[:, None] > 0, mean, expected)
        reached |= total > 0
        expected[rows] = places
    lost = np.flatnonzero(~reached)
    expected[lost] = places[lost % 23]
    before = edges.data.copy(), edges.indices.copy()
    found = _coarse.spread_over(edges, rows, places, torch.device(device))
    assert 0 < len(lost) < 100
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(edges.data, before[0])
    np.testing.assert_array_equal(edges.indices, before[1])


def test_large_maps_start_from_a_coarse_one(monkeypatch):
    X, _ = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    light = {"q": "gaussian", "max_iter": 60, "random_state": 0}
    plain = ICONEmbedding(**light).fit(X)
    chosen = ICONEmbedding(init="coarse", **light).fit(X)
    assert chosen.loss_ < plain.loss_
    assert neighbor_recall(X, chosen.embedding_, 15) > neighbor_recall(X, plain.embedding_, 15)
    monkeypatch.setattr(_embedding, "LARGE", 1000)
    auto = ICONEmbedding(**light).fit(X)
    np.testing.assert_array_equal(auto.embedding_, chosen.embedding_)
    pca = ICONEmbedding(init="pca", **light).fit(X)
    np.testing.assert_array_equal(pca.embedding_, plain.embedding_)


def test_large_maps_of_a_heavy_tail_start_at_principal_axes_and_take_fewer_steps(blobs, monkeypatch):
    X, _ = blobs
    monkeypatch.setattr(_embedding, "LARGE", 1000)
    auto = ICONEmbedding(random_state=0, tol=0).fit(X)
    assert auto.n_iter_ == 120
    pca = ICONEmbedding(init="pca", max_iter=120, random_state=0, tol=0).fit(X)
    np.testing.assert_array_equal(auto.embedding_, pca.embedding_)


def test_maps_whose_loss_falls_go_on(monkeypatch):
    """By default, with the loss that is to fall so far that it always or never does; rows below 1000 do not."""
    X = load_digits().data.astype(np.float32)[:1000]
    monkeypatch.setattr(_embedding, "LARGE", 1000)
    lengths = {}
    for share in (-np.inf, np.inf):
        monkeypatch.setattr(_embedding, "STILL_FALLING", share)
        lengths[share] = ICONEmbedding(tol=0, random_state=0).fit(X).n_iter_
    assert lengths == {-np.inf: 240, np.inf: 120}
    monkeypatch.setattr(_embedding, "STILL_FALLING", -np.inf)
    assert ICONEmbedding(tol=0, max_iter=120, random_state=0).fit(X).n_iter_ == 120
    assert ICONEmbedding(tol=0, random_state=0).fit(X[:999]).n_iter_ == 300


def test_mutual_neighbours_weigh_twice_in_maps_of_many_rows(blobs, monkeypatch):
    """Where p is named only."""
    X, _ = blobs
    monkeypatch.setattr(_graph, "MANY", len(X))
    weights = [
        ICONEmbedding(p=p, max_iter=2, random_state=0).fit(rows).p_.mutual_weight
        for p, rows in (("knn", X), ("knn", X[1:]), (KNN(15), X), ("gaussian", X))
    ]
    assert weights == [2.0, 1.0, 1.0, 1.0]


def test_a_coarse_start_that_cannot_be_says_why(blobs):
    X, y = blobs
    for changes in ({"mapper": "linear", "optimizer": "momentum"}, {"terms": [Term("labels")]}):
        with pytest.raises(ValueError, match="init='coarse' starts from the map of some"):
            ICONEmbedding(init="coarse", max_iter=3, **changes).fit(X, y)


def test_a_p_that_knows_its_rows_has_no_coarse_start(blobs, monkeypatch):
    X, _ = blobs
    monkeypatch.setattr(_embedding, "LARGE", 100)
    given = KNN().fit(X).conditional_.sparse()
    for p in (Graph(given), Debias(Graph(given), 0.1), Mix([KNN(), Graph(given)])):
        found = ICONEmbedding(p=p, q="gaussian", max_iter=5, random_state=0).fit(X)
        np.testing.assert_array_equal(found.embedding_, found.set_params(init="pca").fit(X).embedding_)
        with pytest.raises(ValueError, match="found from features"):
            ICONEmbedding(p=p, init="coarse", max_iter=5).fit(X)
    for p in (
        KNN(),
        Gaussian(30),
        Debias(Walk(KNN(), 2), 0.1),
        Symmetrize(Gaussian(30)),
        Mix([KNN(), Gaussian(30)]),
    ):
        coarse = ICONEmbedding(p=p, q="gaussian", max_iter=5, random_state=0).fit(X)
        assert not np.array_equal(coarse.embedding_, coarse.set_params(init="pca").fit(X).embedding_)


# --- what was chosen, and how long it took ----------------------------------------------------------


def test_choices_and_times_are_told(blobs, capsys):
    X, y = blobs
    model = ICONEmbedding(max_iter=5, random_state=0, verbose=1).fit(X)
    assert isinstance(model.engine_, Mesh) and model.neighbors_backend_ == "exact"
    assert set(model.timings_) == {"supervision", "start", "optimisation"}
    assert all(seconds > 0 for seconds in model.timings_.values())
    told = capsys.readouterr().out
    lines = [line.partition("] ")[2] for line in told.splitlines()]
    for stage in ("supervision", "start"):
        before, after = (line for line in lines if line.startswith(f"{stage}: "))
        assert "expected" in before and "peak memory" in after
    first = next(line for line in lines if "/5: loss" in line)
    assert "s left" in first and any("optimisation: " in line and "peak" in line for line in lines)
    assert isinstance(ICONEmbedding(max_iter=2).fit(X[:300]).engine_, Dense)
    clusters = ICONClustering(3, max_iter=3, n_init=1, random_state=0, verbose=1).fit(X)
    told = capsys.readouterr().out
    assert told.count("expected") == 2 and told.count("peak memory") == 3
    assert {"supervision", "start"} < set(clusters.timings_)
    classifier = ICONClassifier(max_iter=3, verbose=1).fit(X, y)
    assert capsys.readouterr().out.count("peak memory") == 2
    assert classifier.neighbors_backend_ is None and classifier.timings_["optimisation"] > 0


# --- pictures to trust -----------------------------------------------------------------------------


def repeated():
    return np.repeat(np.random.default_rng(0).normal(size=(300, 5)), 4, axis=0)


def groups_apart():
    return np.vstack([np.random.default_rng(k).normal(size=(400, 5)) + 1e4 * k for k in range(3)])


def far_outlier():
    X = np.random.default_rng(0).normal(size=(1200, 5))
    X[17] = 1e6
    return X


@pytest.mark.parametrize("p", [KNN(), Gaussian(30)])
@pytest.mark.parametrize("data", [repeated, groups_apart, far_outlier, lambda: np.ones((1200, 5))])
def test_no_point_flies_away(data, p):
    X = data()
    model = ICONEmbedding(p=p, max_iter=120, random_state=0).fit(X)
    Z = model.embedding_
    assert np.isfinite(Z).all() and np.isfinite(model.loss_)
    radius = np.linalg.norm(Z - np.median(Z, axis=0), axis=1)
    assert radius.max() <= 12 * np.median(radius) + 1e-6
    np.testing.assert_allclose(model.transform(X[:20]), Z[:20], rtol=1e-6)


@pytest.mark.parametrize("n", range(2, 31))
@pytest.mark.filterwarnings("ignore:n_neighbors=15 is more")
def test_very_few_rows(n):
    X = np.random.default_rng(n).normal(size=(n, 4))
    Z = ICONEmbedding(max_iter=60, random_state=0).fit_transform(X)
    assert Z.shape == (n, 2) and np.isfinite(Z).all()
    # In widths of the kernel; a row that is nobody's neighbour keeps off the others, and stays in sight.
    assert 0 < np.linalg.norm(Z - Z.mean(0), axis=1).max() < 100


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_new_rows_beside_a_field_are_placed_as_by_exact_sums(n_components, coarse, monkeypatch):
    """On a grid that is too coarse for the kernel alone, near places are summed besides."""
    from iconlearn.engines.mesh import _frozen
    from iconlearn.out_of_sample import _placed

    if coarse:
        pytest.importorskip("numba")
        monkeypatch.setattr(_placed, "MANY_POINTS", 2000)
        monkeypatch.setattr(_frozen, "MAX_NODES", 24**n_components)

    X, _ = make_blobs(2300, n_features=6, centers=5, random_state=0)
    # Short steps, since a map of three dimensions soon is too wide for a fine grid.
    model = ICONEmbedding(n_components, max_iter=60, learning_rate=50.0, random_state=0).fit(X[:2100])
    assert (model._placer.field.grid.reach > 0) == coarse
    by_field = model.transform(X[2100:])
    np.testing.assert_allclose(model.transform(X[2150:2151]), by_field[50:51], rtol=1e-7)
    monkeypatch.setattr(_placed, "frozen_field", lambda q, V, **_: None)
    model = pickle.loads(pickle.dumps(model))
    exact = model.transform(X[2100:])
    assert not np.array_equal(exact, by_field)
    assert np.median(np.linalg.norm(exact - by_field, axis=1)) < 1e-3 * np.ptp(model.embedding_)


def test_a_place_is_not_worse_than_that_of_the_best_neighbour():
    X = load_digits().data
    model = ICONEmbedding(random_state=0).fit(X[:1500])
    Z, near = model.transform(X[1500:]), model.p_.extend(X[1500:]).edges.indices.reshape(-1, 15)
    V = model.embedding_.astype(float)

    def divergence(places):
        s = ((places[:, None] - V) ** 2).sum(2)
        log_q = -np.log1p(s) - np.log((1 / (1 + s)).sum(1))[:, None]
        return -np.take_along_axis(log_q, near, axis=1).mean(1)

    tried = np.min([divergence(V[near[:, c]]) for c in range(15)], axis=0)
    assert np.all(divergence(Z.astype(float)) <= tried + 1e-6)


def test_a_kernel_without_a_width_is_descended_by_adam():
    """Momentum's common length of step left such maps about where they began."""
    X = load_digits().data[:300]
    steps = {}
    for optimizer in ("auto", "momentum"):
        fit = ICONEmbedding(q="inverse_power", optimizer=optimizer, max_iter=150, random_state=0).fit(X)
        steps[optimizer] = fit.loss_
    assert steps["auto"] < 0.8 * steps["momentum"]


def test_networks_take_shorter_steps_than_linear_maps():
    X = load_digits().data[:300] / 16
    halves = recipes.clip(split=32, n_components=8, mapper="mlp", max_iter=60, random_state=0)
    auto = halves.fit(X).loss_
    assert auto < 0.9 * halves.set_params(learning_rate=0.01).fit(X).loss_


def test_maps_with_room_are_not_exaggerated_where_columns_are_drawn():
    """In four dimensions or more; and their steps are half as long, and no more than without further turns."""
    X = load_digits().data.astype(np.float32)[:1000]
    fits = {}
    for name, options in {
        "auto": {},
        "set": {"early_exaggeration": 1.0, "learning_rate": 500.0},
        "longer": {"early_exaggeration": 1.0, "learning_rate": 1000.0},
    }.items():
        fits[name] = ICONEmbedding(4, engine="sampled", max_iter=30, random_state=0, **options).fit(X)
    np.testing.assert_array_equal(fits["auto"].embedding_, fits["set"].embedding_)
    assert not np.array_equal(fits["auto"].embedding_, fits["longer"].embedding_)
    flat = [
        ICONEmbedding(3, engine="sampled", max_iter=30, random_state=0, **options).fit(X).embedding_
        for options in ({}, {"early_exaggeration": 1.0, "learning_rate": 500.0})
    ]
    assert not np.array_equal(*flat)


def test_maps_of_drawn_columns_do_not_go_on(monkeypatch):
    X = load_digits().data.astype(np.float32)[:1000]
    monkeypatch.setattr(_embedding, "STILL_FALLING", -np.inf)
    monkeypatch.setattr(_embedding, "LARGE_DRAWN", 1000)
    assert ICONEmbedding(4, engine="sampled", tol=0, random_state=0).fit(X).n_iter_ == 150
