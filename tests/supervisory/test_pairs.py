"""Identity, Labels and Classes against their one-line definitions."""

import pickle

import numpy as np
import pytest

from iconlearn.supervisory import Classes, Identity, Labels

X = np.zeros((7, 2))
Y = np.array([2, 0, 2, 2, 0, 9, 9])


def test_identity():
    p = Identity().fit(X)
    np.testing.assert_array_equal(p.conditional_.sparse().toarray(), np.eye(7))
    assert p.conditional_.self_pairs and p.columns == "rows" and not p.requires_y


@pytest.mark.parametrize("self_pairs", [False, True])
@pytest.mark.parametrize("y", [Y, Y.astype(str), Y.astype(float), Y[:, None], list(Y)])
def test_labels(self_pairs, y):
    p = Labels(self_pairs=self_pairs).fit(X, y).conditional_
    mates = (Y[:, None] == Y) & (self_pairs | ~np.eye(7, dtype=bool))
    expected = mates / mates.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p.block(None, None), expected)
    rows, cols = np.array([5, 0]), np.array([0, 2, 6])
    np.testing.assert_allclose(p.block(rows, cols), expected[np.ix_(rows, cols)])
    assert p.dense and p.self_pairs == self_pairs and Labels.requires_y
    assert p.supported().all()


def test_a_class_of_one_has_no_support():
    y = np.array([0, 0, 1, 2, 2, 2, 2])
    with pytest.warns(UserWarning, match="1 of 7 rows have no other member") as caught:
        p = Labels().fit(X, y).conditional_
    assert len(caught) == 1
    np.testing.assert_allclose(p.row_mass, (np.arange(7) != 2) / 6)
    assert not p.block(None, None)[2].any()
    q = Labels(self_pairs=True).fit(X, y).conditional_
    assert q.block(None, None)[2, 2] == 1
    with pytest.raises(ValueError, match="no row has any other member"):
        Labels().fit(X, np.arange(7))


@pytest.mark.parametrize("y", [Y, Y.astype(str)])
def test_classes(y):
    p = Classes().fit(X, y)
    np.testing.assert_array_equal(p.conditional_.sparse().toarray(), Y[:, None] == [0, 2, 9])
    np.testing.assert_array_equal(p.classes_, np.unique(y))
    assert p.columns == "classes" and p.requires_y and p.conditional_.self_pairs


def test_storage_is_linear():
    y = np.arange(200_000) % 10
    p = Labels().fit(np.zeros((200_000, 1)), y)
    assert len(pickle.dumps(p)) < 3e6
    assert p.conditional_.block(np.array([7]), None).sum() == pytest.approx(1)


@pytest.mark.parametrize("p", [Labels(), Classes()])
def test_messages(p):
    name = type(p).__name__
    with pytest.raises(ValueError, match=f"{name} needs y"):
        p.fit(X)
    with pytest.raises(ValueError, match="y has 3 entries but X has 7 rows"):
        p.fit(X, Y[:3])
    with pytest.raises(ValueError, match="NaN"):
        p.fit(X, np.where(Y == 9, np.nan, Y))
    with pytest.raises(ValueError, match="mixed types"):
        p.fit(X, np.array([0, "a", 1, "b", 0, "a", 1], dtype=object))
    with pytest.raises(ValueError, match="one class per row"):
        p.fit(X, np.zeros((7, 2)))


@pytest.mark.parametrize("p", [Identity(), Labels(), Classes()])
def test_new_rows_have_no_rule(p):
    p.fit(X, Y)
    with pytest.raises(ValueError, match=r"says nothing about new rows.*KNN"):
        p.extend(X)


def test_self_pairs_is_a_flag():
    with pytest.raises(TypeError, match="self_pairs='no' must be True or False"):
        Labels(self_pairs="no").fit(X, Y)
