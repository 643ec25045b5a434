"""Displays: what they compute, what they draw, and that they draw nothing before they are asked to."""

import datetime as dt
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.displays import (
    ClusterDisplay,
    EmbeddingDisplay,
    LossDisplay,
    NeighborDistributionDisplay,
    PeriodicTableDisplay,
)
from iconlearn.displays._canvas import colors_of
from iconlearn.displays._places import Scale, read_values
from iconlearn.learned import Gaussian, Student
from iconlearn.supervisory import Views

plt = pytest.importorskip("matplotlib.pyplot")

X, y = make_blobs(60, n_features=4, centers=3, random_state=0)


@pytest.fixture(autouse=True)
def no_figure_is_left():
    plt.close("all")  # those of other files
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def embedding():
    return ICONEmbedding(max_iter=60, q=Student(), random_state=0).fit(X)


@pytest.fixture(scope="module")
def clusters():
    return ICONClustering(3, n_init=2, random_state=0).fit(X)


@pytest.fixture(scope="module")
def classifier():
    return ICONClassifier(max_iter=50, random_state=0).fit(X, np.array(["a", "b", "c"])[y])


def drawn(display):
    """Draws for good, so that whatever matplotlib finds wrong is told."""
    display.figure_.canvas.draw()
    return display


# -- all of them -------------------------------------------------------------------------------------------


@pytest.fixture
def made(embedding, clusters):
    def make(name, **options):
        return {
            "embedding": lambda: EmbeddingDisplay.from_estimator(embedding, X, y, **options),
            "loss": lambda: LossDisplay.from_estimator(embedding, **options),
            "neighbors": lambda: NeighborDistributionDisplay.from_estimator(embedding, X, y, **options),
            "clusters": lambda: ClusterDisplay.from_estimator(clusters, X, **options),
            "table": lambda: PeriodicTableDisplay.from_table(iconlearn.periodic_table(), **options),
        }[name]()

    return make


each = pytest.mark.parametrize("name", ["embedding", "loss", "neighbors", "clusters", "table"])


@each
def test_it_draws_in_the_axes_that_are_given(made, name):
    figure, ax = plt.subplots()
    display = drawn(made(name, ax=ax, title="A title"))
    assert display.ax_ is ax and display.figure_ is figure
    assert "A title" in (ax.get_title(), ax.get_title(loc="left"))
    assert plt.get_fignums() == [figure.number]


@each
def test_it_makes_axes_of_its_own_and_can_draw_again(made, name):
    display = drawn(made(name))
    first = display.ax_
    drawn(display.plot())
    assert display.ax_ is not first


@pytest.mark.parametrize("name", ["embedding", "loss", "neighbors", "clusters"])
def test_making_one_draws_nothing(made, name):
    kind = type(made(name))
    plt.close("all")
    blank = kind(np.eye(2), np.eye(2))
    assert plt.get_fignums() == []
    assert [attribute for attribute in vars(blank) if attribute.endswith("_")] == []


def test_without_matplotlib_it_says_what_to_install():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from iconlearn.displays import LossDisplay\n"
        "LossDisplay.from_predictions([2.0, 1.0])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: drawing needs matplotlib; install it with: pip install" in run.stderr


# -- the map -----------------------------------------------------------------------------------------------


def test_training_rows_are_drawn_where_the_fit_put_them(embedding):
    display = EmbeddingDisplay.from_estimator(embedding, X, y)
    assert_array_equal(display.embedding, embedding.embedding_)
    offsets = np.asarray(display.scatter_.get_offsets())
    assert_array_equal(np.sort(offsets, axis=0), np.sort(embedding.embedding_, axis=0))


def test_every_group_has_one_colour_and_a_name():
    Z = np.column_stack([np.arange(9), np.zeros(9)])
    groups = np.array(["b", "a", "c"] * 3)
    display = drawn(EmbeddingDisplay.from_predictions(Z, groups))
    assert [text.get_text() for text in display.legend_.get_texts()] == ["a", "b", "c"]
    at = np.asarray(display.scatter_.get_offsets())[:, 0].astype(int)
    colors = {group: set() for group in "abc"}
    for place, color in zip(at, display.scatter_.get_facecolors(), strict=True):
        colors[groups[place]].add(tuple(color))
    assert [len(found) for found in colors.values()] == [1, 1, 1]
    assert len(set.union(*colors.values())) == 3
    handles = {h.get_label(): tuple(h.get_facecolor()[0]) for h in display.legend_.legend_handles}
    assert {tuple(c) for found in colors.values() for c in found} == set(handles.values())


