"""Files of estimators: what comes back answers bit for bit, and what was harmed is refused with a reason."""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from dataclasses import dataclass
from typing import NamedTuple

import joblib
import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_validate
from sklearn.neighbors import kneighbors_graph
from torch import nn

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.displays import MergePathDisplay
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cluster, Cosine, NarrowGaussian, Student
from iconlearn.mappers import MLP, Linear
from iconlearn.neighbors import KnownRows
from iconlearn.registry import COMPONENTS, resolve
from iconlearn.storage import _file
from iconlearn.supervisory import (
    KNN,
    Companion,
    Cut,
    Debias,
    Gaussian,
    Graph,
    Mix,
    Paired,
    Precomputed,
    Spectral,
    Symmetrize,
    Triplets,
    Views,
    Walk,
)

try:
    import skops.io as SKOPS
except ImportError:
    SKOPS = None

X, y = load_digits(return_X_y=True)
X, X_new, y = X[:80] / 16, X[80:90] / 16, y[:80]
GRAPH = kneighbors_graph(X, 6).toarray()
GRAPH_NEW = kneighbors_graph(np.vstack([X, X_new]), 6).toarray()[80:, :80] + np.eye(10, 80)

# -- what comes back -----------------------------------------------------------------------------------------

P = {
    **{name: resolve("p", name) for name in COMPONENTS["p"] if name not in ("views", "paired")},
    "pairs": Paired(pairs=np.arange(80).reshape(40, 2)),
    "distances": Precomputed("distance", perplexity=5),
    "given graph": Graph(GRAPH),
    "all columns": Gaussian(5.0, n_neighbors=None),
    "gaussian self": Gaussian(sigma="scale", self_pairs=True),
    "cut": Cut(KNN(5)),
    "spectral": Spectral(KNN(5), 4),
    "walk": Walk(KNN(4)),
    "symmetric": Symmetrize(Gaussian(8)),
    "symmetric blocks": Symmetrize(Gaussian(8, n_neighbors=None)),
    "debiased": Debias(KNN(5), 0.3),
    "mixed": Mix([KNN(4), Gaussian(8, n_neighbors=None)]),
}
SQUARE = {"graph", "precomputed", "distances"}
EMBEDDINGS = {
    **{
        f"p {name}": {"p": p, "q": "wide_gaussian" if name == "wide_gaussian" else "student"}
        for name, p in P.items()
        if name != "restore"  # which needs a mapper
    },
    "p restore": {"p": "restore", "q": "student", "mapper": "autoencoder"},
    **{f"q {name}": {"q": name} for name in COMPONENTS["q"] if not name.endswith("gaussian")},
    **{f"q {name}, linear": {"q": name, "mapper": "linear"} for name in COMPONENTS["q"]},
    **{f"divergence {name}": {"divergence": name, "debias": 0.1} for name in COMPONENTS["divergence"]},
    "views": {"p": Views(), "mapper": "mlp", "engine": "minibatch"},
    "teacher": {"p": Views(cross=True), "mapper": "mlp", "column_mapper": "ema", "engine": "minibatch"},
    "two modalities": {"p": Paired(32), "mapper": "linear", "terms": [Term(Paired(32, ends=(1, 0)))]},
    "companion": {"p": Companion(KNN(5), 40), "mapper": "linear"},
    "orthonormal": {"mapper": Linear(orthonormal=True)},
    "hidden layers": {"mapper": MLP((8, 8)), "engine": MiniBatch(16)},
    "learned temperature": {"q": Cosine(0.2, learnable=True), "mapper": "linear"},
    "joint": {"q": Student(normalize="joint")},
    "a draw of its own": {"random_state": np.random.RandomState(3)},
    "an array to start from": {"init": np.random.default_rng(0).normal(size=(80, 2))},
}
CLUSTERINGS = {
    "defaults": {},
    "debiased": {"debias": 0.2},
    "linear": {"mapper": "linear"},
    "degrees": {"p": Cut(KNN(5)), "q": Cluster(degree_weighted=True), "divergence": "reverse_kl"},
    "reverse": {"p": Gaussian(sigma="scale", self_pairs=True), "divergence": "reverse_kl"},
    "dense": {"engine": "dense"},
}
CLASSIFIERS = {
    **{f"q {name}": {"q": name} for name in COMPONENTS["q"] if name != "wide_gaussian"},
    "labels": {"p": "labels", "q": "cosine"},
    "mlp": {"mapper": "mlp"},
    "smoothed": {"debias": 0.1},
}


