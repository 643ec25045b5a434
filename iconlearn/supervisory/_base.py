"""The protocol of a supervisory distribution, and the checks that all of them share.

fit(X, y)      ->  conditional_ : p(.|i) for the training rows
extend(X_new)  ->  p(.|new row) over the training columns, each new row on its own
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._checks import canonical, check_number
from .._warnings import warn
from ..conditional import BlockConditional, Conditional

__all__ = ["Supervisory"]


class Supervisory(BaseEstimator, ABC):
    """A distribution p(j|i) over columns j for every row i, read off the data.

    A subclass stores its parameters in ``__init__``, sets ``conditional_`` in ``fit`` and, where
    new rows have a distribution at all, implements ``_extend``.  ``get_params``, ``set_params``,
    ``clone`` and the repr are scikit-learn's.

    Attributes
    ----------
    columns : str
        "rows" when the columns are the training rows themselves, otherwise what they are
        ("classes").
    requires_y : bool
        Whether ``fit`` needs y.
    pairwise : bool
        Whether X is itself a square matrix, to be sliced on both axes.
    fresh : bool
        Whether rows are seen through ``view(X, rows)``, drawn anew at every step.
    from_features : bool
        Whether p reads its neighbours off the features alone, so that some of the rows have a p of the same
        kind; one that knows its rows otherwise (a given graph, their order) has not.
    copies : int
        How many positions of p's rows a row of X takes up.
    conditional_ : Conditional or BlockConditional
        Set by ``fit``.
    """

    columns = "rows"
    requires_y = False
    fresh = False
    from_features = False
    copies = 1

    def __repr__(self, **options):
        # Both sides have a Gaussian and a Student; say which one this is.
        return f"supervisory.{super().__repr__(**options)}"

    @property
    def pairwise(self) -> bool:
        return getattr(self, "metric", None) == "precomputed"

    @abstractmethod
    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Find p for the training rows.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_rows, n_features)
            Square when ``pairwise``.  Never changed; some p keep a reference to it.
        y : array-like of shape (n_rows,) or None
        random_state : int, RandomState or None
        n_jobs : int or None

        Returns
        -------
        self
        """

    def extend(self, X_new, *, n_jobs=None) -> Conditional | BlockConditional:
        """p(.|new row) over the training columns.

        Each row depends on that row alone, never on the others in the call, and nothing is drawn at
        random.  A new row is no training row, so every training column is a candidate.

        Parameters
        ----------
        X_new : ndarray or sparse matrix of shape (n_new, n_features)
            Of shape (n_new, n_train) when ``pairwise``.
        n_jobs : int or None

        Returns
        -------
        Conditional or BlockConditional of shape (n_new, n_cols)

        Raises
        ------
        ValueError
            If this p has no rule for new rows.
        """
        check_is_fitted(self, "conditional_")
        return self._extend(X_new, n_jobs)

    def reciprocal(self, X_new, *, n_jobs=None) -> Conditional | BlockConditional:
        """How near new rows and training rows are, seen from both sides.

        Proportional to p(j|new row) + p(new row|j), the latter as if the new row had been there when p was
        fitted: what a pair of training rows weighs where q is symmetric.  A p that knows one side only answers
        with :meth:`extend`.

        Parameters and errors are those of :meth:`extend`.

        Returns
        -------
        Conditional or BlockConditional of shape (n_new, n_cols)
        """
        check_is_fitted(self, "conditional_")
        return self._reciprocal(X_new, n_jobs)

    def _reciprocal(self, X_new, n_jobs):
        return self._extend(X_new, n_jobs)

    def _extend(self, X_new, n_jobs):
        raise ValueError(
            f"{type(self).__name__} says nothing about new rows: it is defined on the training "
            f"rows alone. Use a p "
            f"that is read off the features, such as KNN(15), to place new rows"
        )


def check_points(X, n_features=None):
    """Validate points (or, with `n_features`, new points); float32 and float64 are kept."""
    X = check_array(
        X,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        ensure_min_samples=2 if n_features is None else 1,
        input_name="X",
    )
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(f"X has {X.shape[1]} columns, but p was fitted on {n_features}")
    return canonical(X)


def check_matrix(X, n_cols=None, *, what):
    """Validate a non-negative square matrix or, with `n_cols`, new rows over the columns."""
    X = check_array(
        X,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        ensure_min_samples=2 if n_cols is None else 1,
        input_name=what,
    )
    if n_cols is None and X.shape[0] != X.shape[1]:
        raise ValueError(f"{what} has shape {X.shape}: it must be square, one row and one column per point")
    if n_cols is not None and X.shape[1] != n_cols:
        raise ValueError(f"{what} has {X.shape[1]} columns: it must have one per training row, {n_cols}")
    X = canonical(X)
    values = X.data if issparse(X) else X
    lowest = values.min(initial=0.0)
    if lowest < 0:
        raise ValueError(f"{what} has a negative entry ({lowest:g}): all entries must be at least 0")
    return csr_array(X) if issparse(X) else X


def check_metric_input(X, metric, n_cols=None):
    """Points, or distances when the metric is "precomputed"; `n_cols` is what fit saw."""
    if isinstance(metric, str) and metric == "precomputed":
        return check_matrix(X, n_cols, what="the distance matrix")
    return check_points(X, n_cols)


def clamp_neighbors(n_neighbors, available: int) -> int:
    """A whole number of neighbours, lowered to `available` with a warning where it is larger."""
    k = check_number("n_neighbors", n_neighbors, low=1, integer=True, hint="typical values are 5 to 50")
    if k > available:
        warn(
            f"n_neighbors={k} is more than the {available} other rows; {available} are used",
        )
    return min(k, available)


def warn_empty(supported: np.ndarray, what: str, mend: str, *, new_rows=False) -> None:
    """Warn about rows without support; refuse when none has any, unless they are new."""
    n_empty = int(np.count_nonzero(~supported))
    if n_empty == len(supported) and not new_rows:
        raise ValueError(f"no row has {what}; {mend}")
    if n_empty:
        warn(
            f"{n_empty} of {len(supported)} {'new ' * new_rows}rows have no "
            f"{what.removeprefix('any ')}: nothing "
            f"pulls them, and they carry no weight",
        )
