"""New rows beside a frozen table: each finds its own place.

    min over z of D( p(.|new) || q(.|z) ),      q over the training rows' places, which do not move

It is the same loss with another point set for rows, run through the same loop for a fixed number of steps
in double precision; all steps are taken coordinate by coordinate, so that no row sees another.
"""

from __future__ import annotations

import numpy as np
import torch

from ..conditional import Conditional
from ..engines import Dense
from ..mappers import TableModule
from ..objective import loss
from ..optim import Phase, minimise
from ..problem import Points, Problem

__all__ = ["place_rows"]

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
    start = _weighted_mean(p, places)
    if p.n_rows == 0:
        return start
    frozen = TableModule(torch.from_numpy(np.array(places, dtype=float))).requires_grad_(False)
    columns = Points(frozen, len(places))
    out = np.empty_like(start)
    step = max(1, BLOCK // len(places))
    for begin in range(0, p.n_rows, step):
        rows = np.arange(begin, min(begin + step, p.n_rows))
        out[rows] = _settle(_rows_of(p, rows), q, divergence, start[rows], columns)
    return q.represent(torch.from_numpy(out)).numpy()


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
    phase = Phase(N_STEPS, learning_rate=0.5 * len(start), momentum=0.5, max_step=0.1 * reach)
    minimise(lambda pull: [closure], [table.places], optimizer="momentum", phases=[phase], tol=0.0)
    return table.places.detach().numpy()


def _rows_of(p, rows):
    if p.dense:
        return Conditional(p.sparse()[rows], p.uniform)
    return Conditional(p.edges[rows], p.uniform)


def _weighted_mean(p, places):
    """The p-weighted mean of the training places; the map's middle for a row without support."""
    edges = p.sparse()
    mean = edges @ places
    mean[~p.supported()] = places.mean(axis=0)
    return mean
