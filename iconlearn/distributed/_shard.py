"""Which of all rows lie on this rank."""

from __future__ import annotations

import numpy as np
import torch


class Shard:
    """The rows of one rank among those of all, which are numbered through, one rank after the other.

    Parameters
    ----------
    group : Group or Alone
    n_rows : int
        Of this rank.

    Attributes
    ----------
    counts : ndarray of int of shape (size,)
        Rows of each rank.
    n_all : int
        Of all ranks.
    """

    def __init__(self, group, n_rows):
        self.group = group
        self.counts = np.array(self.group.objects(int(n_rows)))
        self.ends = np.cumsum(self.counts)
        self.n_all, self.n_own = int(self.ends[-1]), int(n_rows)
        self.first = int(self.ends[self.group.rank]) - self.n_own

    @property
    def here(self):
        """The rows of this rank among those of all."""
        return slice(self.first, self.first + self.n_own)

    def owners(self, rows):
        """The rank of each of some rows of all."""
        return np.searchsorted(self.ends, rows, side="right")

    def own(self, rows):
        """Those of some rows of all that lie here, by their numbers among the rows of this rank."""
        rows = np.asarray(rows)
        return rows[(rows >= self.first) & (rows < self.first + self.n_own)] - self.first

    def fetched(self, rows, values):
        """Values of some rows of all, of which each rank has those of its own, ``values``."""
        halo = Halo(self, rows)
        return halo(values)[halo.at(rows)]

    def outputs(self, positions, make):
        """What ranks make of their own rows, together and in the order of positions.

        Parameters
        ----------
        positions : Tensor of int64 of shape (n,)
            Row r of all is at position r, and at r + n_all and so on where it has several.
        make : callable
            ``make(positions, rows)``: a tensor with a row for each, `rows` being numbers among the rows of this rank.

        Returns
        -------
        Tensor of shape (n, ...)
        """
        rows = positions % self.n_all
        rank = torch.bucketize(rows, torch.as_tensor(self.ends, device=rows.device), right=True)
        mine = rank == self.group.rank
        order = torch.argsort(rank, stable=True)
        Z = make(positions[mine], rows[mine] - self.first)
        together = self.group.joined(Z, torch.bincount(rank, minlength=self.group.size).tolist())
        return together.index_select(0, torch.argsort(order))


class Halo:
    """Values of rows of other ranks, which these send whenever it is called, after those of the rows of this one.

    Parameters
    ----------
    shard : Shard
    rows : ndarray of int
        Rows of all, by any of their numbers again; those of this rank are left out.
    device : torch.device or None, default=None
        Where values lie that are tensors; None for arrays.

    Attributes
    ----------
    numbers : ndarray of int64
        Of the rows of other ranks, ascending.
    """

    def __init__(self, shard, rows, device=None):
        self.shard = shard
        numbers = np.unique(rows).astype(np.int64)
        self.numbers = numbers[(numbers < shard.first) | (numbers >= shard.first + shard.n_own)]
        starts = np.append(0, shard.ends)
        cuts = np.searchsorted(self.numbers, starts)
        parts = [self.numbers[a:b] - first for a, b, first in zip(cuts, cuts[1:], starts)]
        self.asked = shard.group.exchanged(parts)
        if device is not None:
            self.asked = [torch.from_numpy(part).to(device) for part in self.asked]

    @property
    def size(self):
        """Rows of this rank, and those of others."""
        return self.shard.n_own + len(self.numbers)

    def at(self, rows):
        """Where in what a call returns some rows of all are."""
        own = (rows >= self.shard.first) & (rows < self.shard.first + self.shard.n_own)
        return np.where(own, rows - self.shard.first, self.shard.n_own + np.searchsorted(self.numbers, rows))

    def __call__(self, values):
        """Values of this rank's rows, and behind them those of the others."""
        if isinstance(values, torch.Tensor):
            values = values.detach()
            parts = [values.index_select(0, rows) for rows in self.asked]
            return torch.cat([values, *self.shard.group.exchanged(parts)])
        return np.concatenate([values, *self.shard.group.exchanged([values[rows] for rows in self.asked])])


def check_alike(group, what, values):
    """Refuse, on all ranks by the same sentence, what is not alike on all of them.

    Parameters
    ----------
    group : Group or Alone
    what : str
        Where the values come from, such as "X".
    values : str
        In the words of the message.

    Raises
    ------
    ValueError
    """
    every = group.objects(values)
    for rank, other in enumerate(every):
        if other != every[0]:
            raise ValueError(
                f"{what} of rank 0 has {every[0]}, and that of rank {rank} has {other}: the processes of shards() have "
                f"rows of one table each, so give all of them the same"
            )
