"""Groups of rows as nodes of a coarser graph; rounds that split and merge clusters of them, and crossings."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from iconlearn.clusters import PairWeights, _search, coarsen, cross, refine, soften, split_and_merge
from iconlearn.supervisory import KNN


def rings(n_rings=6, size=20):
    """Rings of rows that know their two neighbours; each ring touches the next at one row."""
    n = n_rings * size
    at = np.arange(n)
    A = np.zeros((n, n))
    A[at, at // size * size + (at + 1) % size] = 1.0
    A[at[::size], (at[::size] + size + 3) % n] = 0.1
    A = A + A.T
    return csr_array(A / A.sum(axis=1, keepdims=True)), at // size


P, TRUTH = rings()


def soft(labels, n_clusters, doubt=0.1):
    r = np.full((len(labels), n_clusters), doubt / (n_clusters - 1))
    r[np.arange(len(labels)), labels] = 1.0 - doubt
    return r


def weights(debias=0.0, share=0.0):
    """A uniform share of p, where there is one, is larger for the first rings."""
    return PairWeights((1.0 - share) * P, share * (1.5 - TRUTH / 5) / len(TRUTH), debias)


def misplaced():
    """Two rings share a cluster, and another ring has two."""
    labels = TRUTH.copy()
    labels[TRUTH == 1] = 0
    labels[np.flatnonzero(TRUTH == 2)[:10]] = 1
    return soft(labels, 6)


@pytest.mark.parametrize(("debias", "share"), [(0.0, 0.0), (0.2, 0.0), (0.2, 0.3)])
def test_a_coarse_graph_has_the_loss_of_its_rows(debias, share):
    graph, labels = weights(debias, share), coarsen(P, 25, np.random.RandomState(0))
    coarse = graph.coarsened(labels)
    assert coarse.size.sum() == graph.n_rows == len(TRUTH)
    assert coarse.unit == pytest.approx(graph.unit)
    r = soft(np.random.default_rng(0).integers(4, size=coarse.n), 4)
    G, loss = coarse.explained(r)
    fine_G, fine_loss = graph.explained(r[labels])
    assert loss == pytest.approx(fine_loss, rel=1e-12)
    for c in range(4):
        np.testing.assert_allclose(G[:, c], np.bincount(labels, fine_G[:, c]), rtol=1e-9, atol=1e-12)
    history = refine(coarse, r, max_iter=60, tol=0.0)[1].history
    assert (np.diff(history) <= 1e-9).all() and history[-1] < history[0] - 1.0


def test_groups_see_the_share_by_their_means():
    """The same where groups are of one mind, a lower bound elsewhere, and a loss that falls either way."""
    groups, rng = coarsen(P, 25, np.random.RandomState(0)), np.random.default_rng(0)
    exact, coarse = weights(0.3, 0.4), weights(0.3, 0.4).grouped(groups)
    alike = soft(rng.integers(4, size=25), 4)[groups]
    G, loss = exact.explained(alike)
    coarse_G, coarse_loss = coarse.explained(alike)
    assert coarse_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(coarse_G, G, rtol=1e-9)
    r = soft(rng.integers(4, size=len(TRUTH)), 4)
    assert coarse.explained(r)[1] < exact.explained(r)[1] - 1e-3
    history = refine(coarse, r, max_iter=100, tol=0.0)[1].history
    assert (np.diff(history) <= 1e-9).all() and history[-1] < history[0] - 1.0
    # Groups of one are no groups.
    alone = weights(0.3, 0.4).grouped(np.arange(len(TRUTH)))
    np.testing.assert_allclose(alone.explained(r)[0], exact.explained(r)[0], rtol=1e-9)


def test_rounds_leave_an_optimum_that_steps_do_not():
    stuck, solution = refine(weights(), misplaced(), max_iter=300, tol=1e-9)
    found = split_and_merge(weights(), stuck, np.random.RandomState(0), n_rounds=6, tol=1e-9)
    best = refine(weights(), soft(TRUTH, 6), max_iter=300, tol=1e-9)[1].loss
    assert best < solution.loss - 1.0
    assert weights().explained(found)[1] <= best + 0.1
    labels = found.argmax(axis=1)
    assert all(len(np.unique(labels[ring == TRUTH])) == 1 for ring in range(6))
    assert found.shape == stuck.shape
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_rounds_never_raise_the_loss():
    """Points without groups have many partitions of about the same loss, and most rounds end in a worse one."""
    edges = KNN(8).fit(np.random.default_rng(0).normal(size=(150, 2))).conditional_.edges
    graph = PairWeights(edges, np.zeros(150), 0.1)
    start = soft(np.random.default_rng(0).integers(6, size=150), 6)
    good = split_and_merge(graph, start, np.random.RandomState(0), n_rounds=8, tol=1e-9)
    loss = graph.explained(good)[1]
    for seed in range(1, 9):
        found = split_and_merge(graph, good, np.random.RandomState(seed), n_rounds=1, tol=1e-9)
        assert graph.explained(found)[1] <= loss


def test_the_weight_of_the_rows_is_no_matter():
    """The merges are proposed for rows that weigh one, whatever the weights add up to."""
    found = [
        split_and_merge(
            PairWeights(P * scale, np.zeros(len(TRUTH)), 0.0),
            misplaced(),
            np.random.RandomState(0),
            n_rounds=4,
            tol=1e-6,
        )
        for scale in (1.0, 1e-3)
    ]
    np.testing.assert_array_equal(found[0].argmax(axis=1), found[1].argmax(axis=1))


def test_one_cluster_has_nothing_to_split():
    r = np.ones((len(TRUTH), 1))
    assert split_and_merge(weights(), r, np.random.RandomState(0), n_rounds=3, tol=1e-6) is r


def test_groups_grow_evenly():
    sizes = np.bincount(coarsen(P, 30, np.random.RandomState(0)))
    assert len(sizes) == 30 and sizes.max() <= 1.6 * 4


def wrong(joined, cut):
    """Two rings share a cluster, and another ring has two; refined, with its loss."""
    labels = TRUTH.copy()
    labels[joined[1] == TRUTH] = joined[0]
    labels[np.flatnonzero(cut == TRUTH)[:10]] = joined[1]
    r, solution = refine(weights(0.1), soft(labels, 6), max_iter=100, tol=1e-9)
    return solution.loss, r


def crossed(found, n_crossings, seed=0):
    rng = np.random.RandomState(seed)
    return cross(weights(0.1), found, (0.2, 0.5), rng, n_crossings=n_crossings, n_steps=40)


def test_two_clusterings_correct_each_other():
    found = [wrong((0, 1), 2), wrong((3, 4), 5)]
    best = refine(weights(0.1), soften(TRUTH, 6), max_iter=300, tol=1e-9)[1].loss
    assert min(loss for loss, _ in found) > best + 1.0
    r = crossed(found, n_crossings=4)
    assert weights(0.1).explained(r)[1] <= best + 0.1
    assert all(len(np.unique(r.argmax(axis=1)[ring == TRUTH])) == 1 for ring in range(6))
    np.testing.assert_allclose(r.sum(axis=1), 1.0)


def test_the_best_stays_where_crossings_do_not_help():
    truth = refine(weights(0.1), soften(TRUTH, 6), max_iter=100, tol=1e-9)
    found = [wrong((0, 1), 2), (truth[1].loss, truth[0])]
    for seed in range(5):
        assert weights(0.1).explained(crossed(found, 3, seed))[1] <= truth[1].loss
    # One alone, and two of one mind, have no pieces to merge.
    assert crossed(found[1:], 3) is truth[0]
    assert crossed([found[1], found[1]], 3) is truth[0]


def test_micro_clusters_are_those_of_the_rows_in_whatever_order_they_are_sought(monkeypatch):
    monkeypatch.setattr(_search, "MANY_ROWS", 2)
    P, ring = rings(30, 40)
    shuffled = np.random.default_rng(0).permutation(len(ring))
    P = P.tolil()
    P[0], P[:, 0] = 0.0, 0.0  # a row that nothing pulls
    graph = PairWeights(csr_array(P)[shuffled][:, shuffled], np.zeros(len(ring)), 0.0)
    found = _search._CoarseSearch(graph, 5, np.random.RandomState(0), 1e-4)
    pulled = graph.among(~graph.idle())
    assert len(found.node) == pulled.n == len(ring) - 1
    np.testing.assert_array_equal(np.bincount(found.node), found.coarse.size)
    again = pulled.coarsened(found.node)
    np.testing.assert_allclose(found.coarse.edges.toarray(), again.edges.toarray(), rtol=1e-12)
    # Neighbours share a micro-cluster, which the edges within it show.
    assert again.edges.diagonal().sum() > 0.3 * again.edges.sum()
