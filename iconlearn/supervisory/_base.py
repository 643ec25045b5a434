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
from .._torch_state import as_array
from .._warnings import warn
from ..conditional import BlockConditional, Conditional, along_entries, check_conditional, one_column
from ..distributed import ALONE, current
from ..neighbors import (
    PreparedRows,
    check_metric,
    choose_backend,
    expected_search,
    from_products,
    graph_of_all,
    with_params,
)
from ..neighbors._edges import neighbor_matrix
from ..neighbors._matrices import are_similarities, finite_pairs

# The share of the other rows that may be neighbours: a p that is spread over more of them is close to uniform, and asks
# nothing of a map or of clusters.  Three neighbours are never too many.
LARGEST_SHARE, FEWEST = 1 / 3, 3
# The share by default.  Maps of 16 to 45 digits keep more of three neighbours with a fifth than with a third.
USUAL_SHARE = 1 / 5
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
        "rows" when the columns are the training rows themselves, otherwise what they are: "classes", "tasks",
        "contexts", "features" (another group of them), "views" (another set), "targets" (what ``targets_of`` gives).
    requires_y : bool
        Whether ``fit`` needs y.
    pairwise : bool
        Whether X is itself a square matrix, to be sliced on both axes.
    fresh : bool
        Whether rows are seen through ``view(X, rows)``, drawn anew at every step.
    from_features : bool
        Whether p reads its neighbours off the features alone, so that some of the rows have a p of the same
        kind; one with its rows given otherwise (a graph, their order) has not.
    equal_rows_alike : bool
        Whether equal rows of X are one and the same to p, and so have one place; by default `from_features`.
    two_sided : bool
        Whether what :meth:`reciprocal` sums for a new row are p(j|new row) and p(new row|j), so that the smaller of
        them is known as well.
    takes_device : bool
        Whether ``fit`` and ``extend`` (and ``_extend``) take a `device`, on which neighbours are searched.
    copies : int
        How many positions of p's rows a row of X takes up.
    across : str or None
        How p is found where the rows of X lie on several processes: "own" where a row's p does not depend on other
        rows, so that each process has its rows' p; "rows" where ``fit`` makes the p of all rows on every process, of
        their numbers and labels; "neighbors" where each process has its rows' p over the rows of all; None where p
        cannot.
    prepare : callable
        ``prepare(sentences)`` turns lists of words into (X, y, vocabulary).  This and the next five are absent
        where p has no use for them.
    rows_of : callable
        ``rows_of(sentences, vocabulary)`` turns new lists of words into rows as those of X; bags of words where it is
        absent.
    reading : callable
        ``reading(device)``, where a row of p reads more than the mapper's outputs for that row, such as their distances
        from others': a function of ``places(rows)``, which gives the mapper's outputs for rows of X (for all with
        None), and of the row numbers that a step visits (None: all), that gives what q is to place.
    features : callable
        ``features(n_features)``: the columns of X that the rows and the columns of p are mapped from, as two slices,
        or None for all.
    targets_of : callable
        ``targets_of(X)``: the targets of rows, one row of numbers each, where columns are "targets"; asked before
        ``fit``, too.
    view : callable
        ``view(X, rows)``: one fresh view of every row of a tensor, where p is `fresh`; `rows` are their positions
        among the rows of p.
    guess : callable
        ``guess(X)``: the likeliest class of every row, and all classes, sorted, where a p over classes knows them by
        itself.  This and the next are absent where it does not.
    check_classes : callable
        ``check_classes(classes)`` raises ValueError where the columns of p are other classes than these.
    moments : callable
        ``moments(rows)``: the row of X that each position of such views shows, and how many of its steps, where rows
        are sequences that are seen up to a step.  Where it is there (and not None) batches are made of whole sequences,
        and a mapper that goes along a sequence serves all of its positions by one pass.
    columns_view : callable
        As ``view``, for columns that are another set of views; ``view`` itself where it is absent.
    neighbors_backend_ : str
        The search of neighbours that was taken.
    conditional_ : Conditional or BlockConditional
        Set by ``fit``.
    """

    columns: str = "rows"
    requires_y: bool = False
    fresh: bool = False
    from_features: bool = False
    equal_rows_alike = property(lambda self: declared(self, "from_features"))
    two_sided: bool = False
    takes_device: bool = False
    copies: int = 1
    across: str | None = None

    # Parameters that came after the first files: part of a state where they are set, so that it stays what it was.
    _later: tuple[str, ...] = ()

    def __getstate__(self):
        later = self._later
        return {name: v for name, v in super().__getstate__().items() if name not in later or v is not None}

    def expected_seconds(self, X):
        """Seconds that ``fit(X)`` takes, about, where that is known from measurements; None where it is not."""
        return None

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
            return one_column(each, n_classes)
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

    def size_for(self, n_rows, n_groups, named):
        """Set numbers of neighbours that are "auto", or all where p was `named` only; a p without any does nothing.

        Parameters
        ----------
        n_rows, n_groups : int
            How many rows there are, and how many groups they are looked for in.
        named : bool
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
            Where neighbours are searched; None is a GPU where torch has one.

        Returns
        -------
        Conditional or BlockConditional of shape (n_new, n_cols)

        Raises
        ------
        ValueError
            If this p has no rule for new rows.
        """
        check_is_fitted(self, "conditional_")
        if self.conditional_.sharded and current().size == 1:
            raise ValueError(
                f"{self!r:.200} was fitted over several processes, each of which has some of the training rows; ask it "
                f"in all of them within iconlearn.distributed.shards()"
            )
        return self._extend(X_new, **search_options(self, n_jobs, device))

    def reciprocal(self, X_new, *, n_jobs=None, device=None) -> Conditional | BlockConditional:
        """How near new rows and training rows are, seen from both sides.

        Proportional to p(j|new row) + p(new row|j), the latter as if the new row had been there when p was
        fitted: what a pair of training rows weighs where q is symmetric.  The mass of a row, where there is one, is
        what both sides sum to, a uniform share apart: 1 and the training rows' part.  A p with one side only
        answers with :meth:`extend`.

        Parameters and errors are those of :meth:`extend`.

        Returns
        -------
        Conditional or BlockConditional of shape (n_new, n_cols)
        """
        check_is_fitted(self, "conditional_")
        if self.conditional_.sharded:
            raise ValueError(
                f"{self!r:.200} was fitted over several processes, and sees new rows from one side only"
            )
        return self._reciprocal(X_new, **search_options(self, n_jobs, device))

    def _reciprocal(self, X_new, **options):
        return self._extend(X_new, **options)

    def _extend(self, X_new, n_jobs):
        raise ValueError(
            f"{type(self).__name__} says nothing about new rows: it is defined on the training "
            f"rows alone. Use a p "
            f"that is read off the features, such as KNN(15), to place new rows"
        )


def metric_of(p):
    """The metric of a p, with its parameters, checked."""
    return check_metric(with_params(p.metric, p.metric_params))


class NeighborSearch(Supervisory):
    """Base of those p that search the neighbours of new rows among their training rows.

    ``_X`` are the training rows (None for given distances), `metric` is a parameter.
    """

    takes_device = True
    _later = ("metric_params", "neighbors")

    # For what was stored before there were such parameters.
    metric_params: dict | None = None
    across: str | None = "neighbors"
    neighbors: tuple | None = None
    far_weight: float = 1.0
    mutual_weight: float = 1.0

    @property
    def from_features(self) -> bool:  # type: ignore[override]
        return self.neighbors is None

    @property
    def _metric(self):
        return metric_of(self)

    def _searched(self, X):
        """What the neighbours of the training rows are read off, X or distances that are given, and by which metric."""
        if self.neighbors is None:
            return X, self._metric
        if self.pairwise:
            raise ValueError(
                "neighbors= are found already, and metric='precomputed' takes X as distances; give one of both"
            )
        return neighbor_matrix(self.neighbors, X.shape[0]), "precomputed"

    def expected_seconds(self, X):
        """See :meth:`Supervisory.expected_seconds`; searches by products of dense rows have been measured."""
        return None if issparse(X) or not from_products(self.metric) else expected_search(X.shape)

    @property
    def _group(self):
        """The processes that have training rows."""
        return current() if self.conditional_.sharded else ALONE

    @cached_property
    def _prepared(self):
        """The training rows as searches need them, for the first new rows and all later ones."""
        return PreparedRows(self._X, self._metric)

    def _remember(self, X):
        self._X = X
        vars(self).pop("_prepared", None)

    def _neighbor_graph(self, rows, metric, k, random_state, n_jobs, device):
        """Distances to the k nearest of the training rows, and the search that found them."""
        search = {"metric": metric, "backend": self.search, "device": device}
        backend = choose_backend(rows, **search)
        graph = graph_of_all(current(), rows, k, n_jobs=n_jobs, random_state=random_state, **search)
        if metric == "precomputed":
            found = np.diff(graph.indptr) > 0
            warn_empty(found, "any neighbour", "store more distances per row", hint=one_way(graph, "D"))
        return graph, backend

    def __getstate__(self):
        # Prepared rows are found again where they are needed.
        return {name: value for name, value in super().__getstate__().items() if name != "_prepared"}


def search_options(p, n_jobs, device):
    """What the methods of p take besides rows: the device too, where p declares that it takes one."""
    return {"n_jobs": n_jobs} | ({"device": device} if declared(p, "takes_device") else {})


def fitted_on(p, X, y, *, random_state, n_jobs, device):
    """p after its ``fit``, its ``conditional_`` checked; p may be an object of anybody's class.

    Raises
    ------
    TypeError
        If its ``fit`` does not take what the protocol passes, or leaves no ``conditional_``.
    ValueError
        If the rows of that are no distributions, or not those of X.
    """
    options = {"random_state": random_state, **search_options(p, n_jobs, device)}
    _check_call(p, "fit", (X, y), options, "fit(self, X, y=None, *, random_state=None, n_jobs=None)")
    p.fit(X, y, **options)
    if not hasattr(p, "conditional_"):
        raise TypeError(
            f"p={p!r:.200} has no conditional_ after fit: its fit has to set self.conditional_ to an "
            f"iconlearn.conditional.Conditional"
        )
    check_conditional(p.conditional_, "conditional_", p)
    n_rows = X.shape[0] * declared(p, "copies")
    if declared(p, "across") == "rows":
        n_rows = current().total(n_rows)
    if p.conditional_.shape[0] != n_rows:
        raise ValueError(
            f"conditional_ of p={p!r:.200} has {p.conditional_.shape[0]} rows, and X has {n_rows}: it must have one "
            f"for each row of X"
        )
    return p


def extended(p, X_new, *, n_jobs, device, both_sides=False):
    """p of new rows, from `both_sides` where p has them; checked as in :func:`fitted_on`."""
    options = search_options(p, n_jobs, device)
    name = "reciprocal" if both_sides and hasattr(p, "reciprocal") else "extend"
    _check_call(p, name, (X_new,), options, f"{name}(self, X_new, *, n_jobs=None)")
    found = getattr(p, name)(X_new, **options)
    check_conditional(found, name, p)
    if found.listed:
        raise TypeError(
            f"{name} of p={p!r:.200} gives new rows lists of candidates, by which none can be placed: it has to "
            f"return an iconlearn.conditional.Conditional over the training columns"
        )
    return found


def _check_call(p, name, arguments, options, signature):
    try:
        parameters = inspect.signature(getattr(p, name))
    except (TypeError, ValueError):
        return  # of a compiled function
    try:
        parameters.bind(*arguments, **options)
    except TypeError as error:
        raise TypeError(
            f"{name} of p={p!r:.200} cannot be called with {', '.join(options)} ({error}): it has to be {signature}"
        ) from None


def declared(p, name):
    """What p declares under a name of the protocol; the default of the protocol where p does not declare it.

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


