"""Batches of a fit on a device are prepared by a thread: the same fit, one copy for each, and no thread is left."""

import threading
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from device import pretended
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits

from iconlearn import ICONClassifier, ICONEmbedding, Term, solve
from iconlearn.engines import MiniBatch, _minibatch
from iconlearn.estimators import _base
from iconlearn.supervisory import Triplets

pytestmark = pytest.mark.pretended

X, Y = load_digits(return_X_y=True)
X, Y = X[:100].astype(np.float32), Y[:100]
OPTIONS = {"engine": MiniBatch(30), "max_iter": 2, "random_state": 0, "device": "cuda"}
TRIPLES = np.random.default_rng(0).permuted(np.tile(np.arange(100), (120, 1)), axis=1)[:, :3]
# Pairs of points, several terms, views, lists of candidates, and features that are not a tensor.
FITS = {
    "terms": (ICONEmbedding(terms=[Term("labels", weight=0.5)], **OPTIONS), X),
    "views": (ICONEmbedding(4, p="views", q="cosine", mapper="mlp", **OPTIONS), X),
    "lists": (ICONEmbedding(p=Triplets(TRIPLES), mapper="mlp", **OPTIONS), X),
    "all columns": (ICONClassifier(mapper="mlp", **OPTIONS), sparse.csr_array(X)),
    "views of a sparse matrix": (
        ICONEmbedding(4, p="views", q="cosine", mapper="mlp", **OPTIONS),
        sparse.csr_array(X),
    ),
}


@pytest.fixture(autouse=True)
def sparse_rows_stay_sparse(monkeypatch):
    monkeypatch.setattr(_base, "MAX_DENSE_INPUTS", 0)


@pytest.fixture
def makers(monkeypatch):
    """The thread that has made each batch."""
    made, make = [], _minibatch.visit_batch

    def making(*args, **options):
        made.append(threading.current_thread())
        return make(*args, **options)

    monkeypatch.setattr(_minibatch, "visit_batch", making)
    return made


@pytest.mark.parametrize("name", FITS)
def test_a_thread_makes_the_same_batches_each_in_one_copy(name, makers, monkeypatch):
    model, data = FITS[name]
    before, seen = threading.active_count(), []

    def callback(record):
        seen.append((Counter(watched.events), len(makers)))

    with pretended.watch() as watched:
        model = clone(model).set_params(callback=callback)
        ahead = model.fit(data, Y).loss_history_
    assert threading.active_count() == before
    # The loss at the start of some fits is found by the caller.
    others = [thread for thread in makers if thread is not threading.main_thread()]
    assert len(others) >= 2 * 4 and len(set(others)) == 1

    (events_before, made_before), (events, made) = seen
    events, made = events - events_before, made - made_before
    sent = sum(
        n for (kind, _, line), n in events.items() if "without waiting" in kind and "_transfer" in line
    )
    # Every batch of views sends the scale of their noise besides.
    assert sent == made * (2 if "views" in name else 1)
    # The host waits for the loss of every step, and at the end of an epoch.
    waits = {line.split(":")[0] for kind, _, line in events if kind in pretended.WAITING}
    assert waits == {"iconlearn/optim/_loop.py"}, events

    monkeypatch.setattr(solve, "one_ahead", lambda device: nullcontext(iter))
    makers.clear()
    np.testing.assert_array_equal(model.fit(data, Y).loss_history_, ahead)
    assert set(makers) == {threading.main_thread()}


@pytest.mark.parametrize("at", ["the preparation", "a step", "an interruption"])
def test_no_thread_is_left_by_a_fit_that_ends_early(at, monkeypatch):
    model, data = clone(FITS["views"][0]), FITS["views"][1]
    before, calls = threading.active_count(), []
    owner, name = (_minibatch, "visit_batch") if at == "the preparation" else (solve, "loss")
    once = getattr(owner, name)
    fault = KeyboardInterrupt() if at == "an interruption" else OSError("the disk is gone")

    def failing(*args, **options):
        calls.append(args)
        if len(calls) == 6:
            raise fault
        return once(*args, **options)

    monkeypatch.setattr(owner, name, failing)
    with pytest.raises(type(fault)) as caught:
        model.fit(data)
    if at == "an interruption":
        assert model.n_iter_ == 1  # what there was of the first epoch is kept
    else:
        assert caught.value is fault and not hasattr(model, "embedding_")
    assert threading.active_count() == before
