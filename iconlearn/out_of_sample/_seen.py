"""Rows that a fit has seen keep what they have; the others are asked for.

Equal features are one row, wherever they come from.  Of two nodes of a graph with equal edges that is not so, nor of
rows of a p that is indexed by row number: these are identified by their position, as long as all are given at once.
"""

from __future__ import annotations

import numpy as np
import torch


class AllSeenRows:
    """The training rows, all of them in their order, have the outputs of the fit, also where some are equal.

    Parameters
    ----------
    known : KnownRows
        The training rows.
    outputs : ndarray of shape (n, n_outputs)
    others : object
        Its ``outputs(X)`` are those of other rows.
    """

    def __init__(self, known, outputs, others):
        self.known, self.stored, self.others = known, outputs, others

    def outputs(self, X):
        """Outputs of the rows of X."""
        return self.stored.astype(float) if self.known.same_as(X) else self.others.outputs(X)


class SeenRows:
    """Outputs of the training rows, which a row that equals one of them has as well.

    Parameters
    ----------
    known : KnownRows
        The training rows.
    outputs : ndarray of shape (n, n_outputs)
    pairwise : bool, default=False
        Whether rows are those of a matrix of pairs, of which equal ones are not the same: one that equals several
        training rows is asked for like a new one, and so is one without entries, which does not determine even which
        row it is.
    by_features : bool, default=True
        Whether equal rows of features are the same, and have equal outputs; else one that equals several has the mean
        of theirs.
    """

    def __init__(self, known, outputs, pairwise=False, by_features=True):
        self.known, self.stored, self.pairwise, self.by_features = known, outputs, pairwise, by_features

    def outputs(self, X, others):
        """Outputs of the rows of X in double precision, shape (m, n_outputs).

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (m, n_features)
        others : callable
            ``others(rows)`` gives the outputs of rows of X that equal no training row; called only if there are any.
        """
        match, stored = self.known.find(X), self.stored
        if self.pairwise:
            match[np.asarray((X != 0).sum(axis=1)).ravel() == 0] = -1
            groups = self.known.groups()
            match[(match >= 0) & (np.bincount(groups)[groups[match]] > 1)] = -1
        elif not self.by_features:
            stored = _means(self.known, stored)
        seen, out = match >= 0, np.empty((X.shape[0], stored.shape[1]))
        out[seen] = stored[match[seen]]
        if not seen.all():
            out[~seen] = others(X[~seen])
        return out


def mean_of_equal_rows(known, values, by_features):
    """Give equal rows the mean of their values, unless rows are identified by more than their features.

    `known` are the rows as :class:`iconlearn.neighbors.KnownRows`.
    """
    return _means(known, values) if by_features else values


def _means(known, values):
    groups = known.groups()
    if groups.max() == len(groups) - 1:
        return values
    sums = np.zeros((groups.max() + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return (sums / np.bincount(groups)[:, None])[groups]


@torch.no_grad()
def share_places(table, known, by_features):
    """Move equal rows of a table to their mean place, in place; as :func:`mean_of_equal_rows`."""
    places = table.places.detach().double().cpu().numpy()
    table.places.copy_(torch.from_numpy(mean_of_equal_rows(known, places, by_features)))
