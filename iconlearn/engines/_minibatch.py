"""The mini-batch engine: rows and columns of a step come from one batch.

Both p and q are restricted to the batch and renormalised there.  So that a sparse p keeps positives, every
anchor is followed by some of its neighbours, drawn from p.  They are columns, and rows of their own in another batch;
only where the batch holds all that its rows are near to, as with pairs of views, all of them are rows at once.

    L  ~  mean_b (mass_b / mean mass) * sum_{i in b} (mass_i / mass_b) D_i,      mass_b = sum_{i in b} mass_i

So each row counts by its mass, once an epoch, whatever batch it falls in.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from .._checks import check_number
from ._base import Engine
from ._visit import visit_batch

# Class mates of a row that a batch drawn at random should hold; below this they are added.
ENOUGH = 2


class MiniBatch(Engine):
    """Steps over random batches; for networks, streams and more rows than all pairs allow.

    Parameters
    ----------
    batch_size : int, default=1024
        Number of rows of a step, the added neighbours included; of all processes together under
        :func:`iconlearn.distributed.shards`.
    n_positives : int, default=1
        Neighbours drawn from p for every anchor (with replacement), where p is sparse, or made
        of more labels than fit into a batch.  Lists of candidates are never cut, and may make a step larger.
    n_negatives : int, default=0
        Columns of a step besides the positives, where columns are points of their own and more than
        `batch_size`; drawn in proportion to their weight under p to the power of 3/4, as in word2vec.  Of
        classes a step includes all, unless this is positive.
    """

    stochastic = True
    exact = True
    takes_lists = True
    over_processes = True

    def __init__(self, batch_size=1024, *, n_positives=1, n_negatives=0):
        self.batch_size = batch_size
        self.n_positives = n_positives
        self.n_negatives = n_negatives

    def refuses(self, problem):
        check_number("batch_size", self.batch_size, low=2, integer=True)
        check_number("n_positives", self.n_positives, low=0, integer=True)
        check_number("n_negatives", self.n_negatives, low=0, integer=True)
        brought = self._shares(problem)[1]
        others_alone = problem.tied and not problem.p.self_pairs and problem.q.normalize != "self"
        if others_alone and not self._in_one(problem):
            least = 2 * (1 + brought) if brought else 3
            if self.batch_size < least:
                alone = "one row and what p has near it" if brought else "no more than two rows"
                return (
                    f"batches of batch_size={self.batch_size} hold {alone}, so there is nothing that a row could be "
                    f"far from, and nothing is learned; use batch_size={least} or more, some hundreds where there are "
                    f"so many rows"
                )
        return super().refuses(problem)

    def _shares(self, problem):
        """Rows that a batch is drawn for, and the neighbours that each of them brings along."""
        brought = 0
        if problem.tied and problem.p.listed:
            brought = -(-problem.p.n_pairs // max(np.count_nonzero(problem.p.supported()), 1))
        elif problem.tied and _brings(problem.p, self.batch_size):
            brought = self.n_positives
        return max(self.batch_size // (1 + brought), 1), brought

    def estimates(self, problem):
        return problem.fresh or not self._in_one(problem)

    def visits(self, problem, *, rng, dtype, device):
        listed = problem.p.listed
        positives = None if listed else _drawing(problem.p, self.batch_size, rng)
        noise = None
        if self.n_negatives and not problem.p.dense and not problem.tied and not listed:
            noise = (problem.p.row_mass @ positives.edges) ** 0.75
            noise = self.n_negatives, np.cumsum(noise / noise.sum())
        draw = _tied_batch
        if listed:
            draw = partial(_listed_batch, tied=problem.tied)
        elif not problem.tied:
            # A class that no row of the batch has is still one that all of them should be far from.
            draw = partial(_two_sided_batch, noise=noise, whole=problem.columns.whole and noise is None)
        while True:
            yield self._epoch(problem, draw, positives, rng, dtype, device)

    def _in_one(self, problem):
        """Whether all rows and columns fit into one batch, or are seen together all the same."""
        n_cols = 0 if problem.columns.whole and not self.n_negatives else problem.p.n_cols
        return max(problem.n_rows, n_cols) <= self.batch_size

    def _epoch(self, problem, draw, positives, rng, dtype, device):
        n = problem.n_rows
        if self._in_one(problem):
            rows = np.arange(problem.p.n_rows)
            cols = rows if problem.p.n_cols == n else np.arange(problem.p.n_cols)
            yield visit_batch(problem, rows, cols, dtype=dtype, device=device)
            return
        anchors, brought = self._shares(problem)
        if problem.rows.moments is not None:
            # All moments of a sequence are in one batch, since one pass of the mapper serves them all.
            n_sequences = problem.rows.inputs.shape[0]
            moments = np.arange(0, n, n_sequences)
            order = (rng.permutation(n_sequences)[:, None] + moments).ravel()
            anchors = max(anchors - anchors % len(moments), len(moments))
        else:
            order = rng.permutation(np.flatnonzero(problem.p.supported()) if problem.p.listed else n)
        n_visits = -(-len(order) // anchors)
        for start in range(0, len(order), anchors):
            chosen = problem.own(order[start : start + anchors])
            rows, cols = draw(problem.p, chosen, positives, brought, self.batch_size, rng)
            own = None
            if len(rows) > len(chosen) and (problem.p.listed or not _closed(problem.p, rows)):
                own = np.isin(rows, chosen)
            scale = float(problem.p.row_mass[chosen].sum()) * n_visits
            visit = visit_batch(problem, rows, cols, dtype=dtype, device=device, own=own, scale=scale)
            if problem.anywhere(visit.weighs):
                yield visit


def _closed(p, rows):
    """Whether all that p supports for some rows is among them."""
    if p.dense:
        return False
    # By row numbers: taking columns of the matrix scans all of them, which are as many as all rows.
    return bool(np.isin(p.sparse()[rows].indices, rows, kind="sort").all())


def _tied_batch(p, anchors, positives, brought, batch_size, rng):
    rows = np.unique(np.concatenate([anchors, *(positives(anchors) for _ in range(brought))]))
    return rows, rows


def _listed_batch(p, anchors, positives, brought, batch_size, rng, tied):
    """All candidates of the anchors' lists; rows and columns are the same where they are the same points."""
    cols = p.columns_of(anchors)
    if not tied:
        return anchors, cols
    rows = np.union1d(anchors, cols)
    return rows, rows


