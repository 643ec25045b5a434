"""Approximate search in cells (inverted lists): rows against those of the nearest cells.

How many cells that has to be is read off a sample of rows whose exact neighbours are known, so that
the recall is what is fixed and the work follows from the data.
"""

from __future__ import annotations

import torch

from ..numerics.threads import MANY_POINTS
from ._cell_probes import CellProbes
from ._cells import Cells, nearest_centres
from ._products import BLOCK_SIZE, nearest, product_error
from ._row_probes import RowProbes

# Share of the sample's neighbours that the candidates have to hold.
RECALL = 0.98
N_SAMPLE = 512
# Rows wider than WIDE are searched along N_AXES principal axes.  On the 784 pixels of MNIST so many hold
# 0.995 of the 15 nearest rows among twice as many candidates (64 axes: 0.975, 50: 0.959, 150: 0.9995).
WIDE = 200
N_AXES = 100
OVERSAMPLING = 2
# Least share of the sample's neighbours among the candidates along the axes; below, all columns count.
KEPT = 0.99
# Rows from which the axes are found; any axes will do, these are short ones.
N_AXES_ROWS = 10_000


def search_cells(prepared, k, *, seed):
    """Neighbours of every row, itself left out.

    Parameters
    ----------
    prepared : PreparedRows or DeviceRows
        The rows, on the device on which they are searched.
    k : int
        At most n - 1.
    seed : int

    Returns
    -------
    Tensor of int64 of shape (n, k or more)
        Candidates in no order, all different.  Of wide rows, which are searched along a part of their
        axes, there are twice as many: the k nearest among them are meant.

    References
    ----------
    Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", TPAMI 2011 (inverted
    lists).
    """
    return CellSearch(prepared, k, seed=seed).among_themselves()


class CellSearch:
    """Rows in cells, which are searched among themselves, or for those that are nearest to others.

    Parameters
    ----------
    prepared : PreparedRows or DeviceRows
    k : int
        At most n - 1.
    seed : int
    recall : float or None, default=None
        Share of a sample's neighbours that the candidates have to hold; None: ``RECALL``.
    """

    def __init__(self, prepared, k, *, seed, recall=None):
        generator = torch.Generator().manual_seed(seed)
        self.prepared = prepared
        points = prepared.points
        n = len(points)
        rows = torch.randperm(n, generator=generator)[:N_SAMPLE].to(points.device)
        found, gaps = _known(points, rows, k)
        if _too_coarse(points, rows, gaps):
            points = prepared.doubles()
            found, gaps = _known(points, rows, k)
        self.axes = leading_axes(points, rows, found, generator)
        if self.axes is not None:
            points, k = points @ self.axes, OVERSAMPLING * k
        self.cells = Cells.of(points, generator)
        # Rows in the order of cells, and half their squared lengths: [-x, 1] ranks columns [y, |y|^2 / 2].
        columns = torch.column_stack([points, points.square().sum(1) / 2])[self.cells.order]
        compiled = points.device.type == "cpu" and n >= MANY_POINTS
        probes = RowProbes if compiled else CellProbes
        self.probes = probes(columns, self.cells, k, RECALL if recall is None else recall)
        # Of rows that are equal any is as good as the one that was found, wherever it lies.
        self.probes.choose(points[rows], self.cells.label[rows], found, gaps > 0)

    def among_themselves(self):
        """As :func:`search_cells`."""
        return self.probes.among_themselves()

    def prepare_for(self, X, found, counts):
        """Choose how many cells are searched for others, by some of these whose neighbours are known.

        Parameters
        ----------
        X : ndarray of shape (m, n_features)
        found : ndarray of int64 of shape (m, n_found)
            Rows that are near them.
        counts : ndarray of bool of shape (m, n_found)
            Which of them have to be found.
        """
        places = self._places(X)
        found, counts = (torch.from_numpy(part).to(places.device) for part in (found, counts))
        self.probes.choose(places, nearest_centres(self.cells.centres, places), found, counts)

    def nearest_to(self, X):
        """Candidates for other rows, in the cells that are nearest to them.

        Parameters
        ----------
        X : ndarray of shape (m, n_features)

        Returns
        -------
        Tensor of int64 of shape (m, k or more)
            As those of :func:`search_cells`.
        """
        places = self._places(X)
        label = nearest_centres(self.cells.centres, places)
        order = torch.argsort(label, stable=True)
        found = self.probes.nearest_to(places[order], label[order])
        return torch.empty_like(found).index_copy_(0, order, found)

    def _places(self, X):
        places = self.prepared.places(X).to(self.cells.centres.dtype)
        return places if self.axes is None else places @ self.axes


def _known(points, rows, k):
    """Neighbours of the sample, and their squared distances from differences."""
    found, _ = nearest(points, points[rows], k, own=rows)
    # Differences in single precision, and twice in double precision.
    step = max(1, BLOCK_SIZE // (4 * k * points.shape[1]))
    gaps = [
        (points[found[at]] - points[rows[at], None]).double().square().sum(2)
        for at in torch.arange(len(rows), device=rows.device).split(step)
    ]
    return found, torch.cat(gaps)


def _too_coarse(points, rows, gaps):
    """Whether single precision cannot separate the neighbours of many rows from rows just beyond them."""
    lengths = points[rows].double().square().sum(1)
    error = product_error(lengths, lengths, points.shape[1], points.dtype, points.device)
    clear = gaps.amax(1) / error.clamp(min=1e-300)
    return bool(((clear > 0) & (clear < 10)).double().mean() > 0.05)


def leading_axes(points, rows, found, generator):
    """Principal axes along which wide rows are searched.

    Parameters
    ----------
    points : Tensor of shape (n, n_dims)
        Centred.
    rows : Tensor of int64 of shape (m,)
        A sample of the rows.
    found : Tensor of int64 of shape (m, k)
        Its neighbours over all columns.
    generator : torch.Generator

    Returns
    -------
    Tensor of shape (n_dims, n_axes) or None
        None where the rows are narrow, or where the axes lose too many neighbours.
    """
    n_wanted = OVERSAMPLING * found.shape[1]
    if points.shape[1] <= WIDE or n_wanted > len(points) - 1:
        return None
    some = points[torch.randperm(len(points), generator=generator)[:N_AXES_ROWS].to(points.device)]
    axes = torch.linalg.eigh(some.T @ some)[1][:, -N_AXES:]
    short = points @ axes
    near, _ = nearest(short, short[rows], n_wanted, own=rows)
    kept = (found[:, :, None] == near[:, None, :]).any(2).double().mean()
    return axes if kept >= KEPT else None
