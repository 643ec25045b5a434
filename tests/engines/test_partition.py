"""Majorise-minimise on the assignment table: the loss, its descent, its fixed points, new rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import (
    FLOAT64,
    cluster_kernel,
    evaluate,
    full_loss,
    make_problem,
    places,
    random_rows,
    softmax,
    sparse_p,
)
from scipy.optimize import minimize
from scipy.sparse import csr_array
from sklearn.datasets import make_blobs

from iconlearn import ICONClustering
from iconlearn.clusters import PairWeights, _reverse_divergence, assign, refine, soften
from iconlearn.conditional import Conditional
from iconlearn.engines import Dense, Partition, _device_weights
from iconlearn.engines import _partition as partition
from iconlearn.learned import Cluster
from iconlearn.loss import loss
from iconlearn.objective import Objective, Problem
from iconlearn.supervisory import KNN

N, M = 40, 4
P = random_rows(N, density=0.15, seed=1)
MASS = np.random.default_rng(2).random(N) + 0.2
LOGITS = places(N, M, seed=3)


def problem_of(debias=0.1, uniform=0.0, mass=MASS, P=P, logits=LOGITS, weight=1.0):
    return make_problem(
        sparse_p(P, uniform=uniform, mass=mass), Cluster(debias=debias), logits, weight=weight
    )


def solve(problems, engine=None, *, max_iter=50, tol=0.0, seed=0, **more):
    objective = Objective(tuple(problems))
    return (engine or Partition()).solve(
        objective, max_iter=max_iter, tol=tol, rng=np.random.RandomState(seed), **more
    )


GRID = [(debias, uniform) for debias in (0.0, 0.1, 0.5) for uniform in (0.0, 0.3)]


@pytest.mark.parametrize(("debias", "uniform"), GRID)
def test_its_loss_is_that_of_the_dense_engine(debias, uniform):
    problem = problem_of(debias, uniform)
    start = evaluate(problem)[0]
    solution = solve([problem], max_iter=30)
    assert solution.history[0] == pytest.approx(start, abs=1e-9)
    assert solution.loss == solution.history[-1] == pytest.approx(evaluate(problem)[0], abs=1e-9)
    assert solution.loss == pytest.approx(full_loss(problem), abs=1e-9)
    assert solution.n_iter == 30 and solution.reason == "max_iter" and not solution.converged


@pytest.mark.parametrize(("debias", "uniform"), GRID)
def test_the_loss_falls_in_every_step(debias, uniform):
    for seed in range(3):
        problem = problem_of(debias, uniform, logits=places(N, M, seed=seed, scale=3))
        history = np.array(solve([problem], max_iter=60).history)
        assert (np.diff(history) <= 1e-12).all()
        assert history[0] - history[-1] > 0.01


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_normalising_the_shares_would_not_be_the_same(floor):
    """The step is the exact minimum of its bound, so no other assignments of one row do better there."""
    problem = problem_of(0.5, floor)
    graph = Partition().graph([problem], np.random.RandomState(0))
    r = softmax(LOGITS)
    G, _ = graph.explained(r)
    price = 0.5 * G.sum(axis=0) / r.sum(axis=0)
    new, _ = refine(graph, r, max_iter=2, tol=0)

    def bound(t):
        return -(G * np.log(t)).sum() + (price * t).sum()

    rng = np.random.default_rng(0)
    for _ in range(20):
        nudged = new * np.exp(0.05 * rng.normal(size=new.shape))
        assert bound(nudged / nudged.sum(axis=1, keepdims=True)) > bound(new)


@pytest.mark.parametrize(("debias", "uniform"), [(0.0, 0.0), (0.1, 0.0), (0.5, 0.0), (0.5, 0.3)])
def test_a_fixed_point_is_stationary_for_the_dense_loss(debias, uniform):
    """In the softmax's coordinates a point of the simplex that cannot be improved has no gradient."""
    X, _ = make_blobs(N, centers=M, cluster_std=2.0, random_state=0)
    problem = problem_of(debias, uniform, P=KNN(5).fit(X).conditional_.edges.toarray())
    solve([problem], max_iter=2000, tol=0)
    _, (gradient,) = evaluate(problem)
    assert np.abs(gradient).max() < 2e-6
    assert np.abs(evaluate(problem_of(debias, uniform))[1][0]).max() > 1e-3


