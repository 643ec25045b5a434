"""The periodic table: every recipe in its cell, as a sequence, a data frame or a grid in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from html import escape

from ._recipe import RECIPES, Recipe

ROWS = (
    "Gaussian",
    "Gaussian, σ → ∞",
    "Gaussian, σ → 0",
    "Student-t",
    "Student-t, hyperbolic",
    "Uniform on clusters",
    "Density on the whole space",
)
COLUMNS = (
    "Gaussian",
    "Gaussian, σ → ∞",
    "Student-t",
    "Identity",
    "Graph",
    "Uniform k-NN",
    "Positive pairs",
    "Cross-modal pairs",
    "Given candidates",
    "Classes",
    "Data-label pairs",
    "Co-occurrence",
    "What comes next",
    "Generated labels",
    "A teacher",
    "Own features",
)
# Where each recipe is described, relative to the page that shows the grid.
PAGE = "periodic_table.html"


class PeriodicTable(Sequence):
    """One entry per recipe, in the order of the families.

    Parameters
    ----------
    entries : sequence of Recipe
    """

    def __init__(self, entries):
        self._entries = tuple(entries)

    def __len__(self):
        return len(self._entries)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return PeriodicTable(self._entries[place])
        return self._entries[place]

    def __repr__(self):
        width = max((len(e.key) for e in self), default=0)
        lines = [f"{e.key:<{width}}  {e.name} ({e.p} | {e.q})" for e in self]
        return "\n".join([f"PeriodicTable of {len(self)} recipes", *lines])

    @property
    def ps(self) -> list[str]:
        """Names of its columns, the p that any recipe here has, in the order of the grid."""
        return [name for name in COLUMNS if any(e.p == name for e in self)]

    @property
    def qs(self) -> list[str]:
        """Names of its rows, the q that any recipe here has, in the order of the grid."""
        return [name for name in ROWS if any(e.q == name for e in self)]

    def cell(self, p, q):
        """The recipes whose p and q have these names."""
        return PeriodicTable(e for e in self if e.p == p and e.q == q)

    def to_pandas(self):
        """A DataFrame with a row per recipe and a column per fact; needs pandas.

        Raises
        ------
        ImportError
            Where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas; install it with: pip install pandas") from error
        names = [f.name for f in fields(Recipe) if f.name != "make"]
        return pandas.DataFrame([[getattr(e, n) for n in names] for e in self], columns=names).set_index(
            "key"
        )

    def _repr_html_(self):
        head = "".join(f"<th>{escape(p)}</th>" for p in self.ps)
        body = []
        for q in self.qs:
            cells = "".join(f"<td>{_links(self.cell(p, q))}</td>" for p in self.ps)
            body.append(f"<tr><th>{escape(q)}</th>{cells}</tr>")
        return (
            '<table class="iconlearn-periodic-table"><caption>rows: q, columns: p</caption>'
            f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        )


def _links(entries):
    """Links to the recipes of a cell; those of cells that were empty before are in italics."""
    links = []
    for e in entries:
        link = f'<a href="{PAGE}#{escape(e.key)}" title="{escape(e.formula)}">{escape(e.name)}</a>'
        links.append(f"<i>{link}</i>" if e.gap else f"<b>{link}</b>")
    return "<br>".join(links)


def periodic_table() -> PeriodicTable:
    """All recipes.

    Examples
    --------
    >>> import iconlearn
    >>> table = iconlearn.periodic_table()
    >>> table.cell("Gaussian", "Student-t")[0].name
    't-SNE'
    """
    return PeriodicTable(RECIPES.values())
