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
from ._products import BLOCK_SIZE, leave_out, nearest, product_error, smallest

# Share of the sample's neighbours that the candidates have to hold.
RECALL = 0.98
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
# Numbers in one block of a GPU, 256 MiB of float32: an operation on fewer takes less time than it takes to start it.
BLOCK_SIZE_CUDA = 2**26
# Numbers in one block of distances of cells.
RANKED = 2**20
# Rows that are searched again, among all rows: at most this share of them, and so many that they meet no more
# candidates than all have met.  Neighbours are missing where the farthest that was found is about as far as the centre
# of a cell that was not searched (squares are compared).  Of MNIST's missing ones two thirds are those of 5 % of the
# rows, which have neighbours with other labels: with them a vote of ten neighbours is right for 0.9755 of the rows in
# place of 0.9729 (0.9770 with exact neighbours), at the same price as more cells for all.
AGAIN, SHARE_OF_WORK, RISK = 0.05, 1.0, 0.5
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
        self.prepared, self.recall = prepared, RECALL if recall is None else recall
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
        self.k = k
        self.cells = Cells.of(points, max(1, min(int(CELLS * math.sqrt(n)), MAX_CELLS, n // 8)), generator)
        self.n_probe = _needed(self.cells, rows, found, gaps, self.recall)
        self.near = None
        # Rows in the order of cells; a row [-x, 1] ranks these columns [y, |y|^2 / 2].
        self.columns = torch.column_stack([points, points.square().sum(1) / 2])[self.cells.order]

    def among_themselves(self):
        """As :func:`search_cells`."""
        cells, rows = self.cells, -self.columns
        rows[:, -1] = 1.0
        near = _probed(cells, self.k, self.n_probe)
        lists = (rows, cells.order, cells.starts, cells.sizes)
        indices, risks = _search(self.columns, cells, near, lists, self.k, themselves=True)
        return self._completed(indices, risks, float(near[2].double().mean()))

    def _completed(self, indices, risks, n_candidates):
        """The answers, those of the rows at the greatest risk found among all; `n_candidates` is what others met."""
        most = min(int(AGAIN * len(risks)), int(SHARE_OF_WORK * n_candidates))
        order, points = self.cells.order, self.columns[:, :-1]
        # In the order of cells, as the columns are.
        found, at = risks[order].topk(most)
        at = at[found > RISK]
        if len(at):
            indices[order[at]] = order[
                nearest(points, points[at], self.k, own=at, halves=self.columns[:, -1])[0]
            ]
        return indices

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
        self.n_probe = _n_cells(self.cells, self._label(places), found, counts, self.recall)
        self.near = _probed(self.cells, self.k, self.n_probe)

    def nearest_to(self, X):
        """Candidates for other rows, in the cells that are nearest to their own.

        Parameters
        ----------
        X : ndarray of shape (m, n_features)

        Returns
        -------
        Tensor of int64 of shape (m, k or more)
            As those of :func:`search_cells`.
        """
        if self.near is None:
            self.near = _probed(self.cells, self.k, self.n_probe)
        places = self._places(X)
        label = self._label(places)
        order, sizes = (
            torch.argsort(label, stable=True),
            torch.bincount(label, minlength=len(self.cells.sizes)),
        )
        rows = torch.column_stack([-places, torch.ones_like(places[:, :1])])[order]
        lists = (rows, order, sizes.cumsum(0) - sizes, sizes)
        return _search(self.columns, self.cells, self.near, lists, self.k, themselves=False)[0]

    def _places(self, X):
        places = self.prepared.places(X).to(self.columns.dtype)
        return places if self.axes is None else places @ self.axes

    def _label(self, places):
        return nearest(self.cells.centres, places, 1)[0][:, 0]


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


def _needed(cells, rows, found, gaps, recall=None):
    """How many of the nearest cells hold the wanted share of the sample's neighbours."""
    # Of rows that are equal any is as good as the one that was found, wherever it lies.
    return _n_cells(cells, cells.label[rows], found, gaps > 0, RECALL if recall is None else recall)


def _n_cells(cells, label, found, counts, recall):
    """As :func:`_needed`, for rows of these cells, and those of the found ones that count."""
    ranked = cells.by_distance(label)
    place = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked)
    )
    places = place.gather(1, cells.label[found])[counts].sort().values
    needed = int(places[math.ceil(recall * len(places)) - 1]) + 1 if len(places) else 1
    return min(needed, max(1, int(MAX_CANDIDATES / cells.sizes.double().mean())))


def _search(columns, cells, probed, lists, k, *, themselves):
    """The k nearest candidates of rows that lie list by list, a list for each cell.

    Parameters
    ----------
    columns : Tensor of shape (n, n_dims + 1)
        What may be found, in the order of cells.
    probed : tuple
        As of :func:`_probed`.
    lists : tuple of Tensor
        Rows of shape (m, n_dims + 1), their numbers, and where each cell's begin and how many they are.
    themselves : bool
        Whether they are the columns, and each of them leaves itself out.

    Returns
    -------
    indices : Tensor of int64 of shape (m, k)
    risks : Tensor of shape (m,)
        Squared distance to the farthest that was found, of that to the next cell's centre.
    """
    near, n_near, n_candidates = probed
    rows, order, starts, sizes = lists
    device, n = columns.device, len(rows)
    most = BLOCK_SIZE if device.type == "cpu" else BLOCK_SIZE_CUDA
    # Where rows are padded, the further ones answer into the last row.
    indices = torch.empty((n + 1, k), dtype=torch.int64, device=device)
    risks = rows.new_empty(n + 1)
    names = torch.cat([order, order.new_tensor([n])])
    scratch = Scratch()

    def search(batch):
        cell, n_rows, n_columns = batch
        members, there = cells.members(near[cell], n_near[cell], n_columns)
        next_ = n_near[cell, None] + torch.arange((near.shape[1] + 1) // 2, device=device)
        beyond = near[cell].gather(1, next_.clamp(max=near.shape[1] - 1))
        lengths = cells.centres[beyond].square().sum(2)
        lengths = torch.where(next_ < near.shape[1], lengths, math.inf)[:, None]
        candidates = columns[members]
        candidates[..., -1].masked_fill_(~there, math.inf)
        step = max(1, most // (len(cell) * n_columns))
        for start in range(0, n_rows, step):
            row = torch.arange(start, min(start + step, n_rows), device=device).expand(len(cell), -1)
            own = torch.where(row < sizes[cell, None], starts[cell, None] + row, n)
            block = scratch(row.numel(), n_columns, columns)
            some = rows[own.clamp(max=n - 1)]
            torch.bmm(some, candidates.mT, out=block.view(len(cell), row.shape[1], n_columns))
            # The row itself is a candidate and no neighbour; the cell's own rows are the first candidates.
            if themselves:
                leave_out(block, row.flatten())
            values, found = smallest(block, k)
            found = found.view(len(cell), -1)
            indices[names[own]] = cells.order[members.gather(1, found)].view(*row.shape, k)
            apart = torch.baddbmm(lengths, some[..., :-1], cells.centres[beyond].mT, alpha=2)
            own_length = some[..., :-1].square().sum(2)
            reach = 2 * values.amax(1).view(row.shape) + own_length
            risks[names[own]] = reach / (apart.amin(2) + own_length)

    share(search, _batches(sizes, n_candidates, columns.shape[1] - 1, most), device)
    return indices[:n], risks[:n]


def _probed(cells, k, n_probe):
    """Which cells hold the candidates of each cell, nearest first: at least `n_probe`, and as many as hold k + 1 rows.

    Returns
    -------
    near : Tensor of int64 of shape (n_cells, most)
        These cells, and further ones.
    n_near : Tensor of int64 of shape (n_cells,)
        How many they are, without the further ones.
    n_candidates : Tensor of int64 of shape (n_cells,)
        Their rows; on the CPU.
    """
    n_cells = len(cells.sizes)
    # No cell is empty.
    most = min(n_cells, max(n_probe, k + 1) + n_probe)
    near = torch.empty((n_cells, most), dtype=torch.int64, device=cells.sizes.device)
    n_near, n_candidates = torch.empty_like(cells.sizes), torch.empty_like(cells.sizes)
    numbers = torch.arange(n_cells, device=near.device)

    def rank(some):
        near[some] = cells.by_distance(numbers[some])[:, : near.shape[1]]
        total = cells.sizes[near[some]].cumsum(1)
        n_near[some] = ((total < k + 1).sum(1) + 1).clamp(min=n_probe)
        n_candidates[some] = total.gather(1, n_near[some, None] - 1)[:, 0]

    step = max(1, RANKED // n_cells)
    share(rank, [slice(start, start + step) for start in range(0, n_cells, step)], near.device)
    return near, n_near, n_candidates.cpu()


def _batches(sizes, n_candidates, n_dims, most):
    """Cells that are searched at once: their numbers, and the most rows and candidates of one of them.

    On a GPU, where starting an operation takes longer than a block of one cell, cells of like size whose blocks have
    `most` numbers together; on the CPU every thread takes a single cell.
    """
    heights, widths, numbers = (
        sizes.tolist(),
        n_candidates.tolist(),
        torch.arange(len(sizes), device=sizes.device),
    )
    filled = [cell for cell, height in enumerate(heights) if height]
    if sizes.device.type == "cpu":
        return [(numbers[cell : cell + 1], heights[cell], widths[cell]) for cell in filled]
    # By the number of rows in steps of a quarter, and within these by that of candidates.
    classes = {cell: int(math.log(heights[cell], 1.25)) for cell in filled}
    order = sorted(filled, key=lambda cell: (classes[cell], widths[cell]))
    groups, tallest = (
        [order[:1]],
        max(n_dims, heights[order[0]]),
    )  # what is gathered is as wide as the rows, so that it is bounded, too
    for cell in order[1:]:
        tallest, group = max(tallest, heights[cell]), groups[-1]
        if classes[cell] != classes[group[0]] or (len(group) + 1) * tallest * widths[cell] > most:
            groups.append([cell])
            tallest = max(n_dims, heights[cell])
        else:
            group.append(cell)
    split = numbers.new_tensor(order).split([len(group) for group in groups])
    return [
        (cells, max(heights[cell] for cell in group), max(widths[cell] for cell in group))
        for cells, group in zip(split, groups, strict=True)
    ]


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
        of_row = torch.empty_like(label)
        of_row[order] = label
        means = _sums(points, of_row, len(sizes)) / sizes[:, None]
        return cls(order, sizes.cumsum(0) - sizes, sizes, of_row, means.to(points.dtype))

    def by_distance(self, cells):
        """For each of these cells all cells, nearest centre first and itself before all others."""
        block = torch.cdist(self.centres[cells], self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        block[torch.arange(len(cells), device=block.device), cells] = -1.0
        return block.argsort(dim=1, stable=True)

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
