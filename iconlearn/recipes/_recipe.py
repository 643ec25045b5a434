"""A recipe: one named method as a row of data, and a function that puts its estimator together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from .._checks import suggest

# Every recipe by its key, in the order of the table.
RECIPES: dict[str, Recipe] = {}

# Parameters that define a method; for other values, build the estimator directly.
FIXED = ("p", "q", "terms", "column_mapper")

# What a signature shows where defaults follow from a parameter that must be given.
EXAMPLES = {"shape": (8, 8), "step": 8}


class _Signature:
    """What ``inspect.signature`` and completion read off a recipe: found when it is asked for."""

    def __get__(self, entry, owner=None):
        return None if entry is None else entry._signature()


@dataclass(frozen=True)
class Recipe:
    """A named method; call it for an unfitted estimator.

    Attributes
    ----------
    key : str
        Name of the function.
    name : str
        The method's name in the literature.
    p, q : str
        Column and row of the periodic table.
    formula : str
        p and q, or the limit they have.
    divergence : str
        D.
    direction : {"p to q", "q to p"}
        Which side the divergence starts from.
    mapper, estimator : str
        How rows get their places, and the class that is returned.
    paper : str
        What introduced the method.
    verified : str
        What the tests hold it against.
    data : {"rows", "labelled", "few labels", "graph", "tokens", "halves", "lists", "images", "colour images"}
        What it is fitted to: features; features and classes, or classes of some rows; a square matrix of
        weights; token lists; features of two kinds side by side; features, with lists of row numbers beside them; or
        images, flat, of one channel or of three colours.
    gap : bool
        Whether the cell was empty before the table was drawn.
    make : callable
    """

    key: str
    name: str
    p: str
    q: str
    formula: str
    divergence: str
    direction: str
    mapper: str
    estimator: str
    paper: str
    verified: str
    data: str
    gap: bool
    make: Callable

    __signature__ = _Signature()

    def __post_init__(self):
        # Of the recipe's own, so that help(recipes.tsne) and recipes.tsne? show it.
        object.__setattr__(self, "__doc__", self._description())

    def _description(self):
        own = inspect.signature(self.make).parameters.values()
        needed = [p.name for p in own if p.default is p.empty]
        lines = [
            f"{self.name}: an unfitted {self.estimator}.",
            "",
            f"p and q: {self.formula}",
            f"Divergence: {self.divergence}, {self.direction}. Mapper: {self.mapper}. Fitted to: {self.data}.",
            f"Paper: {self.paper}",
            f"Verified against: {self.verified}",
            "",
            "Parameters",
            "----------",
            *[str(p.replace(annotation=p.empty)) for p in own],
            *([f"    {', '.join(needed)} must be given."] if needed else []),
            "**parameters",
            f"    Any of {self.estimator} but {', '.join(FIXED)}, which make the method.",
            "",
            "Returns",
            "-------",
            self.estimator,
        ]
        return "\n".join(lines)

    def _signature(self) -> inspect.Signature:
        """The recipe's own parameters, then those of its estimator with the defaults that the recipe gives them."""
        own = inspect.signature(self.make).parameters
        needed = {name: EXAMPLES.get(name, 1) for name, value in own.items() if value.default is value.empty}
        estimator = self.make(**needed)
        rest = {
            name: value
            for name, value in estimator.get_params(deep=False).items()
            if name not in FIXED and name not in own
        }
        return inspect.Signature(
            [
                *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.values()),
                *(
                    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value)
                    for name, value in rest.items()
                ),
            ],
            return_annotation=type(estimator),
        )

    @property
    def parameters(self) -> dict:
        """The recipe's own parameters and their defaults (None where one must be given)."""
        own = inspect.signature(self.make).parameters.values()
        return {p.name: None if p.default is p.empty else p.default for p in own}

    def __call__(self, *values, **parameters):
        """An unfitted estimator.

        Parameters
        ----------
        **parameters
            The recipe's own (see ``parameters``), or any of the estimator's but those that make the method
            (p, q, terms, column_mapper); by name only.

        Raises
        ------
        TypeError
            For a value without a name, an unknown name, with the nearest known one; or where a needed one is missing.
        """
        own = inspect.signature(self.make).parameters
        if values:
            first = next(iter(own), "random_state")
            raise TypeError(
                f"recipes.{self.key}() takes its parameters by name: recipes.{self.key}({first}={values[0]!r:.50})"
            )
        missing = [n for n, p in own.items() if p.default is p.empty and n not in parameters]
        if missing:
            raise TypeError(f"recipes.{self.key}() needs {missing[0]}: {_hint(missing[0])}")
        estimator = self.make(**{name: value for name, value in parameters.items() if name in own})
        rest = {name: value for name, value in parameters.items() if name not in own}
        known = [*own, *(name for name in estimator.get_params(deep=False) if name not in FIXED)]
        for name in rest:
            if name in FIXED:
                raise TypeError(
                    f"recipes.{self.key}() sets {name} itself; to change it, call set_params({name}=...) on what it "
                    f"returns"
                )
            if name not in known and name.partition("__")[0] not in FIXED:
                raise TypeError(
                    f"recipes.{self.key}() has no parameter {name!r}; it takes {', '.join(known)}."
                    f"{suggest(name, known)}"
                )
        return estimator.set_params(**rest)

    def __reduce__(self):
        return _by_key, (self.key,)  # the name of its function is that of the recipe itself

    def __repr__(self):
        shown = ", ".join(f"{n}={v!r}" if v is not None else n for n, v in self.parameters.items())
        return f"<recipe {self.key}({shown}): {self.name}, {self.estimator}>"


def _by_key(key):
    """The recipe of a key, for pickles."""
    return RECIPES[key]


def _hint(name):
    hints = {
        "split": "the number of columns of X that are of the first kind",
        "triples": "row numbers (anchor, positive, negative), an array of shape (n_triples, 3)",
        "pairs": "row numbers, an array of shape (n_pairs, 2)",
        "alike": "whether the two rows of each pair belong together, an array of True and False",
        "candidates": "a list of row numbers for each row, the right one first",
        "apart": "pairs of rows that must not share a cluster, an array of shape (n_pairs, 2)",
        "shape": "(height, width) or (channels, height, width) of the images that the rows of X are",
        "step": "the numbers of one step of the sequences that the rows of X are",
        "teacher": "a fitted classifier, or its probabilities of the rows of X",
    }
    return hints.get(name, "give a value")


def recipe(name, *, key=None, p, q, formula, paper, verified, estimator, **rest):
    """Register the decorated function as the recipe of its own name, or of `key`."""
    row = {"divergence": "KL", "direction": "p to q", "mapper": "table", "data": "rows", "gap": False, **rest}

    def register(make):
        made = Recipe(
            key=key or make.__name__, name=name, p=p, q=q, formula=formula, paper=paper, verified=verified,
            estimator=estimator, make=make, **row,
        )  # fmt: skip
        RECIPES[made.key] = made
        return made

    return register
