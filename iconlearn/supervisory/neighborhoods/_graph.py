"""Neighbour graphs, and matrices that are given.

p(j|i) = w_ij / sum_l w_il          w: 1 for the k nearest, more for mutual ones (KNN), a given adjacency
                                    (Graph), or p itself (Precomputed)
"""

from __future__ import annotations

from math import ceil

import numpy as np
from scipy.sparse import csr_array, issparse

from ..._checks import check_choice, check_number, unchanging
from ...conditional import Conditional, along_entries, conditional_of, normalize_rows
from ...distributed import current
from ...neighbors import graph_of_all
from ...neighbors._edges import as_matrix
from ...neighbors._matrices import are_distances
from .._base import (
    NeighborSearch,
    Supervisory,
    check_distances,
    check_matrix,
    check_metric_input,
    clamp_neighbors,
    n_rows_of,
    neighbors_by_default,
    one_way,
    warn_empty,
)
from ._calibration import GaussianKernel
from ._kernel import KernelRecipe
from ._reciprocal import WIDER, both_sides, first, reach

# Of many rows.
N_NEIGHBORS = 15
# A gap: the next neighbour is so many times as far as the one before it.  Up to there a quarter of the neighbours (at
# least three) have been met, and distances rather fall together the more features there are.
GAP, QUARTER, FEWEST_BEFORE_GAP = 3.0, 4, 3
# Relative error of a distance.
ROUNDING = 1e-6
# Among so many rows mutual neighbours weigh so much by default.  Groups of a map are purer by it, at no loss of
# neighbours kept, and clusters of classes that lie close are.  Among fewer rows maps keep fewer neighbours by it, and
# clusters gain on some sets what they lose on others.
MANY, MUTUAL_WEIGHT = 60_000, 2.0


