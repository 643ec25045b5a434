"""Every p with many q and every q with every form of p: it fits the digits and lowers its own loss, or says why not.

What a q, or a divergence, is shown of a p is its form: edges, blocks, lists, columns of its own, or parts made anew for
each batch.  One p of each form meets them all, and the others a third of them in turn.
"""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, supervisory
from iconlearn.mappers import Recurrent
from iconlearn.registry import COMPONENTS, resolve
from iconlearn.supervisory import (
    KNN,
    Ahead,
    CannotLink,
    Choices,
    Companion,
    Cut,
    Debias,
    Gaussian,
    LocalRadius,
    Mix,
    Paired,
    Pairs,
    Predictions,
    Pretext,
    Restore,
    Spectral,
    SymmetricEntropic,
    Symmetrize,
    Triplets,
    Views,
    Walk,
)

X, Y = load_digits(return_X_y=True)
X, Y = X[:100] / 16, Y[:100]
GRAPH = kneighbors_graph(X, 6).toarray()
P = {
    **{name: resolve("p", name) for name in COMPONENTS["p"]},
    "paired": Paired(32),
    "pairs": Paired(pairs=np.arange(100).reshape(50, 2)),
    "views_cross": Views(cross=True),
    "companion": Companion(KNN(5), 40),
    "gaussian_self": Gaussian(sigma="scale", self_pairs=True),
    "cut": Cut(KNN(5)),
    "spectral": Spectral(KNN(5), 4),
    "walk": Walk(KNN(4)),
    "symmetric_entropic": SymmetricEntropic(8),
    "symmetric": Symmetrize(Gaussian(8)),
    "debiased": Debias(KNN(5), 0.3),
    "pretext": Pretext("rotation", (8, 8)),
    "predictions": Predictions(np.random.default_rng(0).dirichlet(np.full(10, 0.3), 100)),
    "restore_noise": Restore(corrupt="noise"),
    "ahead": Ahead(8),
    "local_radius": LocalRadius(5),
    "mixed": Mix([KNN(4), Gaussian(8)]),
    "choices": Choices([[(i + 10) % 100, (i + 1) % 100, (i + 2) % 100] for i in range(100)]),
    "triplets": Triplets([(i, (i + 10) % 100, (i + 5) % 100) for i in range(100)]),
    "alike": Pairs([(i, (i + 10 - i % 2) % 100) for i in range(100)], np.arange(100) % 2 == 0),
    "apart": CannotLink([(i, i + 1) for i in range(99)]),
}
# One of each form: edges, all pairs, all pairs with the rows themselves, classes, lists, two sets of rows, views, parts
# of rows, targets that are densities, sequences, columns that are other features, shares, and the limits.
FORMS = {
    "knn", "precomputed", "gaussian_self", "classes", "triplets", "paired", "views", "pretext", "restore", "ahead",
    "companion", "debiased", "wide_gaussian", "local_radius",
}  # fmt: skip
SQUARE = {"graph", "precomputed"}
# A first step can be too long for a kernel without a width of its own; these need some to get below their start.
PATIENCE = {"inverse_power": 60, "cosine": 60}
# Pairs that have no meaning, with a word of the reason.
REFUSED = {("wide_gaussian", q): "wide_gaussian" for q in COMPONENTS["q"] if q != "wide_gaussian"}
REFUSED |= {("local_radius", q): "not where any row is" for q in COMPONENTS["q"]}


def in_turn(others):
    """Pairs of a p and one of the others: all for one p of each form, every third for the rest."""
    return [
        (p, other)
        for i, p in enumerate(P)
        for k, other in enumerate(others)
        if p in FORMS or (i + k) % 3 == 0
    ]


def fit(model, p, needs_y=True):
    data = GRAPH / GRAPH.sum(axis=1, keepdims=True) if p in SQUARE else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(data, Y if needs_y else None)


def holds(model):
    assert np.isfinite(model.loss_) and np.isfinite(model.loss_history_).all()
    assert lowered(model), "no better than its start"


def lowered(model):
    first, *later = model.loss_history_
    return min(later, default=first) < first or (model.converged_ and first < 1e-8)


def test_every_p_is_here():
    kinds = (getattr(supervisory, name) for name in supervisory.__all__)
    kinds = {kind for kind in kinds if isinstance(kind, type) and kind is not supervisory.Supervisory}
    assert kinds == {type(p) for p in P.values()} and set(P) >= FORMS


@pytest.mark.parametrize(("p", "q"), in_turn(COMPONENTS["q"]))
def test_maps(p, q):
    mapper = "table" if p in SQUARE else "autoencoder" if p.startswith("restore") else "linear"
    if p == "ahead":
        mapper = Recurrent(8, hidden=8)
    # A batch of fewer rows than there are, so that the loss has several steps to fall in.
    options = {"engine": "minibatch"} if getattr(P[p], "fresh", False) else {}
    model = ICONEmbedding(
        2, p=P[p], q=q, mapper=mapper, max_iter=PATIENCE.get(q, 12), random_state=0, **options
    )
    if (p, q) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[p, q]):
            fit(model, p)
        return
    holds(fit(model, p))
    assert np.isfinite(model.embedding_).all()


@pytest.mark.parametrize(("p", "divergence"), in_turn(COMPONENTS["divergence"]))
def test_clusters(p, divergence):
    mapper = "table" if p in SQUARE or not getattr(P[p], "fresh", False) else "linear"
    options = {"divergence": divergence, "mapper": mapper, "debias": 0.2, "n_init": 2, "random_state": 0}
    model = ICONClustering(4, p=P[p], max_iter=8, **options)
    try:
        fit(model, p)
    except ValueError as reason:
        assert len(str(reason)) > 40, "a refusal is a sentence"
        assert p in {"wide_gaussian", "paired", "restore", "restore_noise", "ahead", "local_radius"}
        return
    assert np.isfinite(model.probabilities_).all() and np.isfinite(model.loss_history_).all()
    if not lowered(model):
        # A table starts where KL ends, and may be too certain there to have a slope for others; a head is less so.
        holds(fit(ICONClustering(4, p=P[p], max_iter=60, **{**options, "mapper": "linear"}), p))


@pytest.mark.parametrize("q", COMPONENTS["q"])
@pytest.mark.parametrize("p", ["classes", "labels"])
def test_classes(p, q):
    model = fit(ICONClassifier(p=p, q=q, max_iter=30, random_state=0), p)
    holds(model)
    assert np.isfinite(model.predict_proba(X)).all()
