"""NeighborsTransformer: the distances of each row's neighbours, for estimators that take them ready-made."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .._checks import canonical, check_choice, check_number, unchanging
from .._device import cpu_by_default
from .._randomness import random_source
from ..neighbors import BACKENDS, KnownRows, check_metric, choose_backend, neighbor_graph, with_params
from ._inputs import all_or_nothing, plain


class NeighborsTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Transform rows into a sparse matrix of the distances to their nearest training rows.

    The search is the one of this library's own p: exact up to 15 000 rows, by inverted lists above.  The matrix has
    the form of :class:`sklearn.neighbors.KNeighborsTransformer`, so estimators with ``metric="precomputed"`` take it
    as the next step of a pipeline, and scanpy as the `transformer` of ``scanpy.pp.neighbors``.

    Parameters
    ----------
    n_neighbors : int, default=5
        How many nearest rows.  With ``mode="distance"`` a row has so many besides itself, and with
        ``mode="connectivity"`` it is one of them, as in scikit-learn.
    mode : {"distance", "connectivity"}, default="distance"
        What is stored for each neighbour: its distance, or 1.
    metric : str or callable, default="euclidean"
        As for :func:`iconlearn.neighbors.knn`; with "precomputed" rows are distances to the training rows, of which a
        sparse matrix holds those to neighbours.
    metric_params : dict or None, default=None
        Parameters of the metric, as for :func:`iconlearn.neighbors.knn`.
    backend : {"auto", "exact", "ivf", "pynndescent", "faiss"}, default="auto"
        How neighbours among the training rows are searched; see :func:`iconlearn.neighbors.choose_backend`.
    random_state : int, RandomState or None, default=None
        Used by the approximate searches only.
    n_jobs : int or None, default=None
        Workers of scikit-learn and pynndescent.

    Attributes
    ----------
    backend_ : str
        The search that is taken for the training rows.
    n_samples_fit_ : int
        Number of training rows, which are the columns.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if X had them

    See Also
    --------
    iconlearn.neighbors.knn : The same neighbours as arrays.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.manifold import TSNE
    >>> from sklearn.pipeline import make_pipeline
    >>> from iconlearn import NeighborsTransformer
    >>> X, _ = load_iris(return_X_y=True)
    >>> graph = NeighborsTransformer(n_neighbors=91).fit_transform(X)
    >>> graph.shape, graph.nnz
    ((150, 150), 13800)
    >>> tsne = make_pipeline(NeighborsTransformer(n_neighbors=91), TSNE(metric="precomputed", init="random"))
    >>> tsne.fit_transform(X).shape
    (150, 2)
    """

    def __init__(
        self,
        n_neighbors=5,
        *,
        mode="distance",
        metric="euclidean",
        metric_params=None,
        backend="auto",
        random_state=None,
        n_jobs=None,
    ):
        self.n_neighbors = n_neighbors
        self.mode = mode
        self.metric = metric
        self.metric_params = metric_params
        self.backend = backend
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self._pairwise
        tags.transformer_tags.preserves_dtype = []  # distances are in double precision, whatever the rows are
        return tags

    @property
    def _pairwise(self):
        return isinstance(self.metric, str) and self.metric == "precomputed"

    @cpu_by_default
    def fit(self, X, y=None) -> Self:
        """Keep the rows among which neighbours are searched; the search itself is part of ``transform``.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
            Square (n_samples, n_samples) with ``metric="precomputed"``.
        y : None
            Not read.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters that do not fit each other or X, such as more neighbours than there are rows.
        """
        with all_or_nothing(self):
            check_number("n_neighbors", self.n_neighbors, low=1, integer=True)
            check_choice("mode", self.mode, ("distance", "connectivity"))
            check_choice("backend", self.backend, BACKENDS)
            metric = with_params(self.metric, self.metric_params)
            check_metric(metric)
            X = unchanging(self._validated(X, reset=True))
            n_rows = X.shape[0]
            if self._pairwise and X.shape != (n_rows, n_rows):
                raise ValueError(
                    f"X has shape {X.shape}, and metric='precomputed' takes a square matrix of distances; give that, "
                    f"or another metric for a table of features"
                )
            if self.n_neighbors + self._adds_one > n_rows:
                raise ValueError(
                    f"n_neighbors={self.n_neighbors} with mode={self.mode!r} needs at least "
                    f"{self.n_neighbors + self._adds_one} rows, and X has n_samples={n_rows}; lower n_neighbors"
                )
            self.backend_ = choose_backend(X, metric=metric, backend=self.backend)
            self.n_samples_fit_ = self._n_features_out = n_rows
            # One seed for all calls, so that the training rows have the same neighbours in each.
            self._seed = int(random_source(self.random_state).randint(2**31 - 1))
            self._known = KnownRows(X)
        return self

    @cpu_by_default
    def transform(self, X) -> csr_matrix:
        """Distances of each row to its nearest training rows.

        The training rows, given all together and in their order, are their own first neighbours, and have the others
        by the search of `backend`.  All other rows are searched exactly, each by itself.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_new, n_features)
            Of shape (n_new, n_samples) with ``metric="precomputed"``.

        Returns
        -------
        csr_matrix of float64 of shape (n_new, n_samples)
            With ``n_neighbors`` entries in each row, and one more with ``mode="distance"``, by ascending distance;
            fewer only where a sparse matrix of precomputed distances holds no more.  A csr_array where scikit-learn's
            ``sparse_interface`` says so.
        """
        check_is_fitted(self)
        rows = self._validated(X, reset=False)
        k = self.n_neighbors + self._adds_one
        how = {"metric": self.metric, "metric_params": self.metric_params, "n_jobs": self.n_jobs}
        how = {"metric": "precomputed"} if self._pairwise else how
        if self._known.same_as(rows):
            if not self._pairwise:
                how |= {"backend": self.backend, "random_state": self._seed}
            graph = _with_itself(self._known.X, k, how)
        else:
            graph = neighbor_graph(self._known.X, k, queries=rows, **how)
        if self.mode == "connectivity":
            graph.data = np.ones_like(graph.data)
        # As scikit-learn's own: some of its loops take no others.
        small = max(graph.nnz, *graph.shape) <= np.iinfo(np.int32).max
        graph.indices, graph.indptr = (
            part.astype(np.int32 if small else np.int64, copy=False) for part in (graph.indices, graph.indptr)
        )
        # scikit-learn says so from 1.9 on; before there were matrices only.
        return graph if get_config().get("sparse_interface") == "sparray" else csr_matrix(graph)

    @property
    def _adds_one(self):
        return self.mode == "distance"

    def _validated(self, X, reset):
        X = validate_data(
            self, plain(X), accept_sparse="csr", dtype=(np.float64, np.float32), order="C", reset=reset
        )  # fmt: skip
        return canonical(X)


def _with_itself(X, k, how):
    """The k nearest columns of each training row, itself the first of them."""
    n_rows = X.shape[0]
    if k == 1:
        return csr_array((np.zeros(n_rows), np.arange(n_rows), np.arange(n_rows + 1)), shape=(n_rows, n_rows))
    others = neighbor_graph(X, k - 1, **how)
    first = others.indptr[:-1]  # before what is each row's first neighbour among the others
    data = np.insert(others.data, first, 0.0)
    indices = np.insert(others.indices, first, np.arange(n_rows))
    return csr_array((data, indices, others.indptr + np.arange(n_rows + 1)), shape=others.shape)
