"""Rows that a fit has seen, and those that it has not."""

import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONEmbedding, save
from iconlearn.conditional import Conditional
from iconlearn.divergences import KL
from iconlearn.learned import Gaussian as Gaussian_q
from iconlearn.learned import Student
from iconlearn.neighbors import KnownRows
from iconlearn.out_of_sample import _placed
from iconlearn.out_of_sample._inverse import InterpolatedRows
from iconlearn.out_of_sample._mapped import MappedRows
from iconlearn.out_of_sample._seen import SeenRows
from iconlearn.supervisory import KNN, Debias, Gaussian

X = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
OUTPUTS = np.array([[1.0], [2.0], [3.0]])


def test_seen_rows_keep_their_outputs_and_others_are_asked_for():
    asked = []

    def others(rows):
        asked.append(rows)
        return rows.sum(axis=1, keepdims=True) + 10

    out = SeenRows(KnownRows(X), OUTPUTS).outputs(np.array([[2.0, 0.0], [5.0, 1.0], [0.0, 0.0]]), others)
    assert out.ravel().tolist() == [2.0, 16.0, 3.0]
    assert [rows.tolist() for rows in asked] == [[[5.0, 1.0]]]


def test_nothing_is_asked_for_where_all_rows_are_seen():
    def others(rows):
        raise AssertionError("no row is new")

    assert SeenRows(KnownRows(X), OUTPUTS.astype(np.float32)).outputs(X[[1]], others).dtype == np.float64


def test_a_row_without_entries_of_a_graph_is_no_seen_row():
    for make in (np.asarray, csr_array):
        rows = make(X)
        out = SeenRows(KnownRows(rows), OUTPUTS, pairwise=True).outputs(
            rows, lambda rows: np.full((rows.shape[0], 1), -1.0)
        )
        assert out.ravel().tolist() == [1.0, 2.0, -1.0]


def test_mapped_rows_are_what_the_module_gives_for_its_features():
    module = torch.nn.Linear(1, 2).double()
    for rows in (X, csr_array(X)):
        out = MappedRows(Student(), module, slice(1, 2)).outputs(rows)
        np.testing.assert_array_equal(out, module(torch.as_tensor(X[:, 1:])).detach().numpy())


def test_outputs_that_are_not_finite_are_refused():
    module = torch.nn.Linear(2, 1).double()
    torch.nn.init.constant_(module.weight, np.nan)
    with pytest.raises(ValueError, match="returned NaN or infinity"):
        MappedRows(Student(), module).outputs(X)


def test_places_of_training_rows_give_these_rows_back():
    places = np.array([[0.0], [1.0], [5.0]])
    np.testing.assert_array_equal(InterpolatedRows(places, X).outputs(places), X)
    assert isinstance(InterpolatedRows(places, csr_array(X)).outputs(places), csr_array)


def test_what_places_new_rows_is_made_once_and_not_stored(monkeypatch, tmp_path):
    made = []

    def frozen_field(q, V, **options):
        made.append(V)
        return field(q, V, **options)

    field = _placed.frozen_field
    monkeypatch.setattr(_placed, "frozen_field", frozen_field)
    rows = np.random.default_rng(0).normal(size=(60, 3))
    model = ICONEmbedding(max_iter=20, random_state=0).fit(rows)
    save(model, tmp_path / "before")
    first = model.transform(rows[:5] + 0.01)
    np.testing.assert_array_equal(model.transform(rows[:5] + 0.01), first)
    assert len(made) == 1
    save(model, tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.transform(rows[:5] + 0.01), first)
    assert len(made) == 2
    model.fit(rows[:50])
    model.transform(rows[:5] + 0.01)
    assert len(made[-1]) == 50