def test_labels_stand_at_the_medians():
    Z = np.random.default_rng(0).normal(size=(30, 2))
    groups = np.repeat([3.0, 1.0, 2.0], 10)
    display = drawn(EmbeddingDisplay.from_predictions(Z, groups, labels="medians"))
    assert display.legend_ is None
    assert [text.get_text() for text in display.texts_] == ["1", "2", "3"]
    assert_allclose(display.texts_[0].get_position(), np.median(Z[10:20], axis=0))


def test_names_that_would_cover_each_other_move_apart_and_no_further():
    Z = np.array([[0, 0], [0, 0.1], [0, 0.2], [0.1, 0.1], [10, 0], [0, 10]])
    names = ["a name", "another", "a third", "a fourth", "alone", "alone too"]
    display = drawn(EmbeddingDisplay.from_predictions(Z, names, labels="medians"))
    boxes = [text.get_window_extent() for text in display.texts_]
    shared = [
        min(a.y1, b.y1) - max(a.y0, b.y0)
        for k, a in enumerate(boxes)
        for b in boxes[:k]
        if min(a.x1, b.x1) > max(a.x0, b.x0)
    ]
    assert max(shared) < 1 and sum(s > -1 for s in shared) >= 2
    at = {text.get_text(): text.get_position() for text in display.texts_}
    assert at["alone"] == (10, 0) and at["alone too"] == (0, 10)
    assert at["a name"][1] < at["another"][1] < at["a third"][1]
    assert [at[name][0] for name in names[:4]] == pytest.approx([0, 0, 0, 0.1])


@pytest.mark.parametrize("values", [None, np.arange(60) % 3, np.linspace(0, 1, 60)])
def test_a_size_of_every_point_goes_with_its_point(values):
    Z = np.column_stack([np.arange(60.0), np.zeros(60)])
    display = drawn(EmbeddingDisplay.from_predictions(Z, values, size=np.arange(60) + 1.0))
    at = np.asarray(display.scatter_.get_offsets())[:, 0]
    assert_array_equal(display.scatter_.get_sizes(), at + 1)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (np.arange(60) % 3, False),
        (np.arange(60), True),
        (np.linspace(0, 1, 60), True),
        (np.arange(60) % 2.0, False),
        (np.arange(60) % 2 == 0, False),
        (np.array([str(k) for k in range(60)]), False),
        (None, False),
    ],
)
def test_groups_and_scales_are_told_apart(values, scale):
    Z = np.random.default_rng(0).normal(size=(60, 2))
    display = drawn(EmbeddingDisplay.from_predictions(Z, values))
    assert (display.colorbar_ is not None) == scale


def test_the_kind_can_be_said():
    Z = np.random.default_rng(0).normal(size=(60, 2))
    assert EmbeddingDisplay.from_predictions(Z, np.arange(60) % 3, kind="scale").colorbar_ is not None
    assert EmbeddingDisplay.from_predictions(Z, np.arange(60), kind="groups").colorbar_ is None


def test_rows_without_a_group_are_grey_and_unnamed():
    display = EmbeddingDisplay.from_predictions(
        np.eye(4)[:, :2], np.array(["a", None, "b", None], dtype=object)
    )
    assert [text.get_text() for text in display.legend_.get_texts()] == ["a", "b"]
    grey = np.isclose(display.scatter_.get_facecolors()[:, :3], 0xBB / 255).all(axis=1)
    assert grey.sum() == 2


def test_more_points_are_smaller():
    sizes = []
    for n in (100, 2000, 20_000):
        display = EmbeddingDisplay.from_predictions(np.random.default_rng(0).normal(size=(n, 2)))
        sizes.append(display.scatter_.get_sizes()[0])
        assert display.scatter_.get_rasterized() == (n > 5000)
    assert sizes[0] > sizes[1] > sizes[2]
    assert EmbeddingDisplay.from_predictions(np.eye(2), size=7).scatter_.get_sizes() == 7


def test_three_dimensions_get_three():
    display = drawn(
        EmbeddingDisplay.from_predictions(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2)
    )
    assert display.ax_.name == "3d"


