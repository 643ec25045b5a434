"""Files that earlier versions wrote: all are read, answer as they did, and interrupted fits go on.

``make_fixtures.py`` says what they are; this file reads them and knows nothing else of them.
"""

import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import iconlearn
from iconlearn import Checkpoint
from iconlearn.storage import _file
from iconlearn.storage._classes import CLASSES

ARCHIVES = sorted(Path(__file__).with_name("fixtures").glob("*.tar.xz"))
# What is stored comes back exactly.  What is computed from it goes through BLAS, whose sums another machine takes in
# another order; in single precision that shows earlier, and the steps of a fit add it up.
CLOSE = {"float64": {"rtol": 1e-6, "atol": 1e-9}, "float32": {"rtol": 1e-4, "atol": 1e-6}}
AFTER_STEPS = {"rtol": 1e-4, "atol": 1e-5}


def names(suffix):
    """(archive, name) of all fixtures that have a file or a folder with this ending, stopped ones aside or alone."""
    found = []
    for archive in ARCHIVES:
        with tarfile.open(archive) as members:
            tops = {path.split("/")[0] for path in members.getnames()}
        stopped = {top.removesuffix(".checkpoint") for top in tops if top.endswith(".checkpoint")}
        models = {top.removesuffix(".model") for top in tops if top.endswith(".model")}
        found += [
            (archive.name, name) for name in sorted(stopped if suffix == ".checkpoint" else models - stopped)
        ]
    return found


# Fits that from the stored state take other steps than 0.1.0 took: those in mini-batches, since later versions give
# every row its mass once an epoch, those of tables, whose steps have more momentum, and those of clusterings, which go
# further.
OTHER_STEPS = {
    "stopped_network",
    "stopped_teacher",
    "stopped_map",
    "stopped_map_of_classes",
    "stopped_clusters",
}
MODELS, STOPPED = names(".model"), names(".checkpoint")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixtures")
    for archive in ARCHIVES:
        with tarfile.open(archive) as members:
            members.extractall(folder / archive.name, filter="data")
    return folder


def expected_of(folder, name):
    with np.load(folder / f"{name}.answers.npz") as file:
        return dict(file)


def assert_close(found, expected, **tolerance):
    found = np.asarray(found)
    assert found.dtype.kind == expected.dtype.kind and found.shape == expected.shape
    if found.dtype.kind == "f":
        assert found.dtype == expected.dtype
        assert_allclose(found, expected, **(tolerance or CLOSE[str(found.dtype)]))
    else:
        assert_array_equal(found, expected)


def assert_answers(fit, expected, **tolerance):
    """Every answer that is expected is given."""
    rows = expected.get("rows")
    if rows is not None and expected["is_sparse"]:
        rows = sparse.csr_array(rows)
    n_compared, stored = 0, set(vars(fit))
    if "_solution" in stored and fit._solution.constant is None:
        stored |= {"loss_", "loss_history_", "loss_parts_"}
    for name, value in expected.items():
        kind, _, attribute = name.partition(" ")
        if kind == "attribute" and attribute in stored and not tolerance:
            assert_array_equal(getattr(fit, attribute), value, err_msg=name)
        elif kind == "attribute":
            assert_close(getattr(fit, attribute), value, **tolerance)
        elif kind == "path":
            assert_array_equal(getattr(fit.merge_path_, attribute), value, err_msg=name)
        elif hasattr(fit, name):
            assert_close(getattr(fit, name)(rows), value, **tolerance)
        else:
            assert name in ("rows", "is_sparse", "repr", "X", "y", "at"), f"there is no {name}"
            continue
        n_compared += 1
    return n_compared


def test_there_are_fixtures_of_all_kinds():
    assert len(MODELS) >= 56 and len(STOPPED) >= 11
    first = {name.split("_")[0] for _, name in MODELS}
    assert first == {"map", "clusters", "classes", "few", "parameters"}


# Answers for new rows that follow a better rule since: in clusterings a share on p counts as it did for the training
# rows; in maps the rows come to rest where their loss is lower.
OTHER_SINCE = {
    ("0.1.0.tar.xz", "clusters_debiased"): {"predict", "predict_proba", "transform", "score"},
    **{("0.1.0.tar.xz", f"map_{name}"): {"transform"} for name in ("cut", "debiased", "mix", "narrow")},
}


