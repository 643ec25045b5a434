"""Rows that a fit has seen keep what they have; the others are asked for."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["SeenRows", "mean_of_equal_rows", "share_places"]


class SeenRows:
    """Outputs of the training rows, which every row that equals one of them has as well.

    Parameters
    ----------
    known : KnownRows
        The training rows.
    outputs : ndarray of shape (n, n_outputs)
        Equal rows should have equal outputs.
    pairwise : bool, default=False
        Whether rows are those of a graph, where a row without entries is never a seen one: it says nothing, not even
        which row it is.
    """

    def __init__(self, known, outputs, pairwise=False):
        self.known, self.stored, self.pairwise = known, outputs, pairwise

    def outputs(self, X, others):
        """Outputs of the rows of X in double precision, shape (m, n_outputs).

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (m, n_features)
        others : callable
            ``others(rows)`` gives the outputs of rows of X that equal no training row; called only if there are any.
        """
        match = self.known.find(X)
        if self.pairwise:
            match[np.asarray((X != 0).sum(axis=1)).ravel() == 0] = -1
        seen, out = match >= 0, np.empty((X.shape[0], self.stored.shape[1]))
        out[seen] = self.stored[match[seen]]
        if not seen.all():
            out[~seen] = others(X[~seen])
        return out


def mean_of_equal_rows(known, values, pairwise):
    """Give equal rows the mean of their values; rows of a pairwise X are no features to compare.

    `known` are the rows as :class:`iconlearn.neighbors.KnownRows`.
    """
    if pairwise:
        return values
    groups = known.groups()
    if groups.max() == len(groups) - 1:
        return values
    sums = np.zeros((groups.max() + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return (sums / np.bincount(groups)[:, None])[groups]


@torch.no_grad()
def share_places(table, known, pairwise):
    """Move equal rows of a table to their mean place, in place; as :func:`mean_of_equal_rows`."""
    places = table.places.detach().double().cpu().numpy()
    table.places.copy_(torch.from_numpy(mean_of_equal_rows(known, places, pairwise)))
