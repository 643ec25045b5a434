"""A map as a data frame."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from iconlearn.displays import map_frame

rng = np.random.default_rng(0)
X, Z3 = rng.normal(size=(30, 5)), rng.normal(size=(30, 3))


def test_places_labels_and_neighbours():
    texts = pd.DataFrame({"text": [f"text {i}" for i in range(30)]}, index=range(100, 130))
    labels = np.array(["a", "b", None] * 10, dtype=object)
    frame = map_frame(Z3, X, labels=labels, n_neighbors=4, metric="manhattan", frame=texts)
    assert list(frame) == ["text", "x", "y", "z", "label", "neighbors"] and list(frame.index) == list(
        range(30)
    )
    np.testing.assert_array_equal(frame[["x", "y", "z"]], Z3)
    assert list(frame["label"].cat.categories) == ["a", "b"] and frame["label"].isna().sum() == 10
    D = cdist(X, X, "cityblock")
    np.fill_diagonal(D, np.inf)
    for i, near in enumerate(frame["neighbors"]):
        assert near["ids"] == list(np.argsort(D[i])[:4])
        np.testing.assert_allclose(near["distances"], np.sort(D[i])[:4])
    assert list(texts) == ["text"] and list(texts.index) == list(range(100, 130))
    assert list(map_frame(Z3[:, :2])) == ["x", "y"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: map_frame(X), r"shape \(30, 5\)"),
        (lambda: map_frame(Z3, X[:20]), "X has 20 rows for 30 places"),
        (lambda: map_frame(Z3, labels=[1, 2]), "2 values for 30 points"),
        (lambda: map_frame(Z3, frame={"x": np.zeros(30)}), "column 'x' already"),
        (lambda: map_frame(Z3, frame={"t": [1]}), "frame has 1 rows for 30 places"),
    ],
)
def test_parts_have_to_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