def n_rows_of(X) -> int:
    """The number of rows of an X that need be no array, where nothing else of it matters."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def check_points(X, n_features=None):
    """Validate points (or, with `n_features`, new points); float32 and float64 are kept."""
    X = check_array(
        as_array(X),
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
    X = as_array(X)
    with finite_pairs(X, what):
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
        rows = along_entries(np.arange(X.shape[0]), X)
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


def check_distances(X, n_cols=None):
    """Validate a matrix of distances; see :func:`check_matrix`.

    Raises
    ------
    ValueError
        For what are evidently similarities, too.
    """
    X = check_matrix(X, n_cols, what="the distance matrix")
    if n_cols is None and are_similarities(X):
        raise ValueError(
            "the distance matrix looks like one of similarities: rows are at a positive distance from themselves, and "
            "no two are farther apart than that on average, so that rows far apart would count as near. Give 1 - S or "
            "another distance, or the similarities themselves with p='graph'"
        )
    return X


def check_metric_input(X, metric, n_cols=None):
    """Points, or distances when the metric is "precomputed"; `n_cols` is what fit saw."""
    if isinstance(metric, str) and metric == "precomputed":
        return check_distances(X, n_cols)
    return check_points(X, n_cols)


def sized(p, n_rows, n_groups, *, named):
    """A p whose numbers of neighbours fit the number of rows, and that of the groups which are looked for.

    Parameters
    ----------
    p : object
        Changed, with its parts, by :meth:`Supervisory.size_for`; others than our own stay as they are.
    n_rows, n_groups : int
    named : bool
        Whether the user gave a name and no number, or else only what is "auto" is to be set.

    Returns
    -------
    p
    """
    parts = p.get_params().values() if hasattr(p, "get_params") else ()
    for part in (p, *parts):
        if isinstance(part, Supervisory):
            part.size_for(n_rows, n_groups, named)
    return p


def most_neighbors(available: int) -> int:
    """A third of the other rows; three where that is less and there are so many."""
    return max(min(available, FEWEST), int(LARGEST_SHARE * available))


def neighbors_by_default(usual: int, n_rows: int, n_groups: int = 1) -> int:
    """The usual number of neighbours, or as many as few rows (in many groups) allow.

    Parameters
    ----------
    usual : int
        What many rows have.
    n_rows : int
    n_groups : int, default=1
        With more than one, half of the mean group is the most: some groups are smaller than the mean.

    Returns
    -------
    int
    """
    others = max(n_rows - 1, 1)
    most = max(min(others, FEWEST), int(USUAL_SHARE * others))
    if n_groups > 1:
        mates = n_rows // n_groups - 1
        most = min(most, max(n_rows // (2 * n_groups), min(FEWEST, mates), 1))
    return min(usual, most)


def clamp_neighbors(n_neighbors, available: int) -> int:
    """A whole number of neighbours, lowered to :func:`most_neighbors` with a warning where it is larger."""
    k = check_number("n_neighbors", n_neighbors, low=1, integer=True, hint="typical values are 5 to 50")
    most = most_neighbors(available)
    if k > most:
        warn(
            f"n_neighbors={k} is more than a third of the {available} other rows, and a p spread over so many of "
            f"them is nearly uniform; {most} are used"
        )
    return min(k, most)


def one_way(edges, name) -> str:
    """A hint for those rows of a matrix of pairs that store nothing while others store them; '' without any."""
    empty = np.diff(edges.indptr) == 0
    count = int(np.count_nonzero(empty & (np.bincount(edges.indices, minlength=len(empty)) > 0)))
    if not count:
        return ""
    return f"others have edges to {count} of them: give edges without a direction in both, as in {name} + {name}.T"


def warn_empty(supported: np.ndarray, what: str, mend: str, *, new_rows=False, hint="") -> None:
    """Warn about rows without support, with a hint; refuse when none has any, unless they are new."""
    n_empty = int(np.count_nonzero(~supported))
    if n_empty == len(supported) and not new_rows:
        raise ValueError(f"no row has {what}; {mend}")
    if n_empty:
        warn(
            f"{n_empty} of {len(supported)} {'new ' * new_rows}rows have no "
            f"{what.removeprefix('any ')}: nothing "
            f"pulls them, and they carry no weight{'; ' * bool(hint)}{hint}"
        )
