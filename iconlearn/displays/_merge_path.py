"""How many clusters stand out: eigengaps, relative gaps and stability along a path of merges."""

from __future__ import annotations

import numpy as np

from ._canvas import GREY, INK, axes_of, colors_of

# What is drawn by default, and what it is called.
NAMES = {
    "score": "score (eigengap, information, relative gap)",
    "relative_gap": "relative gap of merges",
    "stability": "stability",
}


class MergePathDisplay:
    """Curves over the number of clusters, each divided by its largest value.

    The curves have units of their own, so their heights cannot be compared with each other: a number of clusters stands
    out where a curve is at one and lower on both sides.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    path : MergePath
        A named tuple of arrays, ``merge_path_`` of a fit.
    n_clusters : int or None, default=None
        The number of clusters of the fit, which is marked.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of matplotlib Line2D
        One for every curve.
    mark_ : matplotlib Line2D or None
        The line at the number of clusters of the fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONClustering
    >>> from iconlearn.displays import MergePathDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> display = MergePathDisplay.from_estimator(ICONClustering("auto", random_state=0).fit(X))
    """

    def __init__(self, path, *, n_clusters=None):
        self.path = path
        self.n_clusters = n_clusters

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **options):
        """Draw the path of a fit.

        Parameters
        ----------
        estimator : fitted ICONClustering
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        MergePathDisplay
        """
        return cls(estimator.merge_path_, n_clusters=estimator.n_clusters_).plot(ax, **options)

    def plot(self, ax=None, *, columns=tuple(NAMES), title=None, **options):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        columns : tuple of str, default=("score", "relative_gap", "stability")
            Fields of the path.
        title : str or None, default=None
        **options
            Passed on to ``Axes.plot`` for every curve.

        Returns
        -------
        self
        """
        for name in columns:
            if name not in self.path._fields[1:]:
                raise ValueError(
                    f"columns holds {name!r}: it must be made of {', '.join(map(repr, self.path._fields[1:]))}"
                )
        if len(self.path.n_clusters) == 0:
            raise ValueError("the path is empty: there were too few rows for two clusters")
        self.ax_ = ax = axes_of(ax, figsize=(6.5, 3.8))
        self.figure_, self.lines_, self.mark_ = ax.figure, {}, None
        if self.n_clusters is not None:
            self.mark_ = ax.axvline(self.n_clusters, color=GREY, linewidth=6, alpha=0.6, zorder=0)
            ax.annotate(
                f"{self.n_clusters} clusters", (self.n_clusters, 1.0), xycoords=("data", "axes fraction"),
                xytext=(4, 2), textcoords="offset points", color=INK, fontsize=9,
            )  # fmt: skip
        for name, color in zip(columns, colors_of(len(columns)), strict=True):
            values = np.asarray(getattr(self.path, name), dtype=float)
            scaled = values / max(np.abs(values).max(), np.finfo(float).tiny)
            drawn = {
                "color": color,
                "linewidth": 1.6,
                "marker": ".",
                "label": NAMES.get(name, name),
                **options,
            }
            (self.lines_[name],) = ax.plot(self.path.n_clusters, scaled, **drawn)
        ax.set(xscale="log", xlabel="number of clusters", ylabel="each curve divided by its maximum")
        ticks = [k for k in (2, 3, 5, 10, 20, 50, 100, 150) if k <= self.path.n_clusters[-1]]
        ax.set_xticks(ticks, [str(k) for k in ticks])
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
        # Below the axes: there is no corner that no curve visits.
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(-0.02, -0.16), ncols=2)
        if title is not None:
            ax.set_title(title, color=INK, loc="left", pad=16)
        return self
