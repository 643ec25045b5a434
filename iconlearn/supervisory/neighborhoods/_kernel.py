"""Kernels of the distance, with a bandwidth that is given or calibrated per row.

    p(j|i) = k(d_ij / sigma_i) / sum_{l != i} k(d_il / sigma_i)

over the neighbours l of row i, or over all rows.

The two classes differ in their kernel (``_calibration``) and share one recipe: neighbours,
bandwidth, weights.  Over all columns nothing is stored but a bandwidth and a normaliser per row, and normalisers
are found when they are first asked for: they need all pairs, and k-means needs none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.special import entr

from ..._checks import check_number, unchanging
from ..._warnings import warn
from ...conditional import BlockConditional, Conditional, along_entries, conditional_of, normalize_rows
from ...distributed import ALONE, current
from ...neighbors import BLOCK_SIZE, check_defined, choose_backend, distance_block, graph_of_all
from .._base import LARGEST_SHARE, NeighborSearch, check_metric_input, one_way, warn_empty
from ._calibration import GaussianKernel, StudentKernel, calibrate, entropies_of, kernel_rows
from ._reciprocal import WIDER, both_sides, first, reach

# Of many rows, and the least that is worth having in small groups.
PERPLEXITY, LEAST_IN_GROUPS = 30.0, 4.0


class Gaussian(NeighborSearch):
    """p(j|i) ∝ exp(-d_ij^2 / (2 sigma_i^2)), j != i.

    Parameters
    ----------
    perplexity : float or "auto", default=30.0
        Effective number of neighbours: sigma_i is chosen such that the entropy of row i is
        log(perplexity).  At least 1.  "auto" is 30, and less for few rows: at most a third of the other rows, and in a
        clustering or classification half the mean size of its groups, too.  A number above a third of the other rows,
        or not below the number of neighbours that are given, is lowered to a third of them (but not below 1), with a
        warning.  An estimator takes p="gaussian" for "auto".
    sigma : float, "scale" or None, default=None
        One bandwidth for all rows, in the units of the distance; it overrides `perplexity`.  "scale" is the
        standard deviation of the data (the root of the summed variances of its features).
    n_neighbors : int, "auto" or None, default="auto"
        Support of a row.  "auto": the 3 * perplexity nearest rows when the bandwidth is calibrated,
        all rows when `sigma` is given.  None: all rows, evaluated by blocks and never stored.
    metric : str or callable, default="euclidean"
        "precomputed" takes X as a matrix of distances, dense or sparse; of a sparse one the stored
        entries are the neighbours.
    search : {"auto", "exact", "ivf", "pynndescent", "faiss"}, default="auto"
        How the neighbours are searched; see :func:`iconlearn.neighbors.choose_backend`.
    self_pairs : bool, default=False
        Whether a row is among its own neighbours, at distance zero.  All rows are then candidates, as the
        direction KL(q || p) of k-means needs.
    metric_params : dict or None, default=None
        Parameters of the metric, as ``{"p": 3}`` of "minkowski"; see :func:`iconlearn.neighbors.knn`.
    neighbors : tuple of two ndarray of shape (n_rows, k) or None, default=None
        Neighbours of the rows of X that were found before, as (indices, distances) in either order, instead of a
        search; as :func:`iconlearn.neighbors.knn`, scikit-learn's ``kneighbors`` and umap-learn give them.  Those of
        new rows are searched by `metric`.

    Attributes
    ----------
    conditional_ : Conditional or BlockConditional
    sigma_ : ndarray of shape (n_rows,)
    perplexity_ : float or None
        The perplexity in use.
    neighbors_backend_ : str
        The search that was taken; "precomputed" for given distances, "none" over all rows.

    References
    ----------
    Hinton and Roweis, "Stochastic neighbor embedding", NeurIPS 2002.
    """

    two_sided = True

    def __init__(
        self,
        perplexity=30.0,
        *,
        sigma=None,
        n_neighbors="auto",
        metric="euclidean",
        search="auto",
        self_pairs=False,
        metric_params=None,
        neighbors=None,
    ):
        self.perplexity = perplexity
        self.sigma = sigma
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.search = search
        self.self_pairs = self_pairs
        self.metric_params = metric_params
        self.neighbors = neighbors

    def size_for(self, n_rows, n_groups, named):
        """Set the perplexity for so many rows and groups, where it is "auto" or p was `named` only."""
        if self.sigma is None and (named or self.perplexity == "auto"):
            self.perplexity = perplexity_by_default(PERPLEXITY, n_rows, n_groups)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Find the neighbours and bandwidths; see :meth:`Supervisory.fit`."""
        perplexity = self.perplexity if self.sigma is None else None
        return self._fit(X, GaussianKernel(), perplexity, self.sigma, random_state, n_jobs, device)

    def _fit(self, X, kernel, perplexity, sigma, random_state, n_jobs, device):
        """Neighbours, bandwidths and weights by a kernel, with a perplexity or one sigma."""
        X = unchanging(check_metric_input(X, self._metric))
        rows, metric = self._searched(X)
        recipe = KernelRecipe.resolve(
            rows, kernel, perplexity, sigma, self.n_neighbors, metric, self.search, self.self_pairs
        )
        self.perplexity_, self.neighbors_backend_ = recipe.perplexity, recipe.backend(rows, device)
        found = recipe.rows(rows, random_state=random_state, n_jobs=n_jobs, device=device)
        self.conditional_, self.sigma_, self._spans = found
        # Neighbours of new rows are searched in any case.
        self._recipe = replace(recipe, metric=self._metric)
        self._remember(self._recipe.memory(X))
        self._n_features = X.shape[1]
        return self

    def _extend(self, X_new, n_jobs, device):
        X_new = check_metric_input(X_new, self._metric, self._n_features)
        search = {"n_jobs": n_jobs, "device": device, "prepared": self._prepared, "group": self._group}
        return self._recipe.rows(self._X, X_new, **search)[0]

    def _reciprocal(self, X_new, n_jobs, device):
        X_new = check_metric_input(X_new, self._metric, self._n_features)
        search = {"n_jobs": n_jobs, "device": device, "prepared": self._prepared}
        return self._recipe.reciprocal(self._X, X_new, self.sigma_, self._spans, **search)


