"""p against q around one row: what should be near it, and what the model has near it.

q(j|i) = (1 - debias) k(u_i, v_j) / sum_k k(u_i, v_k) + debias / m
"""

from __future__ import annotations

import numpy as np
import torch

from .._checks import check_number
from .._torch_state import as_array
from ..numerics.geometry import matrix
from ..supervisory import declared
from ._canvas import GREY, INK, axes_of, colors_of, name_of


class NeighborDistributionDisplay:
    """The supervisory and the learned distribution of one row, column by column.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    p, q : ndarray of shape (n_columns,)
        Both sum to one.
    names : sequence of str or None, default=None
        Names of the columns; None numbers them.
    same : ndarray of bool of shape (n_columns,) or None, default=None
        Which columns are of the row's own group.
    row : str or None, default=None
        Which row it is: the title, unless :meth:`plot` is given another.
    columns : str, default="columns"
        What the columns are.

    Attributes
    ----------
    columns_ : ndarray of int
        The columns that are drawn: those of the largest p, then of the largest q.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    p_bars_, q_bars_ : matplotlib BarContainer

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> from iconlearn.displays import NeighborDistributionDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> embedding = ICONEmbedding(max_iter=50, random_state=0).fit(X)
    >>> display = NeighborDistributionDisplay.from_estimator(embedding, X, y, index=7)
    """

    def __init__(self, p, q, names=None, same=None, *, row=None, columns="columns"):
        self.p = p
        self.q = q
        self.names = names
        self.same = same
        self.row = row
        self.columns = columns

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, index=0, ax=None, **options):
        """Draw p and q around one training row.

        Parameters
        ----------
        estimator : fitted ICONEmbedding, ICONClustering or ICONClassifier
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The training rows.
        y : array-like of shape (n_samples,) or None, default=None
            Groups of the rows: columns of the row's own group are distinguished from the others, and all are named.
        index : int, default=0
            Which row.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        NeighborDistributionDisplay
        """
        conditional = estimator.p_.conditional_
        if conditional.wide or declared(estimator.p_, "fresh"):
            raise ValueError(
                f"p={estimator.p_!r} has no probabilities of rows to draw: they are in a limit, or of views that are "
                f"drawn anew at every step"
            )
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        if conditional.n_rows != n:
            raise ValueError(
                f"X has {n} rows, and p was fitted on {conditional.n_rows}; give the training rows"
            )
        check_number("index", index, low=0, high=n - 1, integer=True)
        columns = getattr(estimator, "column_embedding_", None)
        if columns is None and conditional.n_cols != n:
            columns = estimator.prototypes_
        p = conditional.full(np.array([index]))[0]
        q = _row_of_q(estimator.q_, conditional, as_array(estimator.transform(X)), columns, index)
        names, same, row, kind = None, None, f"row {index}", "training rows"
        groups = None if y is None else np.asarray(as_array(y))
        if groups is not None and groups.shape != (n,):
            raise ValueError(
                f"y has shape {groups.shape}, and X has {n} rows; give one group for each row, and the row as index="
            )
        if groups is not None:
            row = f"{row}, {name_of(groups[index])}"
        if declared(estimator.p_, "columns") == "classes":
            names, kind = getattr(estimator, "classes_", None), "classes"
        elif conditional.n_cols != n:
            kind = "columns"
        elif groups is not None:
            names, same = groups, groups == groups[index]
        return cls.from_predictions(p, q, names=names, same=same, row=row, columns=kind, ax=ax, **options)

    @classmethod
    def from_predictions(
        cls, p, q, *, names=None, same=None, row=None, columns="columns", ax=None, **options
    ):
        """Draw two distributions that are known.

        Parameters
        ----------
        p, q : array-like of shape (n_columns,)
            Both sum to one.
        names : sequence or None, default=None
            Names of the columns.
        same : array-like of bool of shape (n_columns,) or None, default=None
            Which columns are of the row's own group.
        row : str or None, default=None
            Which row it is.
        columns : str, default="columns"
            What the columns are.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        NeighborDistributionDisplay
        """
        p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
        if p.ndim != 1 or p.shape != q.shape:
            raise ValueError(f"p and q have shapes {p.shape} and {q.shape}: both must be (n_columns,)")
        for name, value in {"p": p, "q": q}.items():
            if value.min() < 0 or abs(value.sum() - 1) > 1e-3:
                raise ValueError(
                    f"{name} is no distribution: it sums to {value.sum():g}, least {value.min():g}"
                )
        return cls(p, q, names, same, row=row, columns=columns).plot(ax, **options)

    def plot(self, ax=None, *, n_columns=30, title=None, **options):
        """Draw p upwards and q downwards.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        n_columns : int, default=30
            Most columns that are drawn; how much of p and of q is on the others is written beside.
        title : str or None, default=None
            None is a title with the row's number.
        **options
            Passed on to ``Axes.bar``.

        Returns
        -------
        self
        """
        check_number("n_columns", n_columns, low=1, integer=True)
        self.columns_ = shown = self._chosen(n_columns)
        self.ax_ = ax = axes_of(ax, figsize=(8.5, 4.2))
        self.figure_ = ax.figure
        of_p, of_q = colors_of(6)[[0, 5]]
        x, options = np.arange(len(shown)), {"width": 0.8, **options}
        self.p_bars_ = ax.bar(x, self.p[shown], **{"color": of_p, **options})
        self.q_bars_ = ax.bar(x, -self.q[shown], **{"color": of_q, **options})
        ax.axhline(0, color="white", linewidth=2)
        for color, values, height in ((of_p, self.p, 0.97), (of_q, self.q, 0.03)):
            rest = max(0.0, 1 - values[shown].sum())
            side = "p: neighbours in the data" if height > 0.5 else "q: neighbours in the model"
            ax.text(
                0.99, height, f"{side}\n{100 * rest:.0f} % on other {self.columns}", transform=ax.transAxes, ha="right",
                va="top" if height > 0.5 else "bottom", color=color, fontsize=11,
            )  # fmt: skip
        highest = 1.1 * max(self.p[shown].max(), self.q[shown].max())
        ax.set(ylim=(-highest, highest), xlim=(-0.7, len(shown) - 0.3), ylabel="probability")
        ax.yaxis.set_major_formatter(lambda value, place: f"{abs(value):g}")
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        self._name_columns(shown)
        if title is not None:
            ax.set_title(title, color=INK, loc="left")
        elif self.row is not None:
            ax.set_title(self.row, color=INK, loc="left", parse_math=False)
        return self

    def _chosen(self, n_columns):
        """Up to half of them those of the largest p, then those of the largest q among the others."""
        order = np.lexsort((-self.q, -self.p))
        # What the model has near and should not is half of the story.
        supported = min(int((self.p > self.p.min()).sum()), -(-n_columns // 2))
        first, others = order[:supported], order[supported:]
        others = others[np.argsort(-self.q[others], kind="stable")][: n_columns - supported]
        return np.concatenate([first, others])

    def _name_columns(self, shown):
        names = shown if self.names is None else np.asarray(self.names)[shown]
        names = [name_of(name) for name in names]
        turned = 90 if max(map(len, names)) > 3 else 0
        self.ax_.set_xticks(np.arange(len(shown)), names, fontsize=8, rotation=turned, parse_math=False)
        self.ax_.tick_params(axis="x", length=0)
        self.ax_.set_xlabel(f"{self.columns} by {'number' if self.names is None else 'name'}")
        if self.same is not None:
            for tick, same in zip(self.ax_.get_xticklabels(), np.asarray(self.same)[shown], strict=True):
                tick.set(color=INK if same else GREY, fontweight="bold" if same else "normal")
            self.ax_.set_xlabel(f"{self.columns} by group; bold: the row's own")


def _row_of_q(q, conditional, places, columns, index):
    """q of one row over the columns of p, in double precision; the columns are the rows where they are None."""
    places = _outputs(q, places)
    with torch.no_grad():
        own = q.place(places, mass=None)[[index]]
        others = q.place(places if columns is None else _outputs(q, columns), columns=True)
        log_k = q.log_kernel(matrix(q.scalar, own, others))[0]
        candidates = len(log_k)
        if columns is None and not (conditional.self_pairs or q.self_pairs):
            log_k[index], candidates = -torch.inf, candidates - 1
        if q.normalize == "doubly":
            log_k = log_k + q.potentials_.to(log_k)
        row = torch.softmax(log_k, 0).numpy()
    return (1 - q.debias) * row + q.debias / candidates * (log_k.numpy() > -np.inf)


def _outputs(q, places):
    """What a mapper gives for these places; assignments to clusters are its outputs' softmax."""
    places = torch.from_numpy(np.asarray(places, dtype=float))
    return torch.log(places.clamp_min(1e-300)) if q.shared_clusters else q.outputs(places)
