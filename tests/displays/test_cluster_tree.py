"""The picture of layers: every bar is as wide as its cluster has rows, over the clusters that it holds."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from iconlearn import ICONClustering
from iconlearn.displays import ClusterTreeDisplay

to_rgb = pytest.importorskip("matplotlib.colors").to_rgb


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


def test_names_are_readable_on_their_bars():
    tree = {(1, 0): [(0, number) for number in range(30)]}
    display = ClusterTreeDisplay([np.repeat(np.arange(30), 10)], tree).plot()
    assert len(display.ax_.texts) == 30

    def luminance(color):
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text, bar in zip(display.ax_.texts, display.bars_.values(), strict=True):
        dark, light = sorted(map(luminance, (to_rgb(text.get_color()), to_rgb(bar.get_facecolor()))))
        assert (light + 0.05) / (dark + 0.05) > 3
