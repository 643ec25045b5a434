"""Metrics with parameters, as scikit-learn's searches take them: the p of Minkowski's distance, variances, a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

from .._torch_state import as_array

# The parameters that a metric has: those that it needs, and all.
PARAMETERS: dict[str, tuple[tuple, tuple]] = {
    "minkowski": (("p",), ("p", "w")),
    "seuclidean": (("V",), ("V",)),
    "mahalanobis": (("VI",), ("VI",)),
}


@dataclass(frozen=True, eq=False, repr=False)
class ParametricMetric:
    """A metric with values of its parameters, in place of its name or function."""

    metric: object
    params: dict

    def __repr__(self):
        return f"{self.metric!r} (metric_params={self.params!r:.100})"


def parts_of(metric):
    """The name or function of a metric, and its parameters."""
    return (metric.metric, metric.params) if isinstance(metric, ParametricMetric) else (metric, {})


def with_params(metric, metric_params):
    """A metric with its parameters, as what all others here take for `metric`; the metric itself where it has none.

    Parameters
    ----------
    metric : str or callable
    metric_params : dict or None
        As scikit-learn's NearestNeighbors takes them: p (and w) of "minkowski", V of "seuclidean", VI of
        "mahalanobis", further arguments of a function.

    Raises
    ------
    TypeError
        If they are no dict.
    ValueError
        If they are not those of the metric.
    """
    if metric_params is None:
        return metric
    if not isinstance(metric_params, Mapping):
        raise TypeError(f"metric_params={metric_params!r:.100} must be a dict such as {{'p': 3}}, or None")
    if not metric_params:
        return metric
    params = {
        name: np.array(v) if isinstance(v, list | tuple) else as_array(v) for name, v in metric_params.items()
    }
    if callable(metric):
        return ParametricMetric(metric, params)
    if metric not in PARAMETERS:
        raise ValueError(
            f"metric={metric!r} takes no metric_params, and they are {metric_params!r:.100}; metrics that take some "
            f"are {', '.join(map(repr, PARAMETERS))} and functions"
        )
    needed, known = PARAMETERS[metric]
    wrong = [name for name in params if name not in known] + [name for name in needed if name not in params]
    if wrong:
        raise ValueError(
            f"metric_params={metric_params!r:.100} are not those of metric={metric!r}, which takes "
            f"{' and '.join(known)}: {wrong[0]!r} is {'not among them' if wrong[0] in params else 'missing'}"
        )
    if metric == "minkowski" and not (isinstance(params["p"], Real) and params["p"] >= 1):
        raise ValueError(
            f"metric_params={metric_params!r:.100}: p of 'minkowski' must be a number of at least 1"
        )
    for name, value in params.items():
        if name != "p" and not (np.isfinite(value).all() and np.ndim(value) == (2 if name == "VI" else 1)):
            raise ValueError(
                f"metric_params[{name!r}]={value!r:.60} of metric={metric!r} must be finite numbers, "
                f"{'a square matrix' if name == 'VI' else 'one for each feature'}"
            )
    return ParametricMetric(metric, params)
