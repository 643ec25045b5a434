"""The protocol of a supervisory distribution, and the checks that all of them share.

fit(X, y)      ->  conditional_ : p(.|i) for the training rows
extend(X_new)  ->  p(.|new row) over the training columns, each new row on its own

What else a p is (over classes, of views, tied to its rows) it declares as attributes, each with a default here;
:func:`declared` reads them of any p, and nothing is to be guessed from what attributes an object happens to have.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._checks import canonical, check_number
from .._warnings import warn
from ..conditional import BlockConditional, Conditional
from ..neighbors import PreparedRows

__all__ = ["NeighborSearch", "Supervisory", "declared", "search_options"]

# What is negative by less than this share of the largest entry is a rounding error, such as 1 - u . u in single
# precision.
ROUNDING = 1e-6


class Supervisory(BaseEstimator, ABC):
    """A distribution p(j|i) over columns j for every row i, read off the data.

    A subclass stores its parameters in ``__init__``, sets ``conditional_`` in ``fit`` and, where
    new rows have a distribution at all, implements ``_extend``.  ``get_params``, ``set_params``,
    ``clone`` and the repr are scikit-learn's.

    Attributes
    ----------
    columns : str
        "rows" when the columns are the training rows themselves, otherwise what they are: "classes", "contexts",
        "features" (another group of them), "views" (another set).
    requires_y : bool
        Whether ``fit`` needs y.
    pairwise : bool
        Whether X is itself a square matrix, to be sliced on both axes.
    fresh : bool
        Whether rows are seen through ``view(X, rows)``, drawn anew at every step.
    from_features : bool
        Whether p reads its neighbours off the features alone, so that some of the rows have a p of the same
        kind; one that knows its rows otherwise (a given graph, their order) has not.
    takes_device : bool
        Whether ``fit`` and ``extend`` (and ``_extend``) take a `device`, on which neighbours are searched.
    copies : int
        How many positions of p's rows a row of X takes up.
    prepare : callable
        ``prepare(sentences)`` turns lists of words into (X, y, vocabulary).  This and the next three are absent
        where p has no use for them.
    features : callable
        ``features(n_features)``: the columns of X that the rows and the columns of p are mapped from, as two slices,
        or None for all.
    view : callable
        ``view(X, rows)``: one fresh view of every row of a tensor, where p is `fresh`; `rows` are their positions
        among the rows of p.
    neighbors_backend_ : str
        The search of neighbours that was taken.
    conditional_ : Conditional or BlockConditional
        Set by ``fit``.
    """

    columns: str = "rows"
    requires_y: bool = False
    fresh: bool = False
    from_features: bool = False
    takes_device: bool = False
    copies: int = 1

    def __repr__(self, **options):
        # Both sides have a Gaussian and a Student; say which one this is.
        return f"supervisory.{super().__repr__(**options)}"

    @property
    def pairwise(self) -> bool:
        return getattr(self, "metric", None) == "precomputed"

    def targets(self, n_classes):
        """What p says of one row of each class: what labelled rows are held at, label smoothing included.

        Parameters
        ----------
        n_classes : int

        Returns
        -------
        Conditional of shape (n_classes, n_classes)
            The class alone where the columns of p are no classes.
        """
        each = np.arange(n_classes)
        if declared(self, "columns") != "classes":
            return Conditional(csr_array((np.ones(n_classes), (each, each)), shape=(n_classes, n_classes)))
        # Features do not matter to a p over classes.
        return clone(self, safe=False).fit(np.zeros((n_classes, 1)), each).conditional_

    def for_outputs(self, n_outputs):
        """This p where an estimator fits it, which may follow how many outputs the mapper has.

        Parameters
        ----------
        n_outputs : int or None
            None where p itself will say it.

        Returns
        -------
        self
        """
        return self

    def beside(self, main):
        """This p as that of a further term: what it leaves open may follow the estimator's own p.

        Parameters
        ----------
        main : object
            The estimator's p.

        Returns
        -------
        self
        """
        return self

    @abstractmethod
    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Find p for the training rows.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_rows, n_features)
            Square when ``pairwise``.  Never changed; a p that has to keep it keeps a copy, unless it is read-only.
        y : array-like of shape (n_rows,) or None
        random_state : int, RandomState or None
        n_jobs : int or None

        Returns
        -------
        self
        """

    def extend(self, X_new, *, n_jobs=None, device=None) -> Conditional | BlockConditional:
        """p(.|new row) over the training columns.

        Each row depends on that row alone, never on the others in the call, and nothing is drawn at
        random.  A new row is no training row, so every training column is a candidate.

        Parameters
        ----------
        X_new : ndarray or sparse matrix of shape (n_new, n_features)
            Of shape (n_new, n_train) when ``pairwise``.
        n_jobs : int or None
        device : torch.device, str or None
            Where neighbours are searched; None is a GPU where torch sees one.

        Returns
        -------
        Conditional or BlockConditional of shape (n_new, n_cols)

        Raises
        ------
        ValueError
            If this p has no rule for new rows.
        """
        check_is_fitted(self, "conditional_")
        return self._extend(X_new, **search_options(self, n_jobs, device))

    def reciprocal(self, X_new, *, n_jobs=None, device=None) -> Conditional | BlockConditional:
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
        return self._reciprocal(X_new, **search_options(self, n_jobs, device))

    def _reciprocal(self, X_new, **options):
        return self._extend(X_new, **options)

    def _extend(self, X_new, n_jobs):
        raise ValueError(
            f"{type(self).__name__} says nothing about new rows: it is defined on the training "
            f"rows alone. Use a p "
            f"that is read off the features, such as KNN(15), to place new rows"
        )


