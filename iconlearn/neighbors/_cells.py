"""Rows in cells: a partition by the nearest of some centres."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from ..numerics.threads import share
from ._products import BLOCK_SIZE, nearest

# Numbers in one block of a GPU, 256 MiB of float32: an operation on fewer takes less time than it takes to start it.
BLOCK_SIZE_CUDA = 2**26
# Cells per power of the number of rows, and the most there may be.  With more cells the candidates are fewer and the
# centres to compare with more.
CELLS, EXPONENT, MAX_CELLS = 0.25, 0.75, 2**14
# Candidates of a cell, so that data without any structure are done in time, at a lower recall.
MAX_CANDIDATES = 2**16
# Steps of k-means; a second one on twice the sample costs as much as the candidates that it saves.
N_STEPS = 1
SAMPLE_PER_CELL = 16
# A cell larger than this many mean cells is cut; such cells are copies of one row, as a rule.
MAX_CELL = 8
# From so many centres on, and where less than a third of them is left, rows are compared with those alone that are near
# the nearest of some pivots, so many that they hold the nearest centre of this share of N_SAMPLE rows.
MANY_CENTRES, N_SAMPLE, NEAR_PIVOT = 512, 2048, 0.95


@dataclass(frozen=True, eq=False)
class Cells:
    """A partition of the rows.

    Parameters
    ----------
    order : Tensor of int64 of shape (n,)
        Rows, cell by cell.
    starts, sizes : Tensor of int64 of shape (n_cells,)
        Where a cell's rows begin in `order`, and how many they are; no cell is empty.
    label : Tensor of int64 of shape (n,)
        Cell of every row.
    centres : Tensor of shape (n_cells, n_dims)
        Means of the cells.
    """

    order: torch.Tensor
    starts: torch.Tensor
    sizes: torch.Tensor
    label: torch.Tensor
    centres: torch.Tensor

    @classmethod
    def of(cls, points, generator):
        """Cells of the rows of `points`, shape (n, n_dims)."""
        n = len(points)
        n_cells = max(1, min(int(CELLS * n**EXPONENT), MAX_CELLS, n // 8))
        centres = _k_means(points, n_cells, generator)
        label = nearest_centres(centres, points)
        order = torch.argsort(label, stable=True)
        sizes = torch.bincount(label, minlength=n_cells)
        label = _cut(sizes, max(1, MAX_CELL * n // n_cells))
        sizes = torch.bincount(label)
        of_row = torch.empty_like(label)
        of_row[order] = label
        means = _sums(points, of_row, len(sizes)) / sizes[:, None]
        return cls(order, sizes.cumsum(0) - sizes, sizes, of_row, means.to(points.dtype))

    def by_distance(self, cells):
        """For each of these cells all cells, nearest centre first and itself before all others."""
        return self._apart(cells).argsort(dim=1, stable=True)

    def nearest(self, cells, n_near):
        """The first of :meth:`by_distance`."""
        return self._apart(cells).topk(n_near, largest=False).indices

    def _apart(self, cells):
        apart = torch.cdist(self.centres[cells], self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        apart[torch.arange(len(cells), device=apart.device), cells] = -1.0
        return apart

    def members(self, cells, counts, width):
        """Positions in `order` of the rows of several lists of cells, list by list.

        Parameters
        ----------
        cells : Tensor of int64 of shape (n_lists, most)
        counts : Tensor of int64 of shape (n_lists,)
            Only so many of a list's cells count.
        width : int
            At least the number of rows of any list.

        Returns
        -------
        members : Tensor of int64 of shape (n_lists, width)
        there : Tensor of bool of shape (n_lists, width)
            Which of them are members; the others are any rows.
        """
        listed = torch.arange(cells.shape[1], device=cells.device) < counts[:, None]
        sizes = torch.where(listed, self.sizes[cells], 0)
        ends = sizes.cumsum(1)
        at = torch.arange(width, device=cells.device).expand(len(cells), -1).contiguous()
        cell = torch.searchsorted(ends, at, right=True).clamp_(max=cells.shape[1] - 1)
        shift = self.starts[cells] - (ends - sizes)
        there = at < ends[:, -1:]
        return (at + shift.gather(1, cell)).clamp_(max=len(self.order) - 1), there


class Probes(ABC):
    """Which cells rows look into for their neighbours.

    Parameters
    ----------
    columns : Tensor of shape (n, n_dims + 1)
        Places in the order of cells, and half their squared lengths.
    cells : Cells
    k : int
    recall : float
        Share of a sample's neighbours that the candidates have to hold.
    """

    def __init__(self, columns, cells, k, recall):
        self.columns, self.cells, self.k, self.recall = columns, cells, k, recall

    @abstractmethod
    def choose(self, places, label, found, counts):
        """Look into as many cells as the recall of a sample takes.

        Parameters
        ----------
        places : Tensor of shape (m, n_dims)
            Rows whose neighbours are known.
        label : Tensor of int64 of shape (m,)
            Their cells.
        found : Tensor of int64 of shape (m, n_found)
            Their neighbours.
        counts : Tensor of bool of shape (m, n_found)
            Which of these have to be found.
        """

    @abstractmethod
    def among_themselves(self):
        """Candidates of every row, Tensor of int64 of shape (n, k)."""

    @abstractmethod
    def nearest_to(self, places, label):
        """Candidates of other rows, which lie cell by cell, Tensor of int64 of shape (m, k)."""


def _k_means(points, n_cells, generator):
    sample = torch.randperm(len(points), generator=generator)[: n_cells * SAMPLE_PER_CELL]
    sample = points[sample.to(points.device)]
    centres = sample[:n_cells].clone()
    for _ in range(N_STEPS):
        label = nearest_centres(centres, sample)
        sizes = torch.bincount(label, minlength=n_cells)[:, None]
        means = (_sums(sample, label, n_cells) / sizes.clamp(min=1)).to(points.dtype)
        centres = torch.where(sizes > 0, means, centres)
    # Those that are near one another lie side by side, and so do their rows.
    pivots, own = _pivots(centres)
    place = torch.empty_like(own)
    place[(pivots - pivots.mean(0))[:, 0].argsort()] = torch.arange(len(pivots), device=own.device)
    return centres[place[own].argsort(stable=True)]


def _pivots(centres):
    """Means of groups of centres, and the group of each."""
    own = nearest(centres[:: max(1, math.isqrt(len(centres)) // 2)], centres, 1)[0][:, 0]
    sizes = torch.bincount(own)
    kept = sizes > 0
    means = _sums(centres, own, len(sizes))[kept] / sizes[kept, None]
    return means.to(centres.dtype), (kept.cumsum(0) - 1)[own]


def nearest_centres(centres, points):
    """The nearest centre of every row, or one of the nearest, Tensor of int64 of shape (n,)."""
    n_cells, n = len(centres), len(points)
    if points.device.type != "cpu" or min(n_cells, n // 8) < MANY_CENTRES:
        return nearest(centres, points, 1)[0][:, 0]
    pivots = _pivots(centres)[0]
    near = torch.cdist(pivots, centres).argsort(dim=1, stable=True)
    sample = points[:: n // N_SAMPLE + 1]
    found = near[nearest(pivots, sample, 1)[0][:, 0]] == nearest(centres, sample, 1)[0]
    ranks = found.int().argmax(1).sort().values
    n_near = int(ranks[int(NEAR_PIVOT * len(ranks))]) + 1
    if 3 * n_near > n_cells:
        return nearest(centres, points, 1)[0][:, 0]
    own = nearest(pivots, points, 1)[0][:, 0]
    order, label = own.argsort(stable=True), torch.empty(n, dtype=torch.int64)
    ends = torch.bincount(own, minlength=len(pivots)).cumsum(0).tolist()

    def search(pivot):
        near_it = near[pivot, :n_near]
        some = order[ends[pivot - 1] if pivot else 0 : ends[pivot]]
        for rows in some.split(BLOCK_SIZE // n_near):
            label[rows] = near_it[nearest(centres[near_it], points[rows], 1)[0][:, 0]]

    share(search, range(len(pivots)), points.device)
    return label


def _sums(points, label, n_cells):
    """Sums of the cells, in double precision: on a GPU their order is not fixed."""
    sums = torch.zeros((n_cells, points.shape[1]), dtype=torch.float64, device=points.device)
    step = max(1, (BLOCK_SIZE if points.device.type == "cpu" else BLOCK_SIZE_CUDA) // points.shape[1])
    for numbers, some in zip(label.split(step), points.split(step), strict=True):
        sums.index_add_(0, numbers, some.double())
    return sums


def _cut(sizes, largest):
    """Labels of rows in cell order, with cells of at most `largest` rows and without empty ones."""
    pieces = (sizes + largest - 1) // largest
    rank = torch.arange(int(sizes.sum()), device=sizes.device)
    rank -= torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return torch.repeat_interleave(pieces.cumsum(0) - pieces, sizes) + rank // largest


def n_cells_for(ranked, label, found, counts, recall, sizes):
    """How many of the first cells of each list hold the wanted share of what has to be found.

    Parameters
    ----------
    ranked : Tensor of int64 of shape (m, n_ranked)
        Cells that each row looks into, in this order.
    label : Tensor of int64 of shape (n,)
        Cell of every row that may be found.
    found : Tensor of int64 of shape (m, k)
    counts : Tensor of bool of shape (m, k)
        Which of these have to be found.
    recall : float
    sizes : Tensor of int64 of shape (n_cells,)
    """
    n_ranked = ranked.shape[1]
    place = ranked.new_full((len(ranked), len(sizes)), n_ranked - 1)
    place.scatter_(1, ranked, torch.arange(n_ranked, device=ranked.device).expand_as(ranked))
    places = place.gather(1, label[found])[counts].sort().values
    needed = int(places[math.ceil(recall * len(places)) - 1]) + 1 if len(places) else 1
    return min(needed, max(1, int(MAX_CANDIDATES / sizes.double().mean())))
