"""A visit: the rows and columns of one step, with their part of p, on the device."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array

from .._transfer import sent
from ..distributed import ALONE
from ..mappers import declares
from ..numerics.geometry import Edges
from ..numerics.graphs import MANY_ROWS, order_by_neighbors
from ..numerics.threads import MANY_POINTS, compiled_pays

# A full block of p is kept between steps while it is at most this many numbers.
MAX_KEPT = 2**25
# Edges whose divergences are found at once.
BLOCK = 2**22


@dataclass(frozen=True, eq=False)
class Visit:
    """Rows, columns and p of one step.

    Attributes
    ----------
    rows, cols : Tensor of int64 or None
        Positions in the training set; None for all.
    edges : Edges or None
        Support pairs; None where p is a full block.
    p, weight : Tensor or None
        Probability of each edge, and the mass of its row.
    pulled, row_weight : Tensor or None
        weight * p of each edge, and its sum over the edges of each row.
    at_one : Tensor or None
        Weighted divergence of the edges at q = 1, what a divergence linear in log q starts from.
    divergence : callable
        What is summed over pairs, ``divergence(p, log_q)``.
    block : callable or None
        ``block(slice)`` gives the full rows of p for a slice of the visited rows.
    mass : Tensor of shape (rows,)
        Weights of the visited rows, summing to one.
    column_weights : Tensor
        What a degree-weighted q weighs the visited points by.
    floor : float
        p of every candidate off the support (zero for a full block, which has none).
    least : float
        p of a candidate off the support, in a full block too.
    n_candidates : int
        Candidates of each row.
    exclude_self : bool
        Whether row r's own column r is no candidate.
    lists : VisitedLists or None
        Where p has lists of candidates.  Rows of `edges` and `mass` are lists then, and `p` and `weight` have the
        null candidates after the others.
    scale : float
        What the mean over the rows counts among the visits of an epoch: their part of all rows' weight, times the
        number of visits.
    copies : Tensor or None
        How many equal points each column stands for; p is that of one of them.
    order : RowOrder or None
        The order in which all rows are visited, where it is not their own.
    sample : Sample or None
        Columns that stand for all the others in the row sums, where an engine draws some.
    weighs : bool
        Whether any row has a weight.
    row_inputs, column_inputs : Tensor or None
        Features of the visited points, where they were sent to a device along with p.
    """

    rows: object
    cols: object
    edges: object
    p: object
    weight: object
    pulled: object
    row_weight: object
    at_one: object
    divergence: object
    block: object
    mass: object
    column_weights: object
    floor: float
    least: float
    n_candidates: int
    exclude_self: bool
    scale: float = 1.0
    copies: object = None
    order: object = None
    sample: object = None
    lists: object = None
    weighs: bool = True
    row_inputs: object = None
    column_inputs: object = None

    # The processes whose rows are visited together.
    group: object = ALONE

    def outputs(self, points):
        """Outputs for the visited rows of some points."""
        Z = points.at(self.rows, self.row_inputs)
        return Z if self.order is None else _InOrder.apply(Z, self.order)

    def columns(self, U):
        """Places of the columns, where these are the rows, whose places are U."""
        return U

    def of_table(self, values):
        """Values for the visited rows, all of them, in the order of the table."""
        return values if self.order is None else self.order.of_table(values)

    @cached_property
    def both_ways(self):
        """w_ij + w_ji of tied points, with w = weight * p, as the arrays of a matrix in CSR form.

        On a device they are tensors there, followed by the rows of all entries and their columns.
        """
        arrays = self.edges.symmetric(self.pulled)
        device = self.pulled.device
        if device.type == "cpu":
            return arrays
        pointers, columns, values = map(torch.from_numpy, arrays)
        columns = columns.long()
        rows = torch.arange(len(pointers) - 1).repeat_interleave(pointers.diff())
        pointers, values, ends = (part.to(device) for part in (pointers, values, torch.cat([rows, columns])))
        return pointers, ends[len(values) :], values, ends

    @cached_property
    def column_weight(self):
        """weight * p summed over the edges of each column."""
        return self.edges.column_sums(self.pulled)

    @cached_property
    def p_sums(self):
        """p of each row, summed over its edges."""
        return self.edges.row_sums(self.p)

    @cached_property
    def rows_at_one(self):
        """The divergence of each row at q = 1."""
        values = self.divergence(self.p, torch.zeros_like(self.p))
        return self.edges.row_sums(values if self.copies is None else values * self.copies[self.edges.j])

    def weighing(self, mass):
        """The same visit with other weights of its rows, through which gradients may run."""
        if self.edges is None:
            return replace(self, mass=mass)
        weight = mass[self.edges.i]
        if self.copies is not None:
            weight = weight * self.copies[self.edges.j]
        pulled = weight * self.p
        return replace(
            self,
            mass=mass,
            weight=weight,
            pulled=pulled,
            row_weight=self.edges.row_sums(pulled),
            at_one=(mass * self.rows_at_one).sum(),
        )

    def support(self, part):
        """Which pairs of a slice of the visited rows p supports, shape (rows, columns)."""
        if self.edges is None:
            return self.block(part) > self.least
        on = torch.zeros(
            part.stop - part.start, self.edges.shape[1], dtype=torch.bool, device=self.mass.device
        )
        inside = (self.edges.i >= part.start) & (self.edges.i < part.stop)
        on[self.edges.i[inside] - part.start, self.edges.j[inside]] = True
        return on


class RowOrder:
    """An order of rows, on the CPU.

    Parameters
    ----------
    rows : ndarray of int of shape (n,)
        The row at each place.
    """

    def __init__(self, rows):
        self.rows = rows.astype(np.intp)
        self.places = np.empty_like(self.rows)
        self.places[self.rows] = np.arange(len(rows))

    def of_table(self, values):
        """Values in this order, in the order of the table."""
        return _taken(values, self.places)


class _InOrder(torch.autograd.Function):
    # The backward pass of an index adds up rows, one by one, of which each comes once here.
    @staticmethod
    def forward(ctx, Z, order):
        ctx.order = order
        return _taken(Z, order.rows)

    @staticmethod
    def backward(ctx, g):
        return ctx.order.of_table(g), None


def _taken(values, at):
    # In a third of the time of torch's index.
    return torch.from_numpy(values.detach().numpy().take(at, 0))


@dataclass(frozen=True, eq=False)
class VisitedLists:
    """The lists of candidates of one step.

    Attributes
    ----------
    rows : Tensor of int64 of shape (n_lists,)
        Positions of their rows among the visited ones.
    of : Tensor of int64
        The list of every candidate, and then of every null candidate.
    n_null : int
        Number of null candidates.
    """

    rows: object
    of: object
    n_null: int

    @cached_property
    def sizes(self):
        """Candidates of each list."""
        return torch.bincount(self.of, minlength=len(self.rows))


def visit_all(problem, *, dtype, device, ordered=False) -> Visit:
    """All rows and all columns; `ordered` ones so that neighbours are near in memory, where that pays."""
    ordered = ordered and _order_pays(problem, dtype, device)
    return _visit(problem, None, None, dtype, device, ordered=ordered)


def visit_all_always(problem, *, dtype, device, ordered=False):
    """Epochs of one visit, of all rows and all columns; see :func:`visit_all`."""
    return itertools.repeat([visit_all(problem, dtype=dtype, device=device, ordered=ordered)])


def visit_batch(problem, rows, cols, *, dtype, device, own=None, scale=1.0) -> Visit:
    """Some rows and columns (numpy positions); p is renormalised over those columns.

    Of a mask `own` of the rows the others are there as columns only, and weigh nothing.
    """
    return _visit(problem, rows, cols, dtype, device, own, scale)


def _order_pays(problem, dtype, device):
    """Whether compiled loops over the rows of a table are quicker in another order by more than it takes to find it.

    Places of more than three dimensions do not stay in the cache wherever there are such loops.
    """
    p, points = problem.p, problem.rows
    table = problem.tied and declares(points.mapper, "table") and points.reading is None
    plain = not (p.dense or p.listed or p.sharded) and p.copies is None
    compiled = dtype == torch.float32 and torch.device(device).type == "cpu"
    many = MANY_ROWS if points.width is None or points.width <= 3 else MANY_POINTS
    return table and plain and compiled and p.n_rows >= many


def _visit(problem, rows, cols, dtype, device, own=None, scale=1.0, ordered=False):
    p = problem.p
    n_rows = p.n_rows if rows is None else len(rows)
    n_cols = p.n_cols if cols is None else len(cols)

    if p.sharded and rows is cols is None:
        return _visit_shard(problem, dtype, device)

    def tensor(array, kind=dtype):
        return None if array is None else torch.as_tensor(array).to(device=device, dtype=kind)

    def there(arrays):
        """Arrays on the device and, of a batch, the features of its rows and columns that are not there yet."""
        if rows is None:
            # All rows are sent once, and may be too many to be held a second time on the way.
            return [*(tensor(*array) for array in arrays), None, None]
        of_rows = of_columns = None, None
        if torch.device(device).type != "cpu":
            of_rows = problem.rows.gathered(rows)
            of_columns = of_columns if problem.tied else problem.columns.gathered(cols)
        return sent([*arrays, of_rows, of_columns], device)

    if p.listed:
        return _visit_lists(problem, rows, cols, own, scale, dtype, there)
    candidates = max(n_cols - (not p.self_pairs), 1)
    common = {
        "least": p.uniform / candidates,
        "n_candidates": candidates,
        "exclude_self": not p.self_pairs,
        "scale": scale,
        "divergence": problem.summand,
    }

    def of_anchors(mass):
        if own is None:
            return mass
        mass = np.where(own, mass, 0.0)
        return mass / max(mass.sum(), np.finfo(float).tiny)

    def of_columns(mass):
        """None where columns are weighed as rows are."""
        if p.column_weights is None:
            return None if own is None else mass
        at = cols if order is None else order
        return p.column_weights if at is None else p.column_weights[at]

    order = e = None
    if ordered:
        order, e = _in_order(p)
    elif not p.dense or n_rows * n_cols <= MAX_KEPT:
        e = p.entries(rows, cols)
    mass = _mass(p, rows, cols) if e is None else e.mass
    of_rows = of_anchors(mass)
    i, j = (None, None) if p.dense else (e.i, e.j)
    arrays = [
        (rows, torch.int64), (None if cols is rows else cols, torch.int64), (of_rows, dtype), (of_columns(mass), dtype),
        (i, torch.int64), (j, torch.int64), (None if e is None else e.p, dtype),
        (None if p.dense or p.copies is None else p.copies_of(cols), dtype),
    ]  # fmt: skip
    rows_at, cols_at, of_rows_there, of_columns_there, i, j, values, copies, row_inputs, column_inputs = (
        there(arrays)
    )
    common |= {
        "row_inputs": row_inputs,
        "column_inputs": column_inputs,
        "rows": rows_at,
        "cols": rows_at if cols is rows else cols_at,
        "mass": of_rows_there,
        "column_weights": of_rows_there if of_columns_there is None else of_columns_there,
        "weighs": bool(of_rows.sum() > 0),
        "order": None if order is None else RowOrder(order),
    }
    if p.dense:
        block = values.__getitem__ if e is not None else _evaluated(p, rows, cols, tensor)
        return Visit(
            edges=None,
            p=None,
            weight=None,
            pulled=None,
            row_weight=None,
            at_one=None,
            block=block,
            floor=0.0,
            **common,
        )
    edges, weight = Edges(i, j, (n_rows, n_cols)), of_rows_there[i]
    if copies is not None:
        weight = weight * copies[j]
    return Visit(**_of_edges(problem, edges, values, weight), floor=e.floor, copies=copies, **common)


def _in_order(p):
    """An order by which neighbours are near in memory, and all entries in it."""
    e = p.entries()
    graph = csr_array((e.p, p.edges.indices, p.edges.indptr), shape=p.shape)
    e = e._replace(i=None, j=None)  # entries of millions of rows are not held twice
    order = order_by_neighbors(graph)
    graph = graph[order][:, order]
    graph.sort_indices()
    i = np.repeat(np.arange(len(order)), np.diff(graph.indptr))
    return order, e._replace(i=i, j=graph.indices, p=graph.data, mass=e.mass[order])


def _of_edges(problem, edges, p, weight):
    """What a visit has of its edges, and of their sums."""
    pulled = weight * p
    return {
        "edges": edges,
        "p": p,
        "weight": weight,
        "pulled": pulled,
        "row_weight": edges.row_sums(pulled),
        "at_one": _at_one(problem.summand, weight, p),
        "block": None,
    }


def _at_one(summand, weight, p):
    # By blocks, since the summand takes several times the memory of p.
    blocks = zip(weight.split(BLOCK), p.split(BLOCK), strict=True)
    parts = [(some * summand(some_p, torch.zeros_like(some_p))).sum() for some, some_p in blocks]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum()


def _visit_lists(problem, rows, cols, own, scale, dtype, there):
    """The lists of the visited rows (of those in the mask `own`), all of whose candidates are visited columns."""
    p = problem.p
    every = np.arange(p.n_rows) if rows is None else np.asarray(rows)
    anchors = np.arange(len(every)) if own is None else np.flatnonzero(own)
    found = p.lists(every[anchors])
    j = found.j if cols is None else np.searchsorted(cols, found.j)
    n_cols = p.n_cols if cols is None else len(cols)
    numbers = [rows, cols, found.i, j, np.concatenate([found.i, found.null]), anchors[found.rows]]
    values = [found.p, found.weight, p.row_mass[every]]
    rows, cols, i, j, of, of_lists, p_there, mass, column_weights, row_inputs, column_inputs = there(
        [*((array, torch.int64) for array in numbers), *((array, dtype) for array in values)]
    )
    edges = Edges(i, j, (len(mass), n_cols))
    return Visit(
        rows=rows,
        cols=cols,
        edges=edges,
        p=p_there,
        weight=mass[of],
        pulled=None,
        row_weight=None,
        at_one=None,
        divergence=problem.summand,
        block=None,
        mass=mass,
        column_weights=column_weights,
        floor=0.0,
        least=0.0,
        n_candidates=n_cols,
        exclude_self=False,
        scale=scale,
        weighs=bool(found.weight.sum() > 0),
        lists=VisitedLists(of_lists, of, len(found.null)),
        row_inputs=row_inputs,
        column_inputs=column_inputs,
    )


def _evaluated(p, rows, cols, tensor):
    """Full rows of p by slices, too many to be kept."""
    rows = np.arange(p.n_rows) if rows is None else rows
    return lambda part: tensor(p.entries(rows[part], cols).p)


def _mass(p, rows, cols):
    """Masses of the rows; in a batch to one, and which of them have support there is read from p."""
    if cols is None:
        return p.row_mass if rows is None else p.row_mass[rows]
    rows = np.arange(p.n_rows) if rows is None else rows
    step = max(1, MAX_KEPT // len(cols))
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    supported = np.concatenate([p.entries(part, cols).mass > 0 for part in parts])
    mass = np.where(supported, p.row_mass[rows], 0.0)
    return mass / max(mass.sum(), np.finfo(float).tiny)


@dataclass(frozen=True, eq=False)
class ShardVisit(Visit):
    """All rows of this process; columns are these and, behind them, rows of other processes that they have edges with.

    Attributes
    ----------
    halo : Halo
    """

    halo: object = None
    both_ways: object = None

    def columns(self, U):
        return self.halo(U)


def _visit_shard(problem, dtype, device):
    p = problem.p
    e = p.entries()
    both, halo = p.both_ways(csr_array((e.mass[e.i] * e.p, e.j, p.edges.indptr), shape=p.shape), device)

    def tensor(array, kind=dtype):
        return torch.as_tensor(array).to(device=device, dtype=kind)

    ties = both.indptr.astype(np.int64), both.indices.astype(np.int32), both.data.astype(np.float32)
    if not compiled_pays(next(problem.rows.mapper.parameters())):
        pointers, columns, values = ties
        rows = np.repeat(np.arange(p.n_rows, dtype=np.int32), np.diff(pointers))
        ends = tensor(np.concatenate([rows, columns]), None)
        ties = tensor(pointers, None), ends[len(rows) :], tensor(values), ends
    i, j, values, mass = (
        tensor(e.i, torch.int64),
        tensor(halo.at(e.j), torch.int64),
        tensor(e.p),
        tensor(e.mass),
    )
    edges = Edges(i, j, (p.n_rows, halo.size))
    return ShardVisit(
        **_of_edges(problem, edges, values, mass[i]),
        rows=None,
        cols=None,
        divergence=problem.summand,
        mass=mass,
        column_weights=mass,
        floor=e.floor,
        least=e.floor,
        n_candidates=p.n_candidates,
        exclude_self=True,
        weighs=bool(mass.sum() > 0),
        group=halo.shard.group,
        halo=halo,
        both_ways=ties,
    )