@pytest.mark.parametrize(("archive", "name"), MODELS)
def test_an_earlier_file_answers_as_it_did(archive, name, unpacked, tmp_path):
    folder = unpacked / archive
    other = OTHER_SINCE.get((archive, name), ())
    expected = {answer: value for answer, value in expected_of(folder, name).items() if answer not in other}
    loaded = iconlearn.load(folder / f"{name}.model")
    n_compared = assert_answers(loaded, expected)
    if name.startswith("parameters"):
        assert repr(loaded) == str(expected["repr"])
    else:
        assert n_compared >= 5
    # Once more through a file of this version, which holds all that the earlier one held.
    iconlearn.save(loaded, tmp_path / "again")
    assert assert_answers(iconlearn.load(tmp_path / "again"), expected) == n_compared


@pytest.mark.parametrize(("archive", "name"), MODELS)
def test_an_earlier_file_holds_classes_of_the_table(archive, name, unpacked):
    document, _ = _file.read(unpacked / archive / f"{name}.model")
    kinds = {node["class"] for node in document["nodes"] if node["kind"] == "object"}
    assert kinds and kinds <= set(CLASSES)


def test_earlier_files_hold_nearly_all_classes(unpacked):
    held = set()
    for archive, name in MODELS:
        document, _ = _file.read(unpacked / archive / f"{name}.model")
        held |= {node["class"] for node in document["nodes"] if node["kind"] == "object"}
    # Not in any: estimators, which a file names elsewhere; named tuples, which once lost their names; what holds a
    # function; and what came later.
    assert set(CLASSES) - held == {
        "estimators.ICONClassifier", "estimators.ICONClustering", "estimators.ICONEmbedding",
        "estimators.Hierarchy", "estimators.MergePath", "learned.Custom", "divergences.FDivergence", "optim.Solution",
        "neighbors.ParametricMetric",
        "supervisory.CannotLink", "supervisory.Choices", "supervisory.HuffmanTree", "supervisory.Pairs",
        "supervisory.Triplets", "conditional.ListConditional", "conditional.ShardConditional",
        "mappers.Headed", "mappers.PatchPairs", "supervisory.Predictions", "supervisory.Pretext",
        "supervisory.SymmetricEntropic", "learned.BallRadius", "learned.Hyperbolic",
        "views.Composition", "views.ImageView", "views.Tiles",
        "supervisory.Restore", "mappers.Autoencoder", "mappers.ConvAutoencoder",
        "mappers.Contractive", "mappers.L1", "mappers.Prior", "mappers.Sparse", "mappers.Projected", "mappers.Residual",
        "mappers.Recurrent", "supervisory.Ahead", "supervisory.LocalRadius",
    }  # fmt: skip


def test_a_path_that_was_a_plain_tuple_is_a_path(unpacked):
    document, _ = _file.read(unpacked / ARCHIVES[0].name / "clusters_auto.model")
    assert document["nodes"][document["state"]["_path"]["ref"]]["kind"] == "tuple"
    loaded = iconlearn.load(unpacked / ARCHIVES[0].name / "clusters_auto.model")
    assert type(loaded.merge_path_) is CLASSES["estimators.MergePath"]
    assert loaded.merge_path_.suggested == loaded.n_clusters_


@pytest.mark.parametrize(("archive", "name"), STOPPED)
def test_an_earlier_fit_that_was_stopped_goes_on(archive, name, unpacked, tmp_path):
    expected = expected_of(unpacked / archive, name)
    shutil.copytree(unpacked / archive / f"{name}.checkpoint", tmp_path / "fit")
    stages = {path.stem for path in (tmp_path / "fit").iterdir()}
    fit, heard = iconlearn.load(unpacked / archive / f"{name}.model"), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit.set_params(callback=[Checkpoint(tmp_path / "fit", every=1), heard.append])
        fit.fit(expected["X"], expected["y"])
    if name in OTHER_STEPS:
        assert np.isfinite(fit.loss_history_).all()
        if name == "stopped_clusters":
            assert fit.loss_ <= expected["attribute loss_"] * (1 + 1e-4)
            assert_array_equal(fit.labels_, expected["attribute labels_"])
    else:
        assert assert_answers(fit, expected, **AFTER_STEPS) >= 5
    assert not (tmp_path / "fit").exists(), "a fit that ends removes what it kept"
    assert {"begin", "supervision"} <= stages
    if "start" in stages:
        assert not [record for record in heard if record.phase == "start"], "the start is known"
    if "optimisation" in stages:
        assert len(heard) == len(fit.loss_history_) - expected["at"] + 1
