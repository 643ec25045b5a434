"""Several resolutions of one clustering: nested, through the clusters of the fit, and found when they are read."""

import copy
import inspect
import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering, load, save
from iconlearn.clusters import hierarchy
from iconlearn.clusters._agglomeration import merges
from iconlearn.supervisory import KNN, Gaussian

# Three groups of three clouds each; neighbours reach into other clouds of a group and hardly into other groups.
RNG = np.random.default_rng(0)
CENTRES = np.array([[[9, 0], [0, 9], [-7, -7]]]) * 0.55 + np.array([[0, 0], [19, 0], [9, 18]])[:, None]
CLOUD = np.repeat(np.arange(9), 60)
X = CENTRES.reshape(9, 2)[CLOUD] + RNG.normal(size=(540, 2)) * 1.3


def fitted(n_clusters=9, **options):
    options = {"p": KNN(80), "n_init": 2, "random_state": 0, **options}
    return ICONClustering(n_clusters, **options).fit(X)


def nested(fine, coarse):
    return len(np.unique(fine * 1000 + coarse)) == len(np.unique(fine))


@pytest.mark.parametrize("options", [{}, {"mapper": "linear", "max_iter": 3}])
def test_every_number_is_nested_and_passes_through_the_fit(options):
    model = fitted(**options)
    found = [model.labels_at(k) for k in (1, 2, 3, 5, 9, 12, 40, 100)]
    assert [len(np.unique(labels)) for labels in found] == [1, 2, 3, 5, 9, 12, 40, 100]
    assert all(nested(fine, coarse) for coarse, fine in itertools.pairwise(found))
    assert adjusted_rand_score(model.labels_, model.labels_at(9)) == 1
    if not options:
        assert adjusted_rand_score(CLOUD // 3, model.labels_at(3)) > 0.98
    assert all((np.diff(np.bincount(labels)) <= 0).all() for labels in found)


def test_layers_and_tree():
    model = fitted()
    layers, tree = model.cluster_layers_, model.cluster_tree_
    counts = [int(labels.max()) + 1 for labels in layers]
    assert counts == sorted(counts, reverse=True) and {9, 3} <= set(counts) and counts[0] > 9
    # The tree that others build of such layers: each cluster under the one that holds its rows.
    expected = {(len(layers), 0): [(len(layers) - 1, c) for c in range(counts[-1])]}
    for layer in range(1, len(layers)):
        for c in range(counts[layer]):
            below = np.unique(layers[layer - 1][layers[layer] == c])
            expected[layer, c] = [(layer - 1, int(child)) for child in below]
    assert dict(tree) == expected and tree == expected
    for labels, k in zip(layers, counts, strict=True):
        np.testing.assert_array_equal(labels, model.labels_at(k))


def test_merges_are_the_best_ones_at_every_step():
    """By brute force: the loss of every merge that is allowed is evaluated anew."""
    rng = np.random.default_rng(1)
    edges = rng.random((24, 24)) * (rng.random((24, 24)) < 0.4)
    np.fill_diagonal(edges, 0)
    edges /= edges.sum(axis=1, keepdims=True)
    labels = np.repeat([0, 1, 2], 8)
    p = SimpleNamespace(sparse=lambda: csr_array(edges), n_rows=24, copies=None)
    path = hierarchy(p, labels, np.random.RandomState(0), balance=0.7)
    m, a, b, n = len(path.size), 0.05, 0.7, 24

    def loss(found):
        total = 0.0
        for c in np.unique(found):
            at = found == c
            size, inside = at.sum(), edges[at][:, at].sum()
            weight = (1 - a) * inside + a * size**2 / n
            total -= weight * (np.log((1 - a) / (size**b * n ** (1 - b)) + a / n) - np.log(a / n))
        return total

    for k in range(m, 1, -1):
        before = path.labels_at(k)
        after = loss(path.labels_at(k - 1))
        for c in range(k):
            for d in range(c):
                same = labels[before == c][0] == labels[before == d][0]
                if same or k <= 3:
                    # The first ones inside each cluster are greedy there, and the best of the three is taken.
                    assert after <= loss(np.where(before == c, d, before)) + 1e-9
    assert len(list(merges(csr_array(edges), labels, a))) == 2


def test_found_when_read_and_kept_in_files(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "iconlearn.estimators._clustering.hierarchy", lambda *a, **k: calls.append(1) or hierarchy(*a, **k)
    )
    model = fitted()
    for name in ("cluster_layers_", "cluster_tree_"):
        assert hasattr(model, name) and name not in dir(model)
    (
        repr(model),
        model._repr_mimebundle_(),
        dict(inspect.getmembers(model)),
        pickle.dumps(copy.deepcopy(model)),
    )
    layers = model.cluster_layers_
    assert not calls
    assert len(layers) > 2 and "clusters" in repr(layers) and model.cluster_tree_ and len(calls) == 1
    assert "cluster_layers_" in dir(model)
    save(model, tmp_path / "model.npz")
    for again in (load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.cluster_layers_, layers)
        assert again.cluster_tree_ == model.cluster_tree_ and len(calls) == 1
    assert pickle.loads(pickle.dumps(model.cluster_tree_)) == dict(model.cluster_tree_)
    model.fit(X[:360])
    assert len(model.labels_at(2)) == 360


def test_doubtful_rows_are_marked_at_every_resolution():
    model = fitted(min_confidence=0.8)
    doubtful = model.labels_ == -1
    assert doubtful.any()
    np.testing.assert_array_equal(model.labels_at(9) == -1, doubtful)
    np.testing.assert_array_equal(model.labels_at(30) == -1, doubtful)
    # Between two clouds of one group there is no doubt about the group.
    coarse = model.labels_at(3)
    assert (coarse == -1).sum() < doubtful.sum() and not (coarse == -1)[~doubtful].any()
    assert any((labels == -1).any() for labels in model.cluster_layers_)
    bold = model.labels_at(9), fitted(min_confidence=0.0).labels_at(9)
    assert (bold[1] >= 0).all() and (bold[0] == bold[1])[~doubtful].all() and len(np.unique(bold[1])) == 9


def test_weights_count():
    weight = np.where(CLOUD == 8, 50.0, 1.0)
    model = ICONClustering(9, p=KNN(80), n_init=2, random_state=0).fit(X, sample_weight=weight)
    labels = model.labels_at(model.n_clusters_)
    sizes = np.bincount(labels, weight)
    assert (np.diff(sizes) <= 1e-9).all() and np.bincount(CLOUD[labels == 0]).argmax() == 8


def test_where_there_is_no_path():
    dense = ICONClustering(3, p=Gaussian(n_neighbors=None), n_init=1, random_state=0).fit(X[::9])
    assert not hasattr(dense, "cluster_layers_") and not hasattr(dense, "cluster_tree_")
    with pytest.raises(ValueError, match="no labels_at here: p has no sparse neighbours"):
        dense.labels_at(2)
    model = fitted()
    for k, message in (
        (0, "n_clusters=0"),
        (2.5, "n_clusters=2.5"),
        (400, "more than the 1.. micro-clusters"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            model.labels_at(k)
    with pytest.raises(AttributeError, match="cluster_layers_ is there once"):
        ICONClustering(3).cluster_layers_  # noqa: B018


def test_rows_without_edges_go_with_their_cluster():
    A = np.zeros((60, 60))
    A[:25, :25] = A[25:50, 25:50] = 1
    A[0, 25] = A[25, 0] = 1
    np.fill_diagonal(A, 0)
    model = ICONClustering(2, p="graph", n_init=2, random_state=0).fit(A)
    four = model.labels_at(4)
    assert len(np.unique(four[:50])) == 4 and set(four[50:]) <= set(four[:50])
