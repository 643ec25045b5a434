"""A Gaussian of the data as its bandwidth goes to infinity; with a q in the same limit, metric scaling.

With exp(-D / sigma^2) on both sides, D and d the squared distances of the data and of the places,

    sigma^4 KL(p(.|i) || q(.|i))  ->  1 / (2 m) sum_j [ (D_ij - mean_k D_ik) - (d_ij - mean_k d_ik) ]^2
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..._checks import check_number, unchanging
from ...conditional import WideConditional
from ...neighbors import BLOCK_SIZE, check_defined, distance_block
from ...neighbors._matrices import check_all_known
from .._base import Supervisory, check_metric_input, metric_of

# Root mean squared distance of the places of a map by t-SNE, by the root of the number of rows.
MAP_SIZE = 1.2


class WideGaussian(Supervisory):
    """p(j|i) ∝ exp(-D_ij / sigma^2) with sigma -> infinity, the row itself among its candidates.

    Such a p is uniform up to a deviation that only a q in the same limit can answer:
    :class:`iconlearn.learned.WideGaussian`.  The two together are metric multidimensional scaling on
    squared distances, compared after their row means are taken off.

    Parameters
    ----------
    metric : str or callable, default="euclidean"
        "precomputed" takes X as a matrix of dissimilarities, those of all pairs.
    spread : float, "map" or None, default=None
        What the root mean square of all distances is brought to, by a factor.  Squared distances, of the data and of
        the places, are then counted in units of its square, so that the loss has no units; beside a q with a width of
        its own this is a term that asks for the same order of distances at the size that a map has.  "map" is
        ``1.2 sqrt(n_rows)``, about the size of a map by t-SNE.  None leaves the distances as they are.
    metric_params : dict or None, default=None
        Parameters of the metric, as of :class:`KNN`.

    Attributes
    ----------
    conditional_ : WideConditional
    spread_ : float
        The root mean square of the distances in use; only where `spread` is given.

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025, appendix F;
    Kruskal, "Multidimensional scaling by optimizing goodness of fit", Psychometrika 1964.
    """

    # For what was stored before there were such parameters.
    spread = metric_params = None
    _later = ("spread", "metric_params")

    def __init__(self, *, metric="euclidean", spread=None, metric_params=None):
        self.metric = metric
        self.spread = spread
        self.metric_params = metric_params

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Keep the points; see :meth:`Supervisory.fit`."""
        X = unchanging(check_metric_input(X, metric_of(self)))
        if self.pairwise:
            check_all_known(X, "WideGaussian", tied=True)
        self._X, self._n_features = None if self.pairwise else X, X.shape[1]
        block = SquaredDistances(X, None if self.pairwise else X, metric_of(self))
        unit = 1.0
        if self.spread is not None:
            known = MAP_SIZE * X.shape[0] ** 0.5 if self.spread == "map" else self.spread
            self.spread_ = check_number("spread", known, low=0, closed="neither", hint='or "map"')
            unit = float(self.spread_) ** 2
            block = replace(block, factor=unit / _mean_of(block, X.shape[0]))
        self.conditional_ = WideConditional(block, (X.shape[0], X.shape[0]), unit=unit)
        return self

    def _extend(self, X_new, n_jobs):
        X_new = check_metric_input(X_new, metric_of(self), self._n_features)
        if self.pairwise:
            check_all_known(X_new, "WideGaussian")
        fitted = self.conditional_
        block = SquaredDistances(X_new, self._X, fitted.block.metric, fitted.block.factor)
        return WideConditional(block, (X_new.shape[0], fitted.n_cols), unit=fitted.unit)


def _mean_of(block, n_rows):
    """Mean of the squared distances of all pairs of different rows.

    Raises
    ------
    ValueError
        If it is zero.
    """
    step = max(1, BLOCK_SIZE // n_rows)
    total = sum(block(np.arange(start, min(start + step, n_rows))).sum() for start in range(0, n_rows, step))
    if total == 0:
        raise ValueError("spread of WideGaussian: all distances are zero, and no factor makes more of them")
    return total / (n_rows * (n_rows - 1))


@dataclass(frozen=True, eq=False)
class SquaredDistances:
    """``block(rows, cols)`` of squared distances, on demand.

    Parameters
    ----------
    points : ndarray or sparse matrix of shape (n_rows, n_features)
        Distances of shape (n_rows, n_cols) where `columns` is None.
    columns : ndarray or sparse matrix of shape (n_cols, n_features) or None
    metric : str or callable
    factor : float, default=1.0
        Of the squares.
    """

    points: Any
    columns: Any
    metric: object
    factor: float = 1.0

    def __call__(self, rows=None, cols=None) -> np.ndarray:
        points = self.points if rows is None else self.points[rows]
        if self.columns is None:
            block = points if cols is None else points[:, cols]
            block = block.toarray() if hasattr(block, "toarray") else block
        else:
            columns = self.columns if cols is None else self.columns[cols]
            block = distance_block(points, columns, metric=self.metric)
            check_defined(block, self.metric, rows, cols, new_rows=self.points is not self.columns)
        return np.square(np.asarray(block, dtype=float)) * self.factor
