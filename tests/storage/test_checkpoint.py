"""Fits that are killed and go on: same answer as if nothing had happened, and no stage done twice."""

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from torch import nn

from iconlearn import Checkpoint, ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.engines import MiniBatch, Sampled
from iconlearn.learned import Cosine, Student
from iconlearn.supervisory import KNN, Views

X, y = make_blobs(90, n_features=4, centers=3, random_state=0)

FITS = {
    "map": ICONEmbedding(max_iter=40),
    "map of classes": ICONEmbedding(max_iter=40, terms=[Term("labels", weight=0.3)]),
    "line search": ICONEmbedding(optimizer="lbfgs", max_iter=60),
    "doubly stochastic": ICONEmbedding(q=Student(normalize="doubly"), max_iter=20),
    "linear map": ICONEmbedding(mapper="linear", max_iter=60),
    "network": ICONEmbedding(mapper="mlp", max_iter=20),
    "dropout": ICONEmbedding(mapper=nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)), max_iter=20),
    "batches": ICONEmbedding(engine=MiniBatch(32), max_iter=20),
    "sampled": ICONEmbedding(4, engine=Sampled(30), max_iter=20),
    "teacher": ICONEmbedding(
        p=Views(cross=True), q=Cosine(learnable=True), mapper="mlp", column_mapper="ema", max_iter=12,
        engine=MiniBatch(32),
    ),
    "clusters": ICONClustering(3, n_init=2, max_iter=20, tol=0),
    "clusters by a head": ICONClustering(3, mapper="linear", n_init=2, max_iter=20),
    "classes": ICONClassifier(max_iter=90, C=100, tol=1e-12),
    "prototypes": ICONClassifier(q="gaussian", optimizer="adam", max_iter=30),
}  # fmt: skip


class Bomb(Exception):
    pass


def bomb(at, *, phase="start"):
    """A callback that ends a fit after so many iterations of its own optimisation."""
    count = itertools.count(1)

    def callback(record):
        if record.phase != phase and next(count) == at:
            raise Bomb

    return callback


def answer(fit):
    return getattr(fit, "predict_proba", fit.transform)(X + 0.1)


@pytest.mark.parametrize("at", [1, 4, 6])
@pytest.mark.parametrize("name", FITS)
def test_a_fit_that_goes_on_ends_where_it_would_have_ended(name, at, tmp_path):
    fit = clone(FITS[name]).set_params(random_state=0)
    expected = clone(fit).fit(X, y)
    checkpoint = Checkpoint(tmp_path / "fit", every=1)
    with pytest.raises(Bomb):
        clone(fit).set_params(callback=[checkpoint, bomb(at)]).fit(X, y)
    heard = []
    fit.set_params(callback=[checkpoint, heard.append]).fit(X, y)
    assert_array_equal(answer(fit), answer(expected))
    assert_array_equal(fit.loss_history_, expected.loss_history_)
    assert_array_equal(fit.loss_parts_, expected.loss_parts_)
    assert_array_equal(fit.loss_phases_, expected.loss_phases_)
    assert (fit.loss_, fit.n_iter_, fit.converged_) == (expected.loss_, expected.n_iter_, expected.converged_)
    # The record at which the bomb went off is the one that was not kept; an engine that solves begins again.
    again = len(expected.loss_history_) - (0 if expected.engine_.solves else at - 1)
    assert len([record for record in heard if record.phase != "start"]) == again
    assert not [record for record in heard if record.phase == "start"], "the start is known"
    assert not (tmp_path / "fit").exists()


@pytest.mark.parametrize("at", [77, 79])
def test_a_map_that_goes_on_relocates_its_rows_where_it_would_have(at, tmp_path):
    """Rows are relocated between the 76th and the 77th iteration, and before the 85th."""
    fit = ICONEmbedding(max_iter=100, random_state=0)
    expected = clone(fit).fit(X, y)
    checkpoint = Checkpoint(tmp_path / "fit", every=1)
    with pytest.raises(Bomb):
        clone(fit).set_params(callback=[checkpoint, bomb(at)]).fit(X, y)
    fit.set_params(callback=checkpoint).fit(X, y)
    assert_array_equal(fit.embedding_, expected.embedding_)
    assert_array_equal(fit.loss_history_, expected.loss_history_)


class CountingKNN(KNN):
    fits = 0

    def fit(self, X, y=None, **options):
        CountingKNN.fits += 1
        return super().fit(X, y, **options)