class KNN(NeighborSearch):
    """p(j|i) = 1/k for the k nearest rows j != i.

    Parameters
    ----------
    n_neighbors : int or "auto", default=15
        k.  "auto" is 15, and less for few rows: at most a fifth of the other rows (three where that is less), and in
        a clustering or classification half the mean size of its groups, too.  A number above a third of the other
        rows (and above three) is lowered to it, with a warning.  An estimator takes p="knn" for "auto".  Of given
        `neighbors` the k nearest are taken.
    metric : str or callable, default="euclidean"
        "precomputed" takes X as a matrix of distances, dense or sparse; of a sparse one the stored
        entries are the neighbours, of which the k nearest are taken.
    search : {"auto", "exact", "ivf", "pynndescent", "faiss"}, default="auto"
        How the neighbours are searched; see :func:`iconlearn.neighbors.choose_backend`.
    metric_params : dict or None, default=None
        Parameters of the metric, as ``{"p": 3}`` of "minkowski"; see :func:`iconlearn.neighbors.knn`.
    neighbors : tuple of two ndarray of shape (n_rows, k) or None, default=None
        Neighbours of the rows of X that were found before, as (indices, distances) in either order, instead of a
        search; as :func:`iconlearn.neighbors.knn`, scikit-learn's ``kneighbors`` and umap-learn give them.  Those of
        new rows are searched by `metric`.
    far_weight : float in (0, 1], default=1.0
        Weight, beside the 1 of the others, of neighbours beyond a gap: those from the first on that is more than
        three times as far as the neighbour before it, where that one is at least the third and the (k / 4)-th.  Below 1
        a small group of rows far from all others keeps to itself although it has fewer than k.
    mutual_weight : float, default=1.0
        Weight, beside the 1 of the others, of mutual neighbours: those j among whose k nearest the row is itself, which
        are no further than the k-th of j.  Mutual pairs are of one class more often than others, and above 1 they count
        more: p(j|i) is in proportion to this number or 1 (times `far_weight` beyond a gap).  Of distances or neighbours
        that are given, a row with fewer than k counts all that are given.

    Attributes
    ----------
    conditional_ : Conditional
    neighbors_backend_ : str
        The search that was taken, or "precomputed" for distances or neighbours that were given.

    References
    ----------
    Böhm, Berens and Kobak, "Attraction-repulsion spectrum in neighbor embeddings", JMLR 2022
    (uniform affinities).
    """

    two_sided = True

    def __init__(
        self,
        n_neighbors=15,
        *,
        metric="euclidean",
        search="auto",
        metric_params=None,
        neighbors=None,
        far_weight=1.0,
        mutual_weight=1.0,
    ):
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.search = search
        self.metric_params = metric_params
        self.neighbors = neighbors
        self.far_weight = far_weight
        self.mutual_weight = mutual_weight

    def size_for(self, n_rows, n_groups, named):
        """Set the number of neighbours for so many rows and groups, where it is "auto" or p was `named` only."""
        if named or self.n_neighbors == "auto":
            self.n_neighbors = neighbors_by_default(N_NEIGHBORS, n_rows, n_groups)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Find the neighbours; see :meth:`Supervisory.fit`."""
        X = check_metric_input(X, self._metric)
        check_number("far_weight", self.far_weight, low=0, high=1, closed="right")
        check_number("mutual_weight", self.mutual_weight, low=0, closed="neither")
        rows, metric = self._searched(X)
        group = current()
        n_all = group.total(X.shape[0])
        if isinstance(self.n_neighbors, str):
            check_choice("n_neighbors", self.n_neighbors, ("auto",))
            self._k = neighbors_by_default(N_NEIGHBORS, n_all)
        else:
            self._k = clamp_neighbors(self.n_neighbors, n_all - 1)
        self._remember(None if self.pairwise else unchanging(X))
        self._n_features = X.shape[1]
        graph, backend = self._neighbor_graph(rows, metric, self._k, random_state, n_jobs, device)
        self.neighbors_backend_, self._reach = backend, reach(graph, self._k)
        if self.mutual_weight != 1:
            # Columns are rows of all processes.
            self._reach = group.gathered(self._reach)
        weights = self._weights(graph)
        if self.far_weight < 1:
            self._mates = self._within_gaps(graph)
        if self.mutual_weight != 1:
            self._others = self._without_last(graph, weights)
        edges = self._shares(graph, weights)
        if self._uniform:
            # Entries of one weight need not be sorted with their columns, which takes five times as long.
            edges = csr_array((edges.data, _sorted_columns(graph), edges.indptr), shape=edges.shape)
        self.conditional_ = conditional_of(group, edges)
        return self

    @property
    def _uniform(self):
        """Whether all neighbours of a row weigh the same."""
        return self.far_weight == 1 and self.mutual_weight == 1

    def _extend(self, X_new, n_jobs, device):
        graph = self._nearest(X_new, self._k, n_jobs, device)
        return Conditional(self._shares(graph, self._weights(graph)))

    def _reciprocal(self, X_new, n_jobs, device):
        """Both sides among the 4 k nearest rows; rows further away that have a new row as a neighbour are left out."""
        graph = self._nearest(X_new, min(WIDER * self._k, self.conditional_.n_rows), n_jobs, device)
        chosen = first(graph, self._k)
        weights = np.where(chosen, self._weights(graph), 0.0)
        ours = weights / along_entries(_row_sums(weights, graph), graph)
        # A row with fewer neighbours than k takes one more.
        n_found = np.diff(self.conditional_.sparse().indptr)
        room = np.minimum(n_found + 1, self._k)[graph.indices]
        near = np.ones(graph.nnz)
        if self.far_weight < 1:
            border, n_near = self._mates[:, graph.indices]
            near = np.where(graph.data > border, self.far_weight, 1.0)
            # A row nearer than the border replaces a far one, where there is one.
            n_near = np.minimum(n_near + (near == 1.0), room)
            room = n_near + self.far_weight * (room - n_near)
        if self.mutual_weight != 1:
            near *= np.where(chosen, self.mutual_weight, 1.0)
            room = self._others[graph.indices] + near
        theirs = np.where(graph.data < self._reach[graph.indices], near, 0.0) / room
        return both_sides(graph, ours, theirs)

    def _shares(self, graph, weights):
        """The weights over their sums in each row, which are written over them."""
        sums = np.diff(graph.indptr) if self._uniform else _row_sums(weights, graph)
        weights /= along_entries(sums, graph)
        return csr_array((weights, graph.indices, graph.indptr), shape=graph.shape)

    def _weights(self, graph):
        """1 for every stored entry, zero distances included, times what mutual ones and those beyond a gap weigh."""
        weights = np.ones(graph.nnz)
        if self.far_weight < 1:
            weights[_beyond_gap(graph, self._k)] = self.far_weight
        if self.mutual_weight != 1:
            # One distance found from either end may differ in its last digits.
            weights[graph.data <= self._reach[graph.indices] * (1 + ROUNDING)] *= self.mutual_weight
        return weights

    def _without_last(self, graph, weights):
        """Of every row the sum of the weights, less that of the neighbour that a further row would replace."""
        sums, full = _row_sums(weights, graph), np.diff(graph.indptr) >= self._k
        sums[full] -= weights[graph.indptr[1:][full] - 1]
        return sums

    def _within_gaps(self, graph):
        """Of every row the distance beyond which others are far, and how many are nearer; shape (2, n)."""
        far = _beyond_gap(graph, self._k)
        n_near = np.diff(graph.indptr) - _row_sums(far.astype(float), graph)
        border = np.full(graph.shape[0], np.inf)
        split = np.flatnonzero(n_near < np.diff(graph.indptr))
        border[split] = GAP * graph.data[graph.indptr[split] + n_near[split].astype(int) - 1]
        return np.stack([border, n_near])

    def _nearest(self, X_new, k, n_jobs, device):
        """The k nearest training rows of new ones, by ascending distance."""
        X_new = check_metric_input(X_new, self._metric, self._n_features)
        search = {"n_jobs": n_jobs, "device": device, "prepared": self._prepared}
        graph = graph_of_all(self._group, self._X, k, metric=self._metric, queries=X_new, **search)
        if self.pairwise:
            warn_empty(np.diff(graph.indptr) > 0, "any neighbour", "", new_rows=True)
        return graph


class Graph(Supervisory):
    """p(j|i) = A_ij / sum_{l != i} A_il.

    Parameters
    ----------
    adjacency : array-like, sparse matrix, networkx graph, list of edges or None, default=None
        Non-negative weights of shape (n_rows, n_rows), directed or not; the diagonal is ignored.  A list of edges has
        the shape (n_edges, 2) or, with weights, (n_edges, 3), names rows by their numbers, and joins both ends; nodes
        of a networkx graph are rows in the order of its nodes.  None: X is one of these.
    mass : {"uniform", "degree"}, default="uniform"
        Weight of a row in the objective: all alike, or by its degree sum_j A_ij (normalised cuts).

    Attributes
    ----------
    conditional_ : Conditional
        Isolated nodes have empty rows and no mass.

    Notes
    -----
    A graph that is given beside the features is tied to those rows: it cannot be cross-validated,
    and ``extend`` has no rule.  Give the graph as X instead.
    """

    def __init__(self, adjacency=None, *, mass="uniform"):
        self.adjacency = adjacency
        self.mass = mass

    @property
    def pairwise(self) -> bool:
        return self.adjacency is None

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Normalise the rows; see :meth:`Supervisory.fit`.

        Raises
        ------
        ValueError
            For a graph that is not of the rows of X, and for what are evidently distances, not weights.
        """
        check_choice("mass", self.mass, ["uniform", "degree"])
        if self.pairwise:
            X = as_matrix(X)
        n_rows = n_rows_of(X)
        given = X if self.pairwise else as_matrix(self.adjacency, n_rows)
        adjacency = check_matrix(given, what="the adjacency")
        if adjacency.shape[0] != n_rows:
            raise ValueError(
                f"the adjacency has {adjacency.shape[0]} rows but X has {n_rows}: it must have "
                f"one row per row of X. "
                f"A fixed graph cannot be cross-validated or fitted on a part of X; give the "
                f"graph as X with Graph()"
            )
        if are_distances(adjacency, None if self.pairwise else X):
            raise ValueError(
                "the adjacency looks like a matrix of distances: its diagonal is zero, and its entries grow with the "
                "distance of two rows, so that rows far apart would count as near. Give distances as X with "
                "p=iconlearn.supervisory.KNN(metric='precomputed') (or Gaussian, Student), or weights that fall with "
                "the distance, such as np.exp(-D**2 / D.mean()**2). If these are weights, put a positive number on the "
                "diagonal, which is not looked at otherwise"
            )
        weights = csr_array(adjacency, dtype=float, copy=True)
        weights.sum_duplicates()
        rows = along_entries(np.arange(n_rows), weights)
        weights.data[weights.indices == rows] = 0.0
        edges = normalize_rows(weights)
        warn_empty(
            np.diff(edges.indptr) > 0,
            "any edge to another row",
            "add edges with positive weights",
            hint=one_way(edges, "A"),
        )
        mass = np.asarray(weights.sum(axis=1)).ravel() if self.mass == "degree" else None
        self.conditional_ = Conditional(edges, mass=mass, self_pairs=False)
        return self

    def _extend(self, X_new, n_jobs):
        if not self.pairwise:
            raise ValueError(
                "Graph(adjacency) says nothing about new rows: its graph has no edges to them. "
                "Give the graph as X "
                "with Graph(), and the edges from new rows to training rows as X_new"
            )
        X_new = check_matrix(X_new, self.conditional_.n_cols, what="the adjacency")
        edges = normalize_rows(X_new)
        warn_empty(np.diff(edges.indptr) > 0, "any edge to a training row", "", new_rows=True)
        return Conditional(edges)