@pytest.mark.parametrize(
    ("Z", "options", "match"),
    [
        (np.ones((5, 4)), {}, "two or three dimensions"),
        (np.ones(5), {}, "two or three dimensions"),
        (np.ones((5, 2)), {"values": [1, 2]}, "2 values for 5 points"),
        (np.ones((5, 2)), {"labels": "median"}, "labels='median'.*medians"),
        (np.ones((5, 2)), {"kind": "group"}, "kind='group'"),
    ],
)
def test_a_map_that_cannot_be_drawn_is_told(Z, options, match):
    with pytest.raises(ValueError, match=match):
        EmbeddingDisplay.from_predictions(Z, **options)


# -- the loss ----------------------------------------------------------------------------------------------


def test_the_phases_of_a_fit_are_recorded_and_drawn(embedding):
    assert embedding.loss_phases_.tolist() == ["early"] * 10 + ["main"] * 50
    display = drawn(LossDisplay.from_estimator(embedding))
    assert_array_equal(display.line_.get_ydata(), embedding.loss_history_)
    assert len(display.spans_) == 2
    assert {"early", "main"} <= {text.get_text() for text in display.ax_.texts}


@pytest.mark.parametrize(
    ("estimator", "phase"),
    [
        (ICONEmbedding(mapper="linear", max_iter=30, random_state=0), "main"),
        (ICONEmbedding(engine="minibatch", max_iter=3, random_state=0), "main"),
        (ICONClustering(3, n_init=2, random_state=0), "partition"),
        (ICONClustering(3, mapper="linear", n_init=2, max_iter=5, random_state=0), "main"),
        (iconlearn.recipes.k_means(n_clusters=3), "closed"),
        (iconlearn.recipes.pca(), "closed"),
        (ICONClassifier(max_iter=20), "main"),
    ],
)
def test_every_loss_has_its_phase(estimator, phase):
    estimator.fit(X, y)
    assert estimator.loss_phases_.tolist() == [phase] * len(estimator.loss_history_)
    drawn(LossDisplay.from_estimator(estimator))


def test_terms_have_lines_of_their_own():
    fit = ICONEmbedding(max_iter=20, terms=[Term("labels", weight=0.5)], random_state=0).fit(X, y)
    display = drawn(LossDisplay.from_estimator(fit))
    assert_allclose(sum(line.get_ydata() for line in display.part_lines_), fit.loss_history_, rtol=1e-5)


@pytest.mark.parametrize(
    ("history", "scale"), [([3, 2, 1], "linear"), ([300, 2, 1], "log"), ([300, 0, 1], "linear")]
)
def test_the_axis_is_logarithmic_where_that_helps(history, scale):
    assert LossDisplay.from_predictions(history).ax_.get_yscale() == scale
    assert LossDisplay.from_predictions([2, 1], log=True).ax_.get_yscale() == "log"


@pytest.mark.parametrize(
    ("history", "options", "match"),
    [([], {}, "at least one loss"), ([1.0, 2.0], {"phases": ["main"]}, "phases has 1 entries for 2 losses")],
)
def test_a_history_that_cannot_be_drawn_is_told(history, options, match):
    with pytest.raises(ValueError, match=match):
        LossDisplay.from_predictions(history, **options)


# -- p against q -------------------------------------------------------------------------------------------


def test_p_and_q_around_a_row_are_those_of_the_formula():
    fit = ICONEmbedding(q=Gaussian(0.5), debias=0.1, max_iter=60, random_state=0).fit(X)
    display = drawn(NeighborDistributionDisplay.from_estimator(fit, X, y, index=7))
    p = 0.9 * fit.p_.p_.conditional_.edges.toarray()[7] + 0.1 / 59 * (np.arange(60) != 7)
    sqdist = ((fit.embedding_ - fit.embedding_[7]) ** 2).sum(axis=1)
    q = np.exp(-sqdist / (2 * 0.5**2)) * (np.arange(60) != 7)
    assert_allclose(display.p, p, atol=1e-12)
    assert_allclose(display.q, q / q.sum(), atol=1e-12)
    assert_array_equal(display.same, y == y[7])
    heights = [bar.get_height() for bar in display.q_bars_]
    assert_allclose(heights, -display.q[display.columns_])


