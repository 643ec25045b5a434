"""The reducer that FiftyOne keeps in its database, by the block of the page."""

import pickle
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
from integration.pages import BLOCKS
from sklearn.datasets import load_digits

from iconlearn import ICONEmbedding


def stand_in():
    """The two classes that are inherited from, where FiftyOne is not installed."""
    module = ModuleType("fiftyone.brain.visualization")
    module.VisualizationConfig = type("VisualizationConfig", (), {})
    module.Visualization = type(
        "Visualization", (), {"__init__": lambda self, config: setattr(self, "config", config)}
    )
    return {name: module for name in ("fiftyone", "fiftyone.brain", "fiftyone.brain.visualization")}


def test_a_reducer_of_fiftyone_is_small_and_places_new_rows(monkeypatch):
    if find_spec("fiftyone") is None:
        for name, module in stand_in().items():
            monkeypatch.setitem(sys.modules, name, module)
    page = {"__name__": "page"}
    exec(BLOCKS["fiftyone"], page)
    X, _ = load_digits(return_X_y=True)
    X = X.astype(np.float32) / 16
    page["iconlearn"] = SimpleNamespace(
        ICONEmbedding=lambda *args, **kwargs: ICONEmbedding(*args, **kwargs, max_iter=2),
        slim=page["iconlearn"].slim,
    )
    points, reducer = page["ICONVisualization"](SimpleNamespace(num_dims=3)).fit_reducer(X[:1000])
    assert points.shape == (1000, 3)
    kept = pickle.loads(pickle.dumps(reducer))
    np.testing.assert_allclose(kept.transform(X[:1000]), points, rtol=1e-4, atol=1e-4)
    assert kept.transform(X[1000:1100]).shape == (100, 3) and kept.n_features_in_ == 64
    few = page["ICONVisualization"](SimpleNamespace(num_dims=3)).fit_reducer(X[:300])[1]
    assert abs(len(pickle.dumps(few)) - len(pickle.dumps(reducer))) < 2000  # whatever the rows
