"""New rows beside a frozen table: each finds its own place.

    min over z of D( p(.|new) || q(.|z) ),      q over the training rows' places, which do not move

It is the same loss with another point set for rows, in double precision.  A row begins at the place of that
neighbour of its own which suits its p best: the mean of neighbours that lie in several parts of the map is
a place between the parts, which steps downhill need not leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array

from ..conditional import Conditional
from ..engines import Dense, frozen_field
from ..learned import copy_in_double
from ..loss import row_divergences
from ..mappers import TableModule
from ..numerics.threads import MANY_POINTS, available, share, torch_on_one_thread
from ..objective import Points, Problem
from ..optim import ROW_RULES, minimise_rows

N_STEPS = 60
# A row has arrived when it moves less than this share of the map's extent.
TOLERANCE = 1e-5
# Places that are tried for a start: those of so many neighbours, the most probable first.
N_TRIED = 15
# Numbers held at a time decide how many rows are placed together; it changes nothing else.
BLOCK = 2**22
# What a row needs when its normaliser is read off a field: a stencil and edges for every place that is tried.
NUMBERS_PER_ROW = 2000


class PlacedRows:
    """Places beside a table: stored ones for rows that equal a training row, found ones for others.

    Parameters
    ----------
    seen : SeenRows
    near : callable
        ``near(X)`` is p of new rows over the training rows.
    placer : Placer
    """

    def __init__(self, seen, near, placer):
        self.seen, self.near, self.placer = seen, near, placer

    def outputs(self, X):
        """Places of the rows of X, each on its own."""
        return self.seen.outputs(X, lambda rows: self.placer(self.near(rows)))


class Placer:
    """Finds places beside a table that stays where it is; what that needs of the table is found at first use.

    Parameters
    ----------
    q : Learned
        As it was fitted.
    divergence : Divergence
    places : ndarray of shape (n_train, n_outputs)
    """

    def __init__(self, q, divergence, places):
        self.fitted, self.divergence, self.places = q, divergence, places

    @cached_property
    def q(self):
        # A new row has only its own row to be normalised by.
        changes = {"normalize": "row"} if self.fitted.normalize == "joint" else {}
        return copy_in_double(self.fitted, **changes)

    @cached_property
    def columns(self):
        frozen = TableModule(torch.from_numpy(np.array(self.places, dtype=float))).requires_grad_(False)
        return Points(frozen, len(self.places), width=self.places.shape[1])

    @cached_property
    def variances(self):
        return self.columns.mapper.places.var(0).tolist()

    @cached_property
    def field(self):
        return frozen_field(self.q, self.columns.mapper.places, compiled=self._compiled)

    @cached_property
    def sums(self):
        """The field as compiled loops read it."""
        return self.field.sums(self.q)

    @cached_property
    def middle(self):
        return self.columns.mapper.places.mean(0).numpy()

    @cached_property
    def reach(self):
        """The extent of the map."""
        return math.sqrt(max(self.variances))

    @property
    def _compiled(self):
        """Whether compiled loops place rows; a map of so many rows has been fitted by such loops."""
        linear = self.divergence.linear_in_log_q and self.q.edge_form is not None
        return linear and len(self.places) >= MANY_POINTS

    def __call__(self, p):
        """Places of new rows from their p over the training rows, shape (n_new, n_outputs)."""
        # With a uniform share on either side every column has a part in the loss, not only the neighbours.
        exact = self.field is None or p.dense or p.uniform > 0 or self.q.debias > 0
        if not exact and self._compiled:
            return self.q.represent(torch.from_numpy(self._by_compiled_loops(p))).numpy()
        engine, numbers = (Dense(block=BLOCK), p.n_cols) if exact else (self.field, NUMBERS_PER_ROW)
        out = np.empty((p.n_rows, self.places.shape[1]))

        def settle(rows):
            part = _part_of(p, rows)
            out[rows] = self._settle(*((part, self.columns) if exact else self._neighbours(part)), engine)

        # Small operations; blocks of their own keep threads from waiting for one another in each of them.
        with torch_on_one_thread():
            share(settle, _row_blocks(p, numbers), torch.device("cpu"))
        return self.q.represent(torch.from_numpy(out)).numpy()

    def _by_compiled_loops(self, p):
        from ..numerics.compiled import Kernel, Steps, placed_rows

        edges, values = p.edges, torch.from_numpy(p.edges.data.astype(float))
        at_one = self.divergence(values, torch.zeros_like(values)).numpy()
        pointers, columns = edges.indptr.astype(np.int64), edges.indices.astype(np.int64)
        steps = Steps(0.5, 0.1 * self.reach, TOLERANCE * self.reach, N_STEPS, *ROW_RULES)
        return placed_rows(
            self.columns.mapper.places.numpy(), pointers, columns, values.numpy(),
            csr_array((at_one, columns, pointers), shape=edges.shape).sum(axis=1),
            Kernel(*map(float, self.q.edge_form)), self.sums, steps, N_TRIED, available(),
        )  # fmt: skip

    def _neighbours(self, p):
        """p over those training rows only that are neighbours of a new row: the field stands for the others."""
        used, columns = np.unique(p.edges.indices, return_inverse=True)
        edges = csr_array((p.edges.data, columns, p.edges.indptr), shape=(p.n_rows, len(used)))
        places = TableModule(torch.from_numpy(self.places[used].astype(float))).requires_grad_(False)
        return Conditional(edges, self_pairs=True), Points(places, len(used), width=self.columns.width)

    def _settle(self, p, columns, engine):
        table = TableModule(torch.zeros(p.n_rows, columns.width, dtype=torch.float64))
        problem = Problem(p, self.q, self.divergence, Points(table, p.n_rows, width=columns.width), columns)
        visit = next(engine.visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]

        def evaluate(Z, gradients=True):
            with torch.no_grad():
                table.places.copy_(Z)
            return row_divergences(problem, engine, visit, table.places if gradients else None)

        # Squares of squared distances are as curved as the map is wide; kernels bend by about one.
        bend = 4.0 * sum(self.variances) / p.unit**2 if p.wide else 1.0
        return minimise_rows(
            evaluate, _start(problem, engine, visit, self.middle), first_step=0.5 / bend, longest=0.1 * self.reach,
            tolerance=TOLERANCE * self.reach, n_steps=N_STEPS,
        ).numpy()  # fmt: skip


def blocks_of_rows(p, numbers):
    """Row numbers and their part of p as sparse edges, for rows that take so many `numbers` each."""
    return ((rows, _part_of(p, rows)) for rows in _row_blocks(p, numbers))


def _row_blocks(p, numbers):
    step = max(1, BLOCK // numbers)
    return [np.arange(begin, min(begin + step, p.n_rows)) for begin in range(0, p.n_rows, step)]


def _part_of(p, rows):
    if p.wide:
        return replace(p, block=_Part(p.block, rows), shape=(len(rows), p.n_cols))
    edges = csr_array(p.block(rows, None)) if p.dense else p.edges[rows]
    return Conditional(edges, p.uniform, None if p.mass is None else p.mass[rows])


@dataclass(frozen=True, eq=False)
class _Part:
    """Some rows of a block of p, as a block of their own."""

    block: Callable
    rows: np.ndarray

    def __call__(self, rows=None, cols=None):
        return self.block(self.rows if rows is None else self.rows[rows], cols)


def _start(problem, engine, visit, middle):
    """The neighbour's place of the least divergence, or the mean of all if that is less; (n_new, d)."""
    p, places = problem.p, problem.columns.mapper.places
    if p.wide:
        return places[torch.from_numpy(p.entries().p.argmax(axis=1))]
    mean = torch.from_numpy(_weighted_mean(p, places.numpy(), middle))
    near = torch.from_numpy(_ranked(p.edges, N_TRIED))[..., None]
    mean = mean[:, None]
    # At a neighbour itself a singular kernel is infinite and has no slope: half way to it.
    towards = torch.lerp(mean, places[near[..., 0]], 0.5) if problem.q.singular else places[near[..., 0]]
    tried = torch.cat([mean, torch.where(near >= 0, towards, mean)], 1)
    # All at once: what a single row waits for is the number of operations, not their size.
    edges, copied = visit.edges.repeated(tried.shape[1])
    mass = visit.mass.repeat_interleave(tried.shape[1])
    every = replace(visit, edges=edges, p=visit.p[copied], mass=mass)
    table = Points(TableModule(tried.flatten(0, 1)), len(mass), width=tried.shape[2])
    divergence = row_divergences(replace(problem, rows=table), engine, every)
    best = divergence.view(tried.shape[:2]).argmin(1)
    return tried[torch.arange(len(tried)), best]


def _ranked(edges, most):
    """Columns of each row's largest entries in falling order, (n, most or fewer); -1 where it has no more."""
    sizes = np.diff(edges.indptr)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((edges.indices, -edges.data, rows))
    ranks = np.arange(min(most, sizes.max(initial=0)))
    at = np.minimum(edges.indptr[:-1, None] + ranks, max(len(order) - 1, 0))
    return np.where(ranks < sizes[:, None], edges.indices[order[at]] if len(order) else -1, -1)


def _weighted_mean(p, places, middle):
    """The p-weighted mean of the training places; the map's middle for a row without support."""
    mean = p.edges @ places
    mean[~p.supported()] = middle
    return mean