def test_sharing_a_cluster_is_q():
    fit = ICONClustering(3, debias=0.2, n_init=2, random_state=0).fit(X)
    r = fit.probabilities_
    q = 0.8 * (r[4] / r.sum(axis=0)) @ r.T + 0.2 / 60
    assert_allclose(NeighborDistributionDisplay.from_estimator(fit, X, index=4).q, q, atol=1e-6)


def test_columns_may_be_classes(classifier):
    display = drawn(NeighborDistributionDisplay.from_estimator(classifier, X, y, index=3))
    assert_allclose(display.q, classifier.predict_proba(X[3:4])[0], atol=1e-6)
    assert_allclose(display.p, np.eye(3)[y[3]])
    assert display.ax_.get_xticklabels()[0].get_text() == "abc"[y[3]]


def test_what_the_model_has_near_and_should_not_is_shown():
    p, q = np.zeros(100), np.full(100, 0.001)
    p[:20], q[90:95] = 0.05, 0.181
    shown = NeighborDistributionDisplay.from_predictions(p, q, n_columns=10).columns_
    assert set(shown[:5]) <= set(range(20)) and set(shown[5:]) == set(range(90, 95))


@pytest.mark.parametrize(
    ("rows", "index", "match"), [(X[:50], 0, "X has 50 rows"), (X, 60, "index=60"), (X, -1, "index=-1")]
)
def test_only_training_rows_have_both(embedding, rows, index, match):
    with pytest.raises(ValueError, match=match):
        NeighborDistributionDisplay.from_estimator(embedding, rows, index=index)
    with pytest.raises(ValueError, match=r"y has shape \(\), and X has 60 rows"):
        NeighborDistributionDisplay.from_estimator(embedding, X, 3)


def test_views_have_no_fixed_neighbours():
    fit = ICONEmbedding(p=Views(), mapper="linear", engine="minibatch", max_iter=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match="no probabilities of rows"):
        NeighborDistributionDisplay.from_estimator(fit, X)


@pytest.mark.parametrize(
    ("p", "q"), [([0.5, 0.5], [1.0]), ([0.5, 0.5], [0.7, 0.7]), ([1.5, -0.5], [0.5, 0.5])]
)
def test_only_distributions_can_be_compared(p, q):
    with pytest.raises(ValueError, match=r"p and q have shapes|is no distribution"):
        NeighborDistributionDisplay.from_predictions(p, q)


# -- clusters ----------------------------------------------------------------------------------------------


def test_sizes_and_confidence_are_counted():
    r = np.array([[0.95, 0.05, 0], [0.8, 0.2, 0], [0.4, 0.6, 0], [0.3, 0.7, 0], [0.1, 0.9, 0]])
    display = drawn(ClusterDisplay.from_predictions(r, names=["red", "green", "none"]))
    assert display.sizes_.tolist() == [2, 3, 0]
    assert_allclose(display.confidence_, [0.875, 2.2 / 3, np.nan])
    # Largest first: green has one row of 0.9 and more, one of 0.7, one of 0.5; red one of 0.9 and one of 0.7.
    assert [[bar.get_width() for bar in band] for band in display.bars_] == [
        [1, 1, 0],
        [1, 1, 0],
        [1, 0, 0],
        [0, 0, 0],
    ]
    assert [tick.get_text() for tick in display.ax_.get_yticklabels()] == ["green", "red", "none"]
    unsorted = display.plot(sort=False)
    assert [tick.get_text() for tick in unsorted.ax_.get_yticklabels()] == ["red", "green", "none"]


def test_clusters_and_classes_of_an_estimator(clusters, classifier):
    assert_array_equal(ClusterDisplay.from_estimator(clusters, X).sizes_, np.bincount(clusters.labels_))
    assert list(ClusterDisplay.from_estimator(classifier, X).names) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("r", "names", "match"),
    [(np.ones((3, 2)), None, "sum to one"), (np.eye(3), ["a"], "1 names for 3 clusters")],
)
def test_assignments_that_cannot_be_drawn_are_told(r, names, match):
    with pytest.raises(ValueError, match=match):
        ClusterDisplay.from_predictions(r, names=names)


# -- the periodic table ------------------------------------------------------------------------------------


