"""Approximate search in cells: recall, odd data, and what it promises whatever the data."""

import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from iconlearn.neighbors import (
    _cell_probes,
    _cells,
    _inverted_lists,
    _products,
    _row_probes,
    _rows,
    knn,
    pair_distances,
)
from iconlearn.neighbors._cells import MAX_CELL, Cells, n_cells_for, nearest_centres
from iconlearn.neighbors._device_rows import DeviceRows
from iconlearn.neighbors._inverted_lists import CellSearch
from iconlearn.neighbors._products import nearest, smallest
from iconlearn.neighbors._rows import PreparedRows, UncentredRows


def blobs(n=4000, n_dims=12, centers=30, seed=0):
    X, _ = make_blobs(n, n_dims, centers=centers, cluster_std=1.5, random_state=seed)
    return X.astype(np.float32)


def recall(found, exact):
    return np.mean([np.isin(a, b).mean() for a, b in zip(exact, found)])


def check_promises(X, k, distances, indices, metric="euclidean"):
    """k different others in each row, at their true distances, ascending."""
    n = len(X)
    assert indices.shape == distances.shape == (n, k)
    assert indices.min() >= 0 and indices.max() < n
    assert not (indices == np.arange(n)[:, None]).any()
    assert all(len(set(row)) == k for row in indices)
    rows = np.repeat(np.arange(n), k)
    np.testing.assert_array_equal(
        pair_distances(X, X, rows, indices.ravel(), metric=metric), distances.ravel()
    )
    assert (np.diff(distances, axis=1) >= 0).all()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [15, 90])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_recall_and_distances(metric, k, dtype):
    X = blobs().astype(dtype)
    exact, order = knn(X, k, metric=metric, backend="exact")
    distances, indices = knn(X, k, metric=metric, backend="ivf", random_state=0)
    check_promises(X, k, distances, indices, metric)
    assert recall(indices, order) > 0.97
    found = indices == order
    np.testing.assert_array_equal(distances[found], exact[found])
    assert (distances >= exact).all()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_without_a_compiler_all_rows_of_a_cell_look_into_the_same(metric, monkeypatch):
    monkeypatch.setattr(_inverted_lists, "MANY_POINTS", 10**6)
    X = blobs()
    distances, indices = knn(X, 15, metric=metric, backend="ivf", random_state=0)
    check_promises(X, 15, distances, indices, metric)
    assert recall(indices, knn(X, 15, metric=metric, backend="exact")[1]) > 0.97


def test_compiled_loops_keep_the_nearest_whatever_the_blocks():
    from iconlearn.numerics.compiled import keep_nearest, rows_by_cell

    rng = np.random.default_rng(0)
    entries = rng.integers(0, 60, size=(20, 101)).astype(np.float32)
    own = rng.integers(101, size=20)
    halves, indices = np.full((30, 7), np.inf, np.float32), np.full((30, 7), -1, np.int32)
    rows, names = rng.permutation(30)[:20], np.arange(101, dtype=np.int32)
    for first, last in ((40, 101), (0, 3), (3, 40)):
        keep_nearest(entries[:, first:last], rows, own, names[first:last], halves, indices)
    left = entries.copy()
    left[np.arange(20), own] = np.inf
    np.testing.assert_array_equal(halves[rows], np.sort(left, axis=1)[:, :7])
    np.testing.assert_array_equal(left[np.arange(20)[:, None], indices[rows]], halves[rows])
    assert all(len(set(row)) == 7 for row in indices[rows].tolist())
    others = np.setdiff1d(np.arange(30), rows)
    assert np.isinf(halves[others]).all() and (indices[others] == -1).all()

    cells = rng.integers(5, size=(12, 3)).astype(np.int32)
    pointers, members = rows_by_cell(cells, 6)
    for cell in range(6):
        np.testing.assert_array_equal(
            members[pointers[cell] : pointers[cell + 1]], np.where(cells == cell)[0]
        )


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_descent_takes_the_nearest_of_neighbours_and_followers(n_threads):
    from iconlearn.numerics.compiled import descended

    X, n, k = blobs(300, 5), 300, 4
    rng = np.random.default_rng(0)
    apart = ((X[:, None].astype(float) - X) ** 2).sum(2)
    indices = np.array([rng.choice(np.delete(np.arange(n), i), k, replace=False) for i in range(n)])
    indices = np.take_along_axis(indices, np.take_along_axis(apart, indices, 1).argsort(1), 1)
    distances = np.take_along_axis(apart, indices, 1)
    indices[::9, -1], distances[::9, -1] = -1, np.inf
    halves = ((distances - (X.astype(float) ** 2).sum(1)[:, None]) / 2).astype(np.float32)
    order = rng.permutation(n)
    columns = np.column_stack([X, X[:, 0]])
    found = descended(columns, halves, indices.astype(np.int32), order, 3, n_threads)
    followers = [[] for _ in range(n)]
    for a in range(3):
        for i in range(n):
            if indices[i, a] >= 0 and len(followers[indices[i, a]]) < 3:
                followers[indices[i, a]].append(i)
    for i in range(n):
        between = [j for j in [*indices[i, :3], *followers[i]] if j >= 0]
        seen = {*indices[i], *between, *indices[between, :3].ravel()} - {i, -1}
        nearest_ = sorted(seen, key=lambda j: apart[i, j])[:k]
        assert set(found[order[i]]) == set(order[nearest_])