def test_p_is_not_found_twice(tmp_path, monkeypatch):
    from iconlearn.registry import COMPONENTS

    monkeypatch.setitem(COMPONENTS["p"], "counting", CountingKNN)
    monkeypatch.setattr(CountingKNN, "fits", 0)
    fit = ICONEmbedding(p=CountingKNN(5), terms=[Term(CountingKNN(7))], max_iter=10, random_state=0)
    with pytest.raises(Bomb):
        clone(fit).set_params(callback=[Checkpoint(tmp_path / "fit"), bomb(1)]).fit(X)
    assert CountingKNN.fits == 2
    fit.set_params(callback=Checkpoint(tmp_path / "fit")).fit(X)
    assert CountingKNN.fits == 2
    assert_array_equal(fit.embedding_, clone(fit).set_params(callback=None).fit(X).embedding_)


def test_rows_are_not_stored(tmp_path):
    wide = np.random.default_rng(0).normal(size=(90, 5000))
    with pytest.raises(Bomb):
        ICONEmbedding(callback=[Checkpoint(tmp_path / "fit"), bomb(1)], random_state=0).fit(wide)
    sizes = [path.stat().st_size for path in (tmp_path / "fit").iterdir()]
    assert len(sizes) == 3 and sum(sizes) < wide.nbytes / 10


def test_a_p_of_functions_is_found_again(tmp_path):
    fit = ICONEmbedding(p=KNN(5, metric=lambda a, b: abs(a - b).sum()), max_iter=12, random_state=0)
    with pytest.raises(Bomb):
        clone(fit).set_params(callback=[Checkpoint(tmp_path / "fit", every=2), bomb(8)]).fit(X)
    assert sorted(path.stem for path in (tmp_path / "fit").iterdir()) == ["begin", "optimisation", "start"]
    heard = []
    fit.set_params(callback=[Checkpoint(tmp_path / "fit"), heard.append]).fit(X)
    assert heard[0].iteration == 7


def test_every_says_how_often(tmp_path):
    heard = []
    with pytest.raises(Bomb):
        ICONEmbedding(callback=[Checkpoint(tmp_path / "fit", every=10), bomb(36)], random_state=0).fit(X)
    ICONEmbedding(callback=[Checkpoint(tmp_path / "fit"), heard.append], random_state=0).fit(X)
    assert heard[0].iteration == 31


def test_a_fit_without_a_seed_goes_on_with_its_draws(tmp_path):
    first, second = [], []
    params = {"init": "random", "max_iter": 30}
    with pytest.raises(Bomb):
        callbacks = [Checkpoint(tmp_path / "fit", every=1), first.append, bomb(9)]
        ICONEmbedding(**params, callback=callbacks).fit(X)
    fit = ICONEmbedding(**params, callback=[Checkpoint(tmp_path / "fit"), second.append]).fit(X)
    assert [record.loss for record in first[:8] + second] == fit.loss_history_.tolist()


@pytest.mark.parametrize(
    ("params", "data"),
    [
        ({"p": KNN(6)}, X),
        ({"random_state": 1}, X),
        ({}, X + 1e-9),
        ({}, X[:80]),
        ({"mapper": nn.Linear(4, 2)}, X),
    ],
)
def test_the_checkpoint_of_another_fit_is_refused(params, data, tmp_path):
    fit = ICONEmbedding(p=KNN(5), random_state=0, callback=[Checkpoint(tmp_path / "fit"), bomb(1)])
    with pytest.raises(Bomb):
        fit.fit(X)
    with pytest.raises(ValueError, match=r"holds the checkpoint of another fit.*remove it, or give"):
        fit.set_params(**params).fit(data)
    assert (tmp_path / "fit" / "begin.npz").exists()


def test_what_says_how_to_run_may_change(tmp_path):
    with pytest.raises(Bomb):
        ICONEmbedding(random_state=0, callback=[Checkpoint(tmp_path / "fit", every=1), bomb(5)]).fit(X)
    heard = []
    fit = ICONEmbedding(
        random_state=0, verbose=1, n_jobs=2, callback=[Checkpoint(tmp_path / "fit"), heard.append]
    )
    fit.fit(X)
    assert heard[0].iteration == 5


def test_an_interrupt_leaves_it(tmp_path):
    def interrupt(record):
        if record.iteration == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ICONEmbedding(random_state=0, callback=[Checkpoint(tmp_path / "fit", every=1), interrupt]).fit(X)
    heard = []
    ICONEmbedding(random_state=0, callback=[Checkpoint(tmp_path / "fit"), heard.append]).fit(X)
    assert heard[0].iteration == 5


def test_a_fit_that_is_stopped_is_over(tmp_path):
    callbacks = [Checkpoint(tmp_path / "fit", every=1), lambda record: record.iteration == 5]
    assert ICONEmbedding(random_state=0, callback=callbacks).fit(X).n_iter_ == 5
    assert list(tmp_path.iterdir()) == []


def test_what_else_lies_in_the_folder_stays(tmp_path):
    (tmp_path / "mine").write_text("mine")
    ICONEmbedding(max_iter=5, callback=Checkpoint(tmp_path)).fit(X)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("every", [0, 1.5, "often"])
