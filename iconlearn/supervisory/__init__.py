"""Supervisory distributions p(.|i): what should be near what (numpy and scipy; views are torch).

Every class here has ``fit(X, y)``, which stores a ``conditional_``, and ``extend(X_new)``, which
gives new rows their distribution over the training columns.  Wrappers take another p and change it.
"""

from ._base import Supervisory, declared, extended, fitted_on, search_options, sized
from ._classes import Classes, Identity, Labels
from ._companion import Companion
from ._composition import Debias, Mix, Symmetrize, Walk
from ._cooccurrence import Cooccurrence
from ._edges import as_matrix, is_neighbor_lists, is_network, n_listed, neighbor_matrix
from ._entropic import SymmetricEntropic
from ._graph import KNN, Graph, Precomputed
from ._kernel import Gaussian, Student, perplexity_by_default
from ._links import MustLink, Paired
from ._lists import CannotLink, Choices, Pairs, Triplets
from ._matrices import finite_pairs
from ._predictions import Predictions
from ._pretext import Pretext
from ._restoration import Restore
from ._sequences import Ahead
from ._spectral import Cut, Spectral
from ._tokens import bags_of, holds_words, is_tokens, sentences_of
from ._views import Views
from ._wide import WideGaussian

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
    "n_listed",
    "neighbor_matrix",
    "perplexity_by_default",
    "search_options",
    "sentences_of",
    "sized",
]
