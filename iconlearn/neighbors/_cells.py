"""Cells of like rows: a few steps of k-means on a sample, then every row to its nearest centre."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ._products import nearest

__all__ = ["Cells"]

# A second step on twice the sample costs as much as the candidates that it saves.
N_STEPS = 1
SAMPLE_PER_CELL = 16
# A cell larger than this many mean cells is cut; such cells are copies of one row, as a rule.
MAX_CELL = 8


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
