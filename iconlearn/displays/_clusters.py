"""How large the clusters are, and how sure of them their rows are."""

from __future__ import annotations

import numpy as np

from .._torch_state import as_array
from ._canvas import INK, axes_of, name_of

# Bands of the probability of a row's own cluster, the surest first; lower ends and shades.
BANDS = ((0.9, "#0A2F51"), (0.7, "#3D7AB5"), (0.5, "#9CC3E3"), (0.0, "#E3E3E3"))


class ClusterDisplay:
    """Sizes of clusters as bars, split by how probable the rows find their cluster.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    probabilities : ndarray of shape (n_samples, n_clusters)
        Soft assignments; rows sum to one.
    names : sequence of str or None, default=None
        Names of the clusters; None numbers them.

    Attributes
    ----------
    sizes_ : ndarray of int of shape (n_clusters,)
        Rows whose most probable cluster it is.
    confidence_ : ndarray of shape (n_clusters,)
        Mean probability of the cluster among these rows; NaN where there are none.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : list of matplotlib BarContainer
        One for every band of probability.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONClustering
    >>> from iconlearn.displays import ClusterDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> clusters = ICONClustering(3, random_state=0).fit(X)
    >>> int(ClusterDisplay.from_estimator(clusters, X).sizes_.sum())
    150
    """

    def __init__(self, probabilities, names=None):
        self.probabilities = probabilities
        self.names = names

    @classmethod
    def from_estimator(cls, estimator, X, *, names=None, ax=None, **options):
        """Draw the clusters, or classes, that an estimator finds in X.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``
        X : array-like or sparse matrix of shape (n_samples, n_features)
        names : sequence of str or None, default=None
            Names of the clusters; None takes ``classes_`` where there are any, else numbers.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        ClusterDisplay
        """
        names = getattr(estimator, "classes_", None) if names is None else names
        return cls.from_predictions(estimator.predict_proba(X), names=names, ax=ax, **options)

    @classmethod
    def from_predictions(cls, probabilities, *, names=None, ax=None, **options):
        """Draw soft assignments that are known.

        Parameters
        ----------
        probabilities : array-like of shape (n_samples, n_clusters)
        names : sequence of str or None, default=None
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        ClusterDisplay
        """
        probabilities = np.asarray(as_array(probabilities), dtype=float)
        if probabilities.ndim != 2 or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
            raise ValueError(
                f"probabilities has shape {probabilities.shape}: it must have a row for every sample, and rows that "
                f"sum to one, as predict_proba gives them"
            )
        if names is not None and len(names) != probabilities.shape[1]:
            raise ValueError(f"there are {len(names)} names for {probabilities.shape[1]} clusters")
        return cls(probabilities, names).plot(ax, **options)

    def plot(self, ax=None, *, sort=True, title=None, **options):
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        sort : bool, default=True
            Whether the largest cluster comes first.
        title : str or None, default=None
        **options
            Passed on to ``Axes.barh``.

        Returns
        -------
        self
        """
        own, highest = self.probabilities.argmax(axis=1), self.probabilities.max(axis=1)
        k = self.probabilities.shape[1]
        self.sizes_ = np.bincount(own, minlength=k)
        total = np.bincount(own, highest, minlength=k)
        self.confidence_ = np.divide(total, self.sizes_, out=np.full(k, np.nan), where=self.sizes_ > 0)
        order = np.argsort(-self.sizes_, kind="stable") if sort else np.arange(k)
        self.ax_ = ax = axes_of(ax, figsize=(6.5, max(1.8, 0.3 * k + 1.0)))
        self.figure_ = ax.figure
        self.bars_, left, above = [], np.zeros(k), np.inf
        for low, shade in BANDS:
            counts = np.bincount(own[(highest >= low) & (highest < above)], minlength=k)[order]
            label = f"{low:g} and more" if low > 0 else f"below {above:g}"
            bar = ax.barh(
                np.arange(k), counts, left=left, label=label, **{"color": shade, "height": 0.8, **options}
            )
            self.bars_.append(bar)
            left, above = left + counts, low
        self._name(order)
        if title is not None:
            ax.set_title(title, color=INK, loc="left")
        return self

    def _name(self, order):
        ax, k = self.ax_, len(order)
        names = [str(j) for j in range(k)] if self.names is None else [name_of(name) for name in self.names]
        ax.set_yticks(np.arange(k), [names[j] for j in order], parse_math=False)
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set(xlabel="rows")
        ax.spines[["top", "right", "left"]].set_visible(False)
        for place, j in enumerate(order):
            text = f"{self.confidence_[j]:.2f}" if self.sizes_[j] else "empty"
            ax.annotate(
                text, (self.sizes_[j], place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9,
                color=INK,
            )  # fmt: skip
        ax.margins(x=0.08)
        ax.legend(
            title="probability of the own cluster\n(its mean beside the bar)", title_fontsize=9, fontsize=9,
            frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5),
        )  # fmt: skip