class Student(NeighborSearch):
    """p(j|i) ∝ (1 + d_ij^2 / (dof sigma^2))^(-(dof + 1) / 2), j != i.

    Parameters
    ----------
    perplexity : float or None, default=None
        Calibrates one sigma_i per row, as in :class:`Gaussian`, and overrides `sigma`.  A row whose
        tail alone is wider than the perplexity gets the narrowest attainable distribution, with a warning.
    dof : float, default=1.0
        Degrees of freedom; 1 is the Cauchy kernel of t-SNE, large values approach the Gaussian.
    sigma : float or "scale", default=1.0
        Bandwidth of all rows where no perplexity is given.
    n_neighbors : int, "auto" or None, default="auto"
    metric : str or callable, default="euclidean"
    search : {"auto", "exact", "ivf", "pynndescent", "faiss"}, default="auto"
    self_pairs : bool, default=False
    metric_params : dict or None, default=None
    neighbors : tuple of two ndarray of shape (n_rows, k) or None, default=None
        All as in :class:`Gaussian`.

    Attributes
    ----------
    conditional_ : Conditional or BlockConditional
    sigma_ : ndarray of shape (n_rows,)
    perplexity_ : float or None
        The perplexity in use.
    neighbors_backend_ : str
        The search that was taken; "precomputed" for given distances, "none" over all rows.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008 (the kernel, there on the
    side of q).
    """

    two_sided = True

    def __init__(
        self,
        perplexity=None,
        *,
        dof=1.0,
        sigma=1.0,
        n_neighbors="auto",
        metric="euclidean",
        search="auto",
        self_pairs=False,
        metric_params=None,
        neighbors=None,
    ):
        self.perplexity = perplexity
        self.dof = dof
        self.sigma = sigma
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.search = search
        self.self_pairs = self_pairs
        self.metric_params = metric_params
        self.neighbors = neighbors

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Find the neighbours and bandwidths; see :meth:`Supervisory.fit`."""
        kernel = StudentKernel(
            check_number("dof", self.dof, low=0, closed="neither", hint="1 is the Cauchy kernel")
        )
        sigma = self.sigma if self.perplexity is None else None
        return self._fit(X, kernel, self.perplexity, sigma, random_state, n_jobs, device)

    _fit = Gaussian._fit
    _extend = Gaussian._extend  # type: ignore[assignment]
    _reciprocal = Gaussian._reciprocal  # type: ignore[assignment]


@dataclass(frozen=True)
class KernelRecipe:
    """Neighbours, bandwidth, weights: how a row comes about, be it of the training set or new.

    Exactly one of `perplexity` and `sigma` is a number; `k` None means all columns (or all the
    neighbours that a sparse distance matrix stores).
    """

    kernel: GaussianKernel | StudentKernel
    perplexity: float | None
    sigma: float | None
    k: int | None
    metric: object
    search: str
    self_pairs: bool = False

    @classmethod
    def resolve(cls, X, kernel, perplexity, sigma, n_neighbors, metric, search="auto", self_pairs=False):
        """Check the user's parameters against the training data."""
        if not isinstance(self_pairs, bool):
            raise TypeError(f"self_pairs={self_pairs!r} must be True or False")
        if self_pairs and (isinstance(n_neighbors, str) and n_neighbors == "auto"):
            n_neighbors = None
        if self_pairs and (n_neighbors is not None or (issparse(X) and _is_precomputed(metric))):
            raise ValueError(
                f"self_pairs=True needs all rows for candidates, and n_neighbors={n_neighbors!r} (or a sparse "
                f"matrix of distances) leaves some out; use n_neighbors=None"
            )
        sparse_distances = _is_precomputed(metric) and issparse(X)
        n_all = current().total(X.shape[0])
        available = _stored_neighbors(X) if sparse_distances else n_all - 1
        if isinstance(n_neighbors, str) and n_neighbors != "auto":
            raise ValueError(f'n_neighbors={n_neighbors!r} is not known: give a whole number, "auto" or None')
        automatic = isinstance(n_neighbors, str)
        k = None if automatic or n_neighbors is None else _support(n_neighbors, max(1, available))
        if perplexity is not None:
            perplexity = _resolved_perplexity(
                perplexity, available if k is None else k, n_all - 1, kernel.quadratic
            )
            if automatic:
                k = max(1, min(available, ceil(3 * perplexity)))
            return cls(kernel, perplexity, None, k, metric, search, self_pairs)
        if isinstance(sigma, str) and sigma == "scale":
            if n_all > X.shape[0]:
                raise ValueError(
                    "sigma='scale' sees the rows of one process; give sigma as a number, or a perplexity"
                )
            sigma = _scale(X, metric)
            if sigma == 0:
                what = (
                    "the distances are all zero" if _is_precomputed(metric) else "the rows of X are all equal"
                )
                raise ValueError(f"sigma='scale' has no width to take, since {what}; give sigma as a number")
        sigma = check_number("sigma", sigma, low=0, closed="neither", hint="a distance, in the units of X")
        return cls(kernel, None, sigma, k, metric, search, self_pairs)

    def memory(self, X):
        """What has to be kept of the training X; a distance matrix is never looked at again."""
        return None if _is_precomputed(self.metric) else X

    def backend(self, X, device):
        """Which search finds the neighbours of the training rows."""
        chosen = choose_backend(X, metric=self.metric, backend=self.search, device=device)
        return "none" if self.k is None and chosen != "precomputed" else chosen

    def rows(self, X, queries=None, **search):
        """p of the training rows, or of the queries, the bandwidths, and what :meth:`reciprocal` needs of them.

        `search` are further arguments of :func:`iconlearn.neighbors.neighbor_graph`.
        """
        source = X if queries is None else queries
        if self.k is None and not (_is_precomputed(self.metric) and issparse(source)):
            return *self._all_columns(X, queries), None
        graph = self._nearest(X, queries, self.k, **search)
        sigma = self._bandwidth(graph)
        edges = normalize_rows(kernel_rows(graph, sigma, self.kernel))
        if queries is None:
            rows = along_entries(np.arange(edges.shape[0]), edges)
            self._warn_wide(np.bincount(rows, entr(edges.data), minlength=edges.shape[0]))
        spans = _spans(graph, edges, self.k) if queries is None and self.k is not None else None
        p = conditional_of(current(), edges) if queries is None else Conditional(edges)
        return p, sigma, spans

    def reciprocal(self, X, queries, sigma, spans, **search):
        """How near queries and training rows are, seen from both sides, the latter's bandwidths as they are.

        Over all columns, and where all stored neighbours count, it is the queries' own p.
        """
        if spans is None:
            return self.rows(X, queries, **search)[0]
        graph = self._nearest(X, queries, min(WIDER * self.k, len(sigma)), **search)
        chosen, ours = first(graph, self.k), np.zeros(graph.nnz)
        indptr = np.concatenate([[0], np.cumsum(chosen)])[graph.indptr]
        own = csr_array((graph.data[chosen], graph.indices[chosen], indptr), shape=graph.shape)
        ours[chosen] = kernel_rows(own, self._bandwidth(own), self.kernel).data
        nearest, reach, total = spans[:, graph.indices]
        weight = np.exp(self.kernel.log_weights(graph.data, sigma[graph.indices], nearest))
        return both_sides(graph, ours, np.where(graph.data < reach, weight / (total + weight), 0.0))

    def _nearest(self, X, queries, k, **search):
        """Distances to the k nearest columns, ascending; None: to all that are stored."""
        group = search.pop("group", None) or (current() if queries is None else ALONE)
        graph = graph_of_all(group, X, k, metric=self.metric, queries=queries, backend=self.search, **search)
        if _is_precomputed(self.metric):
            warn_empty(
                np.diff(graph.indptr) > 0,
                "any neighbour",
                "store more distances per row",
                new_rows=queries is not None,
                hint="" if queries is not None else one_way(graph, "D"),
            )
        return graph

    def _bandwidth(self, distances):
        if self.perplexity is None:
            return np.full(distances.shape[0], self.sigma)
        return calibrate(distances, self.perplexity, self.kernel)

    def _warn_wide(self, entropies):
        """Warn of rows whose tail alone is wider than the perplexity, which a Gaussian never is but by ties."""
        if self.perplexity is None or self.kernel.quadratic:
            return
        attained = np.exp(entropies)
        wide = attained > 1.001 * self.perplexity
        if wide.any():
            warn(
                f"perplexity={self.perplexity:g} is out of reach for {wide.sum()} of {len(wide)} rows: with dof="
                f"{self.kernel.dof:g} the tail alone is wider, and they have {np.median(attained[wide]):.3g} (the "
                f"median); raise dof or perplexity, or give n_neighbors"
            )

    def _all_columns(self, X, queries):
        points = X if queries is None else queries
        columns = None if _is_precomputed(self.metric) else X
        excludes = queries is None and not self.self_pairs
        sigma = np.full(points.shape[0], np.nan if self.sigma is None else self.sigma)
        block = KernelBlock(points, columns, self.metric, self.kernel, sigma, excludes)
        if self.perplexity is not None:
            entropies = np.zeros(len(sigma))
            for rows, distances in block.full_rows():
                sigma[rows] = self._bandwidth(distances)
                if not self.kernel.quadratic:
                    entropies[rows] = entropies_of(distances, sigma[rows], self.kernel)
            if queries is None:
                self._warn_wide(entropies)
        return BlockConditional(block, block.shape, self_pairs=not excludes), sigma


