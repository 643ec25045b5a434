"""Viewers of maps that take a data frame; `make test-integration` has jupyter-scatter."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from iconlearn import ICONEmbedding
from iconlearn.displays import map_frame


@pytest.fixture(scope="module")
def frame():
    X, y = load_iris(return_X_y=True)
    Z = ICONEmbedding(max_iter=20, random_state=0).fit_transform(X)
    return map_frame(Z, X, labels=np.array(["setosa", "versicolor", "virginica"])[y])


def test_jupyter_scatter(frame):
    jscatter = pytest.importorskip("jscatter", reason="jupyter-scatter is not installed")
    scatter = jscatter.Scatter(data=frame, x="x", y="y", color_by="label")
    assert scatter.widget.points.shape[0] == 150


def test_embedding_atlas(frame):
    widget = pytest.importorskip("embedding_atlas.widget", reason="embedding-atlas is not installed")
    shown = widget.EmbeddingAtlasWidget(frame, x="x", y="y", neighbors="neighbors")
    shown.close()
