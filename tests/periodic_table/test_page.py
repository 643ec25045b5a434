"""The page of the table is the recipes' own words, and its examples run."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator

import iconlearn

DOC = Path(__file__).resolve().parents[2] / "doc"


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOC / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def maker():
    return script("make_periodic_table")


def test_the_page_is_current(maker):
    written = maker.PAGE.read_text("utf-8")
    assert written == maker.page(), "run: python doc/make_periodic_table.py"


def test_every_recipe_has_a_section_and_a_link(maker):
    page = maker.page()
    for entry in iconlearn.periodic_table():
        assert page.count(f'<a id="{entry.key}">') == 1 and page.count(f"(#{entry.key})") == 1
        assert f"recipes.{entry.key}(" in page


def test_a_picture_is_drawn_where_the_page_shows_it(maker, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    shown = [e.key for e in iconlearn.periodic_table() if f"pictures/{e.key}.png" in maker.section(e)]
    assert {"pca", "k_means", "simclr"} <= set(shown) and not {"cross_entropy", "skip_gram"} & set(shown)
    monkeypatch.syspath_prepend(str(DOC))
    pictures = script("make_pictures")
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    monkeypatch.setattr(pictures, "N_ROWS", 120)
    pictures.main(["pca", "supervised_clustering", "cross_entropy"])
    drawn = sorted(tmp_path.glob("*.png"))
    assert [path.stem for path in drawn] == ["pca", "supervised_clustering"]
    assert all(500 < path.stat().st_size < 20_000 for path in drawn)


@pytest.mark.parametrize("key", list(iconlearn.recipes.RECIPES))
def test_an_example_runs(maker, key):
    """Word for word, but for three iterations from one start and every eighth row of the digits."""
    entry = iconlearn.recipes.RECIPES[key]
    if entry.data == "colour images":
        pytest.importorskip("PIL", reason="scikit-learn opens its photographs by Pillow")
    few = "max_iter=3, n_init=1" if entry.estimator == "ICONClustering" else "max_iter=3"
    code = maker.example(entry)
    assert len([line for line in code.splitlines() if line]) <= 5
    for full, short in (
        ("random_state=0", f"random_state=0, {few}"),
        ("fit(X / 16", "fit(X[::8] / 16"),
        (", y)", ", y[::8])"),
        ("load_digits().data", "load_digits().data[::8]"),
    ):
        code = code.replace(full, short)
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, key, "exec"), names)
    assert isinstance(names["model"], BaseEstimator) and np.isfinite(names["model"].loss_)
