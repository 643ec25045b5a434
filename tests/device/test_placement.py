"""Where things are during and after a fit on a device; these tests hold on a GPU too."""

import gc
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, recipes
from iconlearn.engines import MiniBatch
from iconlearn.estimators import _inputs
from iconlearn.out_of_sample import _mapped
from iconlearn.supervisory import Views

pytestmark = pytest.mark.gpu

X, Y = load_iris(return_X_y=True)


# -- which device -----------------------------------------------------------------------------------------

WHERE = {
    "a small map": (lambda **k: ICONEmbedding(max_iter=2, **k).fit(X), "cpu"),
    "a small linear map": (lambda **k: ICONEmbedding(mapper="linear", max_iter=2, **k).fit(X), "cpu"),
    "a small network": (lambda **k: ICONEmbedding(mapper="mlp", max_iter=2, **k).fit(X), "cuda"),
    "a module": (lambda **k: ICONEmbedding(mapper=torch.nn.Linear(4, 2), max_iter=2, **k).fit(X), "cuda"),
    "a small classifier": (lambda **k: ICONClassifier(max_iter=2, **k).fit(X, Y), "cpu"),
    "small clusters": (lambda **k: ICONClustering(3, engine="dense", max_iter=2, **k).fit(X), "cpu"),
    "a large map": (lambda **k: ICONEmbedding(max_iter=2, **k).fit(np.repeat(X, 2, axis=0)), "cuda"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", WHERE)
def test_auto_leaves_little_data_to_the_cpu(name, monkeypatch, capsys):
    monkeypatch.setattr(_inputs, "MANY_ROWS", 200)
    fit, expected = WHERE[name]
    for options, device in (({}, expected), ({"device": "cuda"}, "cuda"), ({"device": "cpu"}, "cpu")):
        fit(verbose=1, **options)
        said = [line for line in capsys.readouterr().out.splitlines() if "optimising on" in line]
        assert said and all(f"optimising on {device} " in line for line in said), (options, said)


@pytest.mark.parametrize("model", [ICONClustering(3), recipes.pca()], ids=["Partition", "Closed"])
def test_an_engine_that_solves_says_that_it_does_so_on_the_cpu(model, capsys):
    model.set_params(device="cuda", verbose=1).fit(X)
    assert "optimising on cpu by itself" in capsys.readouterr().out


def _errors_in_a_child(device, of_cuda=False):
    """What fits by gradients, a fit without any, and answers say in a forked process."""
    said = []
    if of_cuda:
        torch.Tensor.backward = _initialization_error
    for fit in (
        lambda: ICONEmbedding(max_iter=2, device=device).fit(X),
        lambda: ICONClustering(3, n_init=1, max_iter=2, device=device).fit(X),
        lambda: ICONClassifier(mapper="mlp", max_iter=2, device=device).fit(X, Y),
    ):
        try:
            fit()
            said.append(None)
        except RuntimeError as error:
            said.append(str(error))
    return said


def _initialization_error(*args, **kwargs):
    """What CUDA says where it notices a fork before torch does."""
    raise RuntimeError("CUDA error: initialization error")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("of_cuda", [False, True])
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_a_forked_process_says_what_it_cannot_do(device, of_cuda):
    ICONEmbedding(mapper="mlp", max_iter=2).fit(X)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        asked = pool.apply_async(_errors_in_a_child, (device, of_cuda))
        by_gradients, without, network = asked.get(timeout=120)
    for said in (by_gradients, network):
        assert "forked after its parent" in said and "'spawn'" in said
    # What needs no gradient is done on the CPU, unless the device was asked for.
    assert without == by_gradients if device == "cuda" else without is None


# -- during a fit -----------------------------------------------------------------------------------------


class TwoKinds(Views):
    """Every second position sees the row moved: a view that depends on the positions."""

    def view(self, X, rows=None):
        self.devices.add((X.device.type, rows.device.type))
        return super().view(X, rows) + 0.1 * (rows % 2).to(X)[:, None]


@pytest.mark.parametrize("engine", [MiniBatch(32), MiniBatch(400)], ids=str)
@pytest.mark.parametrize("cross", [False, True])
def test_rows_of_a_view_are_where_the_features_are(engine, cross):
    TwoKinds.devices = set()
    ICONEmbedding(
        p=TwoKinds(cross=cross), q="cosine", mapper="mlp", engine=engine, max_iter=2, random_state=0
    ).fit(X)
    assert TwoKinds.devices == {("cuda", "cuda")}


# -- after a fit ------------------------------------------------------------------------------------------


def streamed(**params):
    return ICONClassifier(**params).partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X[:20], Y[:20])


FITTED = {
    "map": lambda: ICONEmbedding(max_iter=3).fit(X),
    "map by views": lambda: ICONEmbedding(
        p=Views(cross=True), q="cosine", mapper="mlp", column_mapper="ema", max_iter=3
    ).fit(X),
    "linear map": lambda: ICONEmbedding(mapper="linear", max_iter=3).fit(X),
    "clusters": lambda: ICONClustering(3, n_init=1, max_iter=3).fit(X),
    "clusters by gradients": lambda: ICONClustering(3, engine="dense", n_init=1, max_iter=3).fit(X),
    "clusters of a stream": lambda: ICONClustering(3, mapper="mlp", n_init=1).partial_fit(X).partial_fit(X),
    "classifier": lambda: ICONClassifier(max_iter=3).fit(X, Y),
    "classifier with rows held out": lambda: ICONClassifier(
        mapper="mlp", early_stopping=True, calibrate=True, max_iter=3
    ).fit(X, Y),
    "classifier of few labels": lambda: ICONClassifier(mapper="mlp", unlabeled=0, max_iter=3).fit(X, Y),
    "classifier of a stream": lambda: streamed(mapper="mlp"),
    "classifier of a stream, learned scale": lambda: streamed(mapper="mlp", q="cosine"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FITTED)
def test_a_fitted_model_holds_nothing_on_the_device(name, monkeypatch):
    FITTED[name]()  # handles and tables of the process
    gc.collect()
    before = torch.cuda.memory_allocated()
    model = FITTED[name]()
    gc.collect()
    assert torch.cuda.memory_allocated() == before
    expected = model.predict(X) if hasattr(model, "predict") else model.transform(X)
    dump = pickle.dumps(model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    again = pickle.loads(dump)
    found = again.predict(X) if hasattr(again, "predict") else again.transform(X)
    np.testing.assert_array_equal(found, expected)


def test_a_stream_goes_on_from_the_running_means_of_the_last_call():
    model = ICONClassifier(mapper="mlp", random_state=0).partial_fit(X, Y, classes=[0, 1, 2])
    again = pickle.loads(pickle.dumps(model))
    for each in (model, again):
        each.partial_fit(X[::3], Y[::3])
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))


# -- answers ----------------------------------------------------------------------------------------------

X32 = X.astype(np.float32)
NETWORKS = {
    "map": (lambda: ICONEmbedding(mapper="mlp", max_iter=3).fit(X32), "transform"),
    "code": (lambda: recipes.autoencoder(max_iter=3).fit(X32), "transform"),
    "features of a code": (lambda: recipes.autoencoder(max_iter=3).fit(X32), "inverse_transform"),
    "columns": (
        lambda: ICONEmbedding(
            p=Views(cross=True), q="cosine", mapper="mlp", column_mapper="mlp", max_iter=3
        ).fit(X32),
        "transform_columns",
    ),
    "clusters": (lambda: ICONClustering(3, mapper="mlp", n_init=1, max_iter=3).fit(X32), "predict_proba"),
    "classes": (lambda: ICONClassifier(mapper="mlp", max_iter=3).fit(X32, Y), "predict_proba"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_on_the_device_where_there_are_many_rows(name, monkeypatch):
    fit, method = NETWORKS[name]
    model = fit()
    width = model.embedding_.shape[1] if method == "inverse_transform" else 4
    rows = np.random.default_rng(0).normal(size=(500, width)).astype(np.float32)
    devices = set()

    def seen(module, inputs, outputs):
        devices.add(outputs.device.type)

    with torch.nn.modules.module.register_module_forward_hook(seen):
        few = getattr(model, method)(rows)
        assert devices == {"cpu"}
        monkeypatch.setattr(_mapped, "LARGE", 0)
        devices.clear()
        many = getattr(model, method)(rows)
        assert devices == {"cuda"}
        model.set_params(device="cpu")
        devices.clear()
        assert np.array_equal(getattr(model, method)(rows), few) and devices == {"cpu"}
    assert many.dtype == few.dtype and np.allclose(many, few, rtol=1e-4, atol=1e-5)
    assert {weights.device.type for weights in model.mapper_.parameters()} == {"cpu"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_networks_are_in_single_precision_on_a_device_and_answers_in_that_of_the_rows():
    for device, kind in (("cuda", torch.float32), ("cpu", torch.float64)):
        model = ICONEmbedding(mapper="mlp", max_iter=2, device=device).fit(X)
        assert {weights.dtype for weights in model.mapper_.parameters()} == {kind}
        assert model.embedding_.dtype == model.transform(X).dtype == np.float64
