"""Supervisory distributions p(.|i): what should be near what (numpy and scipy; views speak torch).

Every class here has ``fit(X, y)``, which stores a ``conditional_``, and ``extend(X_new)``, which
gives new rows their distribution over the training columns.  Wrappers take another p and change it.
"""

from iconlearn.supervisory._base import Supervisory
from iconlearn.supervisory._companion import Companion
from iconlearn.supervisory._cooccurrence import Cooccurrence
from iconlearn.supervisory._graph import KNN, Graph, Precomputed
from iconlearn.supervisory._kernel import Gaussian, Student
from iconlearn.supervisory._mustlink import MustLink
from iconlearn.supervisory._paired import Paired
from iconlearn.supervisory._pairs import Classes, Identity, Labels
from iconlearn.supervisory._spectral import Cut, Spectral
from iconlearn.supervisory._tokens import holds_words, is_tokens, sentences_of
from iconlearn.supervisory._views import Views
from iconlearn.supervisory._wide import WideGaussian
from iconlearn.supervisory._wrappers import Debias, Mix, Symmetrize, Walk

__all__ = [
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
    "Precomputed",
    "Spectral",
    "Student",
    "Supervisory",
    "Symmetrize",
    "Views",
    "Walk",
    "WideGaussian",
    "holds_words",
    "is_tokens",
    "sentences_of",
]
