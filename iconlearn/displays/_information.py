"""Information during a fit: what a representation tells, and what that guarantees."""

from __future__ import annotations

import numpy as np

from ._canvas import GREY, INK, axes_of, colors_of


class InformationDisplay:
    """What a representation U tells about another view Y and the label Z while it is learned.

    The first panel has I(U; Y), I(U; Z) and the bound on it, beside what the views share and what the other view tells
    of the label; the second how far the bound is from the most that it can be.  Without labels there is one panel.

    Make one with :meth:`from_tracker`.

    Parameters
    ----------
    history : sequence of TrackedInformation
        As an :class:`iconlearn.metrics.InformationTracker` keeps it.
    views : float
        I(X; Y), from above.
    label_view : float
        I(Y; Z); NaN without labels.
    unit : str, default="iteration"
        What lies between two looks.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (1,) or (2,)
    figure_ : matplotlib Figure
    lines_ : dict of matplotlib Line2D
        By what they show: "I(U; Y)", "I(U; Z)", "bound", "bound of the second panel".

    Examples
    --------
    >>> from iconlearn.displays import InformationDisplay
    >>> from iconlearn.metrics import TrackedInformation
    >>> history = [TrackedInformation(k, 0.4 * k, 1.5, 0.3 * k, 0.5, 0.9) for k in (1, 2, 3)]
    >>> display = InformationDisplay(history, views=6.0, label_view=2.0).plot()
    """

    def __init__(self, history, views, label_view, *, unit="iteration"):
        self.history = history
        self.views = views
        self.label_view = label_view
        self.unit = unit

    @classmethod
    def from_tracker(cls, tracker, *, axes=None, unit="iteration", **options):
        """Draw what a tracker has seen.

        Parameters
        ----------
        tracker : InformationTracker
            After a fit that it was a callback of.
        axes : sequence of matplotlib Axes or None, default=None
        unit : str, default="iteration"
            What lies between two looks; "epoch" for fits by batches.
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        InformationDisplay

        Raises
        ------
        ValueError
            If the tracker has seen nothing.
        """
        if not tracker.history:
            raise ValueError(
                "the tracker has seen no iteration; give it to an estimator as a callback, and fit that"
            )
        return cls(list(tracker.history), tracker.views, tracker.label_view, unit=unit).plot(axes, **options)

    def plot(self, axes=None, *, title=None, **options):
        """Draw the panels.

        Parameters
        ----------
        axes : sequence of matplotlib Axes or None, default=None
            Two, or one where there are no labels.
        title : str or None, default=None
            Of the first panel.
        **options
            Passed on to ``Axes.plot`` for all curves.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are too few axes.
        """
        labelled = not np.isnan(self.label_view)
        needed = 2 if labelled else 1
        if axes is None:
            axes = axes_of(None, ncols=needed, figsize=(5.5 * needed, 3.8))
        axes = np.atleast_1d(np.array(axes, dtype=object)).ravel()
        if len(axes) < needed:
            raise ValueError(f"{needed} panels need as many axes, and axes={len(axes)} were given")
        self.axes_, self.figure_, self.lines_ = axes[:needed], axes[0].figure, {}
        seen = np.array([list(record) for record in self.history], dtype=float)
        at, told, label, bound = seen[:, 0], seen[:, 1], seen[:, 2], seen[:, 3]
        shades = colors_of(6)
        curves = {"I(U; Y)": (told, shades[0])}
        if labelled:
            curves |= {"I(U; Z)": (label, shades[3]), "bound": (bound, shades[5])}
        first = self.axes_[0]
        for name, (values, color) in curves.items():
            # The bound may be I(U; Y) itself, and then both are seen.
            dashed = {"linestyle": (0, (5, 2))} if name == "bound" else {}
            self.lines_[name] = self._curve(first, at, values, name, color, dashed | options)
        self._level(first, self.views, "I(X; Y), at most")
        first.set_title(title or "what the representation tells", color=INK, loc="left")
        if labelled:
            self._level(first, self.label_view, "I(Y; Z)", below=True)
            self._draw_gap(at, label, bound, shades, options)
        for ax in self.axes_:
            ax.set(xlabel=self.unit, ylabel="nats")
            ax.spines[["top", "right"]].set_visible(False)
            ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
            ax.legend(facecolor="white", edgecolor="none", framealpha=0.9, fontsize=9)
        return self

    def _draw_gap(self, at, label, bound, shades, options):
        ax, most = self.axes_[1], min(self.views, self.label_view)
        line = self._curve(ax, at, bound, "bound", shades[5], options)
        self.lines_["bound of the second panel"] = line
        self._curve(ax, at, label, "I(U; Z)", shades[3], options)
        self._level(ax, most, "bound at most min(I(X; Y), I(Y; Z))")
        ax.fill_between(at, bound, most, color=GREY, alpha=0.25, linewidth=0, zorder=0)
        ax.annotate(
            f"{most - bound[-1]:.2f}", (at[-1], 0.5 * (most + bound[-1])), xytext=(4, 0), textcoords="offset points",
            va="center", color=INK, fontsize=9, annotation_clip=False,
        )  # fmt: skip
        ax.set_title("the bound, and the most that it can reach", color=INK, loc="left")

    @staticmethod
    def _curve(ax, at, values, name, color, options):
        marker = "o" if len(at) < 2 else None  # a single look is a point, which a line would not show
        (line,) = ax.plot(
            at, values, **{"color": color, "linewidth": 2, "marker": marker, "label": name, **options}
        )
        return line

    @staticmethod
    def _level(ax, value, name, below=False):
        ax.axhline(value, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.annotate(
            name, (1.0, value), xycoords=("axes fraction", "data"), xytext=(-3, -2 if below else 2),
            textcoords="offset points", ha="right", va="top" if below else "bottom", color=INK, fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )  # fmt: skip
