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

    def own(self, rows):
        """Those of some rows of all that lie here, by their numbers among the rows of this rank."""
        rows = np.asarray(rows)
        return rows[(rows >= self.first) & (rows < self.first + self.n_own)] - self.first

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
