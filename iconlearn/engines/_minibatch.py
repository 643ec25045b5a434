"""The mini-batch engine: rows and columns of a step come from one batch.

Both p and q are restricted to the batch and renormalised there.  So that a sparse p keeps positives, every
anchor brings some of its neighbours along, drawn from p.
"""

from __future__ import annotations

import numpy as np

from .._validation import check_number
from ._base import Engine
from ._visit import visit_batch

__all__ = ["MiniBatch"]


class MiniBatch(Engine):
    """Steps over random batches; for networks, streams and more rows than all pairs allow.

    Parameters
    ----------
    batch_size : int, default=1024
        Number of rows of a step, the neighbours that were brought along included.
    n_positives : int, default=1
        Neighbours drawn from p for every anchor (with replacement), where p is sparse.
    """

    stochastic = True

    def __init__(self, batch_size=1024, *, n_positives=1):
        self.batch_size = batch_size
        self.n_positives = n_positives

    def refuses(self, problem):
        check_number("batch_size", self.batch_size, low=2, integer=True)
        check_number("n_positives", self.n_positives, low=0, integer=True)
        return super().refuses(problem)

    def visits(self, problem, *, rng, dtype, device):
        positives = None if problem.p.dense else _Positives(problem.p.sparse(), rng)
        draw = _tied_batch if problem.tied else _two_sided_batch
        while True:
            yield self._epoch(problem, draw, positives, rng, dtype, device)

    def _epoch(self, problem, draw, positives, rng, dtype, device):
        n = problem.p.n_rows
        if n <= self.batch_size and (problem.tied or problem.p.n_cols <= self.batch_size):
            yield visit_batch(problem, np.arange(n), np.arange(problem.p.n_cols), dtype=dtype, device=device)
            return
        brought = 0 if problem.p.dense or not problem.tied else self.n_positives
        anchors = max(self.batch_size // (1 + brought), 1)
        order = rng.permutation(n)
        for start in range(0, n, anchors):
            rows, cols = draw(
                problem.p, order[start : start + anchors], positives, brought, self.batch_size, rng
            )
            visit = visit_batch(problem, rows, cols, dtype=dtype, device=device)
            if float(visit.mass.sum()) > 0:
                yield visit


def _tied_batch(p, anchors, positives, brought, batch_size, rng):
    rows = np.unique(np.concatenate([anchors, *(positives(anchors) for _ in range(brought))]))
    return rows, rows


def _two_sided_batch(p, anchors, positives, brought, batch_size, rng):
    """Few columns (classes) are all visited; many (another modality) are the anchors' positives."""
    if p.n_cols <= batch_size:
        return anchors, np.arange(p.n_cols)
    if p.dense:
        return anchors, rng.choice(p.n_cols, batch_size, replace=False)
    return anchors, np.unique(positives(anchors))


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
