"""Starts and terms of assignments that are partly known: walks from labels, beliefs, and the step they share."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from reference import random_rows, softmax
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import rel_entr

from iconlearn.clusters import Beliefs, PairWeights, _transduction, propagate, refine
from iconlearn.clusters._weights import _project
from iconlearn.numerics.compiled import onto_simplex

N, K = 30, 3
RNG = np.random.default_rng(0)
P = random_rows(N, density=0.2, seed=4) / N
R = softmax(RNG.normal(size=(N, K)))
OPINIONS = softmax(2 * RNG.normal(size=(N, K)))
PI = np.array([0.6, 0.3, 0.1])
GRAPH = PairWeights(csr_array(P), np.zeros(N), 0.0)


def loss_of(r, opinion_weight, proportion_weight):
    """All terms written out over all pairs."""
    q = r @ (r / r.sum(axis=0)).T
    said = 1 + (OPINIONS * np.log(OPINIONS)).sum(axis=1) / np.log(K)
    total = -(P * np.log(q)).sum()
    total += opinion_weight * np.mean(said * rel_entr(OPINIONS, r).sum(axis=1))
    return total + proportion_weight * rel_entr(PI, r.mean(axis=0)).sum()


BELIEFS = Beliefs(OPINIONS, 0.7, PI, 2.0)


def test_the_loss_is_the_sum_of_its_terms():
    solution = refine(GRAPH, R, max_iter=1, tol=0, beliefs=BELIEFS)[1]
    assert solution.loss == pytest.approx(loss_of(R, 0.7, 2.0), abs=1e-10)


def test_the_sum_falls_to_where_nothing_is_better():
    held = np.arange(N) < 5
    r, solution = refine(GRAPH, R, max_iter=3000, tol=0, beliefs=BELIEFS, held=held)
    assert (np.diff(solution.history) <= 1e-12).all()
    assert_allclose(r[held], R[held])

    def of(logits):
        return loss_of(np.vstack([R[held], softmax(logits.reshape(-1, K))]), 0.7, 2.0)

    other = minimize(of, np.log(r[~held]).ravel(), options={"maxiter": 30})
    assert other.fun > solution.loss - 1e-5


def test_a_group_that_is_of_one_mind_costs_what_its_rows_cost():
    groups = np.arange(N) // 3
    r = softmax(RNG.normal(size=(10, K)))
    beliefs = Beliefs(proportions=PI, proportion_weight=2.0)
    fine, coarse = (
        refine(g, rows, max_iter=2, tol=0, beliefs=beliefs)
        for g, rows in ((GRAPH, r[groups]), (GRAPH.coarsened(groups), r))
    )
    assert coarse[1].history[0] == pytest.approx(fine[1].history[0], abs=1e-12)


@pytest.mark.parametrize("project", [_project, lambda G, price, r: onto_simplex(G, price, r, 1e-12, 1)])
def test_a_row_that_weighs_next_to_nothing_is_solved_all_the_same(project):
    unit = 2.0**-51  # eight roundings of the prices
    G = np.array([[0.75 * unit, 0.25 * unit, 0.0], [0.3, 0.1, 0.2]])
    price = np.array([0.25, 0.25 + unit, 0.125])
    new = project(G, price, np.full((2, 3), 1 / 3))
    # 0.75 / m + 0.25 / (m + 1) = 1 has the root sqrt(0.75)
    assert_allclose(new[0], [0.75**0.5, 1 - 0.75**0.5, 0.0], atol=1e-9)
    assert_allclose(new.sum(axis=1), 1)


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_walks_end_at_labels_as_the_linear_system_says(keep):
    A = csr_array(P + P.T)
    labels = np.zeros((N, K))
    labels[[0, 1, 2, 3], [0, 1, 2, 0]] = 1
    W = A.toarray() / A.toarray().sum(axis=1, keepdims=True)
    exact = np.linalg.solve(np.eye(N) - keep * W, (1 - keep) * labels)
    exact /= exact.sum(axis=0)
    exact /= exact.sum(axis=1, keepdims=True)
    assert_allclose(propagate(A, labels, keep), exact, atol=0.03)
    assert_allclose(propagate(A, labels, keep).sum(axis=1), 1)


def test_walks_end_where_they_have_mixed(monkeypatch):
    """Each further step then leaves every score as it is, to a hundredth of what the linear system says."""
    steps, keep, walks = [], 0.99, _transduction.sparse.diags

    class Counted:
        def __init__(self, walk):
            self.walk = walk

        def __matmul__(self, other):
            if isinstance(other, np.ndarray):
                steps.append(1)
                return self.walk @ other
            return Counted(self.walk @ other)

    A = csr_array(P + P.T + 0.5)
    labels = np.eye(N, K)
    W = A.toarray() / A.toarray().sum(axis=1, keepdims=True)
    exact = np.linalg.solve(np.eye(N) - keep * W, (1 - keep) * labels)
    monkeypatch.setattr(_transduction.sparse, "diags", lambda *told: Counted(walks(*told)))
    found = _transduction._walked(A, labels, keep)
    assert_allclose(found, exact, rtol=0.02)
    assert len(steps) < 100  # a hundredth goes on after 459


def test_walks_do_not_reach_other_parts():
    A = csr_array(np.kron(np.eye(2), np.ones((3, 3))))
    scores = propagate(A, np.eye(6, 2), 0.9)
    assert (scores[3:] == 0).all() and (scores[:3].sum(axis=1) > 0.99).all()


def test_a_crossing_finds_what_two_starts_have_half_of_each():
    # Eight cliques of five; the classes are pairs of them with few ties.
    clique, pair = np.repeat(np.arange(8), 5), np.repeat(np.arange(4), 10)
    A = 1.0 * (clique[:, None] == clique) + 0.1 * (pair[:, None] == pair)
    graph = PairWeights(csr_array(A / A.sum()), np.zeros(40), 0.0)

    def descent(begun):
        return refine_to_the_end(graph, begun)

    wrong = np.array([0, 1, 0, 1, 2, 3, 2, 3])[clique]
    starts = [np.where(np.arange(40) < 20, a, b) for a, b in ((pair, wrong), (wrong, pair))]
    ends = [descent(_transduction.soften(labels, 4)) for labels in starts]
    best = _transduction._crossed(ends, descent)
    assert (best.argmax(axis=1) == pair).all()
    assert descent(best)[1] < min(loss for _, loss in ends) - 0.01


def test_a_start_stays_where_a_crossing_gains_next_to_nothing():
    lower = iter(np.arange(1, 20) * 1e-4)
    ends = [(np.full((2, 2), float(k)), 1.0 + k) for k in range(3)]
    kept = _transduction._crossed(ends, lambda begun: (begun + 9.0, 1.0 - 1e-4 * next(lower)))
    assert (kept == 0.0).all()
    taken = _transduction._crossed(ends, lambda begun: (begun + 9.0, 0.9))
    assert (taken > 8.0).all()


def refine_to_the_end(graph, begun):
    r, descent = refine(graph, begun, max_iter=200, tol=1e-9)
    return r, descent.loss


def test_a_label_in_the_cluster_of_another_class_leaves_its_own_cluster_to_its_class(monkeypatch):
    # Three cliques; the labels of classes 1 and 2 both lie in the second, and that of class 2 has a tie to the third.
    clique = np.repeat(np.arange(3), 10)
    A = 1.0 * (clique[:, None] == clique)
    A[12, 25] = A[25, 12] = 0.5
    graph, order = PairWeights(csr_array(A / A.sum()), np.zeros(30), 0.0), np.array([2, 0, 1])
    monkeypatch.setattr(_transduction, "search", lambda coarse, *_, **__: np.eye(3)[order[clique]])
    monkeypatch.setattr(_transduction, "AGREE", 0.6)
    for rows in ([0, 12, 13], [0, 13, 12]):
        known = np.full(30, -1)
        known[rows] = np.arange(3)
        walks = _transduction._walks(graph, known, 1 * (known >= 0), np.eye(3))
        rng = np.random.RandomState(0)
        _, _, clusters = _transduction._starts(graph, known, 1 * (known >= 0), walks, None, rng, 1e-6)
        of_tie = known[12]
        assert (clusters.argmax(axis=1)[clique == 2] == of_tie).all()
        assert (clusters.argmax(axis=1)[clique == 1] == 3 - of_tie).all()


def test_clusters_are_searched_among_fewer_nodes_than_starts_are_compared_on(monkeypatch):
    n, searched, search = 2400, [], _transduction.search
    ring = np.arange(n)
    A = csr_array(
        (np.ones(2 * n), (np.tile(ring, 2), np.concatenate([ring - 1, (ring + 1) % n]) % n)), shape=(n, n)
    )
    graph = PairWeights(A / (2 * n), np.zeros(n), 0.0)
    monkeypatch.setattr(
        _transduction,
        "search",
        lambda coarse, *given, **how: searched.append(coarse.n) or search(coarse, *given, **how),
    )
    codes = np.full(n, -1)
    codes[[0, n // 2]] = 0, 1
    _transduction._best_start(graph, codes, np.eye(2), None, np.random.RandomState(0), 1e-6, None)
    assert searched[0] <= 0.3 * 600  # of 600 nodes


@pytest.mark.parametrize(("n_classes", "goes_on"), [(5, True), (40, False)])
def test_a_search_goes_on_where_one_more_cluster_may_bring_the_labels_home(monkeypatch, n_classes, goes_on):
    # Of the four labels of each clique's class one lies in the next clique.
    n, clique, answers = 10 * n_classes, np.repeat(np.arange(n_classes), 10), []
    A = csr_array(1.0 * (clique[:, None] == clique))
    graph, known = PairWeights(A / A.sum(), np.zeros(n), 0.0), np.full(n, -1)
    for c in range(n_classes):
        known[10 * c + np.arange(3)], known[(10 * c + 15) % n] = c, c

    def search(coarse, *_, promising):
        answers.append(promising(np.eye(n_classes)[clique]))
        return np.eye(n_classes)[clique]

    monkeypatch.setattr(_transduction, "search", search)
    walks = _transduction._walks(graph, known, 1 * (known >= 0), np.eye(n_classes))
    rng = np.random.RandomState(0)
    assert len(list(_transduction._starts(graph, known, 1 * (known >= 0), walks, None, rng, 1e-6))) == 2
    assert answers == [goes_on]
