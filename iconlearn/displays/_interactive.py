"""A map that one can move about in: points say what they are, groups can be switched off, texts can be searched."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .._checks import check_choice
from .._torch_state import as_array
from ._canvas import GREY, INK, colors_of, name_of, rgb
from ._places import MAX_NAMED, Groups, checked_places, predicted, read_values

# Share of the picture that the points cover together, and the least and largest width of one in pixels.
COVER, SMALLEST, LARGEST = 0.1, 2.0, 8.0
# What the size of a point is reckoned with; the picture itself is as wide as what it is shown in.
WIDTH, HEIGHT = 900, 700
# Of the window, where the map is a page, below the field for searches.
PAGE = {"default_width": "100%", "default_height": "calc(100vh - 48px)"}
# Of the map's extent, left free on every side.
MARGIN = 0.05
# Hover texts are wrapped at this width, and end after this many characters.
LINE, LONGEST = 60, 400
# The background, the ink of texts, and the share of white in the colours of points.
THEMES = {"light": ("plotly_white", INK, 0.0), "dark": ("plotly_dark", "#E6E6E6", 0.35)}
# Names on the map: their size in pixels while there are few of them, and the least.
LARGE_NAME, SMALL_NAME, MAX_LARGE = 15, 8, 20
# More groups than a legend shows at a glance: their names are written on the map by default.
MAX_LEGEND = 12
# What a page has besides the figure: a field in which one searches (points whose text does not contain what was typed
# fade); names on the map are hidden with their groups, and all of them in a narrow window, where the legend is below.
SCRIPT = """
const map = document.getElementById("{plot_id}"), field = document.createElement("input");
field.hidden = map._fullData.some(trace => trace.type === "scatter3d");  // which knows no selection
field.type = "search";
field.placeholder = "search the points";
field.setAttribute("aria-label", field.placeholder);
field.style.cssText = "box-sizing:border-box;width:min(20em,90vw);height:32px;margin:8px 12px;" +
    "padding:4px 8px;border:1px solid #888;border-radius:6px;font:14px sans-serif;background:transparent";
