"""Greedy merges against brute force over the directly computed loss."""

from itertools import combinations

import numpy as np
import pytest
from reference import cluster_kernel, random_rows, sparse_p
from scipy.sparse import csr_array

from iconlearn.clusters import PairWeights, _microclusters, _weights, agglomerate, coarsen

N, M = 30, 8
P = random_rows(N, density=0.25, seed=5)
LABELS = np.random.default_rng(6).permutation(np.arange(N) % M)


def cross_entropy(labels, debias, P=P):
    """The debiased loss of hard clusters, the share on p and on q."""
    r = np.eye(labels.max() + 1)[labels]
    r = r[:, r.sum(axis=0) > 0]
    q = (1 - debias) * cluster_kernel(r, r) + debias / len(labels)
    return -(((1 - debias) * P + debias / len(labels)) * np.log(q)).sum()


def closed_form(labels, a):
    total = 0.0
    for c in np.unique(labels):
        on = labels == c
        size, inside = on.sum(), P[np.ix_(on, on)].sum()
        w = (1 - a) * inside + a * size**2 / N
        total -= w * (np.log((1 - a) / size + a / N) - np.log(a / N))
    return total - N * np.log(a / N)


def merged(labels, c, d):
    return np.where(labels == d, c, labels)


def same_partition(a, b):
    return ((a[:, None] == a) == (b[:, None] == b)).all()


def greedy(labels, n_clusters, debias):
    """The best merge of all, again and again."""
    while len(np.unique(labels)) > n_clusters:
        pairs = combinations(np.unique(labels), 2)
        labels = merged(labels, *min(pairs, key=lambda pair: cross_entropy(merged(labels, *pair), debias)))
    return labels


@pytest.mark.parametrize("debias", [0.05, 0.5])
def test_the_closed_form(debias):
    for labels in (LABELS, merged(LABELS, 0, 5)):
        assert closed_form(labels, debias) == pytest.approx(cross_entropy(labels, debias), abs=1e-10)


@pytest.mark.parametrize("debias", [0.02, 0.2, 0.7])
@pytest.mark.parametrize("n_clusters", [7, 6, 4, 2, 1])
def test_every_merge_is_the_best_one(n_clusters, debias):
    found = agglomerate(csr_array(P), LABELS, n_clusters, debias)
    assert found.max() + 1 == n_clusters == len(np.unique(found))
    expected = greedy(LABELS, n_clusters, debias)
    assert same_partition(found, expected)
    assert cross_entropy(found, debias) == pytest.approx(
        cross_entropy(np.unique(expected, return_inverse=True)[1], debias)
    )


def test_nothing_to_merge():
    assert same_partition(agglomerate(csr_array(P), LABELS, M, 0.1), LABELS)
    assert same_partition(agglomerate(csr_array(P), LABELS, M + 3, 0.1), LABELS)


def test_what_it_is_given_stays_as_it_was():
    edges, labels = csr_array(P), LABELS.copy()
    agglomerate(edges, labels, 3, 0.1)
    np.testing.assert_array_equal(edges.toarray(), P)
    np.testing.assert_array_equal(labels, LABELS)


def blocks(n_groups, size, links=0.0):
    A = np.kron(np.eye(n_groups), np.ones((size, size))) * (1 - np.eye(n_groups * size))
    A[0, -1] = A[-1, 0] = links
    return A / A.sum(axis=1, keepdims=True)


def test_coarsening_joins_neighbours_and_stops_in_time():
    P, truth = blocks(6, 8, links=0.01), np.repeat(np.arange(6), 8)
    labels = coarsen(csr_array(P), 20, np.random.RandomState(0))
    assert sorted(np.unique(labels)) == list(range(20))
    assert all(len(np.unique(truth[labels == c])) == 1 for c in range(20))
    assert np.bincount(labels).max() <= 4
    assert same_partition(labels, coarsen(csr_array(P), 20, np.random.RandomState(0)))
    # The first round alone would lead to fewer, and loops count nothing.
    many = coarsen(csr_array(P), 45, np.random.RandomState(0))
    assert many.max() == 44
    loops = csr_array(P + np.diag(np.arange(48.0)))
    assert same_partition(many, coarsen(loops, 45, np.random.RandomState(0)))


