"""Which metrics there are, and which of them a matrix product can rank."""

from __future__ import annotations

from .._checks import suggest
from ._libraries import pynndescent_metric, sklearn_metrics

__all__ = ["check_metric", "evaluable", "from_products", "is_euclidean", "only_pynndescent"]

_EUCLIDEAN = ("euclidean", "l2")

# These estimate parameters from the rows at hand, so that a row would depend on its batch.
_DATA_DEPENDENT = {
    "seuclidean": "scale the columns of X (StandardScaler)",
    "mahalanobis": "whiten X (PCA(whiten=True))",
}

# Metrics without parameters that only pynndescent has; named here because its import takes long.
PYNNDESCENT_ONLY = (
    "circular_kantorovich",
    "hellinger",
    "jensen_shannon",
    "kantorovich_1d",
    "spearmanr",
    "symmetric_kl",
    "true_angular",
    "tsss",
    "wasserstein_1d",
)


def check_metric(metric):
    """Return `metric` if some search knows it.

    Raises
    ------
    ValueError
        For an unknown name (with the nearest known one), or for a metric that depends on the batch.
    """
    # The usual names first: the list of all others has to be imported.
    if callable(metric) or from_products(metric) or metric == "precomputed":
        return metric
    if metric in _DATA_DEPENDENT:
        raise ValueError(
            f'metric="{metric}" takes its scale from the rows at hand; {_DATA_DEPENDENT[metric]} '
            f'and use metric="euclidean" instead'
        )
    known = {"precomputed", *sklearn_metrics(), *PYNNDESCENT_ONLY}
    known -= {"nan_euclidean", *_DATA_DEPENDENT}
    if metric not in known:
        raise ValueError(f"metric={metric!r} is not known.{suggest(metric, sorted(known))}")
    return metric


def is_euclidean(metric) -> bool:
    return isinstance(metric, str) and metric in _EUCLIDEAN


def from_products(metric) -> bool:
    """Whether dot products of the rows (or of unit rows) give the distance."""
    return is_euclidean(metric) or (isinstance(metric, str) and metric == "cosine")


def only_pynndescent(metric) -> bool:
    return isinstance(metric, str) and metric in PYNNDESCENT_ONLY


def evaluable(metric):
    """The metric in a form that scikit-learn can evaluate."""
    return pynndescent_metric(metric) if only_pynndescent(metric) else metric
