"""New rows beside a frozen table: each finds its own place.

    min over z of D( p(.|new) || q(.|z) ),      q over the training rows' places, which do not move

It is the same loss with another point set for rows, run through the same loop for a fixed number of steps
in double precision; all steps are taken coordinate by coordinate, and the last state is taken rather than
the one that is best for all rows together, so that no row sees another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.sparse import csr_array

from ..conditional import Conditional
from ..engines import Dense, frozen_field
from ..mappers import TableModule
from ..objective import loss
from ..optim import Phase, minimise
from ..problem import Points, Problem

__all__ = ["Placer", "blocks_of_rows", "placer_of"]

N_STEPS = 60
# Numbers held at a time decide how many rows are placed together; it changes nothing else.
BLOCK = 2**22
# What a row needs when its normaliser is read off a field: its edges and a stencil.
NUMBERS_PER_ROW = 400


class Placer:
    """Finds places beside a table that stays where it is.

    Parameters
    ----------
    q : Learned
        Begun in double precision, normalised by row.
    divergence : Divergence
    places : ndarray of shape (n_train, n_outputs)
    """

    def __init__(self, q, divergence, places):
        self.q, self.divergence, self.places = q, divergence, places
        frozen = TableModule(torch.from_numpy(np.array(places, dtype=float))).requires_grad_(False)
        self.columns = Points(frozen, len(places), width=places.shape[1])
        self.reach, self.variance = float(frozen.places.std(0).max()), float(frozen.places.var(0).sum())
        self.field = frozen_field(q, frozen.places)

    def __call__(self, p):
        """Places of new rows from their p over the training rows, shape (n_new, n_outputs)."""
        # With a uniform share on either side every column has a part in the loss, not only the neighbours.
        exact = self.field is None or p.dense or p.uniform > 0 or self.q.debias > 0
        engine, numbers = (Dense(block=BLOCK), p.n_cols) if exact else (self.field, NUMBERS_PER_ROW)
        out = np.empty((p.n_rows, self.places.shape[1]))
        for rows, part in blocks_of_rows(p, numbers):
            start = _weighted_mean(part, self.places)
            out[rows] = self._settle(
                *((part, self.columns) if exact else self._neighbours(part)), start, engine
            )
        return self.q.represent(torch.from_numpy(out)).numpy()

    def _neighbours(self, p):
        """p over those training rows only that are anyone's neighbours: the field stands for the others."""
        used, columns = np.unique(p.edges.indices, return_inverse=True)
        edges = csr_array((p.edges.data, columns, p.edges.indptr), shape=(p.n_rows, len(used)))
        places = TableModule(torch.from_numpy(self.places[used].astype(float))).requires_grad_(False)
        return Conditional(edges, self_pairs=True), Points(places, len(used), width=self.columns.width)

    def _settle(self, p, columns, start, engine):
        table = TableModule(torch.from_numpy(start))
        rows = Points(table, p.n_rows, width=columns.width)
        problem = Problem(p, self.q, self.divergence, rows, columns)
        visit = next(engine.visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]

        def closure():
            table.places.grad = None
            value = loss(problem, engine, visit)
            value.backward()
            return value.detach()

        # A row's share of the mean loss is 1 / n_new, which the step size takes out again.
        # Squares of squared distances are as curved as the map is wide; kernels bend by about one.
        bend = 4.0 * self.variance if p.wide else 1.0
        phase = Phase(N_STEPS, learning_rate=0.5 * p.n_rows / bend, momentum=0.5, max_step=0.1 * self.reach)
        latest = table.places.detach().clone()
        minimise(
            lambda pull: [closure], [table.places], optimizer="momentum", phases=[phase], tol=0.0,
            after_step=lambda: latest.copy_(table.places.detach()),
        )  # fmt: skip
        return latest.numpy()


# A placer sums up all training rows, so each estimator's is kept for its next call: beside the estimator,
# since transform leaves no trace on it, and for as long as it lives.
_placers = WeakKeyDictionary()


def placer_of(estimator, places, make):
    """The estimator's placer over `places`, made by ``make()`` at first."""
    placer = _placers.get(estimator)
    if placer is None or placer.places is not places:
        placer = _placers[estimator] = make()
    return placer


def blocks_of_rows(p, numbers):
    """Row numbers and their part of p as sparse edges, for rows that take so many `numbers` each."""
    step = max(1, BLOCK // numbers)
    for begin in range(0, p.n_rows, step):
        rows = np.arange(begin, min(begin + step, p.n_rows))
        if p.wide:
            yield rows, replace(p, block=_Part(p.block, rows), shape=(len(rows), p.n_cols))
            continue
        edges = csr_array(p.block(rows, None)) if p.dense else p.edges[rows]
        yield rows, Conditional(edges, p.uniform)


@dataclass(frozen=True, eq=False)
class _Part:
    """Some rows of a block of p, as a block of their own."""

    block: Callable
    rows: np.ndarray

    def __call__(self, rows=None, cols=None):
        return self.block(self.rows if rows is None else self.rows[rows], cols)


def _weighted_mean(p, places):
    """The p-weighted mean of the training places; the map's middle for a row without support."""
    if p.wide:
        return places[p.entries().p.argmax(axis=1)]
    mean = p.edges @ places
    mean[~p.supported()] = places.mean(axis=0)
    return mean
