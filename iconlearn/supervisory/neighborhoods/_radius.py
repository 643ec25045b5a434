"""How far the neighbours of a row are: the density of the data around it, as a target of its own.

    p(t|i) = 1[t = log r_i^2],      r_i^2 = mean_{j in N_i} |x_i - x_j|^2,   N_i the k nearest rows

The columns are these numbers, and what is read of the places is the logarithm of the mean squared distance between
its place and those of the same neighbours.  With a density over the whole space for q, such as N(t; log r'_i^2, 1), the
KL is half of (log r_i^2 - log r'_i^2)^2 and a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...conditional import one_column
from ...numerics.geometry import Edges, pairs
from .._base import NeighborSearch, check_metric_input, clamp_neighbors

# Share of the mean square that is added to every one, so that rows which coincide with their neighbours have a radius.
LEAST = 1e-4


class LocalRadius(NeighborSearch):
    """p(t|i) = 1 at t = log r_i^2, r_i^2 the mean squared distance of row i to its k nearest rows.

    As a further term with ``q=learned.Gaussian(normalize="space")`` it asks for neighbourhoods that are as wide in the
    map as in the data, up to one factor for all: sparse groups of rows stay sparse, and dense ones dense.

    Parameters
    ----------
    n_neighbors : int, default=15
        k.
    metric, search, metric_params, neighbors
        As for :class:`KNN`.

    Attributes
    ----------
    log_radii_ : ndarray of shape (n_rows,)
        log(r_i^2 + 1e-4 mean_l r_l^2), less the mean over the rows: natural logarithms, without a unit.
    conditional_ : Conditional of shape (n_rows, n_rows)
    neighbors_backend_ : str

    Notes
    -----
    The radii of a map are those of the same neighbours, by Euclidean distance.  Its unit of length is free: the mean of
    their logarithms over the rows of a step is taken to be the data's.  The loss of a term is then half of the mean
    squared difference of logarithms.  densMAP and den-SNE maximise the correlation of the logarithms instead, which
    leaves their slope free as well.

    References
    ----------
    Narayan, Berger and Cho, "Assessing single-cell transcriptomic variability through density-preserving data
    visualization", Nature Biotechnology 2021.
    """

    columns = "targets"

    across = None

    def __init__(
        self, n_neighbors=15, *, metric="euclidean", search="auto", metric_params=None, neighbors=None
    ):
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.search = search
        self.metric_params = metric_params
        self.neighbors = neighbors

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Find the neighbours and their mean squared distances; see :meth:`Supervisory.fit`."""
        X = check_metric_input(X, self._metric)
        rows, metric = self._searched(X)
        k = clamp_neighbors(self.n_neighbors, X.shape[0] - 1)
        found = self._neighbor_graph(rows, metric, k, random_state, n_jobs, device)
        graph, self.neighbors_backend_ = found
        counts = np.diff(graph.indptr)
        each = np.repeat(np.arange(X.shape[0]), counts)
        squares = np.bincount(each, graph.data.astype(float) ** 2, X.shape[0]) / np.maximum(counts, 1)
        if not squares.any():
            raise ValueError(
                "all neighbours are at distance zero, so that no neighbourhood is wider than another; raise n_neighbors"
            )
        self._near, self._counted = (each, graph.indices.astype(np.int64)), counts > 0
        radii = _log_radii(torch.from_numpy(squares), torch.from_numpy(self._counted)).numpy()
        self.log_radii_ = radii - radii[self._counted].mean()
        own = np.where(self._counted, np.arange(X.shape[0]), -1)
        self.conditional_ = one_column(own, X.shape[0])
        return self

    def targets_of(self, X):
        """The targets of the training rows, shape (n_rows, 1); those of other rows are unknown."""
        return self.log_radii_[:, None]

    def reading(self, device):
        """What makes logarithms of radii of the places of rows and their neighbours; see :class:`Supervisory`."""
        n = len(self.log_radii_)
        ends = (torch.from_numpy(end).to(device) for end in self._near)
        counted, radii = (torch.from_numpy(a).to(device) for a in (self._counted, self.log_radii_))
        return _Radii(Edges(*ends, (n, n)), counted, radii)

    def _extend(self, X_new, n_jobs, device):
        return super()._extend(X_new, n_jobs)


@dataclass(frozen=True, eq=False)
class _Radii:
    """Logarithms of mean squared distances between places, of which the mean is that of the targets.

    Parameters
    ----------
    edges : Edges
        From every row to its neighbours.
    counted : Tensor of bool of shape (n_rows,)
        Which rows have any.
    targets : Tensor of shape (n_rows,)
    """

    edges: Edges
    counted: torch.Tensor
    targets: torch.Tensor

    def __call__(self, places, rows=None):
        """Of all rows or some.

        Parameters
        ----------
        places : callable
            ``places(rows)``: the mapper's outputs, of all rows for None.
        rows : Tensor of int64 or None

        Returns
        -------
        Tensor of shape (n_rows, 1)
        """
        if rows is None:
            V = places(None)
            U, edges, counted, targets = V, self.edges, self.counted, self.targets
        else:
            edges, found = self.edges.of_some(rows)
            V, U = places(found), places(rows)
            counted, targets = self.counted[rows], self.targets[rows]
        n_near = edges.row_sums(torch.ones_like(edges.i, dtype=V.dtype)).clamp_min(1)
        radii = _log_radii(edges.row_sums(pairs("sqdist", U, V, edges)) / n_near, counted)
        gap = torch.where(counted, radii - targets.to(radii.dtype), 0.0).sum() / counted.sum().clamp_min(1)
        return (radii - gap)[:, None]


def _log_radii(squares, counted):
    """Logarithms of mean squares, those of rows without neighbours left out of the mean that a share is added of."""
    return torch.log(squares + LEAST * torch.where(counted, squares, 0.0).sum() / counted.sum().clamp_min(1))