def fitted(make, options, data=X, labels=y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(**{"max_iter": 8, "random_state": 0, **options}).fit(data, labels)


def square(name):
    if name == "precomputed":
        return GRAPH / GRAPH.sum(axis=1, keepdims=True), GRAPH_NEW / GRAPH_NEW.sum(axis=1, keepdims=True)
    if name == "distances":
        return (np.linalg.norm(A[:, None] - X, axis=2) for A in (X, X_new))
    return GRAPH, GRAPH_NEW


def answers(estimator, rows):
    """All that an estimator says of rows, refusals included."""
    found = {}
    for method in (
        "transform",
        "transform_columns",
        "predict",
        "predict_proba",
        "decision_function",
        "score",
    ):
        if hasattr(estimator, method):
            try:
                found[method] = np.asarray(getattr(estimator, method)(rows))
            except (ValueError, TypeError) as error:
                found[method] = str(error)
    return found


def same(a, b):
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    return type(a) is type(b) and a == b


def tensors_in(value, path="", inside=()):
    """Where a state holds tensors or modules, for a reader that knows ``__getstate__`` and containers only."""
    if id(value) in inside or isinstance(value, type):
        return []
    if isinstance(value, torch.Tensor | nn.Module):
        return [path]
    parts = {}
    if isinstance(value, dict):
        parts = value
    elif isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    elif hasattr(value, "__dict__"):
        parts = value.__getstate__() or {}
    inside = (*inside, id(value))
    return [found for key, part in parts.items() for found in tensors_in(part, f"{path}.{key}", inside)]


def assert_same_answers(loaded, estimator, rows):
    assert list(vars(loaded)) == list(vars(estimator))
    expected, found = answers(estimator, rows), answers(loaded, rows)
    assert all(map(same, expected.values(), found.values())), (expected, found)
    assert same(loaded.loss_, estimator.loss_)


def assert_other_files_hold_it(estimator, rows):
    """Files that know numpy and not torch hold a fit of the package's own layers."""
    assert tensors_in(estimator) == []
    if SKOPS is None:
        return
    content = SKOPS.dumps(estimator)
    trusted = SKOPS.get_untrusted_types(data=content)
    known = ("iconlearn.", "torch.nn.modules.", "scipy.sparse.")
    assert all(kind.startswith(known) for kind in trusted), trusted
    assert_same_answers(SKOPS.loads(content, trusted=trusted), estimator, rows)


def assert_comes_back(estimator, rows, folder, **given):
    loaded = assert_comes_back_from_file(estimator, rows, folder, **given)
    if not given:
        assert_other_files_hold_it(estimator, rows)
    return loaded


def assert_comes_back_from_file(estimator, rows, folder, **given):
    path = folder / "a file"
    iconlearn.save(estimator, path)
    loaded = iconlearn.load(path, **given)
    assert type(loaded) is type(estimator)
    assert vars(loaded).keys() == vars(estimator).keys()
    expected, found = answers(estimator, rows), answers(loaded, rows)
    assert all(map(same, expected.values(), found.values())), (expected, found)
    for name, value in vars(estimator).items():
        if name.endswith("_") and isinstance(value, np.ndarray | float | int | bool | str):
            assert same(value, getattr(loaded, name)), name
    assert [path] == list(folder.iterdir())
    return loaded


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_an_embedding_comes_back(name, tmp_path):
    data, rows = square(name[2:]) if name[2:] in SQUARE else (X, X_new)
    assert_comes_back(fitted(ICONEmbedding, EMBEDDINGS[name], data), rows, tmp_path)


@pytest.mark.parametrize("name", CLUSTERINGS)
def test_a_clustering_comes_back(name, tmp_path):
    estimator = fitted(ICONClustering, {"n_clusters": 4, "n_init": 2, **CLUSTERINGS[name]})
    assert_comes_back(estimator, X_new, tmp_path)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_comes_back(name, tmp_path):
    assert_comes_back(fitted(ICONClassifier, CLASSIFIERS[name]), X_new, tmp_path)


SOME, CLOSE = np.arange(80) % 4 > 0, csr_array(GRAPH * (np.arange(80) != 7))
PARTLY = {
    "defaults": ({"unlabeled": -1}, np.where(SOME, -1, y)),
    "words": ({"unlabeled": "?"}, np.where(SOME, "?", [f"no. {k}" for k in y])),
    "missing": ({"unlabeled": float("nan")}, np.where(SOME, np.nan, y)),
    "linear": ({"unlabeled": -1, "mapper": "linear"}, np.where(SOME, -1, y)),
    "mlp": ({"unlabeled": -1, "mapper": "mlp"}, np.where(SOME, -1, y)),
    "a graph beside": ({"unlabeled": -1, "graph": Graph(CLOSE), "mapper": "linear"}, np.where(SOME, -1, y)),
    "neighbours": ({"unlabeled": -1, "graph": KNN(5)}, np.where(SOME, -1, y)),
    "prior": ({"unlabeled": -1, "class_prior": np.full(9, 1 / 9)}, np.where(SOME, -1, y)),
    "all labels": ({"mapper": "table"}, y),
}


@pytest.mark.parametrize("name", PARTLY)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_a_classifier_of_few_labels_comes_back(name, kind, tmp_path):
    options, labels = PARTLY[name]
    rows = np.vstack([X[:5], X_new])
    estimator = fitted(ICONClassifier, options, kind(X), labels)
    loaded = assert_comes_back(estimator, kind(rows), tmp_path)
    assert_array_equal(loaded.predict_proba(kind(X)), estimator.predict_proba(kind(X)))


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
def test_a_classifier_of_a_graph_comes_back(kind, tmp_path):
    estimator = fitted(
        ICONClassifier, {"graph": "graph", "unlabeled": -1}, kind(GRAPH), np.where(SOME, -1, y)
    )
    assert_comes_back(estimator, kind(GRAPH_NEW), tmp_path)


@pytest.mark.parametrize(
    "labels", [np.array([f"no. {k}" for k in y]), np.array([f"no. {k}" for k in y], dtype=object)]
)
def test_labels_of_any_kind_come_back(labels, tmp_path):
    loaded = assert_comes_back(fitted(ICONClassifier, {}, labels=labels), X_new, tmp_path)
    assert loaded.classes_.dtype == labels.dtype


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_rows_come_back(kind, tmp_path):
    loaded = assert_comes_back(fitted(ICONEmbedding, {}, kind(X)), kind(X_new), tmp_path)
    assert type(loaded._X) is kind


def test_names_of_columns_come_back(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {k}" for k in range(64)])
    loaded = assert_comes_back(fitted(ICONEmbedding, {}, frame), frame[:5] + 0.01, tmp_path)
    assert_array_equal(loaded.get_feature_names_out(), ["iconembedding0", "iconembedding1"])


def test_words_come_back(tmp_path):
    text = [["the", "cat", "sat"], ["the", "dog", "sat"], ["a", "cat", "ran"]] * 4
    fit = iconlearn.recipes.skip_gram(n_components=2, max_iter=5, random_state=0).fit(text)
    iconlearn.save(fit, tmp_path / "words")
    loaded = iconlearn.load(tmp_path / "words")
    assert_array_equal(loaded.vocabulary_, fit.vocabulary_)
    assert_array_equal(loaded.embedding_, fit.embedding_)


@pytest.mark.parametrize("output", ["tree", "negative"])
def test_words_with_lists_of_candidates_come_back(output, tmp_path):
    text = [["the", "cat", "sat"], ["the", "dog", "sat"], ["a", "cat", "ran"]] * 4
    fit = iconlearn.recipes.skip_gram(output=output, n_components=2, max_iter=5, random_state=0).fit(text)
    iconlearn.save(fit, tmp_path / "words")
    loaded = iconlearn.load(tmp_path / "words")
    assert_array_equal(loaded.column_embedding_, fit.column_embedding_)
    for name, value in fit.p_.conditional_.lists()._asdict().items():
        assert_array_equal(getattr(loaded.p_.conditional_.lists(), name), value)
    assert loaded.loss_ == fit.loss_ and loaded.p_.output == output
    if output == "tree":
        assert_array_equal(loaded.p_.tree_.code_lengths, fit.p_.tree_.code_lengths)


def test_given_lists_come_back(tmp_path):
    triples = np.array([(0, 1, 2), (3, 4, 5)])
    fit = ICONEmbedding(
        p=Triplets(triples), q=NarrowGaussian(0.3, distance="cosine"), mapper="linear", max_iter=3
    )
    iconlearn.save(fit.fit(X), tmp_path / "triples")
    loaded = iconlearn.load(tmp_path / "triples")
    assert_array_equal(loaded.p_.triples, triples)
    assert loaded.q_.distance == "cosine" and loaded.loss_ == fit.loss_
    assert_array_equal(loaded.transform(X[:5]), fit.transform(X[:5]))


def test_parameters_without_a_fit_come_back(tmp_path):
    estimator = ICONEmbedding(p=Debias(KNN(7), 0.2), q=Student(dof=2.5), terms=[Term("labels", weight=0.5)])
    iconlearn.save(estimator, tmp_path / "unfitted")
    assert repr(iconlearn.load(tmp_path / "unfitted")) == repr(estimator)


def test_parameters_that_came_later_have_their_defaults(tmp_path):
    fit = fitted(ICONClustering, {"n_clusters": 4, "n_init": 2, "p": KNN(5), "min_confidence": 0.4})
    later = {
        fit: ["min_confidence", "warm_start"],
        fit.p: ["metric"],
        fit.p_: ["metric"],
        fit.q_: ["normalize"],
    }
    for value, names in later.items():
        for name in names:
            delattr(value, name)
    iconlearn.save(fit, tmp_path / "file")
    loaded = iconlearn.load(tmp_path / "file")
    assert (loaded.min_confidence, loaded.warm_start, loaded.p.metric) == (0.0, False, "euclidean")
    assert repr(loaded) == repr(ICONClustering(4, n_init=2, p=KNN(5), max_iter=8, random_state=0))
    assert clone(loaded).fit(X).predict(X_new).shape == loaded.predict(X_new).shape


def test_what_comes_back_can_be_fitted_again(tmp_path):
    fit = fitted(ICONEmbedding, {"mapper": "linear", "warm_start": True})
    iconlearn.save(fit, tmp_path / "again")
    again = iconlearn.load(tmp_path / "again")
    assert_array_equal(again.fit(X, y).embedding_, fit.fit(X, y).embedding_)


def test_what_is_shared_is_stored_once(tmp_path):
    rows = np.random.default_rng(0).normal(size=(2000, 50))
    fit = ICONEmbedding(max_iter=3, random_state=0).fit(rows)
    iconlearn.save(fit, tmp_path / "shared")
    loaded = iconlearn.load(tmp_path / "shared")
    assert loaded._X is loaded.p_._X and loaded._X is loaded._known.X
    size = (tmp_path / "shared").stat().st_size
    assert size < 2 * rows.nbytes, "rows, edges and places"


@pytest.mark.parametrize("n_clusters", ["auto", 4])
def test_a_merge_path_comes_back_as_one(n_clusters, tmp_path):
    fit = fitted(ICONClustering, {"n_clusters": n_clusters, "n_init": 2})
    path = fit.merge_path_
    loaded = assert_comes_back(fit, X_new, tmp_path)
    assert type(loaded.merge_path_) is type(path) and loaded.merge_path_.suggested == path.suggested
    assert all(map(same, path, loaded.merge_path_)) and len(path.loss) > 2
    pytest.importorskip("matplotlib")
    MergePathDisplay.from_estimator(loaded)


REQUESTING = {
    ICONClassifier: lambda fit: fit.set_fit_request(sample_weight=True).set_score_request(
        sample_weight="weight"
    ),
    ICONClustering: lambda fit: fit.set_params(p=KNN(5).set_fit_request(random_state=False)),
    ICONEmbedding: lambda fit: fit.set_params(
        p=Gaussian(5).set_fit_request(n_jobs=True), terms=[Term("labels")]
    ),
}


@pytest.mark.parametrize("make", REQUESTING)
@pytest.mark.parametrize("is_fitted", [False, True])
def test_requests_for_metadata_come_back(make, is_fitted, tmp_path):
    with sklearn.config_context(enable_metadata_routing=True):
        fit = REQUESTING[make](make(max_iter=3, random_state=0))
        if is_fitted:
            fit.fit(X, y)
        iconlearn.save(fit, tmp_path / "file")
        loaded = iconlearn.load(tmp_path / "file")
        for old, new in ((fit, loaded), (fit.p, loaded.p), (clone(fit), clone(loaded))):
            if hasattr(old, "get_metadata_routing"):
                assert str(new.get_metadata_routing()) == str(old.get_metadata_routing())
                assert ("_metadata_request" in vars(new)) == ("_metadata_request" in vars(old))


def test_requests_that_came_back_are_heard(tmp_path):
    weight = np.where(y < 5, 1.0, 0.01)
    with sklearn.config_context(enable_metadata_routing=True):
        fit = fitted(ICONClassifier, {}).set_score_request(sample_weight=True)
        iconlearn.save(fit, tmp_path / "file")
        loaded = iconlearn.load(tmp_path / "file")
        asked = [
            cross_validate(model, X, y, params={"sample_weight": weight}, error_score="raise", cv=2)[
                "test_score"
            ]
            for model in (
                fit.set_fit_request(sample_weight=False),
                loaded.set_fit_request(sample_weight=False),
            )
        ]
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match=r"ICONClassifier\.fit"):
            cross_validate(iconlearn.load(tmp_path / "file"), X, y, params={"sample_weight": weight})
    assert_array_equal(*asked)


def pandas_values():
    """Values of pandas that a parameter may be, by name."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 80)
    kinds = pd.Categorical.from_codes(codes, ["z", "y", "x", "w"], ordered=True)
    pairs = pd.MultiIndex.from_arrays([codes, list(map(str, range(80)))], names=["a", None])
    return {
        "series": pd.Series(np.full(10, 0.1), index=[f"digit {k}" for k in range(10)], name="share"),
        "integers": pd.Series(codes).astype("Int64"),
        "integers, some missing": pd.Series([1, None] * 40).astype("Int64"),
        "texts": pd.Series(list("abcd"), dtype="string").iloc[codes],
        "categories": pd.Series(kinds),
        "index": pd.Index([0.25, 0.75], name="of two"),
        "range": pd.RangeIndex(80),
        "dates": pd.DatetimeIndex(["2020-01-01", "2020-01-05", None]),
        "index of categories": pd.CategoricalIndex(kinds),
        "index of pairs": pairs,
        "rows of pairs": pd.Series(codes, index=pairs),
        "frame": pd.DataFrame(rng.normal(size=(80, 2)), columns=["x", "y"], index=pairs),
        "frame of kinds": pd.DataFrame({"x": codes, "y": kinds, "z": list(map(str, codes))}),
        "frame of one name": pd.DataFrame(np.column_stack([codes, codes]), columns=["x", "x"]).astype(
            {"x": "Int64"}
        ),
        "categorical": kinds,
        "array": pd.array([0.3, None], dtype="Float64"),
        "NA": pd.NA,
        "NaT": pd.NaT,
    }


PANDAS = (
    "series", "integers", "integers, some missing", "texts", "categories", "index", "range", "dates",
    "index of categories", "index of pairs", "rows of pairs", "frame", "frame of kinds", "frame of one name",
    "categorical", "array", "NA", "NaT",
)  # fmt: skip


@pytest.mark.parametrize("name", PANDAS)
def test_values_of_pandas_come_back(name, tmp_path):
    pd = pytest.importorskip("pandas")
    values = pandas_values()
    assert tuple(values) == PANDAS
    value = values[name]
    iconlearn.save(ICONClustering(4, init=value), tmp_path / "file")
    loaded = iconlearn.load(tmp_path / "file").init
    assert type(loaded) is type(value) or isinstance(value, pd.RangeIndex | pd.DatetimeIndex)
    for kind, check in (
        (pd.Series, pd.testing.assert_series_equal),
        (pd.DataFrame, pd.testing.assert_frame_equal),
        (pd.api.extensions.ExtensionArray, pd.testing.assert_extension_array_equal),
    ):
        if isinstance(value, kind):
            return check(loaded, value)
    if isinstance(value, pd.Index):
        return pd.testing.assert_index_equal(loaded, value, exact="equiv")
    assert loaded is value


def test_fits_with_parameters_of_pandas_come_back(tmp_path):
    pd = pytest.importorskip("pandas")
    labels = pd.array(np.where(SOME, None, y), dtype="Int64")
    start = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)))
    for make, options, target in (
        (ICONClassifier, {"unlabeled": pd.NA, "class_prior": pd.Series(np.full(9, 1 / 9))}, labels),
        (ICONClustering, {"n_clusters": 4, "init": pd.Series(np.arange(80) % 4)}, None),
        (ICONEmbedding, {"init": start}, None),
        (ICONEmbedding, {"p": Graph(pd.DataFrame(GRAPH))}, None),
    ):
        assert_comes_back_from_file(fitted(make, options, X, target), X_new, tmp_path)


# -- pickle, copies and skops --------------------------------------------------------------------------------


class Branching(nn.Module):
    """Layers with buffers of several types, a frozen weight, a weight in two places, and attributes of its own."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.last = nn.Linear(64, 2)
        self.last.bias.requires_grad_(False)
        self.register_buffer("coarse", torch.full((2,), 1.5, dtype=torch.bfloat16))
        self.factor, self.act = 2.0, torch.tanh

    def forward(self, x):
        x = self.act(self.second(self.first(self.norm(x))))
        return self.factor * self.last(x) * self.coarse.to(x.dtype)


def test_skops_is_tried_with_every_fit_above():
    pytest.importorskip("skops.io", reason="skops is not installed")
    assert SKOPS is not None


@pytest.mark.parametrize("again", [lambda fit: pickle.loads(pickle.dumps(fit)), copy.deepcopy, copy.copy])
def test_copies_hold_what_a_module_holds(again):
    fit = fitted(ICONEmbedding, {"mapper": Branching(), "column_mapper": "ema", "p": Views(cross=True)})
    assert tensors_in(fit) == []
    loaded = again(fit)
    assert_same_answers(loaded, fit, X_new)
    made = loaded.mapper_
    assert type(made) is Branching and not made.training and made.factor == 2.0
    assert made.second.weight is made.first.weight and loaded.column_mapper_.followed[0] is made
    assert [(name, p.dtype, p.requires_grad) for name, p in made.named_parameters()] == [
        (name, p.dtype, p.requires_grad) for name, p in fit.mapper_.named_parameters()
    ]
    for key, value in fit.mapper_.state_dict().items():
        assert torch.equal(made.state_dict()[key], value)
    assert loaded.fit(X).n_iter_ == 8


def test_a_deep_copy_shares_no_weights():
    fit = fitted(ICONEmbedding, {"mapper": "linear"})
    before = fit.transform(X_new)
    with torch.no_grad():
        copy.deepcopy(fit).mapper_.weight.zero_()
    assert_array_equal(fit.transform(X_new), before)


def test_a_fit_that_is_mapped_into_memory_answers(tmp_path):
    fit = fitted(ICONClassifier, {"mapper": "mlp"})
    joblib.dump(fit, tmp_path / "fit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = joblib.load(tmp_path / "fit", mmap_mode="r")
    assert_same_answers(loaded, fit, X_new)


class Guarded(nn.Linear):
    """A layer that stores itself in a way of its own."""

    def __reduce__(self):
        return Guarded.again, (self.weight.detach().numpy(), self.bias.detach().numpy())

    @staticmethod
    def again(weight, bias):
        made = Guarded(weight.shape[1], weight.shape[0])
        made.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
        made.again_made = True
        return made


def test_a_module_that_says_how_it_is_stored_is_asked():
    fit = fitted(ICONEmbedding, {"mapper": Guarded(64, 2)})
    loaded = pickle.loads(pickle.dumps(fit))
    assert loaded.mapper_.again_made
    assert_array_equal(loaded.transform(X_new), fit.transform(X_new))


def test_another_process_reads_it(tmp_path):
    fit = fitted(ICONClustering, {"n_clusters": 4, "n_init": 2})
    iconlearn.save(fit, tmp_path / "clusters")
    np.save(tmp_path / "rows.npy", X_new)
    code = (
        "import sys, numpy, iconlearn\n"
        "fit = iconlearn.load(sys.argv[1])\n"
        "numpy.save(sys.argv[3], fit.predict_proba(numpy.load(sys.argv[2])))"
    )
    files = [str(tmp_path / name) for name in ("clusters", "rows.npy", "out.npy")]
    subprocess.run([sys.executable, "-c", code, *files], check=True)
    assert_array_equal(np.load(files[2]), fit.predict_proba(X_new))


def test_numpy_reads_the_arrays(tmp_path):
    iconlearn.save(fitted(ICONEmbedding, {}), tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as file:
        assert any(file[name].shape == (80, 64) for name in file.files if name.startswith("array"))


@pytest.mark.gpu
def test_a_fit_on_cuda_answers_on_the_cpu(tmp_path):
    fit = fitted(ICONEmbedding, {"mapper": "mlp", "device": "cuda"})
    iconlearn.save(fit, tmp_path / "cuda")
    code = "import sys, numpy, iconlearn; print(iconlearn.load(sys.argv[1]).transform(numpy.ones((2, 64))).shape)"
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cuda")], capture_output=True, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert run.stdout.split() == ["(2,", "2)"], run.stderr


def test_known_rows_make_their_prints_again():
    known = KnownRows(X)
    assert known.find(X[3:5]).tolist() == [3, 4]
    copy = pickle.loads(pickle.dumps(known))
    assert list(vars(copy)) == ["X"]
    assert copy.find(X[3:5]).tolist() == [3, 4]


# -- modules of the user's own -------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, width=3, dtype=torch.float32):
        super().__init__()
        self.inner = nn.Linear(64, width, dtype=dtype)
        self.norm = nn.BatchNorm1d(width, dtype=dtype)
        self.outer = nn.Linear(width, 2, dtype=dtype)

    def forward(self, X):
        return self.outer(torch.tanh(self.norm(self.inner(X))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_of_ones_own_is_asked_for(dtype, tmp_path):
    fit = fitted(ICONEmbedding, {"mapper": Net(dtype=dtype)})
    path = tmp_path / "net"
    iconlearn.save(fit, path)
    with pytest.raises(ValueError, match=r"a module of class Net for mapper.*load\(path, mapper=module\)"):
        iconlearn.load(path)
    with pytest.raises(ValueError, match="weights are not those of the Net"):
        iconlearn.load(path, mapper=Net(4))
    path.unlink()
    own = Net()
    before = {k: v.clone() for k, v in own.state_dict().items()}
    loaded = assert_comes_back(fit, X_new, tmp_path, mapper=own)
    assert all(torch.equal(v, before[k]) for k, v in own.state_dict().items())
    assert not loaded.mapper_.training
    # The start is there too: a further fit is the same fit.
    assert_array_equal(loaded.fit(X).embedding_, fit.fit(X).embedding_)


def test_plain_layers_are_not_asked_for(tmp_path):
    assert_comes_back(
        fitted(ICONEmbedding, {"mapper": nn.Sequential(nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 2))}),
        X_new,
        tmp_path,
    )


def test_weights_that_were_frozen_stay_frozen(tmp_path):
    module = nn.Sequential(nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    loaded = assert_comes_back(fitted(ICONEmbedding, {"mapper": module}), X_new, tmp_path)
    assert [w.requires_grad for w in loaded.mapper_.parameters()] == [False, False, True, True]


def test_a_factory_is_asked_for_as_a_module(tmp_path):
    fit = fitted(ICONEmbedding, {"mapper": lambda n_inputs, n_outputs: Net()})
    iconlearn.save(fit, tmp_path / "a file")
    with pytest.raises(ValueError, match=r"must be a torch.nn.Module, not a function"):
        iconlearn.load(tmp_path / "a file", mapper=lambda a, b: Net())
    (tmp_path / "a file").unlink()
    assert_comes_back(fit, X_new, tmp_path, mapper=Net())


def test_two_modules_are_told_apart(tmp_path):
    half = nn.Sequential(nn.Linear(32, 2), nn.Tanh())
    fit = fitted(
        ICONEmbedding,
        {"p": Paired(32), "mapper": half, "column_mapper": nn.Sequential(nn.Linear(32, 2), nn.Sigmoid())},
    )
    iconlearn.save(fit, tmp_path / "a file")
    with pytest.raises(ValueError, match="for column_mapper"):
        iconlearn.load(tmp_path / "a file", mapper=half)
    (tmp_path / "a file").unlink()
    assert_comes_back(
        fit, X_new, tmp_path, mapper=half, column_mapper=nn.Sequential(nn.Linear(32, 2), nn.Sigmoid())
    )


# -- what is refused -----------------------------------------------------------------------------------------


class Mine(KNN):
    """A p that the package does not know."""


class PairOfMine(NamedTuple):
    """A named tuple that the package does not know: a plain one in its place would not be what was given."""

    a: int
    b: int


@dataclass
class MoreOfMine:
    """A value that the package does not know, and that shows all it holds."""

    table: list


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"p": Mine()}, "p"),
        ({"p": KNN(metric=lambda a, b: 0.0)}, "p.metric"),
        ({"q": lambda s: -s}, "q"),
        ({"p": Debias(Mine())}, "p.p"),
        ({"terms": [Term(Mine())]}, "terms[0].p"),
        ({"divergence": Mine}, "divergence"),
        ({"init": PairOfMine(1, 2)}, "init"),
        ({"mapper": MLP(PairOfMine(8, 8))}, "mapper.hidden"),
    ],
)
def test_code_is_not_stored(params, name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"what was here")
    with pytest.raises(TypeError, match="code or of a class that is not the package's") as error:
        iconlearn.save(ICONEmbedding(**params), path)
    assert str(error.value).startswith(f"{name} is ")
    assert path.read_bytes() == b"what was here" and list(tmp_path.iterdir()) == [path]


def test_a_message_shows_no_table(tmp_path):
    estimator = fitted(ICONEmbedding, {})
    estimator.p_.further = MoreOfMine(np.arange(1000).reshape(100, 10).tolist())
    with pytest.raises(TypeError, match="code or of a class that is not the package's") as error:
        iconlearn.save(estimator, tmp_path / "file")
    assert len(str(error.value)) < 500 and "[[0, 1, 2" in str(error.value)


def test_a_callback_is_left_out(tmp_path):
    iconlearn.save(fitted(ICONEmbedding, {"callback": lambda record: False}), tmp_path / "file")
    assert iconlearn.load(tmp_path / "file").callback is None


def test_a_registered_class_is_stored(tmp_path, monkeypatch):
    monkeypatch.setitem(COMPONENTS["p"], "mine", Mine)
    iconlearn.save(fitted(ICONEmbedding, {"p": Mine(4)}), tmp_path / "file")
    assert type(iconlearn.load(tmp_path / "file").p_) is Mine
    monkeypatch.delitem(COMPONENTS["p"], "mine")
    with pytest.raises(ValueError, match=r"registry.p.mine.*register it"):
        iconlearn.load(tmp_path / "file")


@pytest.mark.parametrize("other", [None, "text", KNN(), Term("labels"), ICONEmbedding])
def test_only_estimators_are_saved(other, tmp_path):
    with pytest.raises(TypeError, match="only iconlearn's own estimators"):
        iconlearn.save(other, tmp_path / "file")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "file"
    fit = fitted(ICONClassifier, {})
    iconlearn.save(fit, path)
    return path, fit


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(whole, share, tmp_path):
    data = whole[0].read_bytes()
    (tmp_path / "file").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="truncated, altered, or no file of iconlearn's"):
        iconlearn.load(tmp_path / "file")