def test_coarsening_ends_at_the_connected_parts():
    P = blocks(5, 6)
    labels = coarsen(csr_array(P), 2, np.random.RandomState(0))
    assert same_partition(labels, np.repeat(np.arange(5), 6))


def test_coarse_groups_are_merged_into_the_true_ones():
    P, truth = blocks(4, 10, links=0.01), np.repeat(np.arange(4), 10)
    start = coarsen(sparse_p(P).edges, 12, np.random.RandomState(0))
    assert same_partition(agglomerate(csr_array(P), start, 4, 0.1), truth)


def random_graph(n=3000, n_edges=40_000):
    rng = np.random.default_rng(1)
    row, col = rng.integers(n, size=(2, n_edges))
    one_way = csr_array((rng.random(n_edges), (row, (row + col // 20) % n)), shape=(n, n))
    return one_way + one_way.T


def test_many_edges_are_grouped_alike_by_compiled_loops(monkeypatch):
    edges, size = random_graph(), np.random.default_rng(2).uniform(0.5, 2.0, 3000)
    expected = coarsen(edges, 100, np.random.RandomState(0), size)
    graph = PairWeights(edges, size / size.sum(), 0.1, size)
    coarse = graph.coarsened(expected)
    taken = count_contractions(monkeypatch)
    for module in (_weights, _microclusters):
        monkeypatch.setattr(module, "MANY_EDGES_OF_GROUPS", 0)
    np.testing.assert_array_equal(coarsen(edges, 100, np.random.RandomState(0), size), expected)
    assert len(taken) > 3
    found = graph.coarsened(expected)
    np.testing.assert_allclose(found.edges.toarray(), coarse.edges.toarray(), rtol=1e-12)
    np.testing.assert_allclose(found.floor, coarse.floor, rtol=1e-12)
    assert found.edges.sum() == pytest.approx(graph.edges.sum())


def count_contractions(monkeypatch):
    taken, contraction = [], _weights.contraction
    monkeypatch.setattr(_weights, "contraction", lambda *a, **b: taken.append(1) or contraction(*a, **b))
    return taken


@pytest.mark.parametrize("loops", [False, True])
def test_graphs_are_contracted_alike_on_any_number_of_threads(loops):
    from iconlearn.numerics.compiled import best_partners, contracted

    edges, rng = random_graph(), np.random.default_rng(0)
    group = np.unique(rng.integers(700, size=3000) ** 2 // 900, return_inverse=True)[1]  # of all sizes
    m = group.max() + 1
    member = csr_array((np.ones(3000), (np.arange(3000), group)), shape=(3000, m))
    edges.data[::40] *= -1.0
    counted = edges if loops else edges.maximum(0.0)
    expected = (member.T @ counted @ member).toarray()
    if not loops:
        np.fill_diagonal(expected, 0.0)
    graph = edges.indptr, edges.indices, edges.data
    # Equal scores, and pairs that are just as large together as may be.
    edges.data = np.round(8.0 * edges.data) / 8.0
    rounded, factor, size = edges.data, np.ones(3000), rng.choice([0.25, 0.5, 0.75], 3000)
    best, highest = _microclusters.partners(edges, factor, size, 1.0, compiled=False)
    for n_threads in (1, 3):
        pointers, columns, weights = contracted(*graph, group, m, n_threads, loops=loops)
        assert len(columns) == len(weights) == pointers[-1]
        found = csr_array((weights, columns, pointers), shape=(m, m))
        np.testing.assert_allclose(found.toarray(), expected, rtol=1e-12)
        partner, score = best_partners(*graph[:2], rounded, factor, size, 1.0, n_threads)
        np.testing.assert_array_equal(partner, best)
        np.testing.assert_array_equal(score, highest)


def test_few_edges_are_not(monkeypatch):
    taken = count_contractions(monkeypatch)
    coarsen(random_graph(), 100, np.random.RandomState(0))
    assert not taken