def test_a_wrong_interval_is_told(every, tmp_path):
    with pytest.raises((ValueError, TypeError), match="every="):
        ICONEmbedding(callback=Checkpoint(tmp_path / "fit", every=every)).fit(X)


def test_all_of_several_callbacks_are_told():
    a, b = [], []
    fit = ICONEmbedding(max_iter=30, callback=[lambda record: a.append(record) or True, b.append]).fit(X)
    assert fit.n_iter_ == 1 and a == b and len(a) == 1
    with pytest.raises(TypeError, match="a list of them"):
        ICONEmbedding(callback=[print, 3]).fit(X)


# -- killed for good -----------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
import numpy as np
from sklearn.datasets import make_blobs
from iconlearn import *

folder, slow = sys.argv[1], sys.argv[2] == "slow"
X, y = make_blobs(90, n_features=4, centers=3, random_state=0)

def heard(record):
    if record.phase != "start":
        print(record.iteration, flush=True)
        time.sleep(0.05 if slow else 0)

callback = [Checkpoint(folder + "/fit", every={every}), heard]
fit = {fit}.set_params(random_state=0, device="cpu", callback=callback).fit(X, y)
np.save(folder + "/answer.npy", getattr(fit, "predict_proba", fit.transform)(X + 0.1))
"""


@pytest.mark.parametrize(
    ("fit", "lost"),
    [
        ("ICONEmbedding(max_iter=60)", 3),
        # An engine that solves begins its own stage again.
        pytest.param("ICONClustering(3, n_init=2, max_iter=40, tol=0)", 40, marks=pytest.mark.slow),
        pytest.param("ICONClassifier(q='student', optimizer='adam', max_iter=60)", 3, marks=pytest.mark.slow),
    ],
)
def test_a_fit_that_is_killed_goes_on(fit, lost, tmp_path):
    command = [sys.executable, "-c", SCRIPT.format(fit=fit, every=3), str(tmp_path)]
    first = subprocess.Popen([*command, "slow"], stdout=subprocess.PIPE, text=True)
    reached = next(int(line) for line in first.stdout if int(line) >= 4)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    reached = max([reached, *map(int, first.stdout.read().split())])
    assert reached < 40 and not (tmp_path / "answer.npy").exists()
    second = subprocess.run([*command, "fast"], capture_output=True, text=True, check=True)
    begun = int(second.stdout.split()[0])
    assert reached - lost < begun <= reached + 1
    # On the CPU: another process does not see the device that tests pretend.
    whole = eval(fit).set_params(random_state=0, device="cpu").fit(X, y)
    assert_array_equal(np.load(tmp_path / "answer.npy"), answer(whole))


@pytest.mark.slow
def test_a_write_that_is_killed_leaves_the_file_before(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from iconlearn.storage._file import write\n"
        "big = np.zeros(2_000_000)\n"
        "for k in range(10_000):\n"
        "    write(sys.argv[1], {'k': k}, {'a': big + k, 'b': big - k})\n"
        "    print(k, flush=True)"
    )
    from iconlearn.storage._file import read

    path = tmp_path / "file"
    for delay in (0.0, 0.03):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "0\n"
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        document, arrays = read(path)
        assert arrays["a"][0] == document["k"] == -arrays["b"][-1]


@pytest.mark.gpu
@pytest.mark.parametrize("begun", ["cuda", "cpu"])
def test_a_fit_that_goes_on_elsewhere_says_that_its_draws_are_others(begun, tmp_path, monkeypatch):
    def fit_on(device, callback):
        with monkeypatch.context() as patched:
            patched.setattr(torch.cuda, "is_available", lambda: device == "cuda")
            return clone(FITS["dropout"]).set_params(random_state=0, callback=callback).fit(X)

    checkpoint = Checkpoint(tmp_path / "fit", every=1)
    with pytest.raises(Bomb):
        fit_on(begun, [checkpoint, bomb(4)])
    with pytest.warns(UserWarning, match="go on with other draws"):
        fit = fit_on("cpu" if begun == "cuda" else "cuda", checkpoint)
    assert np.isfinite(fit.loss_history_).all() and fit.n_iter_ == 20


@pytest.mark.gpu
def test_a_fit_without_draws_goes_on_elsewhere(tmp_path, monkeypatch):
    fit = clone(FITS["network"]).set_params(random_state=0)
    checkpoint = Checkpoint(tmp_path / "fit", every=1)
    with pytest.raises(Bomb):
        clone(fit).set_params(callback=[checkpoint, bomb(4)]).fit(X)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = clone(fit).fit(X)
    assert_allclose(
        fit.set_params(callback=checkpoint).fit(X).loss_history_, expected.loss_history_, rtol=1e-5
    )