def test_terms_are_added():
    first = problem_of(0.2, 0.1)
    p = sparse_p(random_rows(N, density=0.1, seed=9))
    second = Problem(p, first.q, first.divergence, first.rows, first.columns, 0.5)
    value = sum(t.weight * float(loss(t, Dense(), visit_of(t)).detach()) for t in (first, second))
    solution = solve([first, second], max_iter=40)
    assert solution.history[0] == pytest.approx(value, abs=1e-9)
    assert (np.diff(solution.history) <= 1e-12).all()


def visit_of(problem):
    return next(Dense().visits(problem, rng=None, **FLOAT64))[0]


@pytest.fixture
def by_groups(monkeypatch):
    """Steps see the share by the means of ten groups of rows."""
    monkeypatch.setattr(partition, "N_GROUPS", 10)
    return Partition(max_exact=N - 1)


def blobs_p(uniform, n=600, n_clusters=12):
    X, y = make_blobs(n, n_features=4, centers=n_clusters, cluster_std=4.0, random_state=0)
    p = replace(KNN(15).fit(X).conditional_, uniform=uniform, self_pairs=True)
    return p, np.log(soften(y, n_clusters))


@pytest.mark.parametrize("debias", [0.0, 0.3, 0.95])
def test_the_loss_is_that_of_all_pairs_however_steps_see_the_share(by_groups, debias):
    problem = problem_of(debias, 0.4)
    solution = solve([problem], by_groups, max_iter=30)
    assert solution.loss == solution.history[-1] == pytest.approx(full_loss(problem), abs=1e-9)
    steps = np.array(solution.history[:-1])
    assert (np.diff(steps) <= 1e-12).all()
    assert steps[-1] < solution.loss  # the loss of the means is a lower bound


def test_groups_end_near_the_optimum_of_all_pairs(monkeypatch):
    p, start = blobs_p(0.95)
    ended = []
    for most in (p.n_rows, 0):
        monkeypatch.setattr(partition, "N_GROUPS", 100)
        problem = make_problem(p, Cluster(debias=0.95), start)
        solution = solve([problem], Partition(max_exact=most), max_iter=300, tol=1e-7)
        assert solution.loss == pytest.approx(full_loss(problem), abs=1e-9)
        ended.append(solution.loss)
    assert ended[1] < 1.1 * ended[0]


def test_the_estimate_of_the_loss_approaches_it(by_groups, monkeypatch):
    monkeypatch.setattr(partition, "MAX_PAIRED", N - 1)

    def error(n_off):
        by_groups.n_off, found = n_off, []
        for seed in range(20):
            problem = problem_of(0.3, 0.4)
            found.append(solve([problem], by_groups, max_iter=2, seed=seed).loss - full_loss(problem))
        return np.abs(np.mean(found)), np.std(found)

    few, many = error(4), error(400)
    assert many[1] < few[1] / 5
    assert few[0] < 4 * few[1] / 20**0.5 and many[0] < 4 * many[1] / 20**0.5


def test_rows_without_edges_get_the_shares_of_the_clusters():
    alone = P.copy()
    alone[5] = alone[:, 5] = 0
    problem = problem_of(P=alone / np.maximum(alone.sum(axis=1, keepdims=True), 1e-300))
    solution = solve([problem])
    r = softmax(table_of(problem))
    np.testing.assert_allclose(r[5], np.delete(r, 5, axis=0).mean(axis=0), atol=1e-9)
    assert (np.diff(solution.history) <= 1e-12).all()


def table_of(problem):
    return problem.rows.at().detach().numpy()


def test_held_rows_are_held():
    graph = Partition().graph([problem_of()], np.random.RandomState(0))
    r = softmax(LOGITS)
    held = np.arange(N) < 10
    out, solution = refine(graph, r, max_iter=40, tol=0, held=held)
    np.testing.assert_array_equal(out[held], r[held])
    assert (np.diff(solution.history) <= 1e-12).all() and np.abs(out[~held] - r[~held]).max() > 0.1


