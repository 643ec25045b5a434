"""The picture of layers: every bar is as wide as its cluster has rows, over the clusters that it holds."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from iconlearn import ICONClustering
from iconlearn.displays import ClusterTreeDisplay

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("least", [0.0, 0.9])
def test_bars_are_clusters(least):
    model = ICONClustering(6, n_init=2, min_confidence=least, random_state=0).fit(load_iris().data)
    display = ClusterTreeDisplay.from_estimator(model, names={(0, 0): "largest"}, title="iris")
    layers, tree, bars = model.cluster_layers_, model.cluster_tree_, display.bars_
    assert ((layers[0] == -1).any()) == (least > 0)
    assert len(bars) == sum(len(np.unique(labels[labels >= 0])) for labels in layers)
    for (layer, number), bar in bars.items():
        rows = (layers[layer] == number) & (layers[0] >= 0)
        assert (bar.get_width(), bar.get_y()) == (rows.sum(), layer)
        for child in tree.get((layer, number), []):
            assert bar.get_x() <= bars[child].get_x()
            assert bars[child].get_x() + bars[child].get_width() <= bar.get_x() + bar.get_width()
    assert any(text.get_text() == "largest" for text in display.ax_.texts)