def _spans(graph, edges, k):
    """Of every row the least distance, within which others are near, and the sum of its weights; shape (3, n)."""
    filled, spans = np.diff(graph.indptr) > 0, np.zeros((3, graph.shape[0]))
    spans[1] = reach(graph, k)
    if filled.any():
        spans[0, filled] = graph.data[graph.indptr[:-1][filled]]
        # Weights are relative to that of the nearest; those that vanish are not stored.
        spans[2, filled] = 1.0 / np.maximum.reduceat(edges.data, edges.indptr[:-1][filled])
    return spans


@dataclass(frozen=True, eq=False)
class KernelBlock:
    """Kernel rows on demand: ``block(rows, cols)``, each row normalised over all columns.

    Parameters
    ----------
    points : ndarray or sparse matrix of shape (n_rows, n_features)
        Distances of shape (n_rows, n_cols) when `columns` is None.
    columns : ndarray or sparse matrix of shape (n_cols, n_features) or None
    metric, kernel
    sigma : ndarray of shape (n_rows,)
        Bandwidths.
    tied : bool
        Whether column i is row i itself, and no candidate of it.
    """

    points: object
    columns: object
    metric: object
    kernel: GaussianKernel | StudentKernel
    sigma: np.ndarray
    tied: bool

    @property
    def shape(self):
        """Numbers of rows and columns."""
        return self.points.shape[0], self.points.shape[1] if self.columns is None else self.columns.shape[0]

    def __call__(self, rows=None, cols=None) -> np.ndarray:
        return np.exp(self.log(rows, cols))

    def log(self, rows=None, cols=None) -> np.ndarray:
        """Logarithms of the rows, which do not underflow."""
        nearest, log_total = self.normalisers if rows is None else self.normalisers[:, rows]
        sigma = self.sigma if rows is None else self.sigma[rows]
        log_w = self.kernel.log_weights(self.distances(rows, cols), sigma[:, None], nearest[:, None])
        log_w -= log_total[:, None]
        return log_w

    @cached_property
    def normalisers(self) -> np.ndarray:
        """Least distance of each row, and logarithm of the sum of the weights relative to it; shape (2, n_rows)."""
        found = np.empty((2, self.shape[0]))
        for rows, distances in self.full_rows():
            nearest = distances.min(axis=1)
            log_w = self.kernel.log_weights(distances, self.sigma[rows, None], nearest[:, None])
            found[:, rows] = nearest, np.log(np.exp(log_w).sum(axis=1))
        return found

    def full_rows(self):
        """Yield row numbers and their distances to all columns, a block at a time."""
        n_rows, n_cols = self.shape
        step = max(1, BLOCK_SIZE // n_cols)
        for start in range(0, n_rows, step):
            rows = np.arange(start, min(start + step, n_rows))
            yield rows, self.distances(rows, None)

    @property
    def quadratic(self):
        """(points, b) where - log p(j|i) is b |x_i - x_j|^2 plus a constant of the row, else None."""
        plain = isinstance(self.metric, str) and self.metric == "euclidean" and not self.tied
        if not plain or np.ptp(self.sigma) > 0 or not self.kernel.quadratic:
            return None
        return self.columns, 0.5 / self.sigma[0] ** 2

    def distances(self, rows, cols):
        """Distances of the visited pairs; inf where the pair is no candidate."""
        points = self.points if rows is None else self.points[rows]
        if self.columns is None:
            block = np.array(points if cols is None else points[:, cols], dtype=float)
        else:
            columns = self.columns if cols is None else self.columns[cols]
            block = distance_block(points, columns, metric=self.metric)
        if self.tied:
            n_points = self.points.shape[0]
            row_ids = np.arange(n_points) if rows is None else np.asarray(rows)
            col_ids = np.arange(n_points) if cols is None else np.asarray(cols)
            block[row_ids[:, None] == col_ids] = np.inf
        if self.columns is not None:
            cols = None if cols is None else np.asarray(cols)
            check_defined(block, self.metric, rows, cols, new_rows=self.points is not self.columns)
        return block


def _scale(X, metric):
    """The standard deviation of the data: half the mean squared distance is their variance."""
    if _is_precomputed(metric):
        # Of a sparse matrix the stored distances are known, and no others.
        distances = np.asarray(X.data if issparse(X) else X, dtype=float)
        return float(np.sqrt(0.5 * np.square(distances).mean())) if distances.size else 0.0
    if issparse(X):
        # About the mean of each feature: a difference of squares loses all digits where the data lie far off.
        mean = np.asarray(X.mean(axis=0, dtype=float)).ravel()
        columns = X.tocsc()
        stored = np.diff(columns.indptr)
        own = np.repeat(mean, stored)
        squares = np.square(columns.data - own).sum() + (mean**2 * (X.shape[0] - stored)).sum()
        return float(np.sqrt(squares / X.shape[0]))
    return float(np.sqrt(X.var(axis=0, dtype=float).sum()))


def _is_precomputed(metric):
    return isinstance(metric, str) and metric == "precomputed"


def _stored_neighbors(graph):
    """The largest number of neighbours that a row of a sparse distance matrix stores."""
    rows = along_entries(np.arange(graph.shape[0]), graph)
    return int(np.bincount(rows[graph.indices != rows], minlength=1).max())


def perplexity_by_default(usual, n_rows, n_groups):
    """The usual perplexity, at most a third of the other rows and of the mean of several groups.

    Four is not too many for small groups: the nearest of the neighbours count most.
    """
    most = LARGEST_SHARE * (n_rows - 1)
    if n_groups > 1:
        most = min(most, max(LEAST_IN_GROUPS, LARGEST_SHARE * n_rows / n_groups))
    return max(1.0, min(usual, most))


def _support(n_neighbors, available):
    """How many rows may be neighbours; the perplexity is the effective number of them."""
    k = check_number(
        "n_neighbors", n_neighbors, low=1, integer=True, hint="three times the perplexity is usual"
    )
    if k > available:
        warn(f"n_neighbors={k} is more than the {available} other rows; {available} are used")
    return min(k, available)


def _resolved_perplexity(perplexity, n_neighbors, n_others, light_tailed):
    """A perplexity as a number that so many neighbours, and so many other rows, allow."""
    automatic = isinstance(perplexity, str) and perplexity == "auto"
    if automatic:
        perplexity = PERPLEXITY
    perplexity = check_number("perplexity", perplexity, low=1, hint="typical values are 5 to 50")
    lowered, reason = perplexity, ""
    if perplexity >= n_neighbors:
        lowered, reason = n_neighbors / 3, f"not below the number of neighbours, {n_neighbors}"
    elif light_tailed and perplexity > LARGEST_SHARE * n_others:
        lowered, reason = n_others / 3, f"more than a third of the {n_others} other rows"
    lowered = max(1.0, lowered)
    if lowered < perplexity and not automatic:
        warn(f"perplexity={perplexity:g} is {reason}; it is lowered to {lowered:g}")
    return lowered