def test_every_recipe_stands_in_its_cell():
    table = iconlearn.periodic_table()
    display = drawn(PeriodicTableDisplay.from_table(table))
    assert set(display.texts_) == {entry.key for entry in table}
    assert set(display.cells_) == {(p, q) for p in table.ps for q in table.qs}
    for entry in table:
        box, text = display.cells_[entry.p, entry.q], display.texts_[entry.key]
        assert text.get_text().replace("\n", " ") == entry.name
        x, height = text.get_position()
        assert box.get_x() < x < box.get_x() + box.get_width()
        assert box.get_y() + box.get_height() < height < box.get_y()


def test_no_names_overlap():
    display = drawn(PeriodicTableDisplay.from_table(iconlearn.periodic_table()))
    boxes = [text.get_window_extent() for text in display.texts_.values()]
    cells = {key: display.texts_[key] for key in display.texts_}
    assert len(cells) == len(boxes)
    overlapping = [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b.shrunk(0.8, 0.8))]
    assert overlapping == []


def test_a_part_of_the_table_is_a_table():
    part = iconlearn.periodic_table().cell("Gaussian", "Student-t")
    assert set(PeriodicTableDisplay.from_table(part).cells_) == {("Gaussian", "Student-t")}
    with pytest.raises(ValueError, match="nothing to draw"):
        PeriodicTableDisplay.from_table(part[:0])


@pytest.mark.parametrize(
    "values",
    [["a", None, "b"], pd.array(["a", None, "b"], dtype="string"), np.array(["a", pd.NA, "b"], dtype=object)],
)
def test_labels_that_are_missing_are_in_no_group(values):
    found = read_values(values, None)
    assert found.names == ["a", "b"] and found.codes.tolist() == [0, -1, 1]


# -- values of every kind ----------------------------------------------------------------------------------

DATES = pd.date_range("2020-01-01", periods=60)
MEASURES = {
    "dates": DATES,
    "dates of a time zone": pd.Series(DATES.tz_localize("Europe/Berlin")),
    "dates of numpy": DATES.to_numpy(),
    "dates of python": [date.date() for date in DATES],
    "dates of objects": np.array(DATES.to_pydatetime(), dtype=object),
    "dates in a frame": pd.DataFrame({"when": DATES}),
    "periods": pd.period_range("2020-01", periods=60, freq="M"),
    "some dates": pd.Series(DATES).where(np.arange(60) % 3 > 0),
    "durations": pd.to_timedelta(np.arange(60), unit="h"),
    "durations of python": [dt.timedelta(minutes=k) for k in range(60)],
    "numbers that may be missing": pd.array([0.5, 1.5, None] * 20, dtype="Float64"),
    "decimals": [Decimal(k) / 7 for k in range(60)],
}
CODES = np.arange(60) % 3
GROUPS = {
    "a column": (CODES.reshape(-1, 1), ["0", "1", "2"]),
    "a frame": (pd.DataFrame({"y": CODES}), ["0", "1", "2"]),
    "categories": (pd.Categorical.from_codes(CODES, ["low", "mid", "high"], ordered=True), ["low", "mid", "high"]),
    "a series of categories": (
        pd.Series(pd.Categorical.from_codes(CODES, ["z", "y", "x", "w"])), ["z", "y", "x"]
    ),
    "bins": (pd.cut(np.arange(60), 2), ["(-0.059, 29.5]", "(29.5, 59.0]"]),
    "whole numbers that may be missing": (pd.array([3, 4, None] * 20, dtype="Int64"), ["3", "4"]),
    "truths that may be missing": (pd.array([True, False, None] * 20, dtype="boolean"), ["False", "True"]),
    "a formula": (np.array(["$5_vs_$6", "$a", "b$^"])[CODES], ["$5_vs_$6", "$a", "b$^"]),
    "names that a legend leaves out": (np.array(["_a", "_b", "c"])[CODES], ["_a", "_b", "c"]),
}  # fmt: skip
PLACES = np.random.default_rng(0).normal(size=(60, 2))


