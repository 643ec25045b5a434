"""Rows without a label: one marker and one rule for every p that reads y."""

import warnings

import numpy as np
import pandas as pd
import pytest

from iconlearn import ICONClustering, ICONEmbedding, Term, recipes
from iconlearn.supervisory import Classes, Debias, Labels, MustLink

X = np.random.default_rng(0).normal(size=(60, 3))
GIVEN = np.r_[np.zeros(15, int), np.ones(15, int), np.full(30, 7)]
HIDDEN = GIVEN == 7
READERS = [Labels, lambda **o: Labels(self_pairs=True, **o), Classes, MustLink]


def with_marker(marker, kind):
    y = np.array(["a", "b"], dtype=object)[np.minimum(GIVEN, 1)] if kind == "text" else GIVEN.astype(object)
    y[HIDDEN] = marker
    if kind == "series":
        return pd.Series(y, index=np.arange(60) + 100)
    return y if kind in ("text", "object") else list(y)


@pytest.mark.parametrize("make", READERS)
@pytest.mark.parametrize("kind", ["object", "list", "series", "text"])
@pytest.mark.parametrize("marker", [-1, float("nan"), None, pd.NA, "?"])
def test_rows_with_the_marker_have_no_p(make, kind, marker):
    named = float("nan") if marker is None or marker is pd.NA else marker
    p = make(unlabeled=named).fit(X, with_marker(marker, kind)).conditional_
    np.testing.assert_array_equal(p.row_mass > 0, ~HIDDEN)
    seen = make().fit(X[~HIDDEN], GIVEN[~HIDDEN]).conditional_
    cols = np.flatnonzero(~HIDDEN) if p.n_rows == p.n_cols else np.arange(p.n_cols)
    np.testing.assert_allclose(p.full()[np.ix_(~HIDDEN, cols)], seen.full())
    if p.n_rows == p.n_cols:
        assert not p.full()[np.ix_(~HIDDEN, HIDDEN)].any()


@pytest.mark.parametrize(
    "y", [pd.array(["a", "b", None] * 20, dtype="string"), pd.array([1, 2, None] * 20, dtype="Int64")]
)
@pytest.mark.parametrize("make", READERS)
def test_columns_of_pandas_with_gaps(make, y):
    p = make(unlabeled=float("nan")).fit(X, pd.Series(y))
    np.testing.assert_array_equal(p.conditional_.row_mass > 0, np.arange(60) % 3 < 2)


@pytest.mark.parametrize("make", READERS[:3])
def test_minus_one_is_a_class_and_says_so_once(make):
    y = np.where(HIDDEN, -1, GIVEN)
    with pytest.warns(UserWarning, match=r"y is -1 in 30 of 60 rows.*\(unlabeled=-1\) leaves") as caught:
        p = make().fit(X, y)
    assert len(caught) == 1 and list(p.classes_) == [-1, 0, 1] and (p.conditional_.row_mass > 0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(make().fit(X, np.where(GIVEN > 0, 1, -1)).classes_) == [-1, 1]
        assert list(make(unlabeled=-1).fit(X, y).classes_) == [0, 1]
        assert list(make(unlabeled="?").fit(X, with_marker("?", "text")).classes_) == ["a", "b"]


@pytest.mark.parametrize("make", READERS)
def test_auto_is_minus_one_beside_two_classes(make):
    y = np.where(HIDDEN, -1, GIVEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = make(unlabeled="auto").fit(X, y).conditional_
        np.testing.assert_array_equal(p.row_mass > 0, ~HIDDEN)
        assert (make(unlabeled="auto").fit(X, np.where(HIDDEN, -1, 1)).conditional_.row_mass > 0).all()


def test_links_may_take_minus_one_for_a_class():
    y = np.where(HIDDEN, -1, GIVEN)
    assert (MustLink(labels=y, unlabeled=None).fit(X).conditional_.row_mass > 0).all()


@pytest.mark.parametrize("make", READERS[:3])
def test_gaps_are_named_and_a_marker_that_marks_all_too(make):
    for gap in (float("nan"), None, pd.NA):
        with pytest.raises(
            ValueError, match=r"y contains NaN.* in 30 rows .*row 30.*unlabeled=float\('nan'\)"
        ):
            make().fit(X, with_marker(gap, "object"))
    with pytest.raises(ValueError, match="no label to go by"):
        make(unlabeled=-1).fit(X, np.full(60, -1))


def test_unlabelled_rows_are_not_drawn_together():
    """Rows without a label, and without groups, stay as far apart as rows of a class of their own each."""
    y = np.where(HIDDEN, -1, GIVEN)
    model = recipes.supcon(n_components=2, max_iter=100, random_state=0)
    model.set_params(p__unlabeled=-1)
    Z = model.fit(X, y).embedding_[HIDDEN]
    assert np.mean(Z @ Z.T) < 0.5
    model = ICONEmbedding(terms=[Term(Debias(Labels(unlabeled=-1), 0.1))], max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(X, y)


GAPS = {
    "floats": np.where(HIDDEN, np.nan, GIVEN),
    "objects": with_marker(None, "text"),
    "list": with_marker(None, "list"),
    "list of strings": list(with_marker(float("nan"), "text")),
    "categorical": pd.Series(np.where(HIDDEN, np.nan, GIVEN)).astype("category"),
    "integers of pandas": pd.Series(np.where(HIDDEN, np.nan, GIVEN)).astype("Int64"),
    "strings of pandas": pd.Series(with_marker(pd.NA, "text"), dtype="string"),
}


@pytest.mark.parametrize("kind", GAPS)
def test_an_estimator_hands_labels_that_are_missing_to_whoever_reads_y(kind):
    """The y of fit may have every mark of what is missing, where a p has it for its marker."""
    y = GAPS[kind]
    for p in (Labels(unlabeled=float("nan")), Debias(MustLink(), 0.1)):
        model = ICONEmbedding(p=p, max_iter=2, random_state=0).fit(X, y)
        np.testing.assert_array_equal(model.p_.conditional_.row_mass > 0, ~HIDDEN)
        ICONClustering(2, terms=[Term(p)], n_init=1, max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"y contains NaN.*row 30"):
        ICONEmbedding(terms=[Term("labels")], max_iter=2).fit(X, y)


@pytest.mark.parametrize("marker", [-1, "?"])
def test_the_marker_of_a_list_of_several_types_reaches_the_reader(marker):
    y = [marker if hidden else "ab"[name] for name, hidden in zip(np.minimum(GIVEN, 1), HIDDEN, strict=True)]
    supcon = recipes.supcon(unlabeled=marker, n_components=2, max_iter=2, random_state=0)
    assert list(supcon.fit(X, y).p_.classes_) == ["a", "b"]


@pytest.mark.parametrize("key", [key for key, entry in recipes.RECIPES.items() if entry.p == "Classes"])
def test_recipes_of_labels_take_the_marker(key):
    assert (
        getattr(recipes, key)(unlabeled=-1).p.unlabeled == -1 and getattr(recipes, key)().p.unlabeled is None
    )
