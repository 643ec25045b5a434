"""New rows beside a frozen table: each finds its own place.

    min over z of D( p(.|new) || q(.|z) ),      q over the training rows' places, which do not move

It is the same loss with another point set for rows, run through the same loop for a fixed number of steps
in double precision; all steps are taken coordinate by coordinate, and the last state is taken rather than
the one that is best for all rows together, so that no row sees another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_array

from ..conditional import Conditional
from ..engines import Dense
from ..mappers import TableModule
from ..objective import loss
from ..optim import Phase, minimise
from ..problem import Points, Problem

__all__ = ["blocks_of_rows", "place_rows"]

N_STEPS = 60
# Pairs held at a time decide how many rows are placed together; it changes nothing else.
BLOCK = 2**22


def place_rows(p, q, divergence, places):
    """Places of new rows, shape (n_new, n_outputs).

    Parameters
    ----------
    p : Conditional or BlockConditional of shape (n_new, n_train)
    q : Learned
        Begun in double precision, normalised by row.
    divergence : Divergence
    places : ndarray of shape (n_train, n_outputs)
    """
    frozen = TableModule(torch.from_numpy(np.array(places, dtype=float))).requires_grad_(False)
    columns = Points(frozen, len(places))
    out = np.empty((p.n_rows, places.shape[1]))
    for rows, part in blocks_of_rows(p):
        out[rows] = _settle(part, q, divergence, _weighted_mean(part, places), columns)
    return q.represent(torch.from_numpy(out)).numpy()


def blocks_of_rows(p):
    """Row numbers and their part of p as sparse edges, a bounded number of pairs at a time."""
    step = max(1, BLOCK // p.n_cols)
    for begin in range(0, p.n_rows, step):
        rows = np.arange(begin, min(begin + step, p.n_rows))
        if p.wide:
            yield rows, replace(p, block=_Part(p.block, rows), shape=(len(rows), p.n_cols))
            continue
        edges = csr_array(p.block(rows, None)) if p.dense else p.edges[rows]
        yield rows, Conditional(edges, p.uniform)


def _settle(p, q, divergence, start, columns):
    table = TableModule(torch.from_numpy(start))
    problem, engine = Problem(p, q, divergence, Points(table, len(start)), columns), Dense(block=BLOCK)
    visit = next(engine.visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]

    def closure():
        table.places.grad = None
        value = loss(problem, engine, visit)
        value.backward()
        return value.detach()

    # A row's share of the mean loss is 1 / n_new, which the step size takes out again.
    reach = float(columns.mapper.places.std(0).max())
    # Squares of squared distances are as curved as the map is wide; kernels bend by about one.
    bend = 4.0 * float(columns.mapper.places.var(0).sum()) if p.wide else 1.0
    phase = Phase(N_STEPS, learning_rate=0.5 * len(start) / bend, momentum=0.5, max_step=0.1 * reach)
    latest = table.places.detach().clone()
    minimise(
        lambda pull: [closure], [table.places], optimizer="momentum", phases=[phase], tol=0.0,
        after_step=lambda: latest.copy_(table.places.detach()),
    )  # fmt: skip
    return latest.numpy()


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
