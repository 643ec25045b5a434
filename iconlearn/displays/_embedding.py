"""A map as a scatter of its points."""

from __future__ import annotations

import numpy as np

from .._checks import check_choice
from ._canvas import GREY, INK, axes_of, colors_of, name_of, one_of_each, push_apart, rgb
from ._places import are_groups, checked_places

__all__ = ["EmbeddingDisplay"]

# Groups that a legend can hold.
MAX_LEGEND = 12
# Share of the picture that the points cover together, and the least and largest area of one in points squared.
COVER, SMALLEST, LARGEST = 0.12, 0.1, 40.0
# Pictures of more points than this are stored as pixels, inside a vector graphic too.
MAX_VECTORS = 5000


class EmbeddingDisplay:
    """A map in two or three dimensions, its points coloured by groups or by a scale.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, 2) or (n_samples, 3)
        Places of the points.
    values : array-like of shape (n_samples,) or None, default=None
        What the points are coloured by.
    kind : {"groups", "scale"} or None, default=None
        Whether `values` names groups or measures something; None looks at them: numbers with fractions, and
        whole numbers of more than fifty different values, are a scale.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    scatter_ : matplotlib PathCollection
    legend_ : matplotlib Legend or None
    texts_ : list of matplotlib Text
        Labels at the medians of the groups.
    colorbar_ : matplotlib Colorbar or None

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> from iconlearn.displays import EmbeddingDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> embedding = ICONEmbedding(max_iter=50, random_state=0).fit(X)
    >>> display = EmbeddingDisplay.from_estimator(embedding, X, y)
    """

    def __init__(self, embedding, values=None, *, kind=None):
        self.embedding = embedding
        self.values = values
        self.kind = kind

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, kind=None, ax=None, **options):
        """Draw where an estimator puts the rows of X.

        Parameters
        ----------
        estimator : fitted estimator with ``transform``
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training rows get the places that the fit gave them.
        y : array-like of shape (n_samples,) or None, default=None
            What the points are coloured by.
        kind : {"groups", "scale"} or None, default=None
            See :class:`EmbeddingDisplay`.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
        """
        return cls.from_predictions(estimator.transform(X), y, kind=kind, ax=ax, **options)

    @classmethod
    def from_predictions(cls, embedding, values=None, *, kind=None, ax=None, **options):
        """Draw places that are known.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, 2) or (n_samples, 3)
        values : array-like of shape (n_samples,) or None, default=None
            What the points are coloured by.
        kind : {"groups", "scale"} or None, default=None
            See :class:`EmbeddingDisplay`.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
        """
        embedding = checked_places(embedding, values, kind)
        return cls(embedding, values, kind=kind).plot(ax, **options)

    def plot(self, ax=None, *, labels="auto", size="auto", cmap="cividis", title=None, **options):
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            A new figure by default; a map of three dimensions needs axes with ``projection="3d"``.
        labels : {"auto", "medians", "legend", "none"}, default="auto"
            How the groups are named: at their medians (names that would cover each other are moved up and down),
            or in a legend.  "auto" is a legend while that has at most twelve entries.
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
        self.legend_, self.texts_, self.colorbar_ = None, [], None
        n = len(self.embedding)
        # Drawn in a random order, so that the last group does not lie on top of all others.
        order = np.random.default_rng(0).permutation(n)
        options = {
            "s": self._size(n) if isinstance(size, str) else size,
            "linewidths": 0, "rasterized": n > MAX_VECTORS, **options,
        }  # fmt: skip
        draw = self._groups if are_groups(self.values, self.kind) else self._scale
        draw(order, labels, cmap, options)
        self._frame(flat, title)
        if flat and self.texts_:
            push_apart(self.texts_)
        return self

    def _scatter(self, order, options):
        """The points in this order, and with each what `options` say of it."""
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

    def _groups(self, order, labels, cmap, options):
        if self.values is None:
            options.setdefault("color", colors_of(1)[0])
            self._scatter(order, options)
            return
        groups, codes = one_of_each(self.values)
        # Position -1 is the last row: what has no group.
        colors = np.vstack([colors_of(len(groups)), rgb(GREY)])
        order = order[np.argsort(codes[order] >= 0, kind="stable")]
        options.setdefault("c", colors[codes])
        self._scatter(order, options)
        if labels == "auto":
            labels = "legend" if len(groups) <= MAX_LEGEND else "medians"
        if labels == "legend":
            self._add_legend(groups, colors)
        elif labels == "medians":
            self._add_medians(groups, codes, colors)

    def _add_legend(self, groups, colors):
        points = [
            self.ax_.scatter([], [], s=40, color=color, linewidths=0) for color in colors[: len(groups)]
        ]
        self.legend_ = self.ax_.legend(
            points, [name_of(group) for group in groups], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False,
            handletextpad=0.1,
        )  # fmt: skip

    def _add_medians(self, groups, codes, colors):
        from matplotlib.patheffects import withStroke

        look = {"ha": "center", "va": "center", "fontsize": 11, "fontweight": "bold"}
        for k, group in enumerate(groups):
            x = np.median(self.embedding[codes == k], axis=0)
            text = self.ax_.text(*x, name_of(group), color=0.6 * colors[k], **look)
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
            self.texts_.append(text)

    def _scale(self, order, labels, cmap, options):
        options.setdefault("c", np.asarray(self.values, dtype=float))
        self._scatter(order, {"cmap": cmap, "plotnonfinite": False, **options})
        self.colorbar_ = self.figure_.colorbar(self.scatter_, ax=self.ax_, shrink=0.5, aspect=25, pad=0.02)
        self.colorbar_.outline.set_visible(False)

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