def test_it_finds_separate_groups():
    X, y = make_blobs(90, centers=3, cluster_std=0.3, random_state=1)
    p = Conditional(KNN(6).fit(X).conditional_.edges)
    start = np.log(0.4 * np.eye(3)[y] + 0.2)
    problem = make_problem(p, Cluster(), start)
    solution = solve([problem], max_iter=2000, tol=1e-9)
    assert solution.converged and solution.reason == "plateau"
    r = softmax(table_of(problem))
    assert (r.argmax(axis=1) == y).all() and r.max(axis=1).min() > 0.999


def test_callback_and_report_and_tolerance():
    records, told = [], []
    solution = solve([problem_of()], max_iter=100, callback=lambda r: r.iteration == 7, report=told.append)
    assert solution.reason == "callback" and solution.n_iter == 7 == len(told)
    assert [r.iteration for r in told] == list(range(1, 8))
    assert [r.loss for r in told] == solution.history and told[-1].best_loss == min(solution.history)
    coarse = solve([problem_of()], max_iter=2000, tol=1e-3, callback=records.append)
    fine = solve([problem_of()], max_iter=2000, tol=1e-6)
    assert coarse.converged and coarse.n_iter < fine.n_iter and len(records) == coarse.n_iter


def test_an_interrupt_keeps_what_was_reached():
    def interrupt(record):
        if record.iteration == 9:
            raise KeyboardInterrupt

    problem = problem_of()
    solution = solve([problem], max_iter=100, callback=interrupt)
    assert solution.reason == "interrupted" and solution.n_iter == 9
    assert solution.loss == pytest.approx(evaluate(problem)[0], abs=1e-9)


# --- new rows ------------------------------------------------------------------------------------

NEW = Conditional(sparse_p(random_rows(9, N, density=0.2, seed=4)).edges)


def cost(t, p, right):
    return -(p * np.log(np.maximum(right @ t, 1e-300))).sum()


