"""Names of classes in files: every class that is kept has one, and it stays the same wherever the class lives."""

import pytest
from sklearn.datasets import load_iris

import iconlearn
from iconlearn import (
    ICONClassifier,
    ICONClustering,
    ICONEmbedding,
    divergences,
    engines,
    learned,
    mappers,
    supervisory,
)
from iconlearn.registry import COMPONENTS
from iconlearn.storage import _file
from iconlearn.storage._classes import CLASSES, class_of, name_of
from iconlearn.storage._modules import KINDS

X, y = load_iris(return_X_y=True)

# What files of version 0.1.0 may hold.  Rows are added; none is taken away, or no longer means what it meant.
WRITTEN = {
    "calibration": "GaussianKernel StudentKernel",
    "conditional": "BlockConditional Conditional WideConditional",
    "divergences": "FDivergence Hellinger JensenShannon KL ReverseKL TotalVariation",
    "engines": "Closed Dense LogNormaliser Mesh MiniBatch Partition Sampled",
    "estimators": "Known Moments Term",
    "learned": "Cluster Cosine Custom Dot Gaussian InversePower NarrowGaussian Student WideGaussian",
    "mappers": "EMA Linear MLP Table",
    "neighbors": "KnownRows",
    "supervisory": (
        "Classes Companion Cooccurrence Cut CutBlock Debias Gaussian Graph Identity KNN KernelBlock KernelRecipe "
        "LabelBlock Labels Mix MixedBlock MustLink Paired Precomputed Spectral SquaredDistances Student Symmetrize "
        "SymmetrizedBlock Views Walk WideGaussian"
    ),
}
WRITTEN_MODULES = {"TableModule", "OrthonormalModule", "Follower", "Linear", "ReLU", "Sequential"}
PROTOCOLS = {
    supervisory.Supervisory, learned.Learned, engines.Engine, divergences.Divergence, mappers.Mapper
}  # fmt: skip


def public(room):
    """The classes that a room shows."""
    values = [getattr(room, name) for name in room.__all__]
    return {value for value in values if isinstance(value, type)} - PROTOCOLS


@pytest.mark.parametrize(
    "room", [supervisory, learned, divergences, engines, mappers], ids=lambda room: room.__name__
)
def test_every_public_component_has_a_name(room):
    assert len(public(room)) >= 4
    assert [cls for cls in public(room) if name_of(cls) is None] == []


def test_every_registered_component_and_estimator_has_a_name_of_the_package():
    made = {cls for slot in COMPONENTS.values() for cls in slot.values()}
    made |= {ICONClassifier, ICONClustering, ICONEmbedding, iconlearn.Term}
    assert len(made) > 30
    assert [cls for cls in made if name_of(cls) not in CLASSES] == []


def test_a_class_has_one_name():
    assert len(set(CLASSES.values())) == len(CLASSES)
    assert all(name_of(cls) == name and class_of(name) is cls for name, cls in CLASSES.items())
    assert len({cls for cls, *_ in KINDS.values()}) == len(KINDS)


def test_no_name_that_was_written_is_gone():
    names = [(f"{room}.{name}", name) for room, listed in WRITTEN.items() for name in listed.split()]
    assert len(names) == 62
    # A class may be renamed as well: the name in files stays.
    renamed = {"estimators.Known": "ClassTable"}
    assert [name for name, own in names if class_of(name).__name__ != renamed.get(name, own)] == []
    assert set(KINDS) >= WRITTEN_MODULES


def names_in(path):
    """The names of classes in a file."""
    document, _ = _file.read(path)
    return {node["class"] for node in document["nodes"] if "class" in node}


def moved(monkeypatch, *classes):
    """Let classes say that they live elsewhere, as they do after a move."""
    for cls in classes:
        monkeypatch.setattr(cls, "__module__", "iconlearn.elsewhere._deeper")


@pytest.mark.parametrize(
    ("fit", "names"),
    [
        (ICONEmbedding(max_iter=2), {"supervisory.KNN", "neighbors.KnownRows", "engines.Dense", "learned.Student"}),
        (ICONClustering(3, n_init=1), {"supervisory.KNN", "conditional.Conditional", "engines.Partition"}),
        (iconlearn.recipes.k_means(n_clusters=3), {"engines.Closed", "engines.LogNormaliser"}),
        (ICONClassifier(mapper="table"), {"estimators.Known", "divergences.KL", "learned.Cluster"}),
    ],
    ids=["map", "clusters", "k-means", "few labels"],
)  # fmt: skip
def test_a_class_that_moved_keeps_its_name(fit, names, monkeypatch, tmp_path):
    fit.set_params(random_state=0).fit(X, y)
    iconlearn.save(fit, tmp_path / "before")
    moved(monkeypatch, *{cls for name, cls in CLASSES.items() if not name.startswith("estimators.ICON")})
    iconlearn.save(fit, tmp_path / "after")
    assert names_in(tmp_path / "before") >= names
    assert names_in(tmp_path / "after") == names_in(tmp_path / "before")
    loaded = iconlearn.load(tmp_path / "before")
    assert (loaded.transform(X[:5] + 0.01) == fit.transform(X[:5] + 0.01)).all()


def test_an_estimator_that_moved_keeps_its_name(monkeypatch, tmp_path):
    moved(monkeypatch, ICONEmbedding)
    iconlearn.save(ICONEmbedding(max_iter=3), tmp_path / "file")
    document, _ = _file.read(tmp_path / "file")
    assert document["estimator"] == "ICONEmbedding"
    assert type(iconlearn.load(tmp_path / "file")) is ICONEmbedding
