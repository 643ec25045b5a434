"""Writes ``fixtures/VERSION.tar.xz``: estimators and checkpoints of one version, and their answers.

    PYTHONPATH=A_CHECKOUT_OF_THAT_VERSION python tests/storage/make_fixtures.py

0.1.0.tar.xz was written by iconlearn 0.1.0 (commit f526319; Python 3.11, numpy 2.4.6, scikit-learn 1.9.1, torch
2.13.0), and says what this and every later version must read.  It is not written again: a file in it that a later
version cannot read is a fault of that version.  What later versions add goes into a file of theirs, by another run of
this script with that version; existing files never make way.

    NAME.model              what ``iconlearn.save`` wrote
    NAME.answers.npz        `rows`, and by method what the estimator said of them; by name its fitted attributes
    NAME.checkpoint/        what ``Checkpoint`` left of a fit that was stopped; NAME.model is then its unfitted
                            estimator, and the answers hold the data and what the whole fit gives
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import itertools
import tarfile
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import nn

import iconlearn
from iconlearn import Checkpoint, ICONClassifier, ICONClustering, ICONEmbedding, Term, recipes
from iconlearn.divergences import KL, Hellinger, JensenShannon, ReverseKL, TotalVariation
from iconlearn.engines import Closed, Dense, Mesh, MiniBatch, Partition, Sampled
from iconlearn.learned import (
    Cluster,
    Cosine,
    Dot,
    Gaussian,
    InversePower,
    NarrowGaussian,
    Student,
    WideGaussian,
)
from iconlearn.mappers import EMA, MLP, Linear, Table
from iconlearn.supervisory import (
    KNN,
    Classes,
    Companion,
    Cooccurrence,
    Cut,
    Debias,
    Graph,
    Identity,
    Labels,
    Mix,
    MustLink,
    Paired,
    Precomputed,
    Spectral,
    Symmetrize,
    Views,
    Walk,
)
from iconlearn.supervisory import Gaussian as GaussianP
from iconlearn.supervisory import Student as StudentP
from iconlearn.supervisory import WideGaussian as WideP

FIXTURES = Path(__file__).with_name("fixtures")
METHODS = ("transform", "transform_columns", "predict", "predict_proba", "decision_function")

rng = np.random.RandomState(0)
y = np.repeat(np.arange(3), 10)
X = np.round(rng.normal(size=(30, 4)) + 3.0 * np.eye(4)[y], 3)
NEW = np.round(rng.normal(size=(5, 4)) + 3.0 * np.eye(4)[[0, 1, 2, 0, 1]], 3)
FEW = np.where(np.arange(30) % 5 == 0, y, -1)
DISTANCES = np.round(np.linalg.norm(X[:, None] - X, axis=2), 3)
NEW_DISTANCES = np.round(np.linalg.norm(NEW[:, None] - X, axis=2), 3)
GRAPH, NEW_GRAPH = np.exp(-DISTANCES) * (DISTANCES < 2.5), np.exp(-NEW_DISTANCES)
WORDS = [["the", "cat", "sat"], ["the", "dog", "sat"], ["a", "cat", "ran"], ["a", "dog", "ran"]] * 3


def few_calls():
    fit = ICONClassifier(random_state=0)
    for k in range(3):
        fit.partial_fit(X[k::3], y[k::3], classes=[0, 1, 2])
    return fit


def more_classes():
    return (
        ICONClassifier(random_state=0, max_iter=30).fit(X[y < 2], y[y < 2]).add_classes(X[y == 2], y[y == 2])
    )


def means_of_more_classes():
    fit = ICONClassifier(p="labels", q="cosine", n_components=2, max_iter=5, random_state=0).fit(
        X[y < 2], y[y < 2]
    )
    return fit.add_classes(X[y == 2][:4], y[y == 2][:4]).partial_fit(X[y == 2][4:], y[y == 2][4:])


def map_of(**options):
    return ICONEmbedding(**{"max_iter": 5, "random_state": 0, **options})


def clusters_of(**options):
    return ICONClustering(**{"n_clusters": 3, "n_init": 2, "max_iter": 10, "random_state": 0, **options})


def classes_of(**options):
    return ICONClassifier(**{"max_iter": 10, "random_state": 0, **options})


# A fitted estimator, or a function that fits it; and the rows that are asked about.
MODELS = {
    "map": (lambda: map_of().fit(X), NEW),
    "map_drawn": (lambda: map_of(random_state=np.random.RandomState(3), init="random").fit(X), NEW),
    "map_single": (lambda: map_of().fit(X.astype(np.float32)), NEW.astype(np.float32)),
    "map_sparse": (lambda: map_of().fit(sparse.csr_array(X * (X > 0))), sparse.csr_array(NEW)),
    "map_linear": (lambda: map_of(mapper="linear").fit(X), NEW),
    "map_orthonormal": (lambda: map_of(mapper=Linear(orthonormal=True)).fit(X), NEW),
    "map_mlp": (lambda: map_of(mapper=MLP((5, 4)), engine=MiniBatch(16)).fit(X), NEW),
    "map_sequential": (
        lambda: map_of(mapper=nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))).fit(X), NEW,
    ),
    "map_teacher": (
        lambda: map_of(
            p=Views(cross=True), q=Cosine(learnable=True), mapper=MLP((4,)), column_mapper=EMA(), engine="minibatch",
        ).fit(X), NEW,
    ),
    "map_paired": (
        lambda: map_of(p=Paired(2), mapper="linear", terms=[Term(Paired(2, ends=(1, 0)))]).fit(X), NEW,
    ),
    "map_clip": (
        lambda: recipes.clip(split=2, n_components=2, mapper=MLP((4,)), max_iter=5, random_state=0).fit(X), NEW,
    ),
    "map_companion": (lambda: map_of(p=Companion(KNN(4), 2), mapper="linear").fit(X), NEW),
    "map_graph": (lambda: map_of(p="graph").fit(sparse.csr_array(GRAPH)), NEW_GRAPH),
    "map_precomputed": (lambda: map_of(p=Precomputed("distance", perplexity=5)).fit(DISTANCES), NEW_DISTANCES),
    "map_labels": (lambda: map_of(terms=[Term("labels", weight=0.3), Term(MustLink(labels=FEW))]).fit(X, y), NEW),
    "map_supcon": (lambda: recipes.supcon(n_components=2, mapper=MLP((4,)), max_iter=5, random_state=0).fit(X, y), NEW),
    "map_words": (lambda: recipes.skip_gram(n_components=2, max_iter=5, random_state=0).fit(WORDS), None),
    "map_bags": (lambda: recipes.cbow(n_components=2, max_iter=5, random_state=0).fit(WORDS), None),
    "map_pca": (lambda: recipes.pca(random_state=0).fit(X), NEW),
    "map_wide": (lambda: map_of(p="wide_gaussian", q="wide_gaussian").fit(X), NEW),
    "map_narrow": (lambda: map_of(p="student", q=NarrowGaussian(0.5)).fit(X), NEW),
    "map_tsne": (lambda: recipes.tsne(perplexity=5, max_iter=5, random_state=0).fit(X), NEW),
    "map_all_pairs": (lambda: map_of(p=GaussianP(5.0, n_neighbors=None), q=Gaussian()).fit(X), NEW),
    "map_walk": (lambda: map_of(p=Walk(KNN(4)), divergence="jensen_shannon", debias=0.1).fit(X), NEW),
    "map_mix": (lambda: map_of(p=Mix([KNN(4), GaussianP(5, n_neighbors=None)]), divergence="hellinger").fit(X), NEW),
    "map_symmetric": (lambda: map_of(p=Symmetrize(GaussianP(5))).fit(X), NEW),
    "map_symmetric_blocks": (lambda: map_of(p=Symmetrize(GaussianP(5, n_neighbors=None))).fit(X), NEW),
    "map_debiased": (lambda: map_of(p=Debias(KNN(5), 0.3), divergence="reverse_kl").fit(X), NEW),
    "map_cut": (lambda: map_of(p=Cut(KNN(5)), q=InversePower(), divergence="total_variation").fit(X), NEW),
    "map_spectral": (lambda: map_of(p=Spectral(KNN(5), 3)).fit(X), NEW),
    "map_sampled": (lambda: map_of(engine=Sampled()).fit(X), NEW),
    "map_mesh": (lambda: map_of(engine="mesh").fit(X), NEW),
    "clusters": (lambda: clusters_of().fit(X), NEW),
    "clusters_auto": (lambda: clusters_of(n_clusters="auto").fit(X), NEW),
    "clusters_linear": (lambda: clusters_of(mapper="linear").fit(X), NEW),
    "clusters_debiased": (lambda: clusters_of(debias=0.2, min_confidence=0.6).fit(X), NEW),
    "clusters_k_means": (lambda: recipes.k_means(n_clusters=3, n_init=2, random_state=0).fit(X), NEW),
    "clusters_reverse": (
        lambda: clusters_of(p=GaussianP(sigma="scale", self_pairs=True), divergence="reverse_kl").fit(X), NEW,
    ),
    "clusters_degrees": (
        lambda: clusters_of(p=Cut(KNN(5)), q=Cluster(degree_weighted=True), divergence=ReverseKL()).fit(X), NEW,
    ),
    "clusters_spectral": (lambda: recipes.spectral_clustering(n_clusters=3, random_state=0).fit(X), NEW),
    "classes": (lambda: classes_of().fit(X, y), NEW),
    "classes_words": (lambda: classes_of(class_weight="balanced").fit(X, np.array(["a", "b", "c"])[y]), NEW),
    "classes_mlp": (lambda: classes_of(mapper=MLP((5,)), max_iter=3).fit(X, y), NEW),
    "classes_supcon": (lambda: classes_of(p="labels", q="cosine", n_components=2).fit(X, y), NEW),
    "classes_prototypes": (lambda: classes_of(q="student", debias=0.1, n_components=2).fit(X, y), NEW),
    "classes_calibrated": (
        lambda: classes_of(early_stopping=True, calibrate=True, validation_fraction=0.3, optimizer="adam").fit(X, y),
        NEW,
    ),
    "classes_in_calls": (few_calls, NEW),
    "classes_added": (more_classes, NEW),
    "classes_added_means": (means_of_more_classes, NEW),
    "few_labels": (lambda: classes_of(unlabeled=-1).fit(X, FEW), np.vstack([NEW, X[:3]])),
    "few_labels_linear": (lambda: classes_of(unlabeled=-1, mapper="linear").fit(X, FEW), np.vstack([NEW, X[:3]])),
    "few_labels_graph": (
        lambda: classes_of(unlabeled=-1, graph="graph", class_prior=[0.3, 0.3, 0.4]).fit(sparse.csr_array(GRAPH), FEW),
        NEW_GRAPH,
    ),
    "few_labels_prior": (
        lambda: classes_of(unlabeled=-1, class_prior="balanced", graph=KNN(5)).fit(X, FEW), np.vstack([NEW, X[:3]]),
    ),
    # Every component as a parameter, without a fit.
    "parameters": (
        lambda: ICONEmbedding(
            p=Debias(Mix([Walk(KNN(7)), Symmetrize(GaussianP(3))]), 0.2), q=Student(dof=2.5), divergence=KL(),
            mapper=Table(), column_mapper=EMA(0.9), engine=Mesh(), terms=[
                Term(Classes(), q=Dot(), divergence=ReverseKL()), Term(Cooccurrence(3), q=Cosine(0.5)),
                Term(Cut(KNN(3)), q=Gaussian(), divergence=JensenShannon()), Term(Graph(GRAPH[:3, :3]), weight=0.5),
                Term(Identity(), q=InversePower(3), divergence=Hellinger()), Term(MustLink([(0, 1)])),
                Term(Labels(), q=Cluster(debias=0.1), divergence=TotalVariation()), Term(Paired(2)),
                Term(Precomputed(), q=NarrowGaussian()), Term(Spectral(KNN(3), 2), q=WideGaussian()),
                Term(StudentP(5)), Term(Views(3)), Term(WideP()), Term(Companion(KNN(3), 2)), Term("knn", q="dot"),
            ],
        ), None,
    ),
    "parameters_of_clusters": (
        lambda: ICONClustering("auto", engine=Partition(64), init=y, mapper=Linear(bias=False)), None,
    ),
    "parameters_of_classes": (lambda: ICONClassifier(engine=Closed(), mapper=MLP((8,)), unlabeled=float("nan")), None),
    "parameters_of_maps": (lambda: ICONEmbedding(engine=Dense(), random_state=3), None),
}  # fmt: skip

# Fits that are stopped when they tell of this record of their own optimisation, and go on.
STOPPED = {
    "stopped_map": (map_of(max_iter=8), 6),
    "stopped_map_of_classes": (map_of(max_iter=8, terms=[Term("labels", weight=0.3)]), 6),
    "stopped_line_search": (map_of(max_iter=8, optimizer="lbfgs"), 6),
    "stopped_linear_map": (map_of(max_iter=8, mapper="linear"), 6),
    "stopped_network": (map_of(max_iter=8, mapper=MLP((4,)), engine=MiniBatch(16)), 6),
    "stopped_teacher": (
        map_of(
            p=Views(cross=True), q=Cosine(learnable=True), mapper=MLP((4,)), column_mapper="ema", max_iter=5,
            engine=MiniBatch(16),
        ), 4,
    ),
    "stopped_k_means": (recipes.k_means(n_clusters=3, n_init=2, random_state=0), 1),
    "stopped_clusters": (clusters_of(tol=0.0), 3),
    "stopped_clusters_linear": (clusters_of(mapper="linear", max_iter=8), 6),
    "stopped_classes": (classes_of(C=100.0, tol=1e-12), 6),
    "stopped_prototypes": (classes_of(q="gaussian", optimizer="adam", max_iter=8), 6),
}  # fmt: skip


class Stop(Exception):
    pass


def stopping(at):
    count = itertools.count(1)

    def callback(record):
        if record.phase != "start" and next(count) == at:
            raise Stop

    return callback


def stored(rows):
    """Rows for a .npz."""
    return rows.toarray() if sparse.issparse(rows) else rows


def answers(fit, rows):
    """What a fitted estimator says of rows, and what it says of itself."""
    found = {} if rows is None else {"rows": stored(rows), "is_sparse": sparse.issparse(rows)}
    for method in METHODS if rows is not None else ():
        if hasattr(fit, method):
            try:
                found[method] = np.asarray(getattr(fit, method)(rows))
            except ValueError:
                continue  # it has no answer for such rows
    names = {name for name in vars(fit) if name.endswith("_") and not name.endswith("__")}
    for name in sorted(names | {"loss_", "probabilities_"}):
        value = getattr(fit, name, None)
        if isinstance(value, np.ndarray | float | int) and getattr(value, "dtype", None) != np.dtype(object):
            found[f"attribute {name}"] = np.asarray(value)
    for name, column in (vars(fit).get("_path") and fit.merge_path_._asdict().items()) or ():
        found[f"path {name}"] = column
    return {**found, "repr": np.array(repr(fit))}


def write_model(name, folder):
    make, rows = MODELS[name]
    fit = make()
    iconlearn.save(fit, folder / f"{name}.model")
    np.savez_compressed(folder / f"{name}.answers.npz", **answers(fit, rows))


def write_stopped(name, folder):
    fit, at = STOPPED[name]
    path = folder / f"{name}.model"
    iconlearn.save(fit, path)
    checkpoint = Checkpoint(folder / f"{name}.checkpoint", every=1)
    try:
        iconlearn.load(path).set_params(callback=[checkpoint, stopping(at)]).fit(X, y)
    except Stop:
        pass
    else:
        raise AssertionError(f"{name} ended before it was stopped")
    whole = iconlearn.load(path).fit(X, y)
    np.savez_compressed(folder / f"{name}.answers.npz", X=X, y=y, at=at, **answers(whole, NEW))


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    target = FIXTURES / f"{iconlearn.__version__}.tar.xz"
    if target.exists():
        raise SystemExit(f"{target} is there, and is not written again")
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            write_model(name, Path(folder))
        for name in STOPPED:
            write_stopped(name, Path(folder))
        FIXTURES.mkdir(exist_ok=True)
        with tarfile.open(target, "x:xz", preset=9) as archive:
            for path in sorted(Path(folder).rglob("*.*")):
                archive.add(path, path.relative_to(folder), recursive=False)
    print(f"{target.name}: {target.stat().st_size / 1024:.0f} kB, by {iconlearn.__file__}")


if __name__ == "__main__":
    main()
