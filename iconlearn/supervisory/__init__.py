"""Supervisory distributions p(.|i): what should be near what (numpy and scipy; views are torch).

Every class here has ``fit(X, y)``, which stores a ``conditional_``, and ``extend(X_new)``, which
gives new rows their distribution over the training columns.  Wrappers take another p and change it.
"""

from ..neighbors._edges import as_matrix, is_neighbor_lists, is_network, n_listed, neighbor_matrix
from ..neighbors._matrices import finite_pairs
from ._base import Supervisory, declared, extended, fitted_on, search_options, sized
from ._companion import Companion
from ._composition import Debias, Mix, Symmetrize, Walk
from .labels import (
    CannotLink,
    Choices,
    Classes,
    Identity,
    Labels,
    MustLink,
    Paired,
    Pairs,
    Predictions,
    Triplets,
)
from .neighborhoods import (
    KNN,
    Cut,
    Gaussian,
    Graph,
    LocalRadius,
    Precomputed,
    Spectral,
    Student,
    SymmetricEntropic,
    WideGaussian,
    mutual_weight_by_default,
    perplexity_by_default,
)
from .sequences import Ahead, Cooccurrence, bags_of, holds_words, is_tokens, sentences_of
from .views import Pretext, Restore, Views

__all__ = [
    "Ahead",
    "CannotLink",
    "Choices",
    "Classes",
    "Companion",
    "Cooccurrence",
    "Cut",
    "Debias",
    "Gaussian",
    "Graph",
    "Identity",
    "KNN",
    "Labels",
    "LocalRadius",
    "Mix",
    "MustLink",
    "Paired",
    "Pairs",
    "Precomputed",
    "Predictions",
    "Pretext",
    "Restore",
    "Spectral",
    "Student",
    "Supervisory",
    "SymmetricEntropic",
    "Symmetrize",
    "Triplets",
    "Views",
    "Walk",
    "WideGaussian",
    "as_matrix",
    "bags_of",
    "declared",
    "extended",
    "finite_pairs",
    "fitted_on",
    "holds_words",
    "is_neighbor_lists",
    "is_network",
    "is_tokens",
    "mutual_weight_by_default",
    "n_listed",
    "neighbor_matrix",
    "perplexity_by_default",
    "search_options",
    "sentences_of",
    "sized",
]
