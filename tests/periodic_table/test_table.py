"""The table as a value: its entries, its views, and what a recipe says about wrong words."""

import copy
import inspect
import pickle
import sys
from dataclasses import fields
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV

import iconlearn
from iconlearn import recipes
from iconlearn.recipes import PeriodicTable, Recipe
from iconlearn.recipes._recipe import EXAMPLES, FIXED
from iconlearn.recipes._table import COLUMNS, ROWS
from iconlearn.supervisory import Debias, Mix

TABLE = iconlearn.periodic_table()
KEYS = [entry.key for entry in TABLE]


NEEDED = {
    "split": 2,
    "triples": [(0, 1, 2)],
    "pairs": [(0, 1)],
    "alike": [True],
    "candidates": [(1, 2)],
    "apart": [(0, 1)],
    "teacher": 2,
    "shape": (8, 8),
    "step": 8,
}


def made(key, **parameters):
    needed = {name: NEEDED[name] for name in recipes.RECIPES[key].parameters if name in NEEDED}
    parameters = {**needed, **parameters}
    return recipes.RECIPES[key](**parameters)


def test_it_is_a_sequence_of_recipes():
    assert len(TABLE) >= 40 and len(set(KEYS)) == len(TABLE)
    assert all(isinstance(entry, Recipe) for entry in TABLE)
    assert isinstance(TABLE[:3], PeriodicTable) and len(TABLE[:3]) == 3 and TABLE[-1] is list(TABLE)[-1]
    assert TABLE[0] in TABLE and "tsne" in repr(TABLE)
    cell = [e.key for e in TABLE.cell("Gaussian", "Student-t")]
    assert cell == ["tsne", "row_tsne", "tsnekhorn", "dreams", "density_tsne"]


@pytest.mark.parametrize("key", KEYS)
def test_an_entry_is_complete(key):
    entry = recipes.RECIPES[key]
    assert getattr(recipes, key) is entry and key in recipes.__all__
    assert entry.p in COLUMNS and entry.q in ROWS
    for field in fields(Recipe):
        value = getattr(entry, field.name)
        assert value or field.name == "gap", field.name
    assert entry.direction in ("p to q", "q to p") and entry.data in (
        "rows",
        "labelled",
        "few labels",
        "graph",
        "tokens",
        "halves",
        "lists",
        "images",
        "colour images",
    )
    estimator = made(key, random_state=3)
    assert type(estimator).__name__ == entry.estimator and estimator.random_state == 3
    assert not [name for name in vars(estimator) if name.endswith("_")]
    assert f"{type(estimator.p).__name__}(" in repr(estimator), "the repr says what it is made of"
    clone(estimator)


@pytest.mark.parametrize("key", KEYS)
def test_every_parameter_reaches_the_estimator(key):
    entry = recipes.RECIPES[key]
    other = {
        "n_components": 3, "n_clusters": 4, "perplexity": 7.0, "n_neighbors": 4, "dof": 3.0, "gamma": 2.5,
        "temperature": 0.9, "target_temperature": 0.3, "n_views": 5, "augment": "mask", "strength": 0.4,
        "final_temperature": 0.2, "discount": 0.3,
        "momentum": 0.7, "margin": 0.8, "split": 3, "C": 7.0, "tol": 1e-3, "max_iter": 9, "alpha": 0.37, "n": 6.0,
        "window": 2, "min_count": 3, "subsample": 1e-4, "hidden": (5,), "scale": 9.0, "sigma": 1.7,
        "walk_length": 3, "metric": "cosine", "graph_weight": 2.0, "global_weight": 7.0, "unlabeled": -1,
        "density_weight": 0.7, "whole": True,
        "output": "tree", "n_negatives": 2, "distance": "cosine", "weight": 0.7, "triples": [(2, 1, 0)],
        "pairs": [(2, 1)], "alike": [False], "candidates": [(2, 1)], "anchors": [3], "apart": [(2, 1)],
        "together": [(4, 5)],
        "teacher": 3, "shape": (4, 16), "grid": 2, "gap": 2, "jitter": 1, "shift": 1,
        "mapper": "linear", "n_tasks": 5, "step": 4, "steps": 2, "encoder": (9,), "first": 3, "ordered": True,
        "penalty": "l1", "rho": 0.1, "corrupt": "mask", "beta": 4.0, "channels": (4, 8), "pool": "max",
        "norm_weight": 3.0, "head": (16, 8), "projector": (16, 8), "predictor": (9,), "size": 0.25, "factor": 4,
    }  # fmt: skip
    for name in entry.parameters:
        assert str(made(key, **{name: other[name]}).get_params()) != str(made(key).get_params()), name


