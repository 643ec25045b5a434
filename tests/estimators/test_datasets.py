"""A torch Dataset for X: its items are the rows, and what cannot be rows is told."""

import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn._checks import in_a_file
from iconlearn.engines import MiniBatch
from iconlearn.estimators import _base, _inputs
from iconlearn.supervisory import Views

X, Y = load_digits(return_X_y=True)
X, Y = X[:200].astype(np.float32) / 16, Y[:200]


class Items(Dataset):
    """Items that are made when they are asked for."""

    def __init__(self, make, n=200):
        self.make, self.n, self.asked = make, n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        # The protocol of sequences, which lists rely on, ends with an IndexError.
        if not 0 <= i < self.n:
            raise IndexError(i)
        self.asked.append(i)
        return self.make(i)


KINDS = {
    "tensors": TensorDataset(torch.from_numpy(X)),
    "pictures and labels": Items(lambda i: (torch.from_numpy(X[i]).view(1, 8, 8), int(Y[i]))),
    "arrays": Items(lambda i: X[i].reshape(8, 8)),
    "lists of a picture": Items(lambda i: [X[i], Y[i], "a note"]),
    "with a slope": Items(lambda i: torch.from_numpy(X[i]).requires_grad_()),
    "a part of another": Subset(TensorDataset(torch.from_numpy(np.vstack([X[::-1], X]))), range(200, 400)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_array_of_its_items(kind):
    rows = _inputs.rows_of(KINDS[kind])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, X)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("uint8", "float32"), ("bool", "float32"), ("float16", "float32"), ("float32", "float32"),
        ("int64", "float64"), ("float64", "float64"),
    ],
)  # fmt: skip
def test_precisions(given, kept):
    rows = _inputs.rows_of(Items(lambda i: np.arange(3).astype(given), n=2))
    assert rows.dtype == kept and np.array_equal(rows[1], np.arange(3).astype(given).astype(kept))


def test_items_in_a_format_that_numpy_has_not():
    rows = _inputs.rows_of(Items(lambda i: torch.arange(3).bfloat16(), n=2))
    assert rows.dtype == np.float32 and np.array_equal(rows[1], [0, 1, 2])


@pytest.mark.parametrize("model", [ICONEmbedding, ICONClassifier, ICONClustering])
def test_every_estimator_fits_and_answers(model):
    def made():
        return model(**({"n_clusters": 10} if model is ICONClustering else {}), max_iter=5, random_state=0)

    y = Y if model is ICONClassifier else None
    dataset = Items(lambda i: (X[i], Y[i]))
    answer = "transform" if model is ICONEmbedding else "predict"
    from_items, from_array = made().fit(dataset, y), made().fit(X, y)
    assert dataset.asked == list(range(200)), "each item once, in order"
    np.testing.assert_array_equal(
        getattr(from_items, answer)(Subset(dataset, range(50))), getattr(from_array, answer)(X[:50])
    )
    assert from_items.n_features_in_ == 64


def test_many_rows_stay_in_a_file(monkeypatch):
    """Above a size the rows are read off a file, batch by batch; what is found does not depend on it."""
    n, width = 4000, 256
    many = Items(lambda i: np.random.default_rng(i).random(width, dtype=np.float32), n)

    def encoder():
        p = Views(strength=0.5)
        return ICONEmbedding(
            2, p=p, q="cosine", mapper="mlp", engine=MiniBatch(256), max_iter=2, random_state=0
        )

    in_memory = encoder().fit(many)
    assert not in_a_file(in_memory._X)
    for module, limit in ((_inputs, "MAX_IN_MEMORY"), (_base, "MAX_DENSE_INPUTS")):
        monkeypatch.setattr(module, limit, 10**6)
    tracemalloc.start()
    try:
        rows = _inputs.rows_of(many)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.2 * rows.nbytes
    assert not isinstance(_base.ICONBase._inputs(rows, setting=None), torch.Tensor)
    off_file = encoder().fit(many)
    assert in_a_file(off_file._X)
    np.testing.assert_allclose(off_file.embedding_, in_memory.embedding_, atol=1e-5)
    np.testing.assert_array_equal(off_file.transform(rows[:5]), off_file.embedding_[:5])


class Stream(IterableDataset):
    def __iter__(self):
        yield from X


class CountedStream(Stream):
    def __len__(self):
        return len(X)


@pytest.mark.parametrize(
    ("dataset", "error", "words"),
    [
        (Stream(), TypeError, "Stream, whose items have no numbers .* give a map-style Dataset"),
        (CountedStream(), TypeError, "CountedStream, whose items have no numbers"),
        (Items(lambda i: X[i], n=0), ValueError, "Items without items"),
        (Items(lambda i: X[i, : 64 - (i == 7)]), ValueError, "item 7 of X has 63 numbers and item 0 has 64"),
        (Items(lambda i: "a text"), TypeError, "item 0 of X is a str that holds no numbers"),
        (Items(lambda i: {"picture": X[i]}), TypeError, "item 0 of X is a dict"),
        (Items(lambda i: X[i] if i else ()), ValueError, "item 1 of X has 64 numbers and item 0 has 0"),
        (Items(lambda i: X[i] * np.nan), ValueError, "NaN"),
    ],
)
def test_what_cannot_be_rows_is_told_and_leaves_no_trace(dataset, error, words):
    model = ICONEmbedding(max_iter=3)
    with pytest.raises(error, match=words):
        model.fit(dataset)
    assert not [name for name in vars(model) if name.endswith("_")]