@pytest.mark.parametrize("name", MEASURES)
def test_dates_and_durations_are_a_scale(name):
    values = MEASURES[name]
    display = drawn(EmbeddingDisplay.from_predictions(PLACES, values))
    assert display.colorbar_ is not None and display.legend_ is None and display.texts_ == []
    found = read_values(values, None)
    assert isinstance(found, Scale)
    column = values["when"] if name == "dates in a frame" else values
    known = ~pd.isna(pd.Series(list(column)))
    assert_array_equal(np.isfinite(found.numbers), known)
    assert (np.diff(found.numbers[known]) > 0).all() or name.startswith("numbers")
    if found.ticks is not None:
        positions, texts = found.ticks
        # A tick stands where its date is.
        first = pd.Timestamp(found.texts[known][0])
        offsets = [(pd.Timestamp(text) - first).total_seconds() for text in texts]
        assert_allclose(positions, offsets)
        assert 3 <= len(texts) <= 15


@pytest.mark.parametrize(
    ("step", "count", "expected"),
    [
        (np.timedelta64(365, "D"), 60, ["1980", "2000", "2020"]),
        (np.timedelta64(1, "D"), 10, ["1970-01-01", "1970-01-03", "1970-01-05", "1970-01-07", "1970-01-09"]),
        (np.timedelta64(1, "h"), 30, ["1970-01-01 00:00", "1970-01-01 12:00", "1970-01-02 00:00"]),
        (np.timedelta64(1, "s"), 3, ["1970-01-01 00:00:00", "1970-01-01 00:00:01", "1970-01-01 00:00:02"]),
        (np.timedelta64(1, "s"), 1, ["1970-01-01"]),
    ],
)
def test_ticks_of_dates_are_round(step, count, expected):
    assert read_values(np.datetime64("1970-01-01") + step * np.arange(count), None).ticks[1] == expected


@pytest.mark.parametrize(
    ("length", "unit"), [(3600e3, "days"), (3600, "hours"), (60, "minutes"), (0.5, "seconds")]
)
def test_durations_have_the_unit_that_suits_them(length, unit):
    found = read_values([dt.timedelta(seconds=length * k) for k in range(4)], None)
    seconds = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}[unit]
    assert found.unit == unit
    assert_allclose(found.numbers * seconds, length * np.arange(4))


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("labels", ["legend", "medians"])
def test_groups_keep_their_order_and_their_names(name, labels):
    values, names = GROUPS[name]
    display = drawn(EmbeddingDisplay.from_predictions(PLACES, values, labels=labels))
    texts = display.legend_.get_texts() if labels == "legend" else display.texts_
    assert [text.get_text() for text in texts] == names
    at = {tuple(place): color for place, color in zip(
        np.asarray(display.scatter_.get_offsets()).tolist(), display.scatter_.get_facecolors(), strict=True
    )}  # fmt: skip
    codes = read_values(values, None).codes
    seen = np.array([at[tuple(place)][:3] for place in PLACES.tolist()])
    assert_allclose(seen[codes >= 0], colors_of(3)[codes[codes >= 0]])


@pytest.mark.parametrize("n", [101, 400, 3000])
def test_more_groups_than_can_be_named_have_colours_only(n):
    Z, values = np.random.default_rng(0).normal(size=(n, 2)), [f"doc {k}" for k in range(n)]
    display = drawn(EmbeddingDisplay.from_predictions(Z, values))
    assert display.legend_ is None and display.texts_ == [] and display.colorbar_ is None
    assert len(np.unique(display.scatter_.get_facecolors(), axis=0)) == 30


def test_of_many_groups_the_largest_are_named():
    codes = np.concatenate([np.arange(150), np.arange(100, 150)])
    Z = np.random.default_rng(0).normal(size=(200, 2))
    display = drawn(EmbeddingDisplay.from_predictions(Z, [f"{k:03}" for k in codes], labels="legend"))
    names = [text.get_text() for text in display.legend_.get_texts()]
    assert len(names) == 100 and names[50:] == [f"{k}" for k in range(100, 150)]


def test_names_of_many_groups_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    codes, centers = rng.integers(77, size=3000), 5 * rng.normal(size=(77, 2))
    codes[:300] = 7
    display = drawn(EmbeddingDisplay.from_predictions(centers[codes] + rng.normal(size=(3000, 2)), [
        f"a topic of long name {k}" for k in codes
    ]))  # fmt: skip
    boxes = [text.get_window_extent() for text in display.texts_]
    shared = [
        min(min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0))
        for k, a in enumerate(boxes)
        for b in boxes[:k]
    ]
    assert len(boxes) > 30 and max(shared) < 2
    assert "a topic of long name 7" in [text.get_text() for text in display.texts_]
    assert len(display.ax_.texts) == len(boxes)


