"""Which clusters lie in which: layers of one path of merges as rows of bars, each over those that it holds."""

from __future__ import annotations

import numpy as np

from ._canvas import INK, axes_of, colors_of, ink_on, name_of

# Bars narrower than this share of the rows have no number.
NARROW = 0.03


class ClusterTreeDisplay:
    """Layers of clusters, the coarsest at the top; a bar is as wide as its cluster has rows.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    layers : sequence of ndarray of int of shape (n_samples,)
        Labels from the finest resolution to the coarsest, each nested in the next; -1 counts in no bar.
    tree : mapping
        ``{(layer, number): [(layer - 1, number), ...]}`` with the root (number of layers, 0).

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : dict of matplotlib Rectangle
        By (layer, number).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from iconlearn import ICONClustering
    >>> from iconlearn.displays import ClusterTreeDisplay
    >>> X, _ = load_digits(return_X_y=True)
    >>> display = ClusterTreeDisplay.from_estimator(ICONClustering(5, n_init=2, random_state=0).fit(X[:300]))
    """

    def __init__(self, layers, tree):
        self.layers = layers
        self.tree = tree

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **options):
        """Draw the layers of a fit.

        Parameters
        ----------
        estimator : fitted ICONClustering
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        ClusterTreeDisplay
        """
        return cls(estimator.cluster_layers_, estimator.cluster_tree_).plot(ax, **options)

    def plot(self, ax=None, *, names=None, title=None):
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        names : mapping or None, default=None
            ``{(layer, number): name}``; clusters without one have their number.
        title : str or None, default=None

        Returns
        -------
        self
        """
        n_layers, names = len(self.layers), names or {}
        self.ax_ = ax = axes_of(ax, figsize=(8.0, 0.8 + 0.55 * n_layers))
        self.figure_, self.bars_ = ax.figure, {}
        sizes = [np.bincount(labels[labels >= 0]) for labels in self.layers]
        n_rows = sizes[0].sum()
        tops = self.tree[n_layers, 0]
        stack, begin = [], 0.0
        for top, color in zip(tops, colors_of(len(tops)), strict=True):
            stack.append((top, begin, color))
            begin += self._width(sizes, top)
        while stack:
            cluster, left, color = stack.pop()
            layer, width = cluster[0], self._width(sizes, cluster)
            drawn = ax.barh(
                layer, width, 0.9, left, align="edge", color=color, edgecolor="white", linewidth=0.8
            )
            self.bars_[cluster] = drawn[0]
            if width >= NARROW * n_rows or cluster in names:
                text = name_of(names.get(cluster, cluster[1]))
                look = {"ha": "center", "va": "center", "fontsize": 8, "color": ink_on(color)}
                ax.text(left + width / 2, layer + 0.45, text, **look)
            for child in self.tree.get(cluster, []):
                stack.append((child, left, color))
                left += self._width(sizes, child)
        ax.set(xlim=(0, n_rows), ylim=(0, n_layers), xlabel="rows", ylabel="clusters")
        ax.set_yticks(
            np.arange(n_layers) + 0.45, [str(len(np.unique(labels[labels >= 0]))) for labels in self.layers]
        )
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)
        if title is not None:
            ax.set_title(title, color=INK, loc="left")
        return self

    def _width(self, sizes, cluster):
        """Rows of a cluster; at the finest layer those that are counted, above the sum of what it holds."""
        if cluster[0] == 0:
            return float(sizes[0][cluster[1]]) if cluster[1] < len(sizes[0]) else 0.0
        return sum(self._width(sizes, child) for child in self.tree[cluster])
