"""Interactive maps: what the page is told, and what a real browser makes of it."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs

from iconlearn import ICONClustering, ICONEmbedding
from iconlearn.displays import EmbeddingDisplay, InteractiveMapDisplay

X, y = make_blobs(60, n_features=4, centers=3, random_state=0)
Z = np.column_stack([np.arange(60.0), np.arange(60.0) % 7])


def test_without_plotly_it_says_what_to_install():
    code = (
        "import sys; sys.modules['plotly'] = None\n"
        "from iconlearn.displays import InteractiveMapDisplay\n"
        "InteractiveMapDisplay.from_predictions([[0.0, 1.0], [1.0, 0.0]])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: an interactive map needs plotly; install it with: pip install" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([[1.0], [2.0]],), "two or three dimensions"),
        ((Z, [1, 2]), "2 values for 60 points"),
        ((Z, None, [1, 2]), "hover has 2 entries for 60 points"),
        ((Z, None, {"note": [1, 2]}), r"hover\['note'\] has 2 entries for 60 points"),
    ],
)
def test_what_does_not_fit_is_told(arguments, match):
    pytest.importorskip("plotly")
    places, values, hover = (*arguments, None, None)[:3]
    with pytest.raises(ValueError, match=match):
        InteractiveMapDisplay.from_predictions(places, values, hover=hover)
    for wrong in ("labels", "theme"):
        with pytest.raises(ValueError, match=f"{wrong}='large' is not known"):
            InteractiveMapDisplay.from_predictions(Z, **{wrong: "large"})
    with pytest.raises(ValueError, match="size='large' is not known"):
        InteractiveMapDisplay.from_predictions(Z, size="large")


class TestFigure:
    """What plotly is handed."""

    @pytest.fixture(autouse=True)
    def plotly(self):
        return pytest.importorskip("plotly")

    def test_making_one_draws_nothing(self):
        assert [name for name in vars(InteractiveMapDisplay(Z, y)) if name.endswith("_")] == []

    def test_every_group_is_a_trace_of_its_own_points(self):
        display = InteractiveMapDisplay.from_predictions(Z, np.array(["b", "a", "c"])[y])
        assert [trace.name for trace in display.figure_.data] == ["a", "b", "c"]
        for trace, code in zip(display.figure_.data, (1, 0, 2), strict=True):
            assert trace.type == "scattergl"
            assert_allclose(np.column_stack([trace.x, trace.y]), Z[y == code])
            assert_array_equal(trace.customdata, np.flatnonzero(y == code))
        assert len({trace.marker.color for trace in display.figure_.data}) == 3

    def test_rows_without_a_group_lie_beneath_and_are_grey(self):
        groups = np.where(y == 0, np.nan, y)
        first, *others = InteractiveMapDisplay.from_predictions(Z, groups).figure_.data
        assert (first.name, first.marker.color) == ("none", "#bbbbbb") and len(first.x) == (y == 0).sum()
        assert [trace.name for trace in others] == ["1", "2"]

    def test_a_scale_has_a_colour_bar_and_leaves_out_what_is_not_known(self):
        values = np.where(np.arange(60) < 5, np.nan, np.linspace(0, 1, 60))
        missing, known = InteractiveMapDisplay.from_predictions(Z, values, cmap="Viridis").figure_.data
        assert len(missing.x) == 5 and missing.name == "none"
        assert_allclose(known.marker.color, values[5:])
        assert known.marker.showscale and known.marker.colorscale[0][1] == "#440154"
        whole = InteractiveMapDisplay.from_predictions(Z, np.arange(60) % 3, kind="scale").figure_.data
        assert len(whole) == 1 and whole[0].marker.showscale

    def test_training_rows_are_where_the_fit_put_them(self):
        embedding = ICONEmbedding(3, max_iter=20, random_state=0).fit(X)
        display = InteractiveMapDisplay.from_estimator(embedding, X, y, title="three")
        assert {trace.type for trace in display.figure_.data} == {"scatter3d"}
        points = np.vstack([np.column_stack([t.x, t.y, t.z]) for t in display.figure_.data])
        assert_allclose(points, embedding.embedding_[np.argsort(y, kind="stable")], rtol=1e-6)
        assert display.figure_.layout.title.text == "three"

    def test_more_points_are_smaller_unless_told_otherwise(self):
        many = np.random.default_rng(0).normal(size=(20_000, 2))
        sizes = [
            InteractiveMapDisplay.from_predictions(places, **options).figure_.data[0].marker.size
            for places, options in ((Z, {}), (many, {}), (many, {"size": 7}))
        ]
        assert sizes[0] > sizes[1] and sizes[2] == 7

    def test_names_are_on_the_map_where_a_legend_is_too_long(self):
        many = np.array([f"<{k}>" for k in range(20)])[np.arange(60) % 20]
        for values, labels, n in ((y, "auto", 0), (y, "medians", 3), (many, "auto", 20), (many, "none", 0)):
            figure = InteractiveMapDisplay.from_predictions(Z, values, labels=labels).figure_
            assert len(figure.layout.annotations) == n
        note = InteractiveMapDisplay.from_predictions(Z, many).figure_.layout.annotations[3]
        own = Z[many == sorted(set(many))[3]]
        assert (note.x, note.y) == tuple(np.median(own, axis=0)) and note.text.startswith("&lt;")

    def test_colours_are_lighter_on_a_dark_background(self):
        def brightness(theme):
            figure = InteractiveMapDisplay.from_predictions(Z, y, theme=theme).figure_
            return [
                sum(bytes.fromhex(trace.marker.color[1:])) for trace in figure.data
            ], figure.layout.font.color

        (light, ink), (dark, pale) = map(brightness, ("light", "dark"))
        assert all(a < b for a, b in zip(light, dark)) and ink != pale

    def test_what_a_point_says_is_no_markup(self):
        hover = [f"a <b>{k}</b> & more" for k in range(60)]
        (trace,) = InteractiveMapDisplay.from_predictions(Z, hover=hover).figure_.data
        assert trace.hovertext[3] == "a &lt;b&gt;3&lt;/b&gt; &amp; more"
        table = {"first <i>": hover, "second": np.arange(60) / 4}
        (trace,) = InteractiveMapDisplay.from_predictions(Z, hover=table).figure_.data
        assert trace.hovertext[1] == (
            "<b>first &lt;i&gt;</b> a &lt;b&gt;1&lt;/b&gt; &amp; more<br><b>second</b> 0.25"
        )
        frame = pytest.importorskip("pandas").DataFrame(table)
        (same,) = InteractiveMapDisplay.from_predictions(Z, hover=frame).figure_.data
        assert_array_equal(same.hovertext, trace.hovertext)

    def test_long_texts_are_wrapped_and_end(self):
        (trace,) = InteractiveMapDisplay.from_predictions(Z, hover=["word " * 200] * 60).figure_.data
        lines = trace.hovertext[0].split("<br>")
        assert max(map(len, lines)) <= 60 and sum(map(len, lines)) < 420 and lines[-1].endswith("…")

    def test_it_decides_as_the_still_picture_does(self):
        pytest.importorskip("matplotlib")
        for values in (y, np.arange(60), y / 3, list("abc") * 20):
            still = EmbeddingDisplay.from_predictions(Z, values)
            scale = InteractiveMapDisplay.from_predictions(Z, values).figure_.data[0].marker.showscale
            assert bool(scale) == (still.colorbar_ is not None)

    @pytest.mark.parametrize("n", [60, 400])
    def test_dates_are_one_trace_with_dates_at_its_bar(self, n):
        dates = np.datetime64("2020-01-01") + np.arange(n)
        (trace,) = InteractiveMapDisplay.from_predictions(
            np.random.default_rng(0).normal(size=(n, 2)), dates
        ).figure_.data
        assert_allclose(trace.marker.color, 86400.0 * np.arange(n))
        ticks = trace.marker.colorbar.ticktext
        assert trace.marker.showscale and 3 <= len(ticks) < 15
        assert all(any(str(date).startswith(text) for date in dates) for text in ticks)
        first, at = np.datetime64(trace.marker.colorbar.ticktext[0]), trace.marker.colorbar.tickvals[0]
        assert at == (first - dates[0]) / np.timedelta64(1, "s")
        assert trace.text[3] == "2020-01-04" and "%{text}" in trace.hovertemplate

    def test_some_durations_are_a_scale_and_the_others_beneath(self):
        durations = np.where(np.arange(60) < 5, np.timedelta64("NaT"), np.arange(60).astype("m8[h]"))
        missing, known = InteractiveMapDisplay.from_predictions(Z, durations).figure_.data
        assert len(missing.x) == 5 and missing.name == "none"
        assert known.marker.colorbar.title.text == "days"
        assert_allclose(known.marker.color, np.arange(5, 60) / 24)

    def test_more_groups_than_can_be_named_are_one_trace(self):
        names = [f"doc <{k}>" for k in range(398)] + [None, None]
        (trace,) = InteractiveMapDisplay.from_predictions(
            np.random.default_rng(0).normal(size=(400, 2)), names
        ).figure_.data
        assert not trace.showlegend and len(set(trace.marker.color)) == 31
        said = dict(zip(trace.customdata.tolist(), trace.text, strict=True))
        assert said[5] == "doc &lt;5&gt;" and said[399] == "none"
        assert trace.customdata[:2].tolist() == [398, 399]

    def test_categories_keep_their_order(self):
        pandas = pytest.importorskip("pandas")
        values = pandas.Categorical.from_codes(y, ["low", "mid", "high"])
        traces = InteractiveMapDisplay.from_predictions(Z, values).figure_.data
        assert [trace.name for trace in traces] == ["low", "mid", "high"]

    def test_clusters_are_shown_on_a_map(self):
        clusters = ICONClustering(3, n_init=2, random_state=0).fit(X)
        traces = InteractiveMapDisplay.from_estimator(clusters, X, coordinates=Z).figure_.data
        for k, trace in enumerate(traces):
            assert_array_equal(trace.customdata, np.flatnonzero(clusters.labels_ == k))

    def test_it_is_as_wide_as_what_it_is_shown_in(self, tmp_path):
        display = InteractiveMapDisplay.from_predictions(Z, y)
        layout = display.figure_.layout
        assert layout.width is None and layout.height is None and layout.autosize
        display.write_html(tmp_path / "map.html")
        page = (tmp_path / "map.html").read_text()
        assert "height:calc(100vh - 48px); width:100%" in page and '"responsive": true' in page

    def test_a_notebook_shows_it(self):
        display = InteractiveMapDisplay.from_predictions(Z, y)
        assert "plotly-graph-div" in display._repr_html_()
        with default_renderer("plotly_mimetype"):
            assert "application/vnd.plotly.v1+json" in display._repr_mimebundle_()


@contextmanager
def default_renderer(name):
    from plotly import io

    before, io.renderers.default = io.renderers.default, name
    try:
        yield
    finally:
        io.renderers.default = before


def browser():
    """A chromium on this machine, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    told = os.environ.get("ICONLEARN_BROWSER")
    return told or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def chromium():
    pytest.importorskip("plotly")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
    path = browser()
    if path is None:
        pytest.skip("needs chromium on the PATH, or its path in ICONLEARN_BROWSER")
    # Drawing on the processor, so that it works where there is no graphics card.
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


