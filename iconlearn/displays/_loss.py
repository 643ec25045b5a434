"""How the loss fell, phase by phase."""

from __future__ import annotations

import numpy as np

from ._canvas import GREY, INK, axes_of, colors_of

# A history that spans more than this factor is drawn on a logarithmic axis.
MAX_LINEAR = 20.0


class LossDisplay:
    """The true loss of every iteration, its phases marked.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    history : ndarray of shape (n_records,)
        Losses.
    phases : ndarray of str of shape (n_records,) or None, default=None
        Name of the phase that each belongs to.
    parts : ndarray of shape (n_records, n_terms) or None, default=None
        Weighted terms that the losses are made of.
    kept : float or None, default=None
        Loss at what was kept in the end.
    unit : str, default="iteration"
        The unit between two losses.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
    part_lines_ : list of matplotlib Line2D
        One for every term, where there are several.
    spans_ : list of matplotlib artists
        One for every phase, where there are several.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> from iconlearn.displays import LossDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> display = LossDisplay.from_estimator(ICONEmbedding(max_iter=60, random_state=0).fit(X))
    """

    def __init__(self, history, phases=None, parts=None, *, kept=None, unit="iteration"):
        self.history = history
        self.phases = phases
        self.parts = parts
        self.kept = kept
        self.unit = unit

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **options):
        """Draw the history of a fit.

        Parameters
        ----------
        estimator : fitted ICONEmbedding, ICONClustering or ICONClassifier
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        LossDisplay
        """
        return cls.from_predictions(
            estimator.loss_history_, estimator.loss_phases_, estimator.loss_parts_, kept=estimator.loss_,
            unit="epoch" if estimator.engine_.stochastic else "iteration", ax=ax, **options,
        )  # fmt: skip

    @classmethod
    def from_predictions(
        cls, history, phases=None, parts=None, *, kept=None, unit="iteration", ax=None, **options
    ):
        """Draw losses that are known.

        Parameters
        ----------
        history : array-like of shape (n_records,)
        phases : array-like of str of shape (n_records,) or None, default=None
        parts : array-like of shape (n_records, n_terms) or None, default=None
        kept : float or None, default=None
            See :class:`LossDisplay`.
        unit : str, default="iteration"
            The unit between two losses.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        LossDisplay
        """
        history = np.asarray(history, dtype=float)
        if history.ndim != 1 or len(history) == 0:
            raise ValueError(
                f"the history has shape {history.shape}: it must hold at least one loss; a mapper without anything "
                f"to learn has none"
            )
        for name, value in {"phases": phases, "parts": parts}.items():
            if value is not None and len(value) != len(history):
                raise ValueError(f"{name} has {len(value)} entries for {len(history)} losses")
        phases = None if phases is None else np.asarray(phases, dtype=str)
        parts = None if parts is None else np.asarray(parts, dtype=float)
        return cls(history, phases, parts, kept=kept, unit=unit).plot(ax, **options)

    def plot(self, ax=None, *, log="auto", title=None, **options):
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        log : bool or "auto", default="auto"
            Whether the losses are on a logarithmic axis; "auto": where they span more than a factor of twenty.
        title : str or None, default=None
        **options
            Passed on to ``Axes.plot`` for the line of the loss.

        Returns
        -------
        self
        """
        self.ax_ = ax = axes_of(ax, figsize=(6.5, 3.8))
        self.figure_ = ax.figure
        several = self.parts is not None and self.parts.shape[1] > 1
        shades = colors_of(1 + self.parts.shape[1]) if several else colors_of(1)
        # A single record is a point, which a line would not show.
        options = {
            "color": shades[0],
            "linewidth": 2,
            "marker": "o" if len(self.history) == 1 else None,
            **options,
        }
        x = np.arange(1, len(self.history) + 1)
        self.part_lines_ = []
        if several:
            for k, values in enumerate(self.parts.T):
                self.part_lines_ += ax.plot(x, values, color=shades[1 + k], label=f"term {k + 1}")
            options.setdefault("label", "all terms")
        (self.line_,) = ax.plot(x, self.history, **options)
        if log if isinstance(log, bool) else self._spans_orders():
            ax.set_yscale("log")
        else:
            ax.ticklabel_format(axis="y", useOffset=False)
        ax.set(xlabel=self.unit, ylabel="mean divergence of p from q (nats)")
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.01)
        self._mark_phases()
        self._mark_kept()
        if several:
            ax.legend(frameon=False)
        if title is not None:
            # Above the names of the phases.
            ax.set_title(title, color=INK, loc="left", pad=20 if self.spans_ else None)
        return self

    def _spans_orders(self):
        drawn = self.history if not self.part_lines_ else np.append(self.history, self.parts.ravel())
        return drawn.min() > 0 and drawn.max() > MAX_LINEAR * drawn.min()

    def _mark_phases(self):
        self.spans_ = []
        if self.phases is None or (self.phases == self.phases[0]).all():
            return
        starts = np.flatnonzero(np.append(True, self.phases[1:] != self.phases[:-1]))
        for k, (start, end) in enumerate(zip(starts, np.append(starts[1:], len(self.phases)), strict=True)):
            shade = {"color": GREY, "alpha": 0.3 if k % 2 == 0 else 0.1, "linewidth": 0, "zorder": 0}
            self.spans_.append(self.ax_.axvspan(start + 0.5, end + 0.5, **shade))
            self.ax_.annotate(
                self.phases[start], ((start + end + 1) / 2, 1.0), xycoords=("data", "axes fraction"),
                xytext=(0, 3), textcoords="offset points", ha="center", color=INK, fontsize=9,
            )  # fmt: skip

    def _mark_kept(self):
        if self.kept is None:
            return
        self.ax_.axhline(self.kept, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        self.ax_.annotate(
            f"{self.kept:.4g}", (1.0, self.kept), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", color=INK, fontsize=9, annotation_clip=False,
        )  # fmt: skip
