"""iconlearn: representation learning as one formula, in scikit-learn's manner.

    minimise   mean_i KL( p(.|i) || q(.|i) )

Choose what should be near what (`p`), choose how nearness is read off the model (`q`), and fit.
"""

__version__ = "0.1.0"

from importlib import import_module

from . import (
    anndata,
    displays,
    divergences,
    engines,
    learned,
    mappers,
    metrics,
    recipes,
    supervisory,
    views,
    words,
)
from ._versions import show_versions
from .estimators import (
    ICONClassifier,
    ICONClustering,
    ICONEmbedding,
    NeighborsTransformer,
    Term,
    slim,
    to_module,
)
from .recipes import periodic_table
from .storage import Checkpoint, load, save

__all__ = [
    "Checkpoint",
    "ICONClassifier",
    "ICONClustering",
    "ICONEmbedding",
    "NeighborsTransformer",
    "Term",
    "anndata",
    "displays",
    "divergences",
    "engines",
    "learned",
    "load",
    "mappers",
    "metrics",
    "periodic_table",
    "recipes",
    "save",
    "scorers",
    "show_versions",
    "slim",
    "supervisory",
    "to_module",
    "views",
    "words",
]


def __getattr__(name):
    # Loaded when it is asked for, since it needs more of scikit-learn than a fit does.
    if name == "scorers":
        return import_module(f"{__name__}.scorers")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