def test_wrong_words_are_named_with_the_nearest():
    for word, near in (("perplexty", "perplexity"), ("n_component", "n_components"), ("verbos", "verbose")):
        with pytest.raises(TypeError, match=f'Did you mean "{near}"'):
            recipes.tsne(**{word: 1})
    with pytest.raises(TypeError, match="sets p itself"):
        recipes.tsne(p="knn")
    with pytest.raises(TypeError, match=r"clip\(\) needs split"):
        recipes.clip()
    with pytest.raises(
        TypeError, match=r"given_negatives\(\) needs candidates: a list of row numbers for each row"
    ):
        recipes.given_negatives()
    with pytest.raises(TypeError, match=r"siamese\(\) needs alike: whether the two rows"):
        recipes.siamese(pairs=[(0, 1)])
    with pytest.raises(TypeError):
        recipes.tsne(30)
    assert recipes.tsne(p__p__perplexity=5).p.p.perplexity == 5
    assert "tsne(perplexity=30.0" in repr(recipes.tsne)


@pytest.mark.parametrize("key", KEYS)
def test_a_recipe_has_the_signature_of_what_it_takes(key):
    entry = recipes.RECIPES[key]
    found = inspect.signature(entry).parameters
    assert list(found)[: len(entry.parameters)] == list(entry.parameters)
    needed = {name: 2 for name, parameter in found.items() if parameter.default is parameter.empty}
    needed |= {name: value for name, value in EXAMPLES.items() if name in needed}
    assert set(needed) <= set(entry.parameters)
    estimator = entry(**needed)
    assert inspect.signature(entry).return_annotation is type(estimator)
    # What is given as its own default changes nothing.
    defaults = {name: found[name].default for name in found if name not in needed}
    assert str(entry(**needed, **defaults).get_params()) == str(estimator.get_params())
    assert {*found, *FIXED} >= set(estimator.get_params(deep=False))
    for word in (entry.name, entry.paper, entry.formula, entry.estimator, *entry.parameters):
        assert word in inspect.getdoc(entry)
    assert f"{key}(" not in str(inspect.signature(Recipe)) and "key" in inspect.signature(Recipe).parameters


def test_a_recipe_can_be_searched():
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(
        recipes.cross_entropy(), {"C": [0.01, 1.0], "p": [iconlearn.supervisory.Classes()]}, cv=3
    )
    assert search.fit(X, y).best_params_["C"] == 1.0


def test_to_pandas(monkeypatch):
    pytest.importorskip("pandas")
    frame = TABLE.to_pandas()
    assert list(frame.index) == KEYS and {"name", "p", "q", "paper", "verified", "divergence"} <= set(frame)
    assert frame.loc["sne", "paper"].startswith("Hinton")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        TABLE.to_pandas()


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets, self.open = [], []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.targets.append(dict(attrs)["href"].partition("#")[2])
        self.open += [tag] if tag != "br" else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_grid_links_every_recipe_once():
    page, links = TABLE._repr_html_(), Links()
    links.feed(page)
    assert sorted(links.targets) == sorted(KEYS) and not links.open
    n_rows = page.count("<tr>") - 1
    assert n_rows == len(ROWS) and page.count("<td>") == n_rows * len({e.p for e in TABLE})
    assert np.char.count(page, "<script") == 0