class NeighborSearch(Supervisory):
    """Base of those p that search the neighbours of new rows among their training rows.

    ``_X`` are the training rows (None for given distances), `metric` is a parameter.
    """

    from_features = True
    takes_device = True

    @cached_property
    def _prepared(self):
        """The training rows as searches need them, for the first new rows and all later ones."""
        return PreparedRows(self._X, self.metric)

    def _remember(self, X):
        self._X = X
        vars(self).pop("_prepared", None)

    def __getstate__(self):
        # Prepared rows are found again where they are needed.
        return {name: value for name, value in super().__getstate__().items() if name != "_prepared"}


def search_options(p, n_jobs, device):
    """What the methods of p take besides rows: the device too, where p declares that it takes one."""
    return {"n_jobs": n_jobs} | ({"device": device} if declared(p, "takes_device") else {})


def declared(p, name):
    """What p declares under a name of the protocol; the default of the protocol where p says nothing of it.

    Parameters
    ----------
    p : object
        Anything with the methods ``fit`` and ``extend``, a Supervisory or not.
    name : str
        An attribute or a method of :class:`Supervisory`; None where p may lack it and does.
    """
    default = inspect.getattr_static(Supervisory, name, None)
    if hasattr(p, name):
        return getattr(p, name)
    return default.__get__(p) if hasattr(default, "__get__") else default


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


def check_matrix(X, n_cols=None, *, what, free_diagonal=True):
    """Validate a non-negative square matrix or, with `n_cols`, new rows over the columns.

    `free_diagonal`: whether entries of a row with itself mean nothing, whatever their sign.
    """
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
    if values.min(initial=0.0) < 0:
        X = _without_rounding(X, diagonal=n_cols is None and free_diagonal, what=what)
    return csr_array(X) if issparse(X) else X


def _without_rounding(X, diagonal, what):
    """A copy with zeros for what is negative by rounding only, or (where `diagonal`) on the diagonal."""
    X = X.copy()
    values, low = (X.data if issparse(X) else X), -ROUNDING * abs(X).max()
    if diagonal and issparse(X):
        rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        values[(X.indices == rows) & (values < 0)] = 0.0
    elif diagonal:
        np.fill_diagonal(X, np.maximum(X.diagonal(), 0.0))
    if values.min() < low:
        raise ValueError(
            f"{what} has a negative entry ({values.min():g}): all entries must be at least 0; rounding errors of up "
            f"to {-low:.2g} are taken for 0"
        )
    np.maximum(values, 0.0, out=values)
    return X


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