def test_without_structure_the_sample_asks_for_more_cells():
    X = np.random.default_rng(0).normal(size=(4000, 40)).astype(np.float32)
    indices = knn(X, 15, backend="ivf", random_state=0)[1]
    assert recall(indices, knn(X, 15, backend="exact")[1]) > 0.97


def test_the_recall_asked_for_decides(monkeypatch):
    X = np.random.default_rng(0).normal(size=(4000, 20)).astype(np.float32)
    order = knn(X, 15, backend="exact")[1]
    # What neighbours of neighbours add is no part of it.
    monkeypatch.setattr(_row_probes, "N_NEAR", 0)
    reached = []
    for wanted in (0.5, 0.8, 0.99):
        monkeypatch.setattr(_inverted_lists, "RECALL", wanted)
        reached.append(recall(knn(X, 15, backend="ivf", random_state=0)[1], order))
    np.testing.assert_allclose(reached, [0.5, 0.8, 0.99], atol=0.08)


def test_neighbours_of_neighbours_are_looked_at(monkeypatch):
    X = np.random.default_rng(0).normal(size=(4000, 10)).astype(np.float32)
    monkeypatch.setattr(_inverted_lists, "RECALL", 0.8)
    order = knn(X, 15, backend="exact")[1]
    reached = []
    for n_near in (0, 15):
        monkeypatch.setattr(_row_probes, "N_NEAR", n_near)
        reached.append(recall(knn(X, 15, backend="ivf", random_state=0)[1], order))
    assert reached[1] > reached[0] + 0.5 * (1 - reached[0])


def test_rows_that_may_have_missed_neighbours_are_searched_again(monkeypatch):
    X = np.random.default_rng(0).normal(size=(6000, 8)).astype(np.float32)
    order = knn(X, 15, backend="exact")[1]
    poor = {}
    monkeypatch.setattr(_inverted_lists, "MANY_POINTS", len(X) + 1)
    for share in (0.0, _cell_probes.AGAIN):
        monkeypatch.setattr(_cell_probes, "AGAIN", share)
        found = knn(X, 15, backend="ivf", random_state=0)[1]
        missed = np.array([1 - np.isin(a, b).mean() for a, b in zip(order, found)])
        poor[share] = missed[missed > 0.2].sum(), missed.sum()
    (worst, every), (worst_left, left) = poor.values()
    # A twentieth of the rows, taken at random, would find a twentieth.
    assert worst > 5 and worst_left < 0.5 * worst and left < 0.85 * every


def test_half_of_the_rows_in_a_ball_that_single_precision_does_not_resolve():
    rng = np.random.default_rng(0)
    X = np.vstack([1.0 + 1e-6 * rng.normal(size=(2000, 5)), rng.normal(size=(2000, 5))])
    distances, indices = knn(X, 10, backend="ivf", random_state=0)
    check_promises(X, 10, distances, indices)
    assert recall(indices, knn(X, 10, backend="exact")[1]) > 0.97


