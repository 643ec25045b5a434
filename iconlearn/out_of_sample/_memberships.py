"""Memberships: soft assignments of rows to clusters, by a head or beside a table of assignments."""

from __future__ import annotations

import numpy as np

from ..clusters import assign, joined, mutual_shares, pairs_of_new
from ..conditional import Conditional
from ..supervisory import extended
from ._mapped import answering, mapped
from ._placed import blocks_of_rows

# Numbers of a block of assignments.
BLOCK = 2**22


class HeadMemberships:
    """Assignments by a network, a block of rows at a time: no array of all rows and all outputs is made for labels.

    A head with a thousand clusters and a million rows would need eight gigabytes for its assignments alone.

    Parameters
    ----------
    q : Learned
    module : torch.nn.Module
    features : slice or None
        Those that the module reads; None for all.
    n_outputs : int
    device : str or torch.device, default="auto"
        As in :func:`~iconlearn.out_of_sample._mapped.answering`.
    """

    def __init__(self, q, module, features, n_outputs, device="auto"):
        self.q, self.module, self.features, self.n_outputs = q, module, features, n_outputs
        self.device = device
        self.used = np.arange(n_outputs)

    def within(self, used):
        """The same among some of the outputs."""
        self.used = used
        return self

    def parts(self, X):
        """Yield the assignments of X to all outputs in double precision, block by block."""
        step, module = max(1, BLOCK // self.n_outputs), answering(self.module, X.shape[0], self.device)
        for start in range(0, X.shape[0], step):
            rows = X[slice(start, start + step)]
            yield self.q.represent(mapped(module, rows, self.features)).double().numpy()

    def outputs(self, X):
        """Assignments of the rows of X."""
        return np.concatenate([among(r, self.used) for r in self.parts(X)])

    def labels(self, X, min_confidence):
        """The most probable cluster of each row, -1 below the confidence."""
        parts = (r[:, self.used] for r in self.parts(X))
        return np.concatenate([labels_of(r, min_confidence, r.sum(axis=1)) for r in parts])

    def sizes(self, X, copies=None):
        """Shares of all outputs in the rows of X, each of which stands for so many `copies`."""
        sizes, start = np.zeros(self.n_outputs), 0
        for r in self.parts(X):
            stop = start + len(r)
            sizes += r.sum(axis=0) if copies is None else copies[start:stop] @ r
            start = stop
        return sizes / sizes.sum()

    def winners(self, X):
        """The outputs that are the most probable one of any row."""
        return np.unique(np.concatenate([np.unique(r.argmax(axis=1)) for r in self.parts(X)]))


class Assigner:
    """Assignments of new rows beside a table, by their p over the training rows; no row depends on another.

    Parameters
    ----------
    p, q, divergence : objects
        As they were fitted.
    table : ndarray of shape (n, n_clusters)
        Assignments of the training rows.
    inside : ndarray of shape (n_clusters,) or None
        :func:`iconlearn.clusters.within` of the training rows, where the divergence runs from q to p.
    copies : ndarray of shape (n,) or None
        How many rows each training row stands for, of mean one; None is one.
    """

    def __init__(self, p, q, divergence, table, inside, copies=None):
        self.p, self.q, self.divergence, self.table, self.inside = p, q, divergence, table, inside
        self.copies = copies

    def near(self, X, n_jobs, device):
        """p of new rows over the training rows.

        q is symmetric, so training rows that would have chosen a new one say as much about it as those which it
        chooses.  A p that is no Supervisory may find one side only; from q to p there is no other side.
        """
        return extended(self.p, X, n_jobs=n_jobs, device=device, both_sides=not self.divergence.reverse)

    def __call__(self, p):
        """Assignments of new rows, shape (n_new, n_clusters)."""
        if self.divergence.reverse:
            weights = self.p.conditional_.column_weights if self.q.degree_weighted else None
            return joined(p, self.table, self.inside, self.divergence.entropy, weights)
        how = {"debias": self.q.debias, "balance": self.q.balance_, "copies": self.copies}
        found = np.concatenate([assign(part, self.table, **how) for _, part in blocks_of_rows(p, p.n_cols)])
        # Rows without support of p are alike, new or not: the uniform share of the others alone moves them.
        empty, alone = ~p.supported(), ~self.p.conditional_.supported()
        if empty.any() and alone.any():
            found[empty] = self.table[alone].mean(axis=0)
        return found


class MutualShares:
    """How sure new rows are of their clusters; see :func:`iconlearn.clusters.mutual_shares`.

    Parameters
    ----------
    assigner : Assigner
    """

    def __init__(self, assigner):
        self.assigner = assigner

    def near(self, X, n_jobs, device):
        """p of new rows over the training rows, from both sides and from theirs alone."""
        sides = self.assigner.near(X, n_jobs, device)
        if sides.own is not None:
            return sides, Conditional(sides.own)
        return sides, extended(self.assigner.p, X, n_jobs=n_jobs, device=device)

    def __call__(self, near):
        """Shares of new rows, shape (n_new, n_clusters)."""
        (sides, ours), assigner = near, self.assigner
        copies = assigner.copies
        totals = None if copies is None else assigner.p.conditional_.sparse() @ copies
        pairs = pairs_of_new(ours, sides, totals, copies)
        return mutual_shares(*pairs, assigner.table, assigner(sides))


def among(r, used):
    """Assignments among the clusters in use."""
    r = r[:, used]
    r /= r.sum(axis=1, keepdims=True)
    return r


def labels_of(r, min_confidence, total=1.0):
    """The most probable cluster of each row, -1 where its share of the total is below the confidence."""
    labels = r.argmax(axis=1)
    if min_confidence > 0:
        labels[r.max(axis=1) < min_confidence * total] = -1
    return labels
