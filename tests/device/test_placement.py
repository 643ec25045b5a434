"""Where things are during and after a fit on a device; these tests hold on a GPU too."""

import gc
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.engines import MiniBatch
from iconlearn.supervisory import Views

pytestmark = pytest.mark.gpu

X, Y = load_iris(return_X_y=True)


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
