"""Figures of merit against direct computation and against scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
from reference import places, random_rows, sqdist
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform
from sklearn.manifold._t_sne import _kl_divergence
from sklearn.neighbors import NearestNeighbors

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


def test_clustering_accuracy_takes_any_names():
    assert clustering_accuracy(["a", "b", "b"], [7, -1, -1]) == 1
    assert clustering_accuracy([0, 0, 1, 1], [1, 1, 0, 2]) == 0.75
    with pytest.raises(ValueError, match="inconsistent"):
        clustering_accuracy([0, 1], [0, 1, 1])
