"""Figures of merit against direct computation and against scikit-learn."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from reference import places, random_rows, sqdist
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform
from sklearn.manifold._t_sne import _kl_divergence
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from iconlearn.metrics import clustering_accuracy, joint_kl, neighbor_recall

rng = np.random.default_rng(0)


def test_joint_kl_is_that_of_tsne():
    P = random_rows(40, density=0.3, self_pairs=False)
    P = (P + P.T) / (2 * 40)
    Z = places(40, 2)
    theirs, _ = _kl_divergence(Z.ravel(), squareform(P, checks=False), 1, 40, 2)
    assert joint_kl(csr_array(P), Z) == pytest.approx(theirs, abs=1e-10)
    assert joint_kl(csr_array(7 * P), Z.astype(np.float32)) == pytest.approx(theirs, abs=1e-5)


def test_joint_kl_of_a_perfect_map_is_nought():
    Z = places(20, 3)
    k = 1 / (1 + sqdist(Z, Z)) - np.eye(20)
    assert joint_kl(csr_array(k), Z) == pytest.approx(0, abs=1e-12)
    assert joint_kl(csr_array(k), 2 * Z) > 0.01


def test_neighbor_recall():
    X, Z = places(50, 6), places(50, 2, seed=3)
    found = [NearestNeighbors(n_neighbors=7).fit(A).kneighbors(return_distance=False) for A in (X, Z)]
    shares = [len(set(a) & set(b)) / 7 for a, b in zip(*found)]
    assert neighbor_recall(X, Z, 7) == pytest.approx(np.mean(shares))
    assert neighbor_recall(X, 3 * X, 7) == 1
    cosine = NearestNeighbors(n_neighbors=7, metric="cosine").fit(X).kneighbors(return_distance=False)
    shares = [len(set(a) & set(b)) / 7 for a, b in zip(cosine, found[1])]
    assert neighbor_recall(X, Z, 7, metric="cosine") == pytest.approx(np.mean(shares))
    with pytest.raises(ValueError, match="inconsistent"):
        neighbor_recall(X, Z[:-1])


@pytest.mark.parametrize(("n_classes", "n_clusters"), [(4, 4), (3, 5), (5, 3)])
def test_clustering_accuracy_is_the_best_matching(n_classes, n_clusters):
    y, labels = rng.integers(0, n_classes, 60), rng.integers(0, n_clusters, 60)
    most = max(n_classes, n_clusters)
    best = max(np.mean(np.array(names)[labels] == y) for names in permutations(range(most)))
    assert clustering_accuracy(y, labels) == pytest.approx(best)


@pytest.mark.parametrize("gap", [None, float("nan"), pd.NA])
def test_clustering_accuracy_names_labels_that_are_missing(gap):
    for labels in (["a", gap, "b"], np.array([0, gap, 1], dtype=object)):
        with pytest.raises(ValueError, match=r"y_true has no label in 1 rows \(the first is row 1\)"):
            clustering_accuracy(labels, [0, 1, 1])
        with pytest.raises(ValueError, match="labels has no label in 1 rows"):
            clustering_accuracy([0, 1, 1], labels)
    with pytest.raises(ValueError, match="y_true is empty"):
        clustering_accuracy([], [])


def test_clustering_accuracy_takes_any_names():
    assert clustering_accuracy(["a", "b", "b"], [7, -1, -1]) == 1
    assert clustering_accuracy([0, 0, 1, 1], [1, 1, 0, 2]) == 0.75
    with pytest.raises(ValueError, match="inconsistent"):
        clustering_accuracy([0, 1], [0, 1, 1])


def with_a(value, rows):
    rows = np.array(rows, dtype=float)
    rows[3, 0] = value
    return rows


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, Z: neighbor_recall(with_a(np.nan, X), Z), "Input X contains NaN"),
        (lambda X, Z: neighbor_recall(X, with_a(np.nan, Z)), "Input Z contains NaN"),
        (lambda X, Z: neighbor_recall(X, with_a(np.inf, Z)), "Input Z contains infinity"),
        (lambda X, Z: neighbor_recall(X[:10], Z[:10]), "n_neighbors=15 is more than the 9 other rows"),
        (lambda X, Z: neighbor_recall(X, Z, 0), "n_neighbors=0 is out of range"),
        (lambda X, Z: joint_kl(graph(X), Z), r"P is not symmetric.*give \(P \+ P.T\) / 2"),
        (lambda X, Z: joint_kl(-graph(X) - graph(X).T, Z), "P must be at least 0"),
        (lambda X, Z: joint_kl(0 * graph(X), Z), "above 0 for some pairs"),
        (lambda X, Z: joint_kl(np.eye(len(X)), Z), "entries on its diagonal"),
        (lambda X, Z: joint_kl(graph(X) + graph(X).T, with_a(np.nan, Z)), "Input Z contains NaN"),
        (lambda X, Z: joint_kl((graph(X) + graph(X).T)[:, :40], Z), "must be square"),
        (lambda X, Z: joint_kl(graph(X) + graph(X).T, Z[:-1]), "P has 50 rows and Z has 49"),
    ],
)
def test_what_is_no_map_or_no_joint_p_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(places(50, 6), places(50, 2, seed=3))


def graph(X):
    return kneighbors_graph(X, 7)


def test_maps_of_one_number_a_row_and_dense_joint_p():
    X, Z = places(50, 6), places(50, 1, seed=3)
    assert neighbor_recall(X, Z[:, 0], 7) == neighbor_recall(X, Z, 7)
    P = graph(X) + graph(X).T
    assert joint_kl(P.toarray(), Z[:, 0]) == pytest.approx(joint_kl(P, Z), abs=1e-12)
    assert neighbor_recall(csr_array(X), Z, 7) == neighbor_recall(X, Z, 7)
    assert neighbor_recall(X.tolist(), Z.tolist(), 7) == neighbor_recall(X, Z, 7)