# One drawing is one canvas, read where WebGL has drawn it: numbers of pixels that are not white.
INKED = """() => {
    const plot = document.querySelector('.plotly-graph-div');
    return Plotly.toImage(plot, {format: 'png', width: 900, height: 700}).then(url => new Promise(done => {
        const image = new Image();
        image.onload = () => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.width, image.height];
            const context = canvas.getContext('2d', {willReadFrequently: true});
            context.drawImage(image, 0, 0);
            const pixels = context.getImageData(0, 0, 700, 700).data;
            let inked = 0;
            for (let k = 0; k < pixels.length; k += 4)
                inked += pixels[k + 3] > 0 && pixels[k] + pixels[k + 1] + pixels[k + 2] < 700;
            done(inked);
        };
        image.src = url;
    }));
}"""
SHOWN = """() => document.querySelector('.plotly-graph-div')._fullData
    .filter(trace => trace.visible === true).reduce((sum, trace) => sum + trace._length, 0)"""
# Where a point is on the page.
AT = """([x, y]) => {
    const plot = document.querySelector('.plotly-graph-div'), layout = plot._fullLayout;
    const box = plot.getBoundingClientRect();
    return [box.left + layout._size.l + layout.xaxis.l2p(x), box.top + layout._size.t + layout.yaxis.l2p(y)];
}"""


