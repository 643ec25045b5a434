"""Cells that every row looks into by itself, on the CPU, by products of matrices and compiled loops.

    candidates of row i  =  the rows of the n_probe cells nearest to i, among the cells near its own

A third of the candidates hold as many neighbours as those that are the same for all rows of a cell.  Rows are taken in
stretches; the product of one cell with those of a stretch that look into it is one block.  Then neighbours of
neighbours are looked at once, since who misses a neighbour in a cell farther off has others that do not.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from ..numerics.threads import Scratch, available, share
from ._cells import Probes, n_cells_for
from ._products import nearest

# Numbers of one block, 1 MiB of float32.
BLOCK_SIZE = 2**18
# Rows of one stretch, of which there are at least so many.  Neither depends on the number of threads.
STRETCH, N_STRETCHES = 2**15, 4
# Share of the sample's neighbours in the cells near a row's own, among which the row chooses.
NEARBY = 0.995
# Neighbours of a row, and rows whose neighbour it is, that are followed.
N_NEAR = 15


class RowProbes(Probes):
    """Cells of its own for every row."""

    def choose(self, places, label, found, counts):
        cells = self.cells
        sample = cells.label, found, counts
        ranked = cells.by_distance(label)
        n_near = n_cells_for(ranked, *sample, max(NEARBY, self.recall), cells.sizes)
        numbers = torch.arange(len(cells.sizes))
        self.near = torch.cat(
            [cells.nearest(some, n_near) for some in numbers.split(max(1, BLOCK_SIZE // len(numbers)))]
        )
        self.centres = torch.column_stack([cells.centres, cells.centres.square().sum(1) / 2])
        apart = torch.cdist(places, cells.centres, compute_mode="donot_use_mm_for_euclid_dist")
        near = self.near[label]
        ranked = near.gather(1, apart.gather(1, near).argsort(dim=1, stable=True))
        self.n_probe = n_cells_for(ranked, *sample, self.recall, cells.sizes)

    def among_themselves(self):
        from ..numerics.compiled import descended

        order = self.cells.order
        halves, found = self._searched(self.columns, self.cells.sizes, themselves=True)
        indices = torch.from_numpy(
            descended(self.columns.numpy(), halves.numpy(), found.numpy(), order.numpy(), N_NEAR, available())
        )
        return self._completed(indices, self.columns[:, :-1], order)

    def nearest_to(self, places, label):
        sizes = torch.bincount(label, minlength=len(self.cells.sizes))
        rows = torch.column_stack([places, torch.ones_like(places[:, :1])])
        found = self._searched(rows, sizes, themselves=False)[1].long()
        indices = torch.where(found < 0, -1, self.cells.order[found.clamp(min=0)])
        return self._completed(indices, places)

    def _completed(self, indices, places, names=None):
        """The answers, found among all rows where the cells hold fewer than k.

        Where these rows are the columns, `names` says which is where.
        """
        points, order = self.columns[:, :-1], self.cells.order
        named = indices if names is None else indices[names]
        at = (named < 0).any(1).nonzero()[:, 0]
        if len(at):
            own = None if names is None else at
            found, _ = nearest(points, places[at], self.k, own=own, halves=self.columns[:, -1])
            indices[at if names is None else names[at]] = order[found]
        return indices

    def _searched(self, rows, sizes, *, themselves):
        """The nearest columns in the cells that each row looks into.

        Parameters
        ----------
        rows : Tensor of shape (m, n_dims + 1)
            Places, cell by cell; the last column is not read.
        sizes : Tensor of int64 of shape (n_cells,)
            How many are in each cell.
        themselves : bool
            Whether they are the columns, and each of them leaves itself out.

        Returns
        -------
        halves : Tensor of shape (m, k)
            Half the squared distance less half the squared length of the row, ascending; infinite where there is none.
        indices : Tensor of int32 of shape (m, k)
            Columns; -1 where there is none.
        """
        from ..numerics.compiled import keep_nearest, rows_by_cell

        (m, n_axes), starts, widths = rows.shape, self.cells.starts.tolist(), self.cells.sizes.tolist()
        halves = rows.new_full((m, self.k), torch.inf)
        indices = torch.full((m, self.k), -1, dtype=torch.int32)
        found, numbers = (halves.numpy(), indices.numpy()), np.arange(len(self.columns), dtype=np.int32)
        near, gathered, scratch = self.near.int().numpy(), Scratch(), Scratch()
        ends = np.concatenate([[0], sizes.cumsum(0).numpy()])

        def keep(at, others, names, own, into, kept):
            """Keep the nearest of `others`, shape (w, n_dims + 1), for the rows at these places."""
            others, width, n = -others, len(names), len(at)
            others[:, -1].neg_()
            step = max(1, BLOCK_SIZE // width)
            for first in range(0, n, step):
                part = slice(first, first + step)
                height = min(step, n - first)
                some = gathered(height, n_axes, rows)
                torch.index_select(rows, 0, torch.from_numpy(at[part]), out=some)
                some[:, -1] = 1.0
                block = torch.mm(some, others.T, out=scratch(height, width, rows))
                keep_nearest(block.numpy(), into[part], own[part], names, *kept)

        def search(stretch):
            first, last = stretch
            start, stop = ends[first], ends[last]
            nobody = np.full(stop - start, -1)
            apart = rows.new_full((stop - start, self.n_probe), torch.inf).numpy()
            looked_into = np.empty(apart.shape, np.int32)
            for cell in (np.flatnonzero(np.diff(ends[first : last + 1])) + first).tolist():
                at = np.arange(ends[cell], ends[cell + 1])
                centres = self.centres[self.near[cell]]
                keep(at, centres, near[cell], nobody, at - start, (apart, looked_into))
            pointers, members = rows_by_cell(looked_into, len(starts))
            for cell in np.flatnonzero(np.diff(pointers)).tolist():
                at = members[pointers[cell] : pointers[cell + 1]] + start
                columns = slice(starts[cell], starts[cell] + widths[cell])
                own = at if themselves else nobody[: len(at)]
                keep(at, self.columns[columns], numbers[columns], own, at, found)

        cuts = np.searchsorted(ends, np.linspace(0, m, max(N_STRETCHES, m // STRETCH) + 1)).tolist()
        cuts[0], cuts[-1] = 0, len(starts)
        share(search, [part for part in pairwise(cuts) if part[0] < part[1]], rows.device)
        return halves, indices
