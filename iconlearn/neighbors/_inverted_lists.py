"""Approximate search in cells (inverted lists): a cell's rows against those of the nearest cells.

    candidates of row i  =  the rows of the n_probe cells nearest to the cell of i

How many cells that has to be is read off a sample of rows whose exact neighbours are known, so that
the recall is what is fixed and the work follows from the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..numerics.threads import Scratch, share
from ._products import BLOCK_SIZE, nearest, product_error, smallest

__all__ = ["Cells", "search_cells"]

# Share of the sample's neighbours that the candidates have to hold.
RECALL = 0.985
N_SAMPLE = 512
# Cells per square root of the number of rows, and the most there may be.  With more cells the candidates
# are fewer and the centres to compare with more.  MNIST's 70 000 rows in 50 principal components, seconds
# of one core for the cells and for the search, candidates of a row, recall reached:
#     CELLS   k = 15                       k = 90
#     4       0.5 + 2.9   6600   0.981     0.5 + 4.5   8100   0.980
#     8       0.9 + 3.5   4100   0.983     0.9 + 5.1   5400   0.981
CELLS = 4.0
MAX_CELLS = 8192
# Candidates of a cell, so that data without any structure are done in time, at a lower recall.
MAX_CANDIDATES = 2**16
# Steps of k-means; a second one on twice the sample costs as much as the candidates that it saves.
N_STEPS = 1
SAMPLE_PER_CELL = 16
# A cell larger than this many mean cells is cut; such cells are copies of one row, as a rule.
MAX_CELL = 8
# Rows wider than WIDE are searched along N_AXES principal axes.  On the 784 pixels of MNIST so many hold
# 0.995 of the 15 nearest rows among twice as many candidates (64 axes: 0.975, 50: 0.959, 150: 0.9995).
WIDE = 200
N_AXES = 100
OVERSAMPLING = 2
# Least share of the sample's neighbours among the candidates along the axes; below, all columns count.
KEPT = 0.99
# Rows from which the axes are found; any axes will do, these are short ones.
N_AXES_ROWS = 10_000


def search_cells(space, k, *, seed, device=None):
    """Neighbours of every row of `space`, itself left out.

    Parameters
    ----------
    space : ndarray of shape (n, n_dims)
        Centred; squared Euclidean distances are searched.
    k : int
        At most n - 1.
    seed : int
    device : torch.device or None
        None is the CPU.

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
    generator = torch.Generator().manual_seed(seed)
    points = torch.as_tensor(space, dtype=torch.float32).to(device or "cpu")
    n = len(points)
    rows = torch.randperm(n, generator=generator)[:N_SAMPLE].to(points.device)
    found, gaps = _known(points, rows, k)
    if _too_coarse(points, rows, gaps):
        points = torch.as_tensor(space, dtype=torch.float64).to(points.device)
        found, gaps = _known(points, rows, k)
    short = shortened(points, rows, found, generator)
    if short is not points:
        points, k = short, OVERSAMPLING * k
    cells = Cells.of(points, max(1, min(int(CELLS * math.sqrt(n)), MAX_CELLS, n // 8)), generator)
    return _search(points, cells, k, _needed(cells, rows, found, gaps))


def _known(points, rows, k):
    """Neighbours of the sample, and their squared distances from differences."""
    found, _ = nearest(points, points[rows], k, own=rows)
    step = max(1, BLOCK_SIZE // (k * points.shape[1]))
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


def _needed(cells, rows, found, gaps):
    """How many of the nearest cells hold the wanted share of the sample's neighbours."""
    ranked = cells.by_distance(cells.label[rows])
    place = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked)
    )
    # Of rows that are equal any is as good as the one that was found, wherever it lies.
    places = place.gather(1, cells.label[found])[gaps > 0].sort().values
    needed = int(places[math.ceil(RECALL * len(places)) - 1]) + 1 if len(places) else 1
    return min(needed, max(1, int(MAX_CANDIDATES / cells.sizes.double().mean())))


def _search(points, cells, k, n_probe):
    # The last column is half the squared length: a row [-x, 1] ranks the columns [y, |y|^2 / 2].
    columns = torch.column_stack([points, points.square().sum(1) / 2])[cells.order]
    rows = -columns
    rows[:, -1] = 1.0
    starts, sizes = cells.starts.tolist(), cells.sizes.tolist()
    indices = torch.empty((len(points), k), dtype=torch.int64, device=points.device)
    numbers = torch.arange(len(sizes), device=points.device)
    scratch = Scratch()

    def search(cell):
        ranked = cells.by_distance(numbers[cell : cell + 1])[0]
        # The row itself is a candidate and no neighbour.
        n_least = int((cells.sizes[ranked[: k + 1]].cumsum(0) < k + 1).sum()) + 1
        near = cells.members(ranked[: max(n_probe, n_least)])
        candidates = columns.index_select(0, near).T
        names = cells.order[near]
        step = max(1, BLOCK_SIZE // len(near))
        for start in range(0, sizes[cell], step):
            own = slice(starts[cell] + start, starts[cell] + min(start + step, sizes[cell]))
            block = scratch(own.stop - own.start, len(near), points)
            torch.mm(rows[own], candidates, out=block)
            # The cell's own rows are the first candidates.
            block.diagonal(start).fill_(math.inf)
            indices[cells.order[own]] = names[smallest(block, k)[1]]

    share(search, range(len(sizes)), points.device)
    return indices


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
    def of(cls, points, n_cells, generator):
        """About `n_cells` cells of the rows of `points`, shape (n, n_dims)."""
        centres = _k_means(points, n_cells, generator)
        label = nearest(centres, points, 1)[0][:, 0]
        order = torch.argsort(label, stable=True)
        sizes = torch.bincount(label, minlength=n_cells)
        label = _cut(sizes, max(1, MAX_CELL * len(points) // n_cells))
        sizes = torch.bincount(label)
        means = _sums(points[order], label, len(sizes)) / sizes[:, None]
        of_row = torch.empty_like(label)
        of_row[order] = label
        return cls(order, sizes.cumsum(0) - sizes, sizes, of_row, means.to(points.dtype))

    def by_distance(self, cells):
        """For each of these cells all cells, nearest centre first and itself before all others."""
        block = torch.cdist(self.centres[cells], self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        block[torch.arange(len(cells), device=block.device), cells] = -1.0
        return block.argsort(dim=1, stable=True)

    def members(self, cells):
        """Positions in `order` of all rows of these cells, cell by cell."""
        sizes = self.sizes[cells]
        first = self.starts[cells] - (sizes.cumsum(0) - sizes)
        return torch.repeat_interleave(first, sizes) + torch.arange(int(sizes.sum()), device=sizes.device)


def _k_means(points, n_cells, generator):
    sample = torch.randperm(len(points), generator=generator)[: n_cells * SAMPLE_PER_CELL]
    sample = points[sample.to(points.device)]
    centres = sample[:n_cells].clone()
    for _ in range(N_STEPS):
        label = nearest(centres, sample, 1)[0][:, 0]
        sizes = torch.bincount(label, minlength=n_cells)[:, None]
        means = (_sums(sample, label, n_cells) / sizes.clamp(min=1)).to(points.dtype)
        centres = torch.where(sizes > 0, means, centres)
    return centres


def _sums(points, label, n_cells):
    """Sums of the cells, in double precision: on a GPU their order is not fixed."""
    sums = torch.zeros((n_cells, points.shape[1]), dtype=torch.float64, device=points.device)
    return sums.index_add_(0, label, points.double())


def _cut(sizes, largest):
    """Labels of rows in cell order, with cells of at most `largest` rows and without empty ones."""
    pieces = (sizes + largest - 1) // largest
    rank = torch.arange(int(sizes.sum()), device=sizes.device)
    rank -= torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return torch.repeat_interleave(pieces.cumsum(0) - pieces, sizes) + rank // largest


def shortened(points, rows, found, generator):
    """`points` along their leading principal axes, or as they are.

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
    Tensor of shape (n, n_axes)
        The very `points` where they are narrow, or where the axes lose too many neighbours.
    """
    n_wanted = OVERSAMPLING * found.shape[1]
    if points.shape[1] <= WIDE or n_wanted > len(points) - 1:
        return points
    some = points[torch.randperm(len(points), generator=generator)[:N_AXES_ROWS].to(points.device)]
    axes = torch.linalg.eigh(some.T @ some)[1][:, -N_AXES:]
    short = points @ axes
    near, _ = nearest(short, short[rows], n_wanted, own=rows)
    kept = (found[:, :, None] == near[:, None, :]).any(2).double().mean()
    return short if kept >= KEPT else points
