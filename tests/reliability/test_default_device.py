"""torch's default device is the user's: what is computed does not depend on it, and it is left as it was."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from iconlearn import (
    Checkpoint,
    ICONClassifier,
    ICONClustering,
    ICONEmbedding,
    Term,
    load,
    metrics,
    neighbors,
    recipes,
    save,
    scorers,
    supervisory,
)
from iconlearn.displays import NeighborDistributionDisplay
from iconlearn.engines import MiniBatch

X, Y = load_digits(return_X_y=True)
X, Y = X[:90, ::3] + 1e-3 * np.arange(22), Y[:90] % 3
SOME = np.where(np.arange(90) % 4, -1, Y)
LARGE = np.random.RandomState(0).normal(size=(16_000, 3))


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
        assert torch.get_default_device().type == device
    finally:
        torch.set_default_device(None)


def answers(model, X=X, methods=()):
    """All that a fitted model says of rows that it has seen, and of others."""
    names = ("transform", "predict_proba", "predict_log_proba", "decision_function", "predict", *methods)
    given = np.concatenate([X, X + 0.5])
    found = [getattr(model, name)(given) for name in names if hasattr(model, name)]
    return [*found, model.loss_]


def embedding(**params):
    X_, y = params.pop("X", X), params.pop("y", None)
    methods = params.pop("methods", ["score"])
    params = {"max_iter": 3, "random_state": 0, "device": "cpu"} | params
    return lambda: answers(ICONEmbedding(**params).fit(X_, y), X_, methods)


def clustering(**params):
    params = {"n_init": 1, "max_iter": 3, "random_state": 0, "device": "cpu"} | params
    return lambda: answers(ICONClustering(**params).fit(X), methods=["score"])


def classifier(y=Y, **params):
    params = {"max_iter": 3, "random_state": 0, "device": "cpu"} | params

    def call():
        model = ICONClassifier(**params).fit(X, y)
        explained = (
            [*model.explain(X[:5])] if model.mapper != "table" and params.get("unlabeled") is None else []
        )
        return [*answers(model), model.score(X, y), *explained]

    return call


def stream(**params):
    model = ICONClassifier(device="cpu", random_state=0, **params).partial_fit(X, Y, classes=[0, 1, 2])
    model.partial_fit(X, Y).add_classes(X[:40], np.full(40, 7))
    return answers(model)


def stored(tmp_path):
    model = ICONEmbedding(mapper="mlp", max_iter=3, random_state=0, device="cpu").fit(X)
    save(model, tmp_path / "model")
    return answers(load(tmp_path / "model"))


def interrupted(tmp_path):
    def stop(record):
        if record.iteration == 3:
            raise KeyError("killed")

    made = {"p": "views", "q": "cosine", "mapper": "mlp", "max_iter": 5, "random_state": 0, "device": "cpu"}
    kept = Checkpoint(tmp_path / "fit", every=1)
    with pytest.raises(KeyError, match="killed"):
        ICONEmbedding(**made, callback=[kept, stop]).fit(X)
    return answers(ICONEmbedding(**made, callback=kept).fit(X))


def later_losses():
    return ICONClustering(3, n_init=1, random_state=0, device="cpu").fit(X).loss_history_


USES = {
    "map": embedding(methods=["score", "fit_transform"]),
    "map, mesh": embedding(engine="mesh"),
    "map, sampled": embedding(engine="sampled", n_components=5),
    "map, batches": embedding(engine=MiniBatch(64)),
    "map, coarse": embedding(init="coarse"),
    "map, spectral": embedding(init="spectral", optimizer="lbfgs"),
    "map, linear": embedding(mapper="linear"),
    "map, principal components": lambda: answers(recipes.pca().set_params(random_state=0, device="cpu").fit(X)),
    "map, views and a teacher": embedding(
        p=supervisory.Views(cross=True), q="cosine", mapper="mlp", column_mapper="ema"
    ),
    "map, function for a mapper": embedding(mapper=lambda n, m: torch.nn.Linear(n, m)),
    "map, dropout": embedding(
        mapper=torch.nn.Sequential(torch.nn.Linear(22, 8), torch.nn.Dropout(), torch.nn.Linear(8, 2))
    ),
    "map, classes": embedding(p="classes", y=Y, mapper="linear"),
    "map, two terms": embedding(terms=[Term("labels")], y=Y),
    "map, Hellinger": embedding(divergence="hellinger"),
    "map turned back": lambda: [
        (m := ICONEmbedding(max_iter=3, random_state=0, device="cpu").fit(X)).inverse_transform(m.embedding_)
    ],
    "clusters": clustering(),
    "clusters, counted": clustering(n_clusters="auto"),
    "clusters, gradients": clustering(n_clusters=3, engine="dense"),
    "clusters, head": clustering(n_clusters=3, mapper="mlp"),
    "clusters, Lloyd": lambda: answers(recipes.k_means(n_clusters=3).set_params(random_state=0, device="cpu").fit(X)),
    "clusters, losses at first use": later_losses,
    "classifier": classifier(),
    "classifier, network held out": classifier(mapper="mlp", early_stopping=True, calibrate=True),
    "classifier, prototypes": classifier(q="gaussian"),
    "classifier, class means": classifier(p="labels", q="cosine", mapper="mlp"),
    "classifier, few labels": classifier(SOME, unlabeled=-1),
    "classifier, few labels, network": classifier(SOME, unlabeled=-1, mapper="mlp"),
    "classifier, stream": stream,
    "classifier, stream of prototypes": lambda: stream(q="cosine", mapper="mlp"),
    "a file": stored,
    "a checkpoint": interrupted,
    "knn": lambda: neighbors.knn(LARGE, 5, random_state=0, device="cpu"),
    "knn of new rows": lambda: neighbors.knn(X, 5, queries=X + 0.1),
    "a p by itself": lambda: [supervisory.Gaussian().fit(X).extend(X + 0.1).sparse().toarray()],
    "metrics": lambda: [metrics.neighbor_recall(X, X[:, :2]), metrics.mutual_information(X, Y)],
    "a scorer": lambda: [scorers.Stability(2)(ICONClustering(3, n_init=1, device="cpu", random_state=0).fit(X), X)],
    "a display": lambda: [
        NeighborDistributionDisplay.from_estimator(
            ICONEmbedding(max_iter=3, random_state=0, device="cpu").fit(X), X
        ).q
    ],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", USES)
def test_the_default_device_changes_nothing(name, tmp_path):
    use = USES[name]
    given = [[tmp_path / part] for part in ("one", "two")] if use in (stored, interrupted) else [[], []]
    for folder in given:
        for path in folder:
            path.mkdir()
    expected = use(*given[0])
    # Nothing can be read off a tensor of this device, so that none may be made there.
    with default_device("meta"):
        found = use(*given[1])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