field.style.color = map.layout.font.color;
map.before(field);
const plain = text => new DOMParser().parseFromString(text, "text/html").body.textContent.toLowerCase();
const traces = map._fullData.filter(trace => trace.mode === "markers");
const texts = traces.map(trace => {
    const said = [trace.hovertext, trace.text].find(Array.isArray) || [];
    return Array.from(trace.x, (_, k) => plain(`${trace.name} ${said[k] || ""}`));
});
field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    const found = texts.map(some => wanted
        ? some.flatMap((text, k) => text.includes(wanted) ? [k] : []) : null);
    Plotly.restyle(map, {selectedpoints: found}, traces.map(trace => trace.index));
});
const arrange = () => {
    const narrow = window.innerWidth < 700, hidden = new Set();
    map._fullData.forEach(trace => trace.visible === true || hidden.add(trace.name));
    const changes = {"legend.orientation": narrow ? "h" : "v"};
    (map.layout.annotations || []).forEach((note, k) => {
        changes[`annotations[${k}].visible`] = !narrow && !hidden.has(note.text);
    });
    Plotly.relayout(map, changes);
};
window.addEventListener("resize", arrange);
map.on("plotly_restyle", arrange);
arrange();
"""
# How the page of a map behaves: the wheel zooms, and the bar shows what a map has a use for.
CONFIG = {"scrollZoom": True, "displaylogo": False, "responsive": True}


class InteractiveMapDisplay:
    """A map as a page for the browser: zoom, hover over a point, click on a group to hide it, search.

    Points are drawn by WebGL, which is fluent to some hundred thousand of them.  Needs plotly
    (``pip install 'plotly>=6'``).  Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, 2) or (n_samples, 3)
        Places of the points.
    values : array-like of shape (n_samples,) or (n_samples, 1), or None, default=None
        What the points are coloured by.  Categories of pandas and polars keep their order.
    hover : array-like of shape (n_samples,), mapping or None, default=None
        Text of a point under the mouse.
    kind : {"groups", "scale"} or None, default=None
        Whether `values` names groups or measures something; None infers it, as
        :class:`EmbeddingDisplay` does.

    Attributes
    ----------
    figure_ : plotly Figure
        The display shows it in a notebook, as wide as the notebook; ``figure_.show()`` opens a browser.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> from iconlearn.displays import InteractiveMapDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> embedding = ICONEmbedding(max_iter=50, random_state=0).fit(X)
    >>> display = InteractiveMapDisplay.from_estimator(embedding, X, y)  # doctest: +SKIP
    >>> display.write_html("iris.html")  # doctest: +SKIP
    """

    def __init__(self, embedding, values=None, *, hover=None, kind=None):
        self.embedding = embedding
        self.values = values
        self.hover = hover
        self.kind = kind

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, coordinates=None, hover=None, kind=None, **options):
        """Draw where an estimator puts the rows of X, or which clusters or classes it gives them.

        Parameters
        ----------
        estimator : fitted estimator with ``transform``, or (with `coordinates`) ``predict``
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training rows get the places that the fit gave them.
        y : array-like of shape (n_samples,) or None, default=None
            What the points are coloured by.
        coordinates : array-like of shape (n_samples, 2) or (n_samples, 3), or None, default=None
            Places of the rows on a map, for an estimator that has none of its own (clusters, classes); where there
            is no `y`, the points are coloured by ``estimator.predict(X)``.
        hover : array-like of shape (n_samples,), mapping or None, default=None
            Text of a point under the mouse: one for each, or (a dict, or a data frame) columns by name.
            None is the number of the row and its value.
        kind : {"groups", "scale"} or None, default=None
            See :class:`InteractiveMapDisplay`.
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        InteractiveMapDisplay
        """
        if coordinates is None:
            coordinates = estimator.transform(X)
        elif y is None:
            y, kind = predicted(estimator, X), "groups" if kind is None else kind
        return cls.from_predictions(coordinates, y, hover=hover, kind=kind, **options)

    @classmethod
    def from_predictions(cls, embedding, values=None, *, hover=None, kind=None, **options):
        """Draw places that are known.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, 2) or (n_samples, 3)
        values : array-like of shape (n_samples,) or None, default=None
            What the points are coloured by.
        hover : array-like of shape (n_samples,), mapping or None, default=None
            See :meth:`from_estimator`.
        kind : {"groups", "scale"} or None, default=None
            See :class:`InteractiveMapDisplay`.
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        InteractiveMapDisplay
        """
        embedding = checked_places(embedding, values, kind)
        return cls(embedding, values, hover=hover, kind=kind).plot(**options)

    def plot(self, *, labels="auto", theme="light", size="auto", cmap="Cividis", title=None):
        """Make the figure.

        Parameters
        ----------
        labels : {"auto", "medians", "none"}, default="auto"
            Whether the names of groups are written on a flat map, at their medians, besides in the legend; "auto" does
            so for more than twelve groups and at most a hundred.  On the page of :meth:`write_html` a name is hidden
            with its group.
        theme : {"light", "dark"}, default="light"
            The background; colours of points are lighter on a dark one.
        size : float or "auto", default="auto"
            Width of a point in pixels; "auto" is smaller for more points.
        cmap : str, default="Cividis"
            A colour scale of plotly, for values that measure something.
        title : str or None, default=None

        Returns
        -------
        self
        """
        check_choice("labels", labels, ("auto", "medians", "none"))
        check_choice("theme", theme, tuple(THEMES))
        if isinstance(size, str):
            check_choice("size", size, ("auto",))
        go = _plotly()
        self._paler = THEMES[theme][2]
        n, flat = self.embedding.shape[0], self.embedding.shape[1] == 2
        if isinstance(size, str):
            size = float(np.clip(np.sqrt(COVER * WIDTH * HEIGHT / max(n, 1)), SMALLEST, LARGEST))
            size = size if flat else 0.5 * size
        trace = go.Scattergl if flat else go.Scatter3d
        self._said = _said(self.hover, n)
        found = read_values(self.values, self.kind)
        if found is None:
            points = [self._points(np.arange(n), "", {"size": size, "color": self._colors(1)[0]})]
        elif isinstance(found, Groups):
            points = self._groups(found, size)
        else:
            points = self._scale(found, size, cmap)
        layout = self._layout(title, flat, theme)
        if flat and isinstance(found, Groups):
            n_groups = len(found.names)
            if labels == "medians" or (labels == "auto" and MAX_LEGEND < n_groups <= MAX_NAMED):
                layout["annotations"] = self._names(found, layout)
        self.figure_ = go.Figure([trace(**one) for one in points], layout)
        del self._said, self._paler
        return self

    def write_html(self, path):
        """Write a page that needs nothing else, neither a network nor a server; the map fills the window.

        The field above a flat map searches what the points say (`hover` and the names of groups): the others fade.

        Parameters
        ----------
        path : str or path-like
            Of the file; some 5 MB are the code that draws.
        """
        self.figure_.write_html(path, include_plotlyjs=True, config=CONFIG, post_script=SCRIPT, **PAGE)
        background = self.figure_.layout.template.layout.paper_bgcolor
        page = Path(path)
        text = page.read_text("utf-8").replace(
            "<body>", f'<body style="margin:0;background:{background}">', 1
        )
        page.write_text(text, "utf-8")

    def _repr_mimebundle_(self, include=None, exclude=None):
        """What a notebook shows."""
        return self.figure_._repr_mimebundle_(include, exclude)

    def _repr_html_(self):
        return self.figure_._repr_html_()

    def _groups(self, found, size):
        """A trace for every group, those without one first and so beneath; one for all where they are many."""
        n, codes = len(found.names), found.codes
        colors = [*self._colors(n), _hex(rgb(GREY))]
        names = [*found.names, "none"]
        if n > MAX_NAMED:
            rows = np.argsort(codes >= 0, kind="stable")
            look = {"size": size, "color": [colors[k] for k in codes[rows]]}
            return [self._points(rows, "", look, np.array([names[k] for k in codes[rows]]))]
        present = [k for k in (-1, *range(n)) if (codes == k).any()]
        return [
            self._points(np.flatnonzero(codes == k), names[k], {"size": size, "color": colors[k]})
            for k in present
        ]

    def _colors(self, n):
        """Colours of groups, paler on a dark background."""
        return [_hex(color) for color in self._paler + (1 - self._paler) * colors_of(n)]

    def _names(self, found, layout):
        """Names of the largest groups over the points."""
        named = found.named()
        size = max(SMALL_NAME, LARGE_NAME * min(1.0, (MAX_LARGE / max(len(named), 1)) ** 0.5))
        paper = "rgba(0, 0, 0, 0.5)" if "dark" in layout["template"] else "rgba(255, 255, 255, 0.6)"
        places = [np.median(self.embedding[found.codes == k], axis=0) for k in named]
        return [
            {
                "x": float(x), "y": float(y), "text": html.escape(found.names[k]), "showarrow": False,
                "font": {"size": size}, "bgcolor": paper, "borderpad": 1,
            }
            for k, (x, y) in zip(named, places)
        ]  # fmt: skip

    def _scale(self, found, size, cmap):
        values, known = found.numbers, np.isfinite(found.numbers)
        bar = {"thickness": 12, "len": 0.5, "outlinewidth": 0}
        if found.unit is not None:
            bar["title"] = {"text": found.unit}
        if found.ticks is not None:
            bar["tickvals"], bar["ticktext"] = found.ticks
        look = {"size": size, "color": values[known], "colorscale": cmap, "showscale": True, "colorbar": bar}
        texts = None if found.texts is None else found.texts[known]
        points = [self._points(np.flatnonzero(known), "", look, texts)]
        if known.all():
            return points
        return [self._points(np.flatnonzero(~known), "none", {"size": size, "color": GREY}), *points]

    def _points(self, rows, name, look, texts=None):
        """What a trace is made of: places, in the precision that WebGL has, a look, and what is said of each point."""
        places = self.embedding[rows].astype(np.float32)
        look = {"opacity": 0.85, "line": {"width": 0}, **look}
        fade = {"unselected": {"marker": {"opacity": 0.05}}} if places.shape[1] == 2 else {}
        trace = {
            **dict(zip("xyz", places.T)),
            **fade,
            "mode": "markers",
            "name": html.escape(name),
            "marker": look,
            "showlegend": bool(name),
        }
        if self._said is not None:
            return {**trace, "hovertext": self._said[rows], "hovertemplate": "%{hovertext}<extra></extra>"}
        said = ["row %{customdata}"]
        if name:
            said.append(html.escape(name))
        elif texts is not None:
            said.append("%{text}")
            trace["text"] = [html.escape(text) for text in texts.tolist()]
        elif isinstance(look["color"], np.ndarray):
            said.append("%{marker.color:.4g}")
        return {
            **trace, "customdata": rows.astype(np.int32), "hovertemplate": "<br>".join(said) + "<extra></extra>",
        }  # fmt: skip

    def _layout(self, title, flat, theme):
        # Only nearness means anything: neither the axes nor their units do.
        bare, (template, ink, _) = {"visible": False}, THEMES[theme]
        layout = {
            "template": template, "title": title and html.escape(title), "dragmode": "pan" if flat else "orbit",
            "font": {"color": ink}, "hoverlabel": {"align": "left"}, "margin": {"l": 20, "r": 20, "t": 50, "b": 20},
            "legend": {"itemsizing": "constant"}, "autosize": True,
        }  # fmt: skip
        if not flat:
            return {**layout, "scene": {"xaxis": bare, "yaxis": bare, "zaxis": bare, "aspectmode": "data"}}
        # Given, so that the map does not move when a group is hidden.
        low, high = self.embedding.min(axis=0), self.embedding.max(axis=0)
        margin = MARGIN * np.where(high > low, high - low, 1.0)
        x, y = np.column_stack([low - margin, high + margin]).tolist()
        return {**layout, "xaxis": {**bare, "range": x}, "yaxis": {**bare, "range": y, "scaleanchor": "x"}}


def _plotly():
    """Import plotly; the only place that does."""
    try:
        from plotly import graph_objects
    except ImportError as error:
        raise ImportError(
            "an interactive map needs plotly; install it with: pip install 'plotly>=6'"
        ) from error
    return graph_objects


def _said(hover, n):
    """The text of every point in plotly's form, or None where there is none."""
    if hover is None:
        return None
    if isinstance(hover, Mapping) or hasattr(hover, "columns"):
        columns = {str(name): list(as_array(hover[name])) for name in hover}
        for name, column in columns.items():
            _check_length(f"hover[{name!r}]", column, n)
        lines = [
            [f"<b>{html.escape(name)}</b> {_safe(v)}" for v in values] for name, values in columns.items()
        ]
        return np.array(["<br>".join(row) for row in zip(*lines, strict=True)], dtype=object)
    hover = list(as_array(hover))
    _check_length("hover", hover, n)
    return np.array([_safe(value) for value in hover], dtype=object)


def _check_length(name, values, n):
    if len(values) != n:
        raise ValueError(f"{name} has {len(values)} entries for {n} points: give one for each")


def _safe(value):
    """A value as text that cannot be taken for markup, in lines of readable length."""
    text = name_of(value)
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, LINE) or [""]]
    return "<br>".join(html.escape(line) for line in lines)


def _hex(color):
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)