@pytest.mark.parametrize("key", KEYS)
def test_a_recipe_is_itself_after_a_pickle_and_a_copy(key):
    entry = recipes.RECIPES[key]
    assert pickle.loads(pickle.dumps(entry)) is entry and copy.deepcopy(entry) is entry


@pytest.mark.parametrize("key", KEYS)
def test_a_value_without_a_name_is_asked_for_its_name(key):
    first = next(iter(recipes.RECIPES[key].parameters), "random_state")
    with pytest.raises(TypeError, match=rf"by name: recipes.{key}\({first}=3\)"):
        recipes.RECIPES[key](3)


BLOBS = make_blobs(120, centers=4, random_state=1)


@pytest.mark.parametrize("start", [2, 8, "auto"])
def test_spectral_clustering_has_as_many_eigenvectors_as_clusters_however_they_are_set(start):
    """One number has two places, and setting it later or in a search moves both."""
    X, y = BLOBS
    made = recipes.spectral_clustering(n_clusters=4, random_state=0).fit(X)
    changed = recipes.spectral_clustering(n_clusters=start, random_state=0).set_params(n_clusters=4)
    assert changed.p.n_components == "auto"
    assert changed.fit(X).p_.n_components == 4 and changed.p.n_components == "auto"
    np.testing.assert_array_equal(changed.labels_, made.labels_)
    assert adjusted_rand_score(y, made.labels_) > 0.9


def test_a_search_over_spectral_clusterings_compares_spectral_clusterings():
    X, y = BLOBS
    search = GridSearchCV(
        recipes.spectral_clustering(random_state=0),
        {"n_clusters": [2, 4]},
        scoring="adjusted_rand_score",
        cv=2,
    )
    assert search.fit(X, y).best_params_ == {"n_clusters": 4} and search.best_score_ > 0.8


def test_eigenvectors_follow_inside_another_p_and_say_where_they_cannot():
    X, _ = BLOBS
    spectral = recipes.spectral_clustering().p
    for inside, found in ((Debias(spectral, 0.1), lambda p: p.p_), (Mix([spectral]), lambda p: p.ps_[0])):
        nested = recipes.spectral_clustering(n_clusters=3, random_state=0).set_params(p=inside).fit(X)
        assert found(nested.p_).n_components == 3 and spectral.n_components == "auto"
    own = recipes.spectral_clustering(n_clusters=3, random_state=0).set_params(p__n_components=5).fit(X)
    assert own.p_.n_components == 5
    with pytest.raises(ValueError, match="n_clusters='auto' is counted from p itself"):
        recipes.spectral_clustering(n_clusters="auto").fit(X)
    with pytest.raises(ValueError, match=r"n_components='auto'.*give a number"):
        clone(spectral).fit(X)


TWO_WAYS = ("cmc", "clip", "t_clip", "average_margin_clip", "triplet_clip")


@pytest.mark.parametrize("key", TWO_WAYS)
def test_both_directions_between_two_kinds_have_one_split(key):
    X, parameters = load_iris().data, {"n_components": 2, "max_iter": 2, "random_state": 0}
    made = recipes.RECIPES[key](split=3, **parameters).fit(X)
    for changed in (
        recipes.RECIPES[key](split=1, **parameters).set_params(p__split=3),
        clone(recipes.RECIPES[key](split=1, **parameters)).set_params(p__split=3),
    ):
        changed.fit(X)
        np.testing.assert_array_equal(changed.loss_parts_, made.loss_parts_)
        np.testing.assert_array_equal(changed.embedding_, made.embedding_)


@pytest.mark.parametrize("kind", [tuple, list])
def test_two_matrices_are_asked_to_be_one(kind):
    X = load_iris().data
    for pair, message in (
        ((X[:, :3], X[:, 3:]), "2 tables of 3 and 1 columns.*hstack.*split=3"),
        ((X, X[:50]), "tables of 150, 50 rows.*hstack"),
    ):
        with pytest.raises(ValueError, match=message):
            recipes.clip(split=3).fit(kind(pair))
