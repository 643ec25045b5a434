"""Methods that only a mapper which reads features can have."""

from __future__ import annotations

from sklearn.utils.metaestimators import available_if

__all__ = ["for_mappers_of_features"]


def _reads_features(estimator):
    """Whether rows that come later can be mapped at all; a table holds an answer for each of its own rows."""
    if not estimator._resolved("mapper").parametric:
        raise AttributeError(
            f"mapper={estimator.mapper!r} gives every row of a fit an answer of its own and cannot learn from others; "
            f"use mapper='linear', 'mlp' or a module"
        )
    return True


for_mappers_of_features = available_if(_reads_features)
