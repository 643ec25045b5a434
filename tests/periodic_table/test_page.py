"""The page of the table is the recipes' own words, and its examples run."""

import importlib.util
import warnings
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

import iconlearn

SCRIPT = Path(__file__).resolve().parents[2] / "doc" / "make_periodic_table.py"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_periodic_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(maker):
    written = maker.PAGE.read_text("utf-8")
    assert written == maker.page(), "run: python doc/make_periodic_table.py"


def test_every_recipe_has_a_section_and_a_link(maker):
    page = maker.page()
    for entry in iconlearn.periodic_table():
        assert page.count(f'<a id="{entry.key}">') == 1 and page.count(f"(#{entry.key})") == 1
        assert f"recipes.{entry.key}(" in page


@pytest.mark.parametrize("key", ["pca", "k_means", "tsne_graph", "cmc", "cross_entropy", "skip_gram"])
def test_an_example_runs(maker, key):
    entry = iconlearn.recipes.RECIPES[key]
    code = maker.example(entry).replace("random_state=0", "random_state=0, max_iter=3")
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, key, "exec"), names)
    assert isinstance(names["model"], BaseEstimator) and names["model"].loss_ is not None