class TestBrowser:
    """The page in a real browser, by itself: no network, no server."""

    @pytest.fixture
    def visit(self, chromium, tmp_path):
        complaints, requests = [], []
        context = chromium.new_context(viewport={"width": 1000, "height": 760}, offline=True)
        page = context.new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))

        def open_page(display):
            path = tmp_path / "map.html"
            display.write_html(path)
            page.goto(path.as_uri())
            page.wait_for_function("document.querySelector('.plotly-graph-div')?._fullData?.length")
            page.wait_for_timeout(300)
            return page

        yield open_page
        context.close()
        assert complaints == []
        assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []

    def test_points_say_what_they_are_and_groups_can_be_switched_off(self, visit):
        places = np.column_stack([10.0 * np.arange(6), [0.0, 30, 0, 30, 0, 30]])
        hover = {"name": ["<i>one</i>", "two", "three", "four", "five", "six"]}
        page = visit(
            InteractiveMapDisplay.from_predictions(places, list("ababcc"), hover=hover, title="six points")
        )
        assert page.evaluate(SHOWN) == 6
        assert page.locator(".gtitle").text_content() == "six points"
        for place, name in zip(places, ["<i>one</i>", "two", "three", "four", "five", "six"], strict=True):
            page.mouse.move(*page.evaluate(AT, place.tolist()))
            label = page.locator(".hoverlayer .hovertext")
            label.wait_for(timeout=5000)
            assert label.text_content().replace("\xa0", " ") == f"name {name}"
            page.mouse.move(5, 5)
            label.wait_for(state="detached", timeout=5000)
        legend = page.locator(".legend .traces")
        assert [text.strip() for text in legend.all_text_contents()] == ["a", "b", "c"]
        before, at = page.evaluate(INKED), page.evaluate(AT, [0, 0])
        legend.nth(2).locator(".legendtoggle").click()
        page.wait_for_function(f"({SHOWN})() === 4")
        assert 0 < page.evaluate(INKED) < before
        assert page.evaluate(AT, [0, 0]) == at
        legend.nth(2).locator(".legendtoggle").click()
        page.wait_for_function(f"({SHOWN})() === 6")
        assert page.evaluate(INKED) == pytest.approx(before, rel=0.02)

    def test_a_search_fades_what_it_does_not_find(self, visit):
        hover = [f"text {k} & more" for k in range(60)]
        page = visit(InteractiveMapDisplay.from_predictions(Z, y, hover=hover, theme="dark"))
        chosen = (
            "document.querySelector('.plotly-graph-div')._fullData.map(t => t.selectedpoints?.length ?? null)"
        )
        assert page.evaluate(chosen) == [None] * 3
        page.get_by_placeholder("search the points").fill("Text 1")
        page.wait_for_function(f"{chosen}.every(n => n !== null)")
        expected = [k for k in range(60) if str(k).startswith("1")]
        assert page.evaluate(chosen) == np.bincount(y[expected], minlength=3).tolist()
        page.get_by_placeholder("search the points").fill("")
        page.wait_for_function(f"{chosen}.every(n => n === null)")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 17, 17)"

    def test_names_go_with_their_groups_and_where_there_is_no_space(self, visit):
        page = visit(InteractiveMapDisplay.from_predictions(Z, np.arange(60) // 4, kind="groups"))
        names = page.locator(".annotation")
        assert names.count() == 15
        page.locator(".legend .traces").nth(2).locator(".legendtoggle").click()
        page.wait_for_function("document.querySelectorAll('.annotation').length === 14")
        assert "2" not in names.all_text_contents()
        page.set_viewport_size({"width": 420, "height": 760})
        page.wait_for_function("document.querySelectorAll('.annotation').length === 0")

    def test_the_wheel_zooms_and_axes_keep_their_proportions(self, visit):
        page = visit(InteractiveMapDisplay.from_predictions(Z, y))
        spans = "(() => { const l = document.querySelector('.plotly-graph-div')._fullLayout; return ["
        spans += "'xaxis', 'yaxis'].map(a => (l[a].range[1] - l[a].range[0]) / l[a]._length); })()"
        x, height = page.evaluate(spans)
        assert x == pytest.approx(height, rel=1e-6)
        page.mouse.move(400, 400)
        for _ in range(3):
            page.mouse.wheel(0, -300)
        page.wait_for_function(f"({spans})[0] < {0.9 * x}")
        x, height = page.evaluate(spans)
        assert x == pytest.approx(height, rel=1e-6)

    def test_three_dimensions_and_a_scale(self, visit):
        places = np.random.default_rng(0).normal(size=(200, 3))
        page = visit(InteractiveMapDisplay.from_predictions(places, places[:, 0]))
        assert page.evaluate(SHOWN) == 200
        assert page.locator(".colorbar").count() == 1 and page.locator(".legend").count() == 0
        assert page.evaluate(INKED) > 1000

    @pytest.mark.slow
    def test_a_hundred_thousand_points(self, visit):
        places = np.random.default_rng(0).normal(size=(100_000, 2))
        page = visit(InteractiveMapDisplay.from_predictions(places, np.arange(100_000) % 10))
        assert page.evaluate(SHOWN) == 100_000
        assert page.evaluate(INKED) > 20_000
        far = int(np.linalg.norm(places, axis=1).argmax())
        page.mouse.move(*page.evaluate(AT, places[far].tolist()))
        label = page.locator(".hoverlayer .hovertext")
        label.wait_for(timeout=30_000)
        assert label.text_content() == f"row {far}{far % 10}"
