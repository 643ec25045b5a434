"""Searches on a device against those of the CPU; what is prepared there is tested on the CPU, too."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from iconlearn.neighbors import (
    _cell_probes,
    _cells,
    _device_rows,
    _exact,
    _products,
    _search,
    knn,
    pair_distances,
)
from iconlearn.neighbors._cell_probes import _batches
from iconlearn.neighbors._cells import Cells
from iconlearn.neighbors._device_rows import DeviceRows
from iconlearn.neighbors._exact import prepared_for
from iconlearn.neighbors._inverted_lists import CellSearch, search_cells

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
ON_DEVICE = DEVICES[1:]


def rows_with_ties(dtype=np.float64):
    """Blobs with equal rows, rows of zeros, and a grid, whose distances are equal without its rows being so."""
    X, _ = make_blobs(300, 4, centers=8, cluster_std=1.5, random_state=0)
    X[40:60] = X[40]
    X[100:103] = 0.0
    grid = np.stack(np.meshgrid(*[np.arange(3.0)] * 4), -1).reshape(-1, 4) + 50
    return np.vstack([X, grid]).astype(dtype)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, so that there are several of every kind."""
    monkeypatch.setattr(_device_rows, "BLOCK_SIZE", 500)
    monkeypatch.setattr(_device_rows, "COPIED", 100)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("metric", ["euclidean", "l2", "cosine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_rows_are_prepared_and_ranked_as_on_the_cpu(device, metric, dtype, small_blocks):
    X = rows_with_ties().astype(dtype)
    here, there = prepared_for(X, metric, torch.device("cpu")), DeviceRows(X, metric, torch.device(device))
    np.testing.assert_allclose(there.doubles().cpu(), here[0].doubles(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(there.points.cpu(), here[0].points, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(there.lengths, here[0].lengths, rtol=1e-5)
    some = np.random.default_rng(0).integers(len(X), size=(90, 13))
    rows = np.arange(90) * 3
    found = torch.from_numpy(some)
    expected = here[1](rows, found, 7)
    distances, indices = there.ranked(rows, found.to(device), 7)
    np.testing.assert_allclose(distances, expected[0], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(there.squared(distances), here[0].squared(expected[0]), rtol=1e-12, atol=1e-15)
    true = pair_distances(X, X, np.repeat(rows, 7), indices.ravel(), metric=metric)
    np.testing.assert_allclose(distances.ravel(), true, rtol=1e-13, atol=1e-15)
    if metric != "cosine":  # whose ties are broken by the last digit
        np.testing.assert_array_equal(indices, expected[1])


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_rows_of_any_scale(metric, scale):
    X = rows_with_ties() * scale
    rows, cpu = DeviceRows(X, metric, torch.device("cpu")), prepared_for(X, metric, torch.device("cpu"))[0]
    np.testing.assert_allclose(rows.doubles(), cpu.doubles(), rtol=1e-12, atol=1e-14)
    assert torch.isfinite(rows.points).all() and torch.isfinite(rows.halves).all()


def test_arrays_that_torch_does_not_take_as_they_are(small_blocks, recwarn):
    X = rows_with_ties()
    expected = torch.from_numpy(X.copy())
    X.flags.writeable = False
    for given in (X, np.asfortranarray(X), X[::-1][::-1], X.astype(">f8")):
        assert torch.equal(_device_rows.on_device(given, torch.device("cpu")), expected)
    whole = _device_rows.on_device(X.astype(">f4"), torch.device("cpu"))
    assert torch.equal(whole, torch.from_numpy(X.astype(np.float32)).double())
    assert not recwarn.list


@pytest.mark.parametrize("device", ON_DEVICE)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_exact_search_finds_what_that_of_the_cpu_finds(device, metric, dtype, monkeypatch):
    X = rows_with_ties(dtype)
    expected = knn(X, 6, metric=metric, backend="exact", device="cpu")
    monkeypatch.setattr(_search, "MAX_ON_CPU", 100)
    distances, indices = knn(X, 6, metric=metric, backend="exact", device=device)
    assert distances.dtype == np.float64 and indices.dtype == np.int64
    np.testing.assert_allclose(distances, expected[0], rtol=1e-12, atol=1e-13)
    gaps = np.diff(knn(X, 7, metric=metric, backend="exact", device="cpu")[0], axis=1)
    clear = (gaps > 1e-9).all(axis=1)
    assert clear.sum() > 150
    np.testing.assert_array_equal(indices[clear], expected[1][clear])


def test_many_rows_are_searched_among_themselves_on_the_device(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(
        _search, "exact_search", lambda *a: asked.append(a[5].type) or (np.zeros((0, 2)), None)
    )
    few, many = np.zeros((5000, 2)), np.zeros((5001, 2))
    for X, queries, device in ((few, None, None), (many, None, None), (many, few, None), (many, None, "cpu")):
        knn(X, 2, queries=queries, device=device)
    assert asked == ["cpu", "cuda", "cpu", "cpu"]


@pytest.mark.parametrize("device", ON_DEVICE)
def test_what_single_precision_leaves_open_is_settled_on_the_device(device, monkeypatch):
    rng = np.random.default_rng(0)
    X = np.vstack([1.0 + 1e-7 * rng.normal(size=(80, 4)), 100 * rng.normal(size=(80, 4))])
    expected = knn(X, 6, device="cpu")
    monkeypatch.setattr(_search, "MAX_ON_CPU", 100)
    seen = []
    original = _exact.nearest
    monkeypatch.setattr(
        _exact, "nearest", lambda columns, *a, **k: seen.append(columns.dtype) or original(columns, *a, **k)
    )
    np.testing.assert_array_equal(knn(X, 6, device=device)[1], expected[1])
    assert seen == [torch.float32, torch.float64]


@pytest.mark.parametrize("device", ON_DEVICE)
@pytest.mark.parametrize("most", [1, 30_000, 2**26])
@pytest.mark.parametrize("k", [15, 90])
def test_cells_in_batches_find_what_single_cells_find(device, most, k, monkeypatch):
    X = make_blobs(2000, 12, centers=30, cluster_std=1.5, random_state=0)[0].astype(np.float32)
    X[::7] = X[0]  # cells of several sizes
    monkeypatch.setattr(_search, "MAX_ON_CPU", 100)
    for module in (_cells, _cell_probes):
        monkeypatch.setattr(module, "BLOCK_SIZE_CUDA", most)
    expected, _ = knn(X, k, backend="ivf", random_state=0, device="cpu")
    distances, indices = knn(X, k, backend="ivf", random_state=0, device=device)
    assert all(len(set(row)) == k for row in indices)
    assert not (indices == np.arange(len(X))[:, None]).any()
    true = pair_distances(X, X, np.repeat(np.arange(len(X)), k), indices.ravel())
    np.testing.assert_allclose(distances.ravel(), true, rtol=1e-13, atol=1e-15)
    # Sums in another order may move a row from one cell to another.
    assert np.isclose(distances, expected).mean() > 0.995


@pytest.mark.parametrize("device", ON_DEVICE)
def test_batches_are_all_cells_once_and_bounded(device):
    sizes = torch.from_numpy(np.random.default_rng(0).integers(1, 200, size=300)).to(device)
    n_candidates = sizes.cpu() * 7 + torch.arange(300)
    most = 2**18
    batches = _batches(sizes, n_candidates, 20, most)
    assert torch.equal(torch.cat([cells for cells, _, _ in batches]).sort().values.cpu(), torch.arange(300))
    for cells, n_rows, n_columns in batches:
        heights, widths = sizes[cells].cpu(), n_candidates[cells.cpu()]
        assert heights.max() == n_rows and widths.max() == n_columns
        assert heights.min() >= n_rows / 1.26
        assert len(cells) == 1 or len(cells) * max(n_rows, 20) * n_columns <= most
    assert len(batches) < 200


@pytest.mark.parametrize("device", ON_DEVICE)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_cells_on_the_device_find_rows_nearest_to_others(device, metric):
    X = make_blobs(2500, 12, centers=30, cluster_std=1.5, random_state=0)[0].astype(np.float32)
    X, others = X[:2000], X[2000:]
    found = CellSearch(DeviceRows(X, metric, torch.device(device)), 10, seed=0).nearest_to(others)
    exact = knn(X, 10, queries=others, metric=metric)[1]
    assert np.mean([np.isin(a, b).mean() for a, b in zip(exact, found.cpu().numpy())]) > 0.96


@pytest.mark.parametrize("device", ON_DEVICE)
def test_cells_on_the_device_come_from_the_seed(device):
    X = make_blobs(3000, 10, centers=20, random_state=0)[0].astype(np.float32)
    first, again = (
        search_cells(DeviceRows(X, "euclidean", torch.device(device)), 8, seed=3) for _ in range(2)
    )
    assert first.device.type == device and torch.equal(first.sort(1).values, again.sort(1).values)


def test_lists_of_cells_are_padded_behind_their_rows():
    X = torch.from_numpy(make_blobs(500, 3, random_state=0)[0]).float()
    cells = Cells.of(X, torch.Generator().manual_seed(0))
    lists, counts = torch.tensor([[0, 4, 2], [7, 1, 1]]), torch.tensor([3, 2])
    sizes = [int(cells.sizes[[0, 4, 2]].sum()), int(cells.sizes[[7, 1]].sum())]
    members, there = cells.members(lists, counts, max(sizes) + 4)
    assert there.sum(1).tolist() == sizes and (members < 500).all()
    for row, expected in enumerate(([0, 4, 2], [7, 1])):
        found = cells.order[members[row][there[row]]]
        assert cells.label[found].unique_consecutive().tolist() == expected


@pytest.mark.pretended
@pytest.mark.parametrize("backend", ["exact", "ivf"])
def test_the_host_waits_no_more_often_for_more_blocks(backend, monkeypatch):
    from device import pretended

    X = make_blobs(3000, 10, centers=20, random_state=0)[0].astype(np.float32)
    monkeypatch.setattr(_search, "MAX_ON_CPU", 100)
    waits, kernels = [], []
    for size, threads in ((2**26, 1), (2**14, 1), (2**26, 64)):
        monkeypatch.setattr(_products, "available", lambda threads=threads: threads)
        for module in (_cells, _cell_probes, _products):
            monkeypatch.setattr(module, "BLOCK_SIZE_CUDA", size)
        with pretended.watch() as watched:
            knn(X, 8, backend=backend, random_state=0, device="cuda")
        waits.append(watched.total(*pretended.WAITING))
        kernels.append(watched.total(pretended.KERNEL))
    assert kernels[1] > 2 * kernels[0] == 2 * kernels[2]  # the CPU's threads do not count
    assert waits[0] == waits[1] == waits[2], watched.table(*pretended.WAITING)