@pytest.mark.parametrize(
    ("values", "options", "match"),
    [
        (
            np.array(["a", 1, None] * 20, dtype=object),
            {},
            "values holds labels of mixed type, such as 'a' and 1",
        ),
        (["a", 1, None] * 20, {}, "values holds labels of mixed type"),
        (np.zeros((60, 2)), {}, r"values has shape \(60, 2\): give one value for each point"),
        (pd.DataFrame({"a": CODES, "b": CODES}), {}, r"values has shape \(60, 2\)"),
        (
            ["a"] * 60,
            {"kind": "scale"},
            "kind='scale' needs numbers, dates or durations, and values holds 'a'",
        ),
        (np.array([{}, 1j] * 30, dtype=object), {}, "cannot be put in order"),
    ],
)
def test_values_that_cannot_be_shown_are_refused(values, options, match):
    with pytest.raises(ValueError, match=match):
        EmbeddingDisplay.from_predictions(PLACES, values, **options)


def test_values_are_not_changed():
    values = pd.DataFrame({"y": pd.array([1, None, 2] * 20, dtype="Int64")})
    before = values.copy()
    drawn(EmbeddingDisplay.from_predictions(PLACES, values))
    pd.testing.assert_frame_equal(values, before)


def test_clusters_and_classes_are_shown_on_a_map(embedding, clusters, classifier):
    places = embedding.transform(X)
    with pytest.raises(ValueError, match=r"coordinates=ICONEmbedding\(\)\.fit_transform\(X\)"):
        EmbeddingDisplay.from_estimator(ICONClustering(5, n_init=1, random_state=0).fit(PLACES), PLACES)
    display = drawn(EmbeddingDisplay.from_estimator(clusters, X, coordinates=places))
    assert_array_equal(display.values, clusters.labels_)
    assert [text.get_text() for text in display.legend_.get_texts()] == ["0", "1", "2"]
    between = ICONClustering(3, n_init=2, min_confidence=0.999999, random_state=0).fit(X)
    marked = EmbeddingDisplay.from_estimator(between, X, coordinates=places)
    assert (between.labels_ == -1).any()
    assert_array_equal(np.isnan(marked.values), between.labels_ == -1)
    display = drawn(EmbeddingDisplay.from_estimator(classifier, X, coordinates=places))
    assert_array_equal(display.values, classifier.predict(X))
    assert EmbeddingDisplay.from_estimator(classifier, X, y / 7, coordinates=places).colorbar_ is not None


def test_names_with_dollars_are_no_formulas_elsewhere():
    names = ["$5_vs_$6", "$x", "b$^"]
    drawn(ClusterDisplay.from_predictions(np.eye(3), names=names))
    drawn(
        NeighborDistributionDisplay.from_predictions(
            np.full(3, 1 / 3), np.full(3, 1 / 3), names=names, row="$5_vs_$6"
        )
    )


# -- what pictures say -------------------------------------------------------------------------------------


def test_the_axis_of_a_loss_says_what_it_counts(embedding):
    assert LossDisplay.from_estimator(embedding).ax_.get_xlabel() == "iteration"
    batches = ICONEmbedding(engine="minibatch", max_iter=2, random_state=0).fit(X)
    assert LossDisplay.from_estimator(batches).ax_.get_xlabel() == "epoch"


def test_p_and_q_say_of_which_row_they_are(embedding, classifier):
    titles = [
        NeighborDistributionDisplay.from_estimator(embedding, X, index=7),
        NeighborDistributionDisplay.from_estimator(embedding, X, np.array(["a", "b", "c"])[y], index=7),
        NeighborDistributionDisplay.from_estimator(embedding, X, index=7, title="mine"),
    ]
    assert [d.ax_.get_title(loc="left") for d in titles] == ["row 7", f"row 7, {'abc'[y[7]]}", "mine"]
    assert titles[0].ax_.get_xlabel() == "training rows by number"
    assert NeighborDistributionDisplay.from_estimator(classifier, X).ax_.get_xlabel() == "classes by name"


def test_the_whole_table_is_drawn_by_default():
    assert PeriodicTableDisplay.from_table().texts_.keys() == {e.key for e in iconlearn.periodic_table()}