def test_new_rows_minimise_their_own_divergence():
    r = softmax(LOGITS)
    right = r / r.sum(axis=0)
    found = assign(NEW, r, n_iter=20_000, tol=1e-13)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    for t, p in zip(found, NEW.edges.toarray(), strict=True):
        best = minimize(
            cost, np.full(M, 1 / M), (p, right), method="SLSQP", bounds=[(0, 1)] * M,
            constraints={"type": "eq", "fun": lambda t: t.sum() - 1}, options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        assert cost(t, p, right) == pytest.approx(best.fun, abs=1e-8)


def test_the_default_effort_is_close_to_the_minimum():
    r = softmax(3 * LOGITS)
    right, P_new = r / r.sum(axis=0), NEW.edges.toarray()
    quick, thorough = assign(NEW, r), assign(NEW, r, n_iter=50_000, tol=1e-14)
    for a, b, p in zip(quick, thorough, P_new, strict=True):
        assert cost(a, p, right) - cost(b, p, right) < 1e-5


def test_new_rows_do_not_depend_on_one_another():
    r = softmax(LOGITS)
    together = assign(NEW, r)
    for i in range(9):
        np.testing.assert_allclose(
            assign(Conditional(NEW.edges[[i]]), r)[0], together[i], rtol=1e-12, atol=1e-15
        )


def test_a_new_row_without_neighbours_gets_the_average():
    edges = NEW.edges.toarray()
    edges[2] = 0
    r = softmax(LOGITS)
    np.testing.assert_allclose(assign(sparse_p(edges), r)[2], r.mean(axis=0))


def test_a_training_row_of_hard_clusters_finds_its_cluster():
    r = np.eye(M)[np.arange(N) % M]
    own = sparse_p(cluster_kernel(r, r))
    np.testing.assert_allclose(assign(own, r), r, atol=1e-6)


@pytest.mark.parametrize("debias", [0.0, 0.4])
@pytest.mark.parametrize("mass", [None, 3.0])
def test_a_uniform_share_of_new_rows_is_over_all_rows(debias, mass):
    share, r = 0.6, softmax(3 * LOGITS)
    right = (1 - debias) * r / r.sum(axis=0)
    p = replace(NEW, uniform=share, mass=None if mass is None else np.full(9, mass))
    found = assign(p, r, n_iter=20_000, tol=1e-13, debias=debias)
    for t, edges in zip(found, NEW.edges.toarray(), strict=True):
        weight = (1 - share) * edges * (1 if mass is None else mass / 2) + share / N

        def of_logits(z, weight=weight):
            t = np.exp(z - np.logaddexp.reduce(z))
            return -weight @ np.log(np.maximum(right @ t + debias / N, 1e-300))

        best = minimize(of_logits, np.zeros(M), method="BFGS", options={"gtol": 1e-9}).fun
        assert of_logits(np.log(np.maximum(t, 1e-300))) < best + 1e-7


def test_a_share_sees_rows_that_are_assigned_alike_together(monkeypatch):
    r = np.repeat(softmax(3 * LOGITS[:5]), [20, 30, 10, 15, 25], axis=0)[
        np.random.default_rng(0).permutation(100)
    ]
    p = Conditional(sparse_p(random_rows(9, 100, density=0.1, seed=4)).edges, uniform=0.5)
    exact = assign(p, r, debias=0.3)
    monkeypatch.setattr(_reverse_divergence, "N_LIKE", 40)
    np.testing.assert_allclose(assign(p, r, debias=0.3), exact, atol=1e-7)


@pytest.mark.parametrize(("debias", "mass", "balance"), [(0.0, None, 1.0), (0.1, MASS, 0.7)])
def test_steps_on_a_device_are_those_of_the_host(debias, mass, balance, monkeypatch):
    """The operations of a device, here on the CPU, where a row has no edges and rows stand for several."""
    monkeypatch.setattr(_device_weights, "BLOCK", 64)
    edges = P.copy()
    edges[5], edges[:, 5] = 0, 0
    size = None if mass is None else 1.0 + np.arange(N) % 3
    graph = PairWeights(csr_array(edges), np.zeros(N), debias, size, balance)
    there, r = _device_weights.DeviceWeights(graph, torch.device("cpu")), softmax(LOGITS)
    (G, loss), (found, its_loss) = graph.explained(r), there.explained(torch.from_numpy(r))
    np.testing.assert_allclose(found, G, rtol=1e-12, atol=1e-15)
    assert its_loss == pytest.approx(loss, rel=1e-12)
    alike, none = there.explained(torch.from_numpy(r), valued=False)
    assert torch.equal(alike, found) and none == 0.0
    for idle in (None, graph.idle()):
        new = there.improved(torch.from_numpy(r), found, idle=idle)
        np.testing.assert_allclose(new, graph.improved(r, G, idle=idle), rtol=1e-9, atol=1e-14)
    histories = []
    for weights, start in ((graph, r), (there, torch.from_numpy(r))):
        seen = []
        end, descent = refine(
            weights, start, max_iter=30, tol=0.0, observe=lambda loss, r, seen=seen: seen.append(r()) or False
        )
        histories.append(descent.history)
        assert all(isinstance(outputs, np.ndarray) for outputs in seen)
    np.testing.assert_allclose(*histories, rtol=1e-9)
    np.testing.assert_allclose(weights.table(end), seen[-1])


@pytest.mark.gpu
@pytest.mark.pretended
def test_a_clustering_is_the_same_on_a_device(monkeypatch):
    steps, explained = [], _device_weights.DeviceWeights.explained
    monkeypatch.setattr(
        _device_weights.DeviceWeights,
        "explained",
        lambda self, r, *valued: steps.append(r.device.type) or explained(self, r, *valued),
    )
    X, _ = make_blobs(300, 5, centers=6, random_state=0)
    fits = [ICONClustering(6, device=device, random_state=0).fit(X) for device in ("cpu", "cuda")]
    assert set(steps) == {"cuda"}
    np.testing.assert_allclose(fits[1].probabilities_, fits[0].probabilities_, atol=1e-6)
    assert fits[1].loss_ == pytest.approx(fits[0].loss_, rel=1e-9)
