"""Rows as lists of few clusters: the same steps as by tables, taken where lists are short."""

import numpy as np
import pytest
from scipy import sparse

from iconlearn import ICONClustering
from iconlearn.clusters import SMALLEST, Beliefs, PairWeights, _refine, _weights, refine, refined, soften
from iconlearn.clusters._lists import Lists
from iconlearn.clusters._weights import joined
from iconlearn.estimators import _base

N, M = 400, 30
LEAST = 1e-11


@pytest.fixture(autouse=True)
def lists_of_small_steps(monkeypatch):
    monkeypatch.setattr(_weights, "LISTED_WORK", 0)
    monkeypatch.setattr(_weights, "MUCH_WORK", 0)


def weights(debias=0.0, size=None, balance=1.0):
    """A ring with edges along it; row 5 has none."""
    rng = np.random.default_rng(0)
    row = np.repeat(np.arange(N), 12)
    col = (row + rng.integers(-12, 13, size=len(row))) % N
    value = rng.random(len(row)) * (row != 5) * (col != 5)
    edges = sparse.csr_array((value, (row, col)), shape=(N, N)) / N
    edges.eliminate_zeros()
    return PairWeights(edges, np.zeros(N), debias, size, balance)


LABELS = np.arange(N) * M // N
SIZES = np.random.default_rng(3).uniform(0.5, 3.0, size=N)


def assignments(alone=()):
    """Three clusters for each row, next to each other; one alone for some."""
    r = np.full((N, M), SMALLEST)
    shares = np.random.default_rng(1).dirichlet([1.0, 1.0, 1.0], size=N)
    shares[np.isin(LABELS, alone)] = SMALLEST, 1.0, SMALLEST
    for k in range(3):
        r[np.arange(N), (LABELS + k - 1) % M] = shares[:, k]
    return r / r.sum(axis=1, keepdims=True)


def lists_of(graph, r):
    return Lists.of(r, LEAST, LEAST, graph.size)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    ("debias", "size", "balance"), [(0.0, None, 1.0), (0.3, None, 0.5), (0.0, SIZES, 1.0), (0.3, SIZES, 0.2)]
)
def test_a_step_by_lists_is_the_step_by_tables(debias, size, balance, n_threads, monkeypatch):
    monkeypatch.setattr(_weights, "available", lambda: n_threads)
    graph, r = weights(debias, size, balance), assignments(range(0, M, 3))
    lists = lists_of(graph, r)
    np.testing.assert_allclose(lists.table(SMALLEST), r, atol=1e-15)
    np.testing.assert_allclose(lists.mass, graph.mass(r), rtol=1e-9)
    (G, _), (expected, expected_loss) = graph.explained(r), graph.explained(r)
    found, loss = graph.explained(lists)
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    np.testing.assert_allclose(found[1], G.sum(axis=0), rtol=1e-8)
    held = np.arange(N) % 7 == 0
    proportions = np.random.default_rng(2).dirichlet(np.ones(M))
    beliefs = Beliefs(proportions=proportions, proportion_weight=0.3)
    pull, cost = beliefs.explained(r, graph)
    pull_of_lists, cost_of_lists = beliefs.explained(lists, graph)
    assert cost_of_lists == pytest.approx(cost, rel=1e-9)
    new = graph.improved(r, expected, pull, held=held)
    new_lists = graph.improved(lists, found, pull_of_lists, held=held)
    some = np.arange(N) != 5  # what nothing pulls stays as it is among lists
    np.testing.assert_allclose(new_lists.table(SMALLEST)[some], new[some], atol=1e-9)
    np.testing.assert_allclose(new_lists.table(SMALLEST)[held], r[held], atol=1e-15)
    np.testing.assert_allclose(new_lists.mass, new_lists.table(SMALLEST).T @ graph.size, rtol=1e-8)


def test_rows_of_no_common_cluster_come_together():
    graph = PairWeights(sparse.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]])), np.zeros(2), 0.0)
    lists = Lists.of(np.eye(2), LEAST, LEAST, graph.size)
    found, loss = graph.explained(lists)
    assert np.isfinite(loss)
    assert (graph.improved(lists, found).table(SMALLEST) > 0.1).all()


