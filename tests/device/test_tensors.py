"""Tensors are taken wherever arrays are, on the device or not, with a gradient or without; they count as the array."""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.metrics import pairwise_distances

from iconlearn import (
    Checkpoint,
    ICONClassifier,
    ICONClustering,
    ICONEmbedding,
    displays,
    metrics,
    neighbors,
    scorers,
    supervisory,
)

X, Y = load_iris(return_X_y=True)
X, Y = X[::3], Y[::3]
X[1] = X[0]
N = len(X)
WEIGHT = 0.5 + np.arange(N) % 2
PLACES = X[:, :2] - X[:, :2].mean(0)
LABELS = np.where(np.arange(N) % 3, Y, -1)
D = pairwise_distances(X)
NEAR = np.exp(-(D**2))
ORDER = np.argsort(D + np.diag(np.full(N, -1.0)), axis=1)[:, :6]
PAIRS = np.stack([np.arange(0, 20, 2), np.arange(1, 21, 2)], axis=1)
SHARES = np.array([[0.2, 0.8], [0.6, 0.4], [1.0, 0.0]])


@cache
def fitted(kind):
    return {
        "map": lambda: ICONEmbedding(mapper="linear", max_iter=3).fit(X),
        "clusters": lambda: ICONClustering(3, n_init=1, max_iter=3, random_state=0).fit(X),
        "classes": lambda: ICONClassifier(max_iter=20, tol=1e-2).fit(X, Y),
        "some labels": lambda: ICONClassifier(unlabeled=-1).fit(X, LABELS),
    }[kind]()


def outputs(model):
    return getattr(model, "predict_proba", model.transform)(X)


def map_of(X=X, y=None, *, p="auto", mapper="linear", **params):
    p = supervisory.KNN(5) if isinstance(p, str) else p
    return outputs(ICONEmbedding(p=p, mapper=mapper, max_iter=3, random_state=0, **params).fit(X, y))


def map_of_pairs(X, **params):
    return ICONEmbedding(max_iter=3, random_state=0, **params).fit(X).embedding_


def knn_with(name, metric, value):
    return map_of(p=supervisory.KNN(5, metric=metric, metric_params={name: value}))


def stream(X, y, **further):
    model = ICONClassifier(mapper="linear", random_state=0)
    first = {"sample_weight": further.get("sample_weight"), "classes": further.get("classes", [0, 1, 2])}
    return outputs(model.partial_fit(X, y, **first).partial_fit(X, y, **further))


def further_classes(X, y):
    model = ICONClassifier(max_iter=20, tol=1e-2).fit(X[:20], np.arange(20) % 2)
    return outputs(model.add_classes(X, y))


def watched(tmp_path, X, y, weight):
    model = ICONClassifier(max_iter=20, tol=1e-2, callback=Checkpoint(tmp_path / "fit", every=1))
    return outputs(model.fit(X, y, weight))


def drawn(display):
    artists = display.ax_.get_children()
    plt.close("all")
    return len(artists)


