"""Cells that all rows of a cell look into: a product of matrices for each cell, by operations of torch.

    candidates of row i  =  the rows of the n_probe cells nearest to the cell of i

The path of GPUs, and of few rows; on the CPU :mod:`._row_probes` finds the same with fewer candidates.
"""

from __future__ import annotations

import math

import torch

from ..numerics.threads import Scratch, share
from ._cells import BLOCK_SIZE_CUDA, Probes, n_cells_for
from ._products import BLOCK_SIZE, leave_out, nearest, smallest

# Numbers in one block of distances of cells.
RANKED = 2**20
# Rows that are searched again, among all rows: at most this share of them, and so many that they meet no more
# candidates than all have met.  Neighbours are missing where the farthest that was found is about as far as the centre
# of a cell that was not searched (squares are compared).  Of MNIST's missing ones two thirds are those of 5 % of the
# rows, which have neighbours with other labels: with them a vote of ten neighbours is right for 0.9755 of the rows in
# place of 0.9729 (0.9770 with exact neighbours), at the same price as more cells for all.
AGAIN, SHARE_OF_WORK, RISK = 0.05, 1.0, 0.5


class CellProbes(Probes):
    """The same cells for all rows of a cell."""

    def choose(self, places, label, found, counts):
        cells = self.cells
        n_probe = n_cells_for(cells.by_distance(label), cells.label, found, counts, self.recall, cells.sizes)
        self.probed = _probed(cells, self.k, n_probe)

    def among_themselves(self):
        cells, rows = self.cells, -self.columns
        rows[:, -1] = 1.0
        lists = (rows, cells.order, cells.starts, cells.sizes)
        indices, risks = _search(self.columns, cells, self.probed, lists, self.k, themselves=True)
        n_candidates = float(self.probed[2].double().mean())
        most = min(int(AGAIN * len(risks)), int(SHARE_OF_WORK * n_candidates))
        order, points = cells.order, self.columns[:, :-1]
        # In the order of cells, as the columns are.
        found, at = risks[order].topk(most)
        at = at[found > RISK]
        if len(at):
            again, _ = nearest(points, points[at], self.k, own=at, halves=self.columns[:, -1])
            indices[order[at]] = order[again]
        return indices

    def nearest_to(self, places, label):
        sizes = torch.bincount(label, minlength=len(self.cells.sizes))
        rows = torch.column_stack([-places, torch.ones_like(places[:, :1])])
        lists = (rows, torch.arange(len(rows), device=rows.device), sizes.cumsum(0) - sizes, sizes)
        return _search(self.columns, self.cells, self.probed, lists, self.k, themselves=False)[0]


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
