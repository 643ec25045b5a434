"""p by distances: neighbours, graphs, kernels of a given perplexity, and their limits."""

from ._entropic import SymmetricEntropic
from ._graph import KNN, Graph, Precomputed, mutual_weight_by_default
from ._kernel import Gaussian, Student, perplexity_by_default
from ._radius import LocalRadius
from ._spectral import Cut, Spectral
from ._wide import WideGaussian

__all__ = [
    "Cut",
    "Gaussian",
    "Graph",
    "KNN",
    "LocalRadius",
    "Precomputed",
    "Spectral",
    "Student",
    "SymmetricEntropic",
    "WideGaussian",
    "mutual_weight_by_default",
    "perplexity_by_default",
]
