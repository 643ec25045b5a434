"""The picture of a path of merges shows the numbers of the fit."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from iconlearn import ICONClustering
from iconlearn.displays import MergePathDisplay

pytest.importorskip("matplotlib")
X, _ = make_blobs(150, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)


def test_the_curves_are_the_path():
    model = ICONClustering("auto", n_init=2, random_state=0).fit(X)
    display = MergePathDisplay.from_estimator(model, columns=("eigengap", "loss"), title="merges")
    path = model.merge_path_
    assert list(display.lines_) == ["eigengap", "loss"]
    x, y = display.lines_["eigengap"].get_data()
    np.testing.assert_array_equal(x, path.n_clusters)
    np.testing.assert_allclose(y, path.eigengap / path.eigengap.max())
    assert display.mark_.get_xdata()[0] == model.n_clusters_ == x[y.argmax()]
    assert display.plot(display.ax_).ax_ is display.ax_


def test_an_unknown_column_is_named():
    model = ICONClustering(3, n_init=2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="columns holds 'gap'"):
        MergePathDisplay.from_estimator(model, columns=("gap",))


def test_a_path_is_one_line_in_a_notebook():
    path = ICONClustering(3, n_init=2, random_state=0).fit(X).merge_path_
    assert len(repr(path)) < 200 and "\n" not in repr(path)
    assert repr(path).startswith(
        f"<MergePath of 2 to {path.n_clusters[-1]} clusters, suggested={path.suggested}"
    )
    empty = path._replace(**dict.fromkeys(path._fields, np.empty(0)))
    assert "no clusters" in repr(empty)
