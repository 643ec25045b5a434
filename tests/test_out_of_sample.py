"""Rows that a fit has seen, and those that it has not."""

import numpy as np
from scipy.sparse import csr_array

from iconlearn.neighbors import KnownRows
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
