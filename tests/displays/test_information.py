"""The two panels of a tracked fit."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from iconlearn import recipes
from iconlearn.displays import InformationDisplay
from iconlearn.metrics import InformationTracker, TrackedInformation

plt = pytest.importorskip("matplotlib.pyplot")

HISTORY = [TrackedInformation(k, 0.4 * k, 1.8, 0.5 * k - 1, 0.3, 0.9) for k in (1, 3, 5)]


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def test_it_draws_what_was_tracked():
    display = InformationDisplay(HISTORY, views=6.0, label_view=2.0, unit="epoch").plot()
    display.figure_.canvas.draw()
    assert len(display.axes_) == 2 and [ax.get_xlabel() for ax in display.axes_] == ["epoch"] * 2
    shown = {
        "I(U; Y)": [r.representation for r in HISTORY],
        "I(U; Z)": [1.8] * 3,
        "bound": [r.bound for r in HISTORY],
    }
    for name, values in shown.items():
        assert_array_equal(display.lines_[name].get_xydata(), np.column_stack([[1, 3, 5], values]))
    assert_array_equal(display.lines_["bound of the second panel"].get_ydata(), shown["bound"])
    said = [text.get_text() for text in display.axes_[1].texts]
    assert said == ["bound at most min(I(X; Y), I(Y; Z))", "0.50"]  # 2.0 less the last bound, 1.5


def test_without_labels_there_is_one_panel():
    nan = float("nan")
    one = [TrackedInformation(1, 0.4, nan, nan, nan, nan)]
    display = InformationDisplay(one, views=6.0, label_view=nan).plot(title="views", color="red")
    display.figure_.canvas.draw()
    assert len(display.axes_) == 1 and list(display.lines_) == ["I(U; Y)"]
    assert display.lines_["I(U; Y)"].get_marker() == "o" and display.lines_["I(U; Y)"].get_color() == "red"
    assert display.axes_[0].get_title(loc="left") == "views"


def test_a_tracker_is_drawn_into_given_axes():
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    tracker = InformationTracker(X[:30], X[:30] + 0.01, np.arange(30) % 2, every=2, probe=False)
    with pytest.raises(ValueError, match="seen no iteration"):
        InformationDisplay.from_tracker(tracker)
    recipes.simclr(n_components=4, max_iter=4, callback=tracker, random_state=0).fit(X[30:])
    figure, axes = plt.subplots(1, 2)
    display = InformationDisplay.from_tracker(tracker, axes=axes)
    assert display.figure_ is figure and list(display.axes_) == list(axes)
    assert_array_equal(display.lines_["I(U; Y)"].get_ydata(), [r.representation for r in tracker.history])
    with pytest.raises(ValueError, match="2 panels need as many axes, and axes=1"):
        InformationDisplay.from_tracker(tracker, axes=axes[0])
