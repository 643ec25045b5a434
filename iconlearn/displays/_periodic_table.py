"""The periodic table of methods as a grid."""

from __future__ import annotations

from ..recipes import periodic_table
from ._canvas import INK, axes_of

# Where the divergence starts, and cells that were empty before the table was drawn.
SHADES = {"p to q": "#CFE3F1", "q to p": "#F3E2C3", "gap": "#FFFFFF", "empty": "#F4F4F4"}
# Width and height of a cell, and height of a name in it, in inches.
CELL, LINE = (1.45, 0.3), 0.17


class PeriodicTableDisplay:
    """Methods as cells: columns are choices of p, rows choices of q.

    Make one with :meth:`from_table`.

    Parameters
    ----------
    table : PeriodicTable
        What is drawn; a part of the table, such as ``table[:12]``, is one too.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    cells_ : dict of matplotlib Rectangle
        By (name of p, name of q).
    texts_ : dict of matplotlib Text
        By key of the recipe.

    Examples
    --------
    >>> from iconlearn.displays import PeriodicTableDisplay
    >>> display = PeriodicTableDisplay.from_table()
    """

    def __init__(self, table):
        self.table = table

    @classmethod
    def from_table(cls, table=None, *, ax=None, **options):
        """Draw a table.

        Parameters
        ----------
        table : PeriodicTable or None, default=None
            As :func:`iconlearn.periodic_table` gives it; None is all of that.
        ax : matplotlib Axes or None, default=None
        **options
            Passed on to :meth:`plot`.

        Returns
        -------
        PeriodicTableDisplay
        """
        table = periodic_table() if table is None else table
        if len(table) == 0:
            raise ValueError("the table has no recipes, so there is nothing to draw")
        return cls(table).plot(ax, **options)

    def plot(self, ax=None, *, fontsize=9.0, title=None):
        """Draw the grid.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            A new figure by default, as large as the names need.
        fontsize : float, default=9.0
            Of the names in the cells, in points.
        title : str or None, default=None

        Returns
        -------
        self
        """
        from matplotlib.patches import Patch, Rectangle

        ps, qs = self.table.ps, self.table.qs
        lines = {(p, q): [_lines(e.name) for e in self.table.cell(p, q)] for p in ps for q in qs}
        # A row is as high as its fullest cell.
        counts = [max(sum(map(len, lines[p, q])) for p in ps) for q in qs]
        heights = [CELL[1] + LINE * count for count in counts]
        bottoms = [sum(heights[: k + 1]) for k in range(len(qs))]
        size = (CELL[0] * len(ps) + 1.8, sum(heights) + 1.4)
        self.ax_ = ax = axes_of(ax, figsize=size)
        self.figure_, self.cells_, self.texts_ = ax.figure, {}, {}
        for i, q in enumerate(qs):
            for j, p in enumerate(ps):
                entries = self.table.cell(p, q)
                box = Rectangle(
                    (CELL[0] * j, bottoms[i]), CELL[0], -heights[i], facecolor=_shade(entries), edgecolor="white",
                    linewidth=2,
                )  # fmt: skip
                self.cells_[p, q] = ax.add_patch(box)
                self._fill(entries, lines[p, q], CELL[0] * (j + 0.5), bottoms[i] - heights[i] / 2, fontsize)
        ax.set(xlim=(0, CELL[0] * len(ps)), ylim=(sum(heights), 0))
        ax.set_xticks([CELL[0] * (j + 0.5) for j in range(len(ps))], ["\n".join(_lines(p)) for p in ps])
        ax.set_yticks(
            [b - h / 2 for b, h in zip(bottoms, heights, strict=True)], ["\n".join(_lines(q)) for q in qs]
        )
        ax.tick_params(length=0, labelsize=fontsize + 1, labeltop=True, labelbottom=False, colors=INK)
        ax.spines[:].set_visible(False)
        ax.xaxis.set_label_position("top")
        ax.set_xlabel("p: what should be near what", fontsize=fontsize + 3, labelpad=10, color=INK)
        ax.set_ylabel("q: how near the model says it is", fontsize=fontsize + 3, labelpad=10, color=INK)
        names = {
            "p to q": "divergence of p from q", "q to p": "divergence of q from p", "gap": "new with the table",
        }  # fmt: skip
        ax.legend(
            handles=[Patch(facecolor=SHADES[k], edgecolor="#999999", label=v) for k, v in names.items()],
            loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, frameon=False, fontsize=fontsize,
        )  # fmt: skip
        if title is not None:
            ax.set_title(title, color=INK, fontsize=fontsize + 6, pad=16)
        return self

    def _fill(self, entries, lines, x, middle, fontsize):
        """Write the names of a cell under one another."""
        y = middle - LINE * sum(map(len, lines)) / 2
        for entry, parts in zip(entries, lines, strict=True):
            height = LINE * len(parts)
            self.texts_[entry.key] = self.ax_.text(
                x, y + height / 2, "\n".join(parts), ha="center", va="center", fontsize=fontsize, color=INK,
                style="italic" if entry.gap else "normal", linespacing=1.0,
            )  # fmt: skip
            y += height


def _shade(entries):
    if not len(entries):
        return SHADES["empty"]
    if all(entry.gap for entry in entries):
        return SHADES["gap"]
    return SHADES[entries[0].direction]


def _lines(name, width=20):
    """A name broken between its words, so that no line is much wider than a cell."""
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