@pytest.mark.parametrize("k", [5, 60])
def test_half_of_the_rows_are_equal(k):
    X = blobs()
    X[::2] = X[0]
    distances, indices = knn(X, k, backend="ivf", random_state=0)
    check_promises(X, k, distances, indices)
    np.testing.assert_array_equal(distances[::2], 0.0)
    others = np.arange(1, len(X), 2)
    exact = knn(X, k, backend="exact")
    # Equal rows are equally near, so that distances say what was found.
    assert np.mean(distances[others] <= exact[0][others] * (1 + 1e-6)) > 0.97


def test_all_rows_are_equal_or_pairs():
    X = np.ones((300, 4))
    distances, indices = knn(X, 7, backend="ivf", random_state=0)
    check_promises(X, 7, distances, indices)
    X = np.repeat(blobs(400), 2, axis=0)
    assert (knn(X, 3, backend="ivf", random_state=0)[1][:, 0] == (np.arange(800) ^ 1)).mean() > 0.97


@pytest.mark.parametrize("n", [2, 3, 9, 40])
def test_few_rows_and_as_many_neighbours_as_there_are(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    distances, indices = knn(X, n - 1, backend="ivf", random_state=0)
    check_promises(X, n - 1, distances, indices)
    np.testing.assert_array_equal(indices, knn(X, n - 1, backend="exact")[1])


@pytest.mark.parametrize("least", [0, 1001])
def test_more_neighbours_than_a_cell_has_rows(least, monkeypatch):
    X = blobs(1000)
    monkeypatch.setattr(_inverted_lists, "MANY_POINTS", least)
    for module in (_row_probes, _cell_probes):
        monkeypatch.setattr(module, "n_cells_for", lambda *args: 1)  # one cell would do, were it not for k
    distances, indices = knn(X, 200, backend="ivf", random_state=0)
    check_promises(X, 200, distances, indices)


def test_rows_of_zeros_under_cosine():
    X = blobs()
    X[::100] = 0.0
    distances, indices = knn(X, 10, metric="cosine", backend="ivf", random_state=0)
    check_promises(X, 10, distances, indices, "cosine")
    np.testing.assert_array_equal(distances[::100], 1.0)
    order = knn(X, 10, metric="cosine", backend="exact")[1]
    assert recall(indices[1::100], order[1::100]) > 0.97


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_wide_rows_are_searched_along_short_axes_and_ranked_by_all(metric, monkeypatch):
    rng = np.random.default_rng(0)
    X = (blobs(3000, 20) @ rng.normal(size=(20, 400)) + rng.normal(size=(3000, 400))).astype(np.float32)
    widths = []
    original = Cells.of.__func__
    monkeypatch.setattr(
        Cells, "of", classmethod(lambda cls, x, *a: widths.append(x.shape[1]) or original(cls, x, *a))
    )
    distances, indices = knn(X, 10, metric=metric, backend="ivf", random_state=0)
    check_promises(X, 10, distances, indices, metric)
    assert recall(indices, knn(X, 10, metric=metric, backend="exact")[1]) > 0.97
    assert widths == [_inverted_lists.N_AXES]


@pytest.mark.parametrize(("metric", "width"), [("euclidean", 12), ("cosine", 12), ("euclidean", 400)])
def test_rows_nearest_to_others(metric, width):
    """Also wide ones, which are searched along axes, and few for many cells; a sample decides how many cells."""
    rng = np.random.default_rng(0)
    X = blobs(3300)
    if width > X.shape[1]:
        X = (X @ rng.normal(size=(12, width)) + 0.1 * rng.normal(size=(3300, width))).astype(np.float32)
    X, others = X[:3000], X[3000:]
    order = knn(X, 10, queries=others, metric=metric)[1]
    cells = CellSearch(PreparedRows(X, metric), 10, seed=0)
    for prepared in (False, True):
        if prepared:
            cells.prepare_for(others[::3], order[::3], np.ones((100, 10), dtype=bool))
        found, few = cells.nearest_to(others).numpy(), cells.nearest_to(others[:5]).numpy()
        assert all(len(set(row)) == len(row) for row in found)
        assert recall(found, order) > 0.96
        assert recall(few, found[:5]) == 1.0


def test_axes_that_lose_neighbours_are_not_taken():
    X = np.random.default_rng(0).normal(size=(1500, 400)).astype(np.float32)
    points = torch.from_numpy(X)
    rows = torch.arange(200)
    found, _ = _inverted_lists._known(points, rows, 10)
    generator = torch.Generator().manual_seed(0)
    assert _inverted_lists.leading_axes(points, rows, found, generator) is None
    assert recall(knn(X, 10, backend="ivf", random_state=0)[1], knn(X, 10, backend="exact")[1]) > 0.97


def test_the_seed_decides_and_nothing_else(monkeypatch):
    X = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    monkeypatch.setattr(_inverted_lists, "RECALL", 0.7)
    before = torch.random.get_rng_state()
    first, again, other = (knn(X, 10, backend="ivf", random_state=seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_cap_on_candidates_bounds_the_work(monkeypatch):
    X = np.random.default_rng(0).normal(size=(3000, 40)).astype(np.float32)
    order = knn(X, 10, backend="exact")[1]
    monkeypatch.setattr(_cells, "MAX_CANDIDATES", 100)
    monkeypatch.setattr(_row_probes, "N_NEAR", 0)
    distances, indices = knn(X, 10, backend="ivf", random_state=0)
    check_promises(X, 10, distances, indices)
    assert 0.1 < recall(indices, order) < 0.7


def test_copies_of_a_row_do_not_ask_for_more_cells():
    X = torch.from_numpy(blobs())
    X[::2] = X[0]
    cells = Cells.of(X, torch.Generator().manual_seed(0))
    rows = torch.arange(0, 400)
    found, gaps = _inverted_lists._known(X, rows, 15)

    def needed(part, counts):
        ranked = cells.by_distance(cells.label[rows[part]])
        return n_cells_for(ranked, cells.label, found[part], counts[part], 0.98, cells.sizes)

    # Any of two thousand copies may have been found, in any of the cells that hold them.
    assert needed(slice(None), gaps > 0) < needed(slice(None), gaps >= 0)
    assert needed(slice(None, None, 2), gaps > 0) == 1


def test_cells_are_a_partition_into_cells_of_bounded_size():
    X = torch.from_numpy(blobs())
    X[::2] = X[0]
    cells = Cells.of(X, torch.Generator().manual_seed(0))
    mean = len(X) // int(_cells.CELLS * len(X) ** _cells.EXPONENT)
    assert torch.equal(cells.order.sort().values, torch.arange(4000))
    assert cells.sizes.min() > 0 and cells.sizes.max() <= MAX_CELL * (mean + 1) and cells.sizes.sum() == 4000
    for cell in (0, 7):
        size = int(cells.sizes[cell])
        members, there = cells.members(torch.tensor([[cell, 3]]), torch.tensor([1]), size + 5)
        assert there[0].tolist() == [True] * size + [False] * 5
        members = cells.order[members[there]]
        assert (cells.label[members] == cell).all() and len(members) == cells.sizes[cell]
        torch.testing.assert_close(cells.centres[cell], X[members].mean(0), rtol=1e-4, atol=1e-4)
    every = torch.arange(len(cells.sizes))
    ranked = cells.by_distance(every)
    assert torch.equal(ranked[:, 0], every)
    first = cells.nearest(every, 5)
    assert torch.equal(first[:, 0], every) and (first == ranked[:, :5]).double().mean() > 0.9


def test_rows_are_compared_with_the_centres_near_a_pivot(monkeypatch):
    X = torch.from_numpy(blobs(20_000))
    centres = X[::25].clone()
    exact = nearest(centres, X, 1)[0][:, 0]
    assert torch.equal(nearest_centres(centres[:500], X), nearest(centres[:500], X, 1)[0][:, 0])
    met = []
    original = _cells.nearest
    monkeypatch.setattr(
        _cells, "nearest", lambda c, rows, k: met.append(len(c) * len(rows)) or original(c, rows, k)
    )
    assert (nearest_centres(centres, X) == exact).double().mean() > 0.9
    assert sum(met) < 0.5 * len(centres) * len(X)
    # Without structure no few hold the nearest.
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(20_000, 40)).astype(np.float32))
    assert torch.equal(nearest_centres(noise[::25], noise), original(noise[::25], noise, 1)[0][:, 0])


@pytest.mark.parametrize("n", [1, 7, 100, 1013])
@pytest.mark.parametrize("k", [1, 6, 90])
def test_smallest_is_exact_with_ties_and_infinities(n, k):
    k = min(k, n)
    block = torch.from_numpy(np.random.default_rng(0).integers(0, 50, size=(20, n)).astype(np.float32))
    block[:, ::3] = torch.inf
    values, places = smallest(block, k)
    assert torch.equal(values.sort(1).values, block.sort(1).values[:, :k])
    assert torch.equal(block.gather(1, places), values)
    assert all(len(set(row.tolist())) == k for row in places)


def test_nearest_in_several_blocks_of_columns(monkeypatch):
    X = torch.from_numpy(blobs(500)).double()
    whole = nearest(X, X, 9, own=torch.arange(500))
    monkeypatch.setattr(_products, "MAX_WIDTH", 64)
    monkeypatch.setattr(_products, "BLOCK_SIZE", 1000)
    parts = nearest(X, X, 9, own=torch.arange(500))
    assert torch.equal(whole[0].sort(1).values, parts[0].sort(1).values)
    torch.testing.assert_close(whole[1], parts[1])


@pytest.mark.parametrize("backend", ["exact", "ivf"])
def test_memory_is_that_of_the_answer_and_some_blocks(backend, monkeypatch):
    # numpy reports its arrays to tracemalloc, torch does not; its blocks are bounded by construction.
    n, k = 6000, 30
    X = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    tracemalloc.start()
    knn(X, k, backend=backend, random_state=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * n * k * 8 < n * n * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gpu_gives_the_same_neighbours(dtype):
    X = torch.from_numpy(blobs()).to(dtype)
    own = torch.arange(len(X))
    here = nearest(X, X, 15, own=own)[0].sort(1).values
    there = nearest(X.cuda(), X.cuda(), 15, own=own.cuda())[0].sort(1).values.cpu()
    assert (here == there).double().mean() > 0.999
    rows = DeviceRows(X.numpy(), "euclidean", torch.device("cuda"))
    found = _inverted_lists.search_cells(rows, 15, seed=0).cpu().numpy()
    assert recall(found, knn(X.numpy(), 15, backend="exact")[1]) > 0.97


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_places_are_found_by_blocks(monkeypatch, metric):
    """In double precision those of all rows would be twice as large as the rows."""
    X = np.random.default_rng(0).normal(size=(4000, 100)).astype(np.float32)
    whole = torch.from_numpy(_rows.Space(X, metric).rows(X)).float()
    for module in (_rows, _products):
        monkeypatch.setattr(module, "BLOCK_SIZE", 2**16)
    prepared = _rows.PreparedRows(X, metric)
    tracemalloc.start()
    points = prepared.points
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert torch.equal(points, whole)
    assert peak < X.nbytes
    assert torch.equal(prepared.halves, whole.square().sum(1) / 2)


def test_rows_near_zero_are_their_own_places():
    X = blobs(3000) + 3.0
    own, centred = UncentredRows(X, "euclidean"), PreparedRows(X, "euclidean")
    assert own.serves
    assert np.shares_memory(own.points.numpy(), X)
    exact = knn(X, 10, backend="exact")[1]
    for prepared in (own, centred):
        assert recall(CellSearch(prepared, 10, seed=0).among_themselves().numpy(), exact) > 0.97
    queries = X[:50] + 0.1
    for found, wanted in zip(
        *(knn(X, 5, queries=queries, prepared=rows) for rows in (own, centred)), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("scale", "shift", "dtype", "metric"),
    [(1, 100, np.float32, "euclidean"), (1e15, 0, np.float32, "euclidean"), (1e-15, 0, np.float32, "euclidean"),
     (1, 0, np.float64, "euclidean"), (1, 0, np.float32, "cosine")],
)  # fmt: skip
def test_rows_whose_products_would_lose_digits_are_centred(scale, shift, dtype, metric):
    assert not UncentredRows((blobs(500) * scale + shift).astype(dtype), metric).serves
