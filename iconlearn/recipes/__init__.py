"""Recipes: every named method as a choice of p, q and divergence, ready to fit.

    estimator = recipes.tsne(perplexity=50, random_state=0)

Each recipe is a function with the field's own parameter names and a row of data besides (its cell, formula,
paper, and what it was verified against); ``iconlearn.periodic_table()`` lists them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import (
    _clustering,
    _contrastive,
    _distillation,
    _divergences,
    _lists,
    _pretext,
    _reduction,
    _restoration,
    _sequences,
    _supervised,
)
from ._recipe import RECIPES, Recipe
from ._table import PeriodicTable, periodic_table

# The order of the table; each module registers its recipes when it is imported.
FAMILIES = [
    m.__name__
    for m in (
        _reduction,
        _clustering,
        _contrastive,
        _restoration,
        _supervised,
        _lists,
        _sequences,
        _pretext,
        _distillation,
        _divergences,
    )
]
_ordered = sorted(RECIPES.values(), key=lambda entry: FAMILIES.index(entry.make.__module__))
RECIPES.clear()
RECIPES.update((entry.key, entry) for entry in _ordered)
globals().update(RECIPES)

if TYPE_CHECKING:
    # The names come from the rows of the table, which type checkers do not read.
    def __getattr__(name: str) -> Recipe: ...


__all__ = ["PeriodicTable", "Recipe", "periodic_table"]
__all__ += list(RECIPES)