DOORS = {
    "rows of a map": (lambda X: map_of(X), X),
    "rows and labels of a map": (lambda X, y: map_of(X, y, p=supervisory.Labels()), X, Y),
    "new rows of a map": (lambda X: fitted("map").transform(X), X),
    "places turned back": (lambda Z: fitted("map").inverse_transform(Z), PLACES),
    "rows of a map's score": (lambda X: fitted("map").score(X), X),
    "start of a map": (lambda init: map_of(mapper="table", init=init), PLACES),
    "rows of clusters": (lambda X: ICONClustering(3, n_init=1, random_state=0).fit_predict(X), X),
    "start of clusters": (lambda init: ICONClustering(3, init=init, max_iter=2).fit_predict(X), Y),
    "new rows of clusters": (lambda X: fitted("clusters").predict_proba(X), X),
    "rows of a clustering's score": (lambda X: fitted("clusters").score(X), X),
    "rows, classes, weights": (lambda X, y, w: outputs(ICONClassifier(max_iter=20).fit(X, y, w)), X, Y, WEIGHT),
    "labels of some rows": (
        lambda X, y: ICONClassifier(unlabeled=-1, max_iter=3).fit(X, y).transduction_, X, LABELS,
    ),
    "shares of the classes": (
        lambda prior: ICONClassifier(unlabeled=-1, max_iter=3, class_prior=prior).fit(X, LABELS).transduction_,
        np.array([0.5, 0.3, 0.2]),
    ),
    "weights of a score": (lambda *given: fitted("classes").score(*given), X, Y, WEIGHT),
    "weights of a score of some rows": (lambda *given: fitted("some labels").score(*given), X, LABELS, WEIGHT),
    "explained rows": (lambda X: fitted("classes").explain(X).distances, X),
    "a stream": (lambda X, y, c, w: stream(X, y, classes=c, sample_weight=w), X, Y, np.arange(3), WEIGHT),
    "a stream of class means": (
        lambda X, y, c: outputs(ICONClassifier(p="labels", q="gaussian", random_state=0).partial_fit(X, y, classes=c)),
        X, Y, np.arange(3),
    ),
    "further classes": (further_classes, X, Y + 5),
    "a checkpoint": (watched, X, Y, WEIGHT),
    "a matrix of weights": (lambda A: map_of(p=supervisory.Graph(A)), NEAR),
    "a matrix of weights for rows": (lambda A: map_of_pairs(A, p="graph"), NEAR),
    "edges": (lambda A: map_of(p=supervisory.Graph(A)), PAIRS),
    "distances for rows": (
        lambda D: map_of_pairs(D, p=supervisory.KNN(5, metric="precomputed")), D,
    ),
    "neighbours": (
        lambda i, d: map_of(p=supervisory.KNN(5, neighbors=(i, d))), ORDER, np.take_along_axis(D, ORDER, 1),
    ),
    "neighbours for rows": (
        lambda i, d: map_of_pairs((i, d), p=supervisory.KNN(5, metric="precomputed")),
        ORDER, np.take_along_axis(D, ORDER, 1),
    ),
    "pairs of rows": (lambda pairs: map_of(p=supervisory.Paired(pairs=pairs)), PAIRS),
    "linked rows": (lambda pairs: map_of(p=supervisory.MustLink(pairs)), PAIRS),
    "cuts of the columns": (
        lambda split: map_of(p=supervisory.Paired(split=split), q="cosine"), np.array([2]),
    ),
    "variances of a metric": (lambda V: knn_with("V", "seuclidean", V), X.var(0)),
    "the matrix of a metric": (lambda VI: knn_with("VI", "mahalanobis", VI), np.linalg.inv(np.cov(X.T))),
    "a p by itself": (lambda X: supervisory.KNN(5).fit(X).conditional_.sparse().toarray(), X),
    "new rows of a p": (lambda Z: supervisory.KNN(5).fit(X).extend(Z).sparse().toarray(), X),
    "clustering_accuracy": (metrics.clustering_accuracy, Y, LABELS),
    "expected_calibration_error": (
        lambda y, P, c: metrics.expected_calibration_error(y, P, classes=c),
        np.array([1, 0, 1]), SHARES, np.array([0, 1]),
    ),
    "neighbor_recall": (metrics.neighbor_recall, X, PLACES),
    "joint_kl": (metrics.joint_kl, NEAR - np.diag(np.diag(NEAR)), PLACES),
    "mutual_information of clusters": (metrics.mutual_information, LABELS, Y),
    "mutual_information of places": (metrics.mutual_information, X, Y),
    "held_out_loss": (lambda X: scorers.held_out_loss(fitted("clusters"), X), X),
    "Stability": (lambda X: scorers.Stability(2)(fitted("clusters"), X), X),
    "LinearPredictability": (lambda X: scorers.LinearPredictability()(fitted("clusters"), X), X),
    "neighbors.knn": (lambda X, Z: np.hstack(neighbors.knn(X, 4, queries=Z)), X, X + 0.1),
    "neighbors.knn among rows": (lambda X: np.hstack(neighbors.knn(X, 4)), X),
    "neighbors.knn among distances": (lambda D: neighbors.knn(D, 4, metric="precomputed")[0], D),
    "neighbors.choose_backend": (neighbors.choose_backend, X),
    "neighbors.neighbor_graph": (lambda X: neighbors.neighbor_graph(X, 4).toarray(), X),
    "neighbors.distance_block": (neighbors.distance_block, X, X + 0.1),
    "neighbors.pair_distances": (neighbors.pair_distances, X, X, PAIRS[:, 0], PAIRS[:, 1]),
    "neighbors.equal_rows": (neighbors.equal_rows, X[:4], X),
    "neighbors.duplicate_groups": (neighbors.duplicate_groups, X),
    "EmbeddingDisplay": (lambda X, y: drawn(displays.EmbeddingDisplay.from_estimator(fitted("map"), X, y)), X, Y),
    "ClusterDisplay": (lambda X: drawn(displays.ClusterDisplay.from_estimator(fitted("clusters"), X)), X),
    "NeighborDistributionDisplay": (
        lambda X, y: drawn(displays.NeighborDistributionDisplay.from_estimator(fitted("map"), X, y, index=3)), X, Y,
    ),
}  # fmt: skip
on_cuda = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("device", ["cpu", on_cuda])
@pytest.mark.parametrize("name", DOORS)
def test_a_tensor_counts_as_the_array(name, device, tmp_path):
    call, *arrays = DOORS[name]
    if call is watched:
        arrays = [tmp_path, *arrays]

    def tensor(value):
        if not isinstance(value, np.ndarray):
            return value
        made = torch.as_tensor(value, device=device)
        return made.requires_grad_(made.is_floating_point())

    expected = call(*arrays)
    tensors = [tensor(value) for value in arrays]
    before = [value.detach().clone() for value in tensors if isinstance(value, torch.Tensor)]
    found = call(*tensors)
    if isinstance(found, torch.Tensor):
        assert found.device.type == device
        found = found.cpu()
    if isinstance(found, str):
        assert found == expected
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    after = [value for value in tensors if isinstance(value, torch.Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