@pytest.mark.parametrize(
    ("q", "d"), [(Student(), 2), (Student(0.5, normalize="joint"), 3), (Gaussian_q(2.0), 1)]
)
def test_compiled_loops_place_rows_as_tensors_do(q, d, monkeypatch):
    """The same steps from the same starts; far rows, whose sums no grid has, and one without any neighbour, too."""
    rng = np.random.default_rng(0)
    centres = 20 / d**2 * rng.normal(size=(3, d))
    places = centres[rng.integers(3, size=2600)] + rng.normal(size=(2600, d))
    places[:4] += 30.0 / d**2
    p = rng.random((40, 2600)) * (rng.random((40, 2600)) < 0.008)
    p[0], p[1], p[2, :3], p[3] = 0, np.arange(2600) == 3, 5.0, p[3] > 0
    edges = csr_array(p / np.maximum(p.sum(1, keepdims=True), 1e-300))
    placer = _placed.Placer(q, KL(), places)
    assert placer.field is not None and placer._compiled
    Z = placer(Conditional(edges))
    alone = [placer(Conditional(edges[[r]])) for r in range(6)]
    np.testing.assert_array_equal(np.vstack(alone), Z[:6])
    monkeypatch.setattr(_placed, "MANY_POINTS", 10**9)
    np.testing.assert_allclose(Z, placer(Conditional(edges)), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(Z[0], places.mean(0))
    # Not all at their starts, or the comparison would be one of these.
    assert (np.abs(Z[1:, None] - places).sum(2).min(1) > 1e-3).mean() > 0.8


@pytest.mark.parametrize("q", [Student(), Student(0.5), Gaussian_q(0.5)])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_coarse_grid_and_near_places_have_the_sums_and_their_slopes(q, d, monkeypatch):
    from iconlearn.engines.mesh import _frozen
    from iconlearn.numerics.compiled import Kernel
    from iconlearn.numerics.compiled._placement import _log_sum

    monkeypatch.setattr(_frozen, "MAX_NODES", 48**d)
    rng = np.random.default_rng(0)
    places = 12 * rng.normal(size=(6, d))[rng.integers(6, size=2600)] + rng.normal(size=(2600, d))
    q = _placed.Placer(q, KL(), places).q
    field = _placed.frozen_field(q, torch.from_numpy(places), compiled=True)
    sums, kernel = field.sums(q), Kernel(*map(float, q.edge_form))
    assert sums.near.reach2 > 0 and sums.near.columns.shape == (3, 2600)
    sums = sums._replace(field=sums.field.reshape((1,) * (3 - d) + sums.field.shape), least=0.0)
    at = torch.from_numpy(places[:40] + 0.3 * rng.normal(size=(40, d))).requires_grad_()
    exact = q.log_kernel(torch.cdist(at, torch.from_numpy(places)).square()).logsumexp(1)
    (slopes,) = torch.autograd.grad(exact.sum(), at)
    scratch, found = (np.empty((3, 4)), np.empty((3, 4)), np.empty(3, np.int64)), []
    for z in at.detach().numpy():
        g = np.zeros(d)
        found.append((_log_sum(z, places, kernel, sums, 2.0, g, scratch), 0.5 * g))
    logs, slopes_found = map(np.array, zip(*found, strict=True))
    np.testing.assert_allclose(logs, exact.detach().numpy(), atol=3e-3)
    np.testing.assert_allclose(slopes_found, slopes.numpy(), atol=1e-2)


KERNELS = {
    "student": lambda s: 1 / (1 + s),
    "gaussian": lambda s: np.exp(-0.5 * s),
    "inverse_power": lambda s: 1 / np.maximum(s, 1e-300),
}


def _xlogy(p, ratio):
    return np.where(p > 0, p * np.log(np.where(p > 0, ratio, 1.0)), 0.0)


DIVERGENCES = {
    "kl": lambda p, q: _xlogy(p, p / q),
    "total_variation": lambda p, q: 0.5 * np.abs(p - q),
    "hellinger": lambda p, q: (np.sqrt(p) - np.sqrt(q)) ** 2,
    "jensen_shannon": lambda p, q: 0.5 * (_xlogy(p, 2 * p / (p + q)) + _xlogy(q, 2 * q / (p + q))),
}


def _new_rows(p, q, divergence):
    """Places of 8 new rows, and a function of a place and a row written from the formula."""
    rows = load_digits().data[:208] / 16
    model = ICONEmbedding(p=p, q=q, divergence=divergence, max_iter=100, random_state=0).fit(rows[:200])
    conditional = model.p_.extend(rows[200:])
    P = conditional.block(np.arange(8), None) if conditional.dense else conditional.edges.toarray()
    P = P * (1 - conditional.uniform) / P.sum(axis=1, keepdims=True) + conditional.uniform / 200
    places = model.embedding_.astype(float)

    def value(z, r):
        k = KERNELS[q](((z - places) ** 2).sum(axis=1))
        return DIVERGENCES[divergence](P[r], np.maximum(k / max(k.sum(), 1e-300), 1e-300)).sum()

    tried = [[places[j] for j in np.argsort(-row)[:10]] + [row @ places] for row in P]
    return model.transform(rows[200:]), value, tried


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(
    ("p", "q"),
    [
        *((KNN(8), q) for q in KERNELS),
        (Debias(KNN(8), weight=0.3), "student"),
        (Gaussian(perplexity=10, n_neighbors=None), "student"),
    ],
    ids=[*KERNELS, "share", "all"],
)
def test_new_rows_are_at_a_minimum_of_their_own_divergence(p, q, divergence):
    Z, value, tried = _new_rows(p, q, divergence)
    ours = np.array([value(z, r) for r, z in enumerate(Z)])
    assert ours.mean() < np.mean([min(value(z, r) for z in places) for r, places in enumerate(tried)])
    if q == "inverse_power":
        return  # It has a pole at every training row and a valley between any two.
    # A small simplex, which does not reach over into another valley.
    corners = 1e-3 * np.ptp(Z, axis=0).max() * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    local = [
        minimize(
            value, z, (r,), method="Nelder-Mead",
            options={"initial_simplex": z + corners, "xatol": 1e-6, "fatol": 1e-10},
        ).fun
        for r, z in enumerate(Z)
    ]  # fmt: skip
    # Total variation has kinks, along which gradients lead only so far.
    assert (ours - local).max() < (1e-2 if divergence == "total_variation" else 1e-7)


@pytest.mark.parametrize("divergence", ["kl", "total_variation", "hellinger"])
def test_new_rows_without_p_do_not_change_the_places_of_others(divergence):
    graph = kneighbors_graph(load_digits().data[:150], 8).toarray()
    model = ICONEmbedding(p="graph", divergence=divergence, max_iter=50, random_state=0).fit(graph)
    new = kneighbors_graph(load_digits().data[:170], 8).toarray()[150:, :150]
    new = new[new.any(axis=1)]
    alone = model.transform(new)
    among = model.transform(np.vstack([np.zeros((40, 150)), new, np.zeros((3, 150))]))[40:-3]
    assert np.abs(among - alone).max() <= 1e-11 * np.abs(model.embedding_).max()
