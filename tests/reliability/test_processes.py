"""Fits side by side: threads, workers of every kind, and many in a row; nothing of theirs is left behind."""

import gc
import multiprocessing
import os
import resource
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from torch import nn

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.engines import MiniBatch
from iconlearn.neighbors import neighbor_graph
from iconlearn.optim import _stretch
from iconlearn.scorers import Stability
from iconlearn.supervisory import KNN, Spectral, Views

X, y = make_blobs(90, n_features=4, centers=3, random_state=0)

# Each process imports this file, and all must begin with the same weights.
with torch.random.fork_rng():
    torch.manual_seed(0)
    DROPPING = nn.Sequential(nn.Dropout(0.3), nn.Linear(4, 3))

FITS = {
    "map": ICONEmbedding(max_iter=20, random_state=0),
    "network": ICONEmbedding(mapper="mlp", engine=MiniBatch(32), max_iter=4, random_state=0),
    "clusters": ICONClustering(3, n_init=2, max_iter=20, random_state=0),
    "classes": ICONClassifier(max_iter=30, random_state=0),
    "dropout": ICONClassifier(mapper=DROPPING, max_iter=20, random_state=0),
    "views": ICONEmbedding(p=Views(), mapper="linear", engine=MiniBatch(32), max_iter=3, random_state=0),
}
each = pytest.mark.parametrize("name", FITS)


def answer(name):
    estimator = clone(FITS[name]).fit(X, y)
    return getattr(estimator, "predict_proba", estimator.transform)(X + 0.1)


def state():
    """What all of a process share."""
    kind, keys, *rest = np.random.get_state()
    return {
        "numpy": (kind, keys.tolist(), rest),
        "torch": torch.get_rng_state().tolist(),
        "precision": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "warnings": list(warnings.filters),
        "errors": np.geterr(),
    }


def draws():
    return {name: value for name, value in state().items() if name in ("numpy", "torch")}


@each
def test_a_fit_without_a_seed_draws_one_of_its_own(name):
    """numpy's global state is neither changed nor read."""
    np.random.seed(0)
    before = draws()
    first = clone(FITS[name]).set_params(random_state=None).fit(X, y)
    assert draws() == before
    if name in ("network", "dropout", "views"):  # the others come to the same answer from any seed
        second = clone(FITS[name]).set_params(random_state=None).fit(X, y)
        assert not np.array_equal(first.transform(X), second.transform(X))


def test_few_labels_searches_and_scores_without_a_seed_draw_one_of_their_own():
    np.random.seed(0)
    before = draws()
    ICONClassifier(unlabeled=-1).fit(X, np.where(np.arange(90) % 4 == 0, y, -1))
    ICONClassifier(early_stopping=True, calibrate=True).fit(X, y)
    neighbor_graph(X, 5, backend="ivf")
    KNN(5).fit(X)
    Spectral(KNN(8), 3).fit(X)
    Stability(n_fits=2, random_state=None)(ICONClustering(3).fit(X), X)
    assert draws() == before


