"""Rows that lie among the wrong neighbours move; the cost by a direct formula, and what a fit gains."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.datasets import load_digits

from iconlearn import ICONEmbedding, solve
from iconlearn.engines import Dense, _relocation, relocatable, relocate
from iconlearn.estimators import _embedding
from iconlearn.learned import Student
from iconlearn.optim._momentum import MomentumGains

X = load_digits().data.astype(np.float32)[:400]


def planned(**changes):
    model = ICONEmbedding(**{"random_state": 0, "device": "cpu", **changes})
    return model._plan(X, None, 2)


@cache
def sorted_places():
    return ICONEmbedding(max_iter=80, random_state=0, device="cpu").fit_transform(X)


def strays(plan, rng):
    """A map of the digits in which thirty rows have changed places."""
    places = sorted_places().copy()
    rows = rng.choice(len(X), 30, replace=False)
    places[rows] = places[np.roll(rows, 1)]
    with torch.no_grad():
        plan.mapper.places.copy_(torch.from_numpy(places))
    visit = next(plan.engine.visits(plan.problem, rng=None, dtype=torch.float32, device="cpu"))[0]
    return rows, places.astype(float), visit


def costs_by_definition(P, Z, dof, normalize):
    """f(i, place, j): what row i pays at a place, beside row j or (j = i) its own."""
    K = (1 + ((Z[:, None] - Z) ** 2).sum(2) / dof) ** (-(dof + 1) / 2)
    np.fill_diagonal(K, 0)
    ties, sums = P + P.T, K.sum(1)

    def cost(i, place, j):
        pulls = (ties[i] * np.log1p(((place - Z) ** 2).sum(1) / dof)).sum() * (dof + 1) / 2
        at = sums[j] + (j != i)
        return (pulls + np.log(at)) / len(Z) if normalize == "row" else pulls / len(Z) + 2 * at / sums.sum()

    return cost


@pytest.mark.parametrize("normalize, dof", [("row", 1.0), ("joint", 1.0), ("row", 0.5)])
@pytest.mark.parametrize("compiled", [False, True])
def test_rows_move_beside_the_cheapest_of_their_own(normalize, dof, compiled, monkeypatch):
    monkeypatch.setattr(_relocation, "compiled_pays", lambda *_: compiled)
    plan = planned(q=Student(dof, normalize=normalize), engine="dense")
    rows, Z, visit = strays(plan, np.random.default_rng(0))
    P = plan.problem.p.sparse().toarray()
    moved = relocate(plan.problem, plan.engine, visit).numpy()
    found = plan.mapper.places.detach().double().numpy()
    np.testing.assert_array_equal(found[~moved], Z.astype(np.float32)[~moved])
    assert moved[rows].mean() > 0.9 and moved.mean() < 0.3
    cost = costs_by_definition(P, Z, dof, normalize)
    for i in range(len(X)):
        ties = P[i] + P[:, i]
        tried = np.argsort(-ties, kind="stable")[: min(15, (ties > 0).sum())]
        there = np.array([cost(i, Z[j], j) for j in tried])
        gain = cost(i, Z[i], i) - there.min()
        assert moved[i] == (gain > 0.3 / len(X)) or gain == pytest.approx(0.3 / len(X), rel=1e-3)
        if moved[i]:
            beside = np.linalg.norm(found[i] - Z[tried], axis=1) < 0.1001 * dof**0.5
            assert there[beside].min() == pytest.approx(there.min(), abs=1e-6)
            # On the side that the row comes from.
            gaps = Z[i] - Z[tried]
            expected = Z[tried] + 0.1 * dof**0.5 * gaps / np.linalg.norm(gaps, axis=1, keepdims=True)
            assert np.abs(found[i] - expected).max(1).min() < 1e-3


@pytest.mark.parametrize("n_threads", [1, 3])
def test_both_searches_find_the_cheapest_of_the_heaviest(n_threads, monkeypatch):
    """Against the formula, where what rows pay besides their ties is of any size."""
    monkeypatch.setattr(_relocation, "available", lambda: n_threads)
    rng = np.random.default_rng(0)
    V = rng.normal(size=(60, 2)).astype(np.float32)
    ties = np.triu(rng.random((60, 60)) * (rng.random((60, 60)) < 0.6), 1).astype(np.float32)
    sparse = csr_array(ties + ties.T)
    paid, share, there = (rng.uniform(0, high, 60).astype(np.float32) for high in (4, 2, 20))
    given = (sparse.indptr.astype(np.int64), sparse.indices.astype(np.int32), sparse.data)
    numbers = tuple(map(torch.from_numpy, (paid, share, there)))
    W, logs = sparse.toarray(), np.log1p(((V[:, None].astype(float) - V) ** 2).sum(2) / 0.7)
    expected = np.full(60, -1)
    for i in range(60):
        tried = np.argsort(-W[i], kind="stable")[: min(15, (W[i] > 0).sum())]
        costs = 1.5 * logs[tried] @ W[i] + share[i] * there[tried]
        if costs.min() < 1.5 * logs[i] @ W[i] + paid[i]:
            expected[i] = tried[costs.argmin()]
    assert 10 < (expected >= 0).sum() < 55
    for find in (_relocation._cheapest, _relocation._cheapest_compiled):
        np.testing.assert_array_equal(find(torch.from_numpy(V), given, 1.5, 0.7, *numbers), expected)


def test_both_loops_choose_alike(monkeypatch):
    plan = planned()
    _, Z, visit = strays(plan, np.random.default_rng(1))
    ends = []
    for compiled in (False, True):
        monkeypatch.setattr(_relocation, "compiled_pays", lambda *_, compiled=compiled: compiled)
        with torch.no_grad():
            plan.mapper.places.copy_(torch.from_numpy(Z))
        relocate(plan.problem, Dense(), visit)
        ends.append(plan.mapper.places.detach().clone())
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize(
    "changes",
    [
        {"q": "gaussian"},
        {"divergence": "jensen_shannon"},
        {"debias": 0.1},
        {"mapper": "linear"},
        {"p": "gaussian"},
        {"q": Student(debias=0.1)},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_what_cannot_be_judged_row_by_row_is_left_alone(changes):
    able = relocatable(planned(**changes).objective)
    assert able == (changes.get("p") == "gaussian")  # which has edges, like the default


def test_a_fit_relocates_three_times(monkeypatch):
    """Twice with the steps that it has, whose momentum other rows keep, and before the last phase."""
    monkeypatch.setattr(_embedding, "FEW_ROWS", 400)
    relocated, rests, calls, phases = [], [], [], []
    move, rest = solve.relocate, MomentumGains.rest
    monkeypatch.setattr(solve, "relocate", lambda *args: relocated.append(1) or move(*args))
    monkeypatch.setattr(MomentumGains, "rest", lambda self, moved: rests.append(1) or rest(self, moved))

    def note(record):
        calls.append((len(relocated), len(rests)))
        phases.append(record.phase)

    model = ICONEmbedding(max_iter=150, random_state=0, callback=note).fit(X)
    assert model.n_iter_ == 150
    # 25 exaggerated iterations; 48 and 26 before the first two times; 19 after the last one.
    expected = [(0, 0)] * 73 + [(1, 1)] * 26 + [(2, 2)] * 32 + [(3, 2)] * 19
    assert calls == expected
    assert phases == ["early"] * 25 + ["main"] * 106 + ["settling"] * 19
    short = ICONEmbedding(max_iter=90, random_state=0).fit(X)
    assert short.n_iter_ == 90 and len(relocated) == 3
    few = ICONEmbedding(max_iter=150, random_state=0).fit(X[:399])
    assert few.n_iter_ == 150 and len(relocated) == 3 and "settling" not in few.loss_phases_


def test_rows_at_rest_have_no_velocity():
    place = torch.nn.Parameter(torch.randn(5, 2))
    method = MomentumGains([place], 0.1)
    place.grad = torch.ones_like(place)
    method.step(lambda: None)
    moved = torch.tensor([True, False, False, True, False])
    method.rest(moved)
    assert (method.velocities[0][moved] == 0).all() and (method.gains[0][moved] == 1).all()
    assert (method.velocities[0][~moved] != 0).all() and (method.gains[0][~moved] != 1).all()