def test_descents_agree_where_nothing_is_left_out(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_weights, "LISTED_WORK", np.inf)
        expected, by_tables = refine(weights(), soften(LABELS, M), max_iter=60, tol=0.0)
    monkeypatch.setattr(_refine, "LEAST", 1.01 * SMALLEST)
    found, by_lists = refine(weights(), soften(LABELS, M), max_iter=60, tol=0.0)
    np.testing.assert_allclose(by_lists.history, by_tables.history, rtol=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_left_out_is_not_missed(monkeypatch):
    """The loss that is told is that of the table which is returned, and no higher than without lists."""
    graph = weights()
    found, descent = refine(graph, soften(LABELS, M), max_iter=400, tol=1e-8)
    assert (np.diff(descent.history) <= 1e-8 * descent.loss).all()
    monkeypatch.setattr(_weights, "LISTED_WORK", np.inf)
    assert graph.explained(found)[1] == pytest.approx(descent.loss, rel=1e-9)
    assert descent.loss <= refine(graph, soften(LABELS, M), max_iter=400, tol=1e-8)[1].loss * (1 + 1e-6)


def test_steps_of_a_search_go_further(monkeypatch):
    rng, graph = np.random.default_rng(4), weights()
    labels = np.where(rng.random(N) < 0.3, rng.integers(M, size=N), LABELS)
    steps, improved = [], PairWeights.improved
    monkeypatch.setattr(PairWeights, "improved", lambda *a, **b: steps.append(b) or improved(*a, **b))
    r, loss = refined(graph, soften(labels, M), max_iter=40, tol=0.0)
    assert len(steps) <= 28 and all(step["far"] for step in steps)
    monkeypatch.setattr(_weights, "LISTED_WORK", np.inf)
    assert graph.explained(r)[1] == pytest.approx(loss, rel=1e-9)
    assert loss < refined(graph, soften(labels, M), max_iter=21, tol=0.0)[1]
    assert loss == pytest.approx(refined(graph, soften(labels, M), max_iter=40, tol=0.0)[1], rel=1e-3)


@pytest.mark.parametrize("listed", [False, True])
def test_steps_that_go_further_end_lower_and_sooner(listed, monkeypatch):
    """The loss falls in each of them, and the end is one of steps to the minimum as well."""
    monkeypatch.setattr(_weights, "LISTED_WORK", 0 if listed else np.inf)
    graph, begun = weights(), soften(np.random.default_rng(0).integers(M, size=N), M)
    plain = refine(graph, begun, max_iter=400, tol=1e-6)[1]
    r, far = refine(graph, begun, max_iter=400, tol=1e-6, far=True)
    assert far.reason == "plateau" and (np.diff(far.history) <= 0).all()
    assert far.loss < plain.loss and len(far.history) < 0.8 * len(plain.history)
    assert far.loss - refine(graph, r, max_iter=2, tol=0.0)[1].loss <= 1e-6 * far.loss


def test_where_they_overshoot_steps_are_of_the_usual_length(monkeypatch):
    """Two rows that attract each other: the first step is to the optimum, and a further one would be beyond it."""
    pair = PairWeights(sparse.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]])), np.zeros(2), 0.0)
    r, descent = refine(pair, np.array([[0.6, 0.4], [0.4, 0.6]]), max_iter=60, tol=1e-7, far=True)
    assert descent.reason == "plateau" and (np.diff(descent.history) <= 0).all()
    np.testing.assert_allclose(r, 0.5, atol=1e-12)
    # Steps that are far too long: the loss rises, and what they have led to is given up.
    improved = PairWeights.improved

    def too_far(self, r, *a, far=False, **b):
        new = improved(self, r, *a, far=far, **b)
        return np.stack([new[0, ::-1], new[1]]) if far else new

    monkeypatch.setattr(PairWeights, "improved", too_far)
    begun = np.array([[0.9, 0.1], [0.8, 0.2]])
    history = refine(pair, begun, max_iter=60, tol=1e-7, far=True)[1].history
    assert (np.diff(history) <= 0).all()