def test_a_file_with_any_byte_altered_is_refused_or_the_same(whole, tmp_path):
    data, fit = bytearray(whole[0].read_bytes()), whole[1]
    refused, places = 0, np.random.default_rng(0).choice(len(data), 300, replace=False)
    for place in places:
        data[place] ^= 0x10
        (tmp_path / "file").write_bytes(data)
        try:
            loaded = iconlearn.load(tmp_path / "file")
        except ValueError as error:
            refused += str(tmp_path / "file") in str(error)
        else:  # a date or a name in a header that nobody reads
            assert_array_equal(loaded.predict_proba(X_new), fit.predict_proba(X_new))
            refused += 1
        data[place] ^= 0x10
    assert refused == len(places)


def rewritten(path, target, change, *, seal=True):
    """The same archive, its manifest changed; sealed again unless told otherwise."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        manifest = change(json.loads(old.read(_file.MANIFEST)))
        text = json.dumps(manifest).encode()
        for name in old.namelist():
            if name == _file.MANIFEST:
                new.writestr(name, text)
            elif name == _file.SEAL and seal:
                new.writestr(name, _file.hashlib.sha256(text).hexdigest())
            else:
                new.writestr(name, old.read(name))


def renamed(manifest):
    text = json.dumps(manifest).replace("learned.Dot", "learned.Dotty")
    assert "learned.Dotty" in text
    return json.loads(text)


def of_another_kind(manifest):
    text = json.dumps(manifest)
    kind = next(node["kind"] for node in manifest["document"]["nodes"] if node["kind"] != "array")
    return json.loads(text.replace(f'"kind": "{kind}"', '"kind": "spell"'))


def without_an_array(manifest):
    manifest["sha256"].popitem()
    return manifest


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: {**m, "version": 2}, "format version 2, and this iconlearn reads 1; install a newer"),
        (lambda m: {**m, "format": "other"}, "'other' file"),
        (
            lambda m: {**m, "document": {**m["document"], "estimator": "Term"}},
            "'Term', which is no estimator",
        ),
        (lambda m: {**m, "document": {**m["document"], "estimator": "os"}}, "'os', which is no estimator"),
        (lambda m: [m], "no manifest"),
        (renamed, "class 'learned.Dotty', which this iconlearn does not know"),
        (of_another_kind, "it holds a value of unknown kind 'spell'"),
        (without_an_array, "does not hold the arrays that its manifest names"),
    ],
)
def test_a_file_of_another_kind_is_refused(whole, change, match, tmp_path):
    rewritten(whole[0], tmp_path / "file", change)
    with pytest.raises(ValueError, match=match):
        iconlearn.load(tmp_path / "file")


def test_a_manifest_without_its_checksum_is_refused(whole, tmp_path):
    rewritten(whole[0], tmp_path / "file", renamed, seal=False)
    with pytest.raises(ValueError, match="its manifest does not match its checksum"):
        iconlearn.load(tmp_path / "file")


@pytest.mark.parametrize(
    "name", ["builtins.eval", "os.system", "subprocess.Popen", "torch.nn.Linear", "Plan"]
)
def test_no_other_class_is_made(whole, name, tmp_path):
    def change(manifest):
        return json.loads(json.dumps(manifest).replace('"learned.Dot"', f'"{name}"'))

    rewritten(whole[0], tmp_path / "file", change)
    with pytest.raises(ValueError, match="which this iconlearn does not know"):
        iconlearn.load(tmp_path / "file")


def test_a_pickle_inside_is_not_opened(whole, tmp_path):
    """Not even one whose checksum the manifest holds."""
    array = io.BytesIO()
    np.lib.format.write_array(array, np.array([whole], dtype=object), allow_pickle=True)
    digest = _file.hashlib.sha256(array.getvalue()).hexdigest()

    def named(manifest):
        return {**manifest, "sha256": {**manifest["sha256"], "array0": digest}}

    rewritten(whole[0], tmp_path / "sealed", named)
    with zipfile.ZipFile(tmp_path / "sealed") as old, zipfile.ZipFile(tmp_path / "file", "w") as new:
        for name in old.namelist():
            new.writestr(name, array.getvalue() if name == "array0.npy" else old.read(name))
    with pytest.raises(ValueError, match="array0 cannot be read"):
        iconlearn.load(tmp_path / "file")


def test_compressed_members_are_refused(whole, tmp_path):
    with (
        zipfile.ZipFile(whole[0]) as old,
        zipfile.ZipFile(tmp_path / "file", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match="compressed"):
        iconlearn.load(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps(KNN())])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="no file of iconlearn's"):
        iconlearn.load(tmp_path / "file")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        iconlearn.load(tmp_path / "none")
