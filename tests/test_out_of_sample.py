"""Rows that a fit has seen, and those that it has not."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from iconlearn import ICONEmbedding, save
from iconlearn.learned import Student
from iconlearn.neighbors import KnownRows
from iconlearn.out_of_sample import _placed
from iconlearn.out_of_sample._inverse import InterpolatedRows
from iconlearn.out_of_sample._mapped import MappedRows
from iconlearn.out_of_sample._seen import SeenRows

X = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
OUTPUTS = np.array([[1.0], [2.0], [3.0]])


def test_seen_rows_keep_their_outputs_and_others_are_asked_for():
    asked = []

    def others(rows):
        asked.append(rows)
        return rows.sum(axis=1, keepdims=True) + 10

    out = SeenRows(KnownRows(X), OUTPUTS).outputs(np.array([[2.0, 0.0], [5.0, 1.0], [0.0, 0.0]]), others)
    assert out.ravel().tolist() == [2.0, 16.0, 3.0]
    assert [rows.tolist() for rows in asked] == [[[5.0, 1.0]]]


def test_nothing_is_asked_for_where_all_rows_are_seen():
    def others(rows):
        raise AssertionError("no row is new")

    assert SeenRows(KnownRows(X), OUTPUTS.astype(np.float32)).outputs(X[[1]], others).dtype == np.float64


def test_a_row_without_entries_of_a_graph_is_no_seen_row():
    for make in (np.asarray, csr_array):
        rows = make(X)
        out = SeenRows(KnownRows(rows), OUTPUTS, pairwise=True).outputs(
            rows, lambda rows: np.full((rows.shape[0], 1), -1.0)
        )
        assert out.ravel().tolist() == [1.0, 2.0, -1.0]


def test_mapped_rows_are_what_the_module_gives_for_its_features():
    module = torch.nn.Linear(1, 2).double()
    for rows in (X, csr_array(X)):
        out = MappedRows(Student(), module, slice(1, 2)).outputs(rows)
        np.testing.assert_array_equal(out, module(torch.as_tensor(X[:, 1:])).detach().numpy())


def test_outputs_that_are_not_finite_are_refused():
    module = torch.nn.Linear(2, 1).double()
    torch.nn.init.constant_(module.weight, np.nan)
    with pytest.raises(ValueError, match="returned NaN or infinity"):
        MappedRows(Student(), module).outputs(X)


def test_places_of_training_rows_give_these_rows_back():
    places = np.array([[0.0], [1.0], [5.0]])
    np.testing.assert_array_equal(InterpolatedRows(places, X).outputs(places), X)
    assert isinstance(InterpolatedRows(places, csr_array(X)).outputs(places), csr_array)


def test_what_places_new_rows_is_made_once_and_not_stored(monkeypatch, tmp_path):
    made = []

    def frozen_field(q, V):
        made.append(V)
        return field(q, V)

    field = _placed.frozen_field
    monkeypatch.setattr(_placed, "frozen_field", frozen_field)
    rows = np.random.default_rng(0).normal(size=(60, 3))
    model = ICONEmbedding(max_iter=20, random_state=0).fit(rows)
    save(model, tmp_path / "before")
    first = model.transform(rows[:5] + 0.01)
    np.testing.assert_array_equal(model.transform(rows[:5] + 0.01), first)
    assert len(made) == 1
    save(model, tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.transform(rows[:5] + 0.01), first)
    assert len(made) == 2
    model.fit(rows[:50])
    model.transform(rows[:5] + 0.01)
    assert len(made[-1]) == 50