def test_a_part_of_a_search_that_stays_above_a_bar_is_not_finished(monkeypatch):
    monkeypatch.setattr(_weights, "LISTED_WORK", np.inf)
    seen, explained = [], PairWeights.explained
    monkeypatch.setattr(
        PairWeights,
        "explained",
        lambda self, r, valued=True: seen.append(valued) or explained(self, r, valued),
    )

    def steps(**options):
        seen.clear()
        loss = refined(weights(), soften(LABELS, M), max_iter=40, tol=0.0, **options)[1]
        return loss, len(seen), sum(seen)

    loss, n_steps, n_looks = steps()
    assert n_steps == 27 and n_looks == 7  # each fourth, and the last
    assert steps(bar=loss * (1 + 1e-9)) == (loss, n_steps, n_looks)
    above, fewer, _ = steps(bar=0.9 * loss)
    assert fewer <= 12 and loss < above < 1.1 * loss


def test_a_search_that_falls_no_more_goes_on_by_finer_lists(monkeypatch):
    graph, seen, improved = weights(), [], PairWeights.improved
    monkeypatch.setattr(_refine, "LEAST_OF_SEARCH", 0.02)
    monkeypatch.setattr(
        PairWeights, "improved", lambda self, r, *a, **b: seen.append(r.least) or improved(self, r, *a, **b)
    )
    refined(graph, soften(LABELS, M), max_iter=60, tol=0.0)
    assert seen == sorted(seen, reverse=True) and set(seen) == {0.02, 1e-8}
    assert seen.count(1e-8) > 10


def test_tables_where_lists_are_long_or_work_is_little(monkeypatch):
    graph, hard = weights(), soften(LABELS, M)
    assert isinstance(graph.in_lists(assignments(), LEAST), Lists)
    assert graph.in_lists(hard, LEAST) is hard
    assert isinstance(graph.in_lists(hard, LEAST, doubt=0.01), Lists)
    few = soften(LABELS % 10, 10)
    assert graph.in_lists(few, LEAST, doubt=0.1) is few
    with monkeypatch.context() as patch:
        patch.setattr(_weights, "LARGE_TABLE", few.size)
        assert isinstance(graph.in_lists(few, LEAST, doubt=0.1), Lists)
        assert (
            graph.may_list(10)
            and not graph.may_list(10, on_device=True)
            and graph.may_list(M, on_device=True)
        )
    uniform = PairWeights(graph.edges, np.full(N, 0.1 / N), 0.1)
    assert isinstance(uniform.in_lists(assignments(), LEAST), np.ndarray)
    monkeypatch.setattr(_weights, "LISTED_WORK", len(graph.edges.data) * M + 1)
    assert isinstance(graph.in_lists(assignments(), LEAST), np.ndarray)


@pytest.mark.parametrize("floor", [0.0, 0.2])
@pytest.mark.parametrize("size", [None, SIZES])
def test_the_cost_of_a_merge_is_what_the_loss_rises_by(floor, size):
    graph, r = weights(0.2, size, 0.7), assignments()
    if floor:
        graph = PairWeights(graph.edges, np.full(N, floor / N), 0.2, size, 0.7)
    pairs = [(0, 1), (3, 4), (2, 20), (1, 4)]
    found = graph.merge_costs(r, pairs)
    rises = [graph.explained(joined(r, *pair))[1] for pair in pairs]
    np.testing.assert_allclose(np.diff(found), np.diff(rises), atol=1e-9)
    if not floor:
        np.testing.assert_allclose(found, np.array(rises) - graph.explained(r)[1], atol=1e-9)


def test_the_loss_that_the_steps_have_found_is_that_of_the_probabilities(monkeypatch):
    """Where every cluster has rows nothing is evaluated again."""
    rng = np.random.default_rng(0)
    X = np.repeat(8 * rng.normal(size=(M, 6)), 20, axis=0) + rng.normal(size=(20 * M, 6))
    monkeypatch.setattr(_base, "evaluated", None)
    model = ICONClustering(M, n_init=2, random_state=0).fit(X)
    assert model.n_clusters_ == M
    p, r = model.p_.conditional_.sparse().tocoo(), model.transform(X)
    q = (r[p.row] * r[p.col] / r.sum(axis=0)).sum(axis=1)
    assert model.q_.balance_ == 1
    assert model.loss_ == pytest.approx((p.data * np.log(p.data / q)).sum() / len(X), rel=1e-8)