def _two_sided_batch(p, anchors, positives, brought, batch_size, rng, noise=None, whole=False):
    """Few columns, and classes, are all visited; of many others (another modality) the anchors' positives."""
    if whole or p.n_cols <= batch_size:
        return anchors, np.arange(p.n_cols)
    if positives is None or p.dense:
        return anchors, rng.choice(p.n_cols, batch_size, replace=False)
    cols = positives(anchors)
    if noise is not None:
        n_negatives, total = noise
        cols = np.concatenate([cols, np.searchsorted(total, rng.random_sample(n_negatives) * total[-1])])
    return anchors, np.unique(cols)


def _brings(p, batch_size):
    """Whether rows bring neighbours along; not where a batch has them anyway, or only full rows of p determine it."""
    return not p.dense or (hasattr(p.block, "draw") and p.block.expected(batch_size) < ENOUGH)


def _drawing(p, batch_size, rng):
    """What draws a neighbour for every row, or None."""
    if not _brings(p, batch_size):
        return None
    return partial(p.block.draw, rng=rng) if p.dense else _Positives(p.sparse(), rng)


class _Positives:
    """Draws one neighbour from the support of each row, in proportion to p."""

    def __init__(self, edges, rng):
        self.edges, self.rng = edges, rng
        self.total = np.concatenate([[0.0], np.cumsum(edges.data)])

    def __call__(self, rows):
        starts, ends = self.edges.indptr[rows], self.edges.indptr[np.asarray(rows) + 1]
        has = ends > starts
        starts, ends = starts[has], ends[has]
        low, high = self.total[starts], self.total[ends]
        place = np.searchsorted(self.total, low + self.rng.random(len(starts)) * (high - low), side="right")
        return self.edges.indices[np.clip(place - 1, starts, ends - 1)]