class Precomputed(Supervisory):
    """p as a given matrix, or Gaussian weights of given distances.

    Parameters
    ----------
    kind : {"probability", "distance"}, default="probability"
        "probability": X_ij = p(j|i), rows sum to one.  "distance": p(j|i) ∝ exp(-X_ij^2 / (2
        sigma_i^2)), calibrated to `perplexity`, over the 3 * perplexity nearest of a dense matrix
        or over the stored entries of a sparse one (as ``KNeighborsTransformer(mode="distance")``
        gives it; entry (i, i) is the row itself and is ignored).
    perplexity : float or "auto", default=30.0
        For distances; as for :class:`Gaussian`.

    Attributes
    ----------
    conditional_ : Conditional
        ``self_pairs`` is True where a matrix of probabilities has any positive entry on its
        diagonal.
    """

    def __init__(self, kind="probability", *, perplexity=30.0):
        self.kind = kind
        self.perplexity = perplexity

    @property
    def pairwise(self) -> bool:
        return True

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the matrix; see :meth:`Supervisory.fit`."""
        check_choice("kind", self.kind, ["probability", "distance"])
        if self.kind == "probability":
            edges = _probabilities(check_matrix(X, what="the probability matrix", free_diagonal=False))
            self.conditional_ = Conditional(edges, self_pairs=bool((edges.diagonal() > 0).any()))
            return self
        X = check_distances(X)
        n_neighbors = None if issparse(X) else "auto"
        self._recipe = KernelRecipe.resolve(
            X, GaussianKernel(), self.perplexity, None, n_neighbors, "precomputed", "auto"
        )
        self.conditional_, self.sigma_, _ = self._recipe.rows(X)
        return self

    def _extend(self, X_new, n_jobs):
        n_cols = self.conditional_.n_cols
        if self.kind == "probability":
            return Conditional(_probabilities(check_matrix(X_new, n_cols, what="the probability matrix")))
        X_new = check_matrix(X_new, n_cols, what="the distance matrix")
        return self._recipe.rows(None, X_new)[0]


def _beyond_gap(graph, k):
    """Which entries lie beyond the first gap of their row; distances ascend in every row."""
    start = along_entries(graph.indptr[:-1], graph)
    position = np.arange(graph.nnz) - start
    wide = np.zeros(graph.nnz, dtype=bool)
    wide[1:] = graph.data[1:] > GAP * graph.data[:-1]
    wide &= (position >= max(FEWEST_BEFORE_GAP, ceil(k / QUARTER))) & (position < k)
    gaps = np.concatenate([[0], np.cumsum(wide)])
    return gaps[1:] > gaps[start]


def mutual_weight_by_default(n_rows):
    """What mutual neighbours among so many rows weigh where nothing else is said."""
    return MUTUAL_WEIGHT if n_rows >= MANY else 1.0


def _sorted_columns(graph):
    """Columns of the stored entries, ascending in every row."""
    counts = np.diff(graph.indptr)
    if len(counts) and counts[0] > 0 and (counts == counts[0]).all():
        return np.sort(graph.indices.reshape(-1, counts[0]), axis=1).ravel()
    return graph.sorted_indices().indices


def _row_sums(values, graph):
    """Sums over the stored entries of each row."""
    rows = along_entries(np.arange(graph.shape[0]), graph)
    return np.bincount(rows, values, minlength=graph.shape[0])


def _probabilities(matrix):
    total = np.asarray(matrix.sum(axis=1), dtype=float).ravel()
    worst = int(np.argmax(np.abs(total - 1)))
    if abs(total[worst] - 1) > 1e-6:
        raise ValueError(
            f"row {worst} of the probability matrix sums to {total[worst]:.6g}, off one by "
            f"{abs(total[worst] - 1):.2g}: every row must sum to one within 1e-6. For a matrix "
            f"of weights use Graph(), "
            f'for distances use Precomputed(kind="distance")'
        )
    return normalize_rows(matrix)