def test_fits_in_threads_do_not_disturb_one_another(monkeypatch):
    names = [*FITS] * 3
    # Two threads of torch's own, which small fits give up for a while; on a device they do not, and those of the
    # pretended one are the processor's, which adds in another order by two.  It records what all threads do.
    monkeypatch.setattr(_stretch, "LEAST_REPETITIONS", np.inf)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if torch.cuda.is_available() else 2)
    try:
        expected, before = {name: answer(name) for name in FITS}, state()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(answer, names))
        after = state()
    finally:
        torch.set_num_threads(threads)
    for name, result in zip(names, found, strict=True):
        np.testing.assert_allclose(result, expected[name], rtol=1e-6, atol=1e-9)
    assert after == before


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_fits_in_processes_that_begin_anew(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        for name, result in zip(FITS, pool.map(answer, FITS), strict=True):
            np.testing.assert_allclose(result, answer(name), rtol=1e-6, atol=1e-9)


FORKED = """
import multiprocessing, sys, warnings
import numpy as np
import torch
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding

warnings.simplefilter("ignore")
torch.set_num_threads(2)
rng = np.random.default_rng(0)
X = rng.normal(size=(3000, 50))
y = (X[:, 0] > 0).astype(int)
few = np.where(np.arange(3000) % 20 == 0, y, -1)
MADE = {
    "map": (ICONEmbedding(max_iter=5, random_state=0), None),
    "linear map": (ICONEmbedding(mapper="linear", max_iter=3, random_state=0), None),
    "network": (ICONEmbedding(mapper="mlp", engine="minibatch", max_iter=1, random_state=0), None),
    "wide map": (ICONEmbedding(5, max_iter=2, random_state=0), None),
    "clusters": (ICONClustering(3, n_init=1, max_iter=5, random_state=0), None),
    "classes": (ICONClassifier(max_iter=20, random_state=0), y),
    "few labels": (ICONClassifier(unlabeled=-1, random_state=0), few),
}
model = labels = None
big = torch.ones(2000, 2000)


def new_rows():
    return getattr(model, "predict", model.transform)(X + 0.1)


def new_row():
    return getattr(model, "predict_proba", model.transform)(X[:1] + 0.1)


def refitted():
    return model.fit(X, labels).loss_


for name in sys.argv[1:]:
    model, labels = MADE[name]
    model.fit(X, labels)
    expected = [ask() for ask in (new_rows, new_row)]
    (big @ big).exp().sum()  # torch's threads are awake
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for ask, there in zip((new_rows, new_row, refitted), (*expected, model.loss_)):
            np.testing.assert_allclose(pool.apply_async(ask).get(timeout=100), there, rtol=1e-3, atol=1e-3)
    print(name)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    "names",
    [
        ("map", "clusters", "classes"),
        pytest.param(("linear map", "network", "wide map", "few labels"), marks=pytest.mark.slow),
    ],
)
def test_a_worker_forked_after_a_fit_answers(names):
    """Threads of torch and of ours do not survive a fork; enough rows are fitted before it to wake them."""
    done = subprocess.run([sys.executable, "-c", FORKED, *names], capture_output=True, text=True, timeout=800)
    assert done.stdout.splitlines() == list(names), done.stderr[-2000:]


@each
def test_the_number_of_workers_changes_no_bit(name):
    expected, *others = [clone(FITS[name]).set_params(n_jobs=n).fit(X, y) for n in (None, 1, 2, -1)]
    ask = "predict_proba" if hasattr(expected, "predict_proba") else "transform"
    answer = getattr(expected, ask)(X + 0.1)
    for found in others:
        assert_array_equal(getattr(found, ask)(X + 0.1), answer)
        assert_array_equal(found.loss_history_, expected.loss_history_)


@pytest.mark.slow
def test_a_search_with_workers_finds_what_one_without_finds():
    from sklearn.model_selection import GridSearchCV

    scores = [
        GridSearchCV(FITS["classes"], {"C": [0.1, 1.0]}, cv=2, n_jobs=n_jobs)
        .fit(X, y)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    assert_array_equal(*scores)
    joblib.externals.loky.get_reusable_executor().shutdown()


@each
def test_a_fit_that_fails_leaves_the_process_as_it_was(name):
    def fail(record):
        raise ZeroDivisionError

    before = state()
    with pytest.raises(ZeroDivisionError):
        clone(FITS[name]).set_params(callback=fail).fit(X, y)
    assert state() == before


def peak():
    """Most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def grows(work, warm, times):
    """By how many bytes the peak grows over so many calls, after some to warm up."""
    for _ in range(warm):
        work()
    gc.collect()
    before = peak()
    for _ in range(times):
        work()
    return peak() - before


def tensors():
    """How many there are in this process."""
    return sum(issubclass(type(value), torch.Tensor) for value in gc.get_objects())


@each
def test_objects_of_a_fit_are_gone_with_it(name):
    answer(name)
    gc.collect()
    before = tensors()
    for _ in range(3):
        answer(name)
    gc.collect()
    assert tensors() <= before


def test_questions_one_by_one_take_no_memory():
    fits = [clone(fit).fit(X, y) for fit in FITS.values()]

    def ask():
        for fit in fits:
            getattr(fit, "predict_proba", fit.transform)(np.random.normal(size=(1, 4)))

    assert grows(ask, 10, 40) < 8 * 2**20


@pytest.mark.slow
def test_a_thousand_fits_take_no_memory():
    def fit_all():
        for name in FITS:
            answer(name)

    assert grows(fit_all, 50, 250) < 16 * 2**20
