"""A map as a scatter of its points."""

from __future__ import annotations

import numpy as np

from .._checks import check_choice
from ._canvas import GREY, INK, axes_of, colors_of, push_apart, rgb
from ._places import MAX_NAMED, Groups, checked_places, predicted, read_values

# Groups that a legend can hold.
MAX_LEGEND = 12
# Groups whose names are as large as a name on a map is read best, in points; names of more are smaller.
MAX_LARGE, LARGE_NAME, SMALL_NAME = 20, 11.0, 6.0
# Lines of a legend in one column.
MAX_LINES = 40
# Share of the picture that the points cover together, and the least and largest area of one in points squared.
COVER, SMALLEST, LARGEST = 0.25, 0.1, 40.0
# Pictures of more points than this are stored as pixels, inside a vector graphic too.
MAX_VECTORS = 5000


class EmbeddingDisplay:
    """A map in two or three dimensions, its points coloured by groups or by a scale.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, 2) or (n_samples, 3)
        Places of the points.
    values : array-like of shape (n_samples,) or (n_samples, 1), or None, default=None
        What the points are coloured by.  Categories of pandas and polars keep their order.
    kind : {"groups", "scale"} or None, default=None
        Whether `values` names groups or measures something; None infers it: dates, durations, numbers with
        fractions, and whole numbers of more than fifty different values are a scale.
    ball : bool, default=False
        Whether the places are points of the Poincare ball, whose boundary is drawn around a flat map.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    scatter_ : matplotlib PathCollection
    legend_ : matplotlib Legend or None
    texts_ : list of matplotlib Text
        Labels at the medians of the groups.
    colorbar_ : matplotlib Colorbar or None
    boundary_ : matplotlib Line2D or None
        The unit circle.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> from iconlearn.displays import EmbeddingDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> embedding = ICONEmbedding(max_iter=50, random_state=0).fit(X)
    >>> display = EmbeddingDisplay.from_estimator(embedding, X, y)
    """

    def __init__(self, embedding, values=None, *, kind=None, ball=False):
        self.embedding = embedding
        self.values = values
        self.kind = kind
        self.ball = ball

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, coordinates=None, kind=None, ax=None, **options):
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
        kind : {"groups", "scale"} or None, default=None
            See :class:`EmbeddingDisplay`.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
        """
        ball = (
            coordinates is None and getattr(getattr(estimator, "q_", None), "geometry", None) == "hyperbolic"
        )
        if coordinates is None:
            coordinates = estimator.transform(X)
        elif y is None:
            y, kind = predicted(estimator, X), "groups" if kind is None else kind
        return cls.from_predictions(coordinates, y, kind=kind, ball=ball, ax=ax, **options)

    @classmethod
    def from_predictions(cls, embedding, values=None, *, kind=None, ball=False, ax=None, **options):
        """Draw places that are known.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, 2) or (n_samples, 3)
        values : array-like of shape (n_samples,) or None, default=None
            What the points are coloured by.
        kind : {"groups", "scale"} or None, default=None
            See :class:`EmbeddingDisplay`.
        ball : bool, default=False
            See :class:`EmbeddingDisplay`.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
        """
        embedding = checked_places(embedding, values, kind)
        return cls(embedding, values, kind=kind, ball=ball).plot(ax, **options)

    def plot(self, ax=None, *, labels="auto", size="auto", cmap="cividis", title=None, **options):
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            A new figure by default; a map of three dimensions needs axes with ``projection="3d"``.
        labels : {"auto", "medians", "legend", "none"}, default="auto"
            How the groups are named: at their medians (names that would cover each other are moved up and down, and
            a name that finds no place is left out), or in a legend.  "auto" is a legend while that has at most
            twelve entries, and no names for more than a hundred groups; of so many, "medians" and "legend" name the
            hundred largest.
        size : float, array-like of shape (n_samples,) or "auto", default="auto"
            Area of a point in points squared; "auto" is smaller for more points.
        cmap : str or Colormap, default="cividis"
            For a scale.
        title : str or None, default=None
        **options
            Passed on to ``Axes.scatter``; ``alpha`` too may have one value for each point.

        Returns
        -------
        self
        """
        check_choice("labels", labels, ("auto", "medians", "legend", "none"))
        flat = self.embedding.shape[1] == 2
        shape = {"figsize": (6, 6)} if flat else {"figsize": (6, 6), "subplot_kw": {"projection": "3d"}}
        self.ax_ = ax = axes_of(ax, **shape)
        self.figure_ = ax.figure
        self.legend_, self.texts_, self.colorbar_, self.boundary_ = None, [], None, None
        if flat and self.ball:
            angle = np.linspace(0, 2 * np.pi, 400)
            (self.boundary_,) = ax.plot(np.cos(angle), np.sin(angle), color=GREY, linewidth=0.8, zorder=0)
        n = len(self.embedding)
        # Drawn in a random order, so that the last group does not lie on top of all others.
        order = np.random.default_rng(0).permutation(n)
        options = {
            "s": self._size(n) if isinstance(size, str) else size,
            "linewidths": 0, "rasterized": n > MAX_VECTORS, **options,
        }  # fmt: skip
        found = read_values(self.values, self.kind)
        if found is None:
            options.setdefault("color", colors_of(1)[0])
            self._scatter(order, options)
        elif isinstance(found, Groups):
            self._groups(found, order, labels, options)
        else:
            self._scale(found, order, {"cmap": cmap, **options})
        self._frame(flat, title)
        if flat and self.texts_:
            self.texts_ = push_apart(self.texts_, found.sizes[found.named()])
        return self

    def _scatter(self, order, options):
        """The points in this order, and the `options` of each."""
        n = len(self.embedding)
        follows = {
            name: np.asarray(value)[order]
            for name, value in options.items()
            if not isinstance(value, str) and np.ndim(value) and len(value) == n
        }
        self.scatter_ = self.ax_.scatter(*self.embedding[order].T, **{**options, **follows})

    def _size(self, n):
        box = self.ax_.get_window_extent()
        area = box.width * box.height * (72 / self.figure_.dpi) ** 2
        return float(np.clip(COVER * area / max(n, 1), SMALLEST, LARGEST))

    def _groups(self, found, order, labels, options):
        n, codes = len(found.names), found.codes
        # Position -1 is the last row: what has no group.
        colors = np.vstack([colors_of(n), rgb(GREY)])
        order = order[np.argsort(codes[order] >= 0, kind="stable")]
        options.setdefault("c", colors[codes])
        self._scatter(order, options)
        if labels == "auto":
            labels = "legend" if n <= MAX_LEGEND else "medians" if n <= MAX_NAMED else "none"
        named = found.named()
        if labels == "legend":
            self._add_legend([found.names[k] for k in named], colors[named])
        elif labels == "medians":
            self._add_medians(found, named, colors)

    def _add_legend(self, names, colors):
        points = [self.ax_.scatter([], [], s=40, color=color, linewidths=0) for color in colors]
        columns = max(1, -(-len(names) // MAX_LINES))
        height = self.ax_.get_window_extent().height * 72 / self.figure_.dpi
        size = np.clip(height / (1.5 * max(len(names), 1) / columns), SMALL_NAME, 10.0)
        # Names that begin with "_" would be left out, and two dollars taken for a formula.
        self.legend_ = self.ax_.legend(
            points, [" "] * len(names), loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False,
            handletextpad=0.1, ncols=columns, fontsize=size,
        )  # fmt: skip
        for text, name in zip(self.legend_.get_texts(), names, strict=True):
            text.set(text=name, parse_math=False)

    def _add_medians(self, found, named, colors):
        from matplotlib.patheffects import withStroke

        size = max(SMALL_NAME, LARGE_NAME * min(1.0, (MAX_LARGE / max(len(named), 1)) ** 0.5))
        look = {"ha": "center", "va": "center", "fontsize": size, "fontweight": "bold", "parse_math": False}
        for k in named:
            x = np.median(self.embedding[found.codes == k], axis=0)
            text = self.ax_.text(*x, found.names[k], color=0.6 * colors[k], **look)
            text.set_path_effects([withStroke(linewidth=size / 4, foreground="white")])
            self.texts_.append(text)

    def _scale(self, found, order, options):
        options.setdefault("c", found.numbers)
        self._scatter(order, {"plotnonfinite": False, **options})
        self.colorbar_ = self.figure_.colorbar(self.scatter_, ax=self.ax_, shrink=0.5, aspect=25, pad=0.02)
        self.colorbar_.outline.set_visible(False)
        if found.ticks is not None:
            self.colorbar_.set_ticks(found.ticks[0], labels=found.ticks[1])
        if found.unit is not None:
            self.colorbar_.set_label(found.unit)

    def _frame(self, flat, title):
        # Only nearness means anything: neither the axes nor their units do.
        self.ax_.set(xticks=[], yticks=[])
        if flat:
            self.ax_.set_aspect("equal", adjustable="datalim")
            self.ax_.spines[:].set_visible(False)
        else:
            self.ax_.set(zticks=[])
            self.ax_.set_box_aspect(np.ptp(self.embedding, axis=0))
        if title is not None:
            self.ax_.set_title(title, color=INK)
