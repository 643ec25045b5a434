"""Rows that lie among the wrong neighbours move to where most of their own are.

    cost_i(z)  =  - sum_j (w_ij + w_ji) log k(z, u_j)  +  what row i pays for its normaliser at z

No step downhill takes a row out of a group that it does not belong to and through another one: a heavy tail pulls ever
less from afar, and those in between push.  So every row is tried at the places of the rows that it is tied to most, and
moves beside the cheapest of them where that is much cheaper than its own place.  What it adds to the normalisers of
others is about the same everywhere, and is left out.
"""

from __future__ import annotations

import math

import torch

from ..mappers import declares
from ..numerics.threads import WIDE, available, compiled_pays

# So many places are tried, those of the heaviest ties first.
N_TRIED = 15
# Least gain in nats of a row's divergence.
MARGIN = 0.3
# Of the width of the kernel: how far from the other row, on the side that it comes from.
BESIDE = 0.1


def relocatable(objective) -> bool:
    """Whether rows can be judged one by one: a table of places, one sparse p over the rows, KL, and a heavy tail."""
    problem, *others = objective.problems
    p, q = problem.p, problem.q
    alone = not others and objective.penalty is None and problem.tied and q.same_places
    table = declares(problem.rows.mapper, "table") and q.heavy_tailed and q.edge_form is not None
    plain = q.debias == 0 and q.normalize in ("row", "joint") and problem.summand.linear_in_log_q
    return alone and table and plain and not (p.dense or p.listed or p.uniform > 0)


@torch.no_grad()
def relocate(problem, engine, visit):
    """Move the rows of a table that are much better off beside another row.

    Parameters
    ----------
    problem : Problem
        As :func:`relocatable` asks for it.
    engine : Engine
        Finds the row sums.
    visit : Visit
        Of all rows.

    Returns
    -------
    Tensor of bool of shape (n,)
        Which rows have moved.
    """
    q, table = problem.q, problem.rows.mapper.places
    U = q.place(visit.outputs(problem.rows), mass=visit.column_weights)
    factor, offset = q.edge_form
    log_sums = engine.log_sums(q, U, U, visit)
    if q.normalize == "row":
        # Beside another row there is that row's kernel at distance zero, which is one, in addition.
        share, here, there = visit.row_weight, log_sums, log_sums.logaddexp(torch.zeros_like(log_sums))
    else:
        log_total = torch.log(visit.group.total(torch.exp(torch.logsumexp(log_sums, 0))))
        sums = 2.0 * torch.exp(log_sums - log_total)
        share, here = visit.group.total(visit.row_weight.sum()).expand(len(U)), sums
        there = sums + 2.0 * torch.exp(-log_total)
    paid, margin = share * here, MARGIN * visit.row_weight
    find = _cheapest_compiled if compiled_pays(U, WIDE) else _cheapest
    V = visit.columns(U)
    at = find(V, visit.both_ways, -factor, offset, paid - margin, share, visit.columns(there))
    moved = at >= 0
    target = V.index_select(0, at.clamp_min(0))
    gap = U - target
    length = torch.linalg.vector_norm(gap, dim=1, keepdim=True).clamp_min(torch.finfo(U.dtype).tiny)
    beside = visit.of_table(target + gap * (BESIDE * math.sqrt(offset) / length))
    moved = visit.of_table(moved)
    table.copy_(torch.where(moved[:, None], beside, table))
    return moved


def _cheapest(V, ties, factor, offset, paid, share, there):
    """The row beside which each row pays least, shape (n,); -1 where none is cheaper than its own place.

    Parameters
    ----------
    V : Tensor of shape (n_columns, d)
        Places of the columns, those of the n rows first.
    ties : tuple
        w_ij + w_ji as pointers, columns and values in CSR form, and on a device the row of each.
    factor, offset : float
        A tie costs ``w factor log(1 + s / offset)`` at squared distance s.
    paid : Tensor of shape (n,)
        What each row pays at its place, besides its ties, less the least gain.
    share, there : Tensor of shape (n,) and (n_columns,)
        What row i pays beside row j, besides its ties, is ``share[i] * there[j]``.
    """
    pointers, columns, weights = (torch.as_tensor(part, device=V.device) for part in ties[:3])
    n, columns, counts = len(share), columns.long(), pointers.diff()
    U, rows = V[:n], torch.arange(n, device=V.device).repeat_interleave(counts, output_size=len(columns))
    weights = weights.to(U.dtype)

    def cost(places):
        s = (places.index_select(0, rows) - V.index_select(0, columns)).square().sum(1)
        terms = weights * torch.log1p(s / offset)
        return factor * torch.segment_reduce(terms, "sum", offsets=pointers, axis=0, unsafe=True, initial=0)

    best, at = cost(U) + paid, torch.full((n,), -1, device=U.device)
    for tried in _heaviest(pointers, rows, columns, weights).T:
        found = cost(V.index_select(0, tried)) + share * there.index_select(0, tried)
        at, best = torch.where(found < best, tried, at), torch.minimum(found, best)
    return at


def _heaviest(pointers, rows, columns, weights):
    """Columns of each row's heaviest ties, the first of equals first, shape (n, N_TRIED); the row itself for none."""
    order = torch.sort(weights, descending=True, stable=True).indices
    order = order[torch.sort(rows[order], stable=True).indices]
    rank = (torch.arange(len(rows), device=rows.device) - pointers[rows]).clamp_max(N_TRIED)
    n = len(pointers) - 1
    tried = torch.arange(n, device=rows.device)[:, None].repeat(1, N_TRIED + 1)
    # What is beyond the last of them goes to a column that is left off.
    return tried.index_put_((rows, rank), columns[order])[:, :N_TRIED]


def _cheapest_compiled(V, ties, factor, offset, paid, share, there):
    from ..numerics.compiled import cheapest_rows

    arrays = (part.contiguous().numpy() for part in (paid, share, there))
    found = cheapest_rows(V.contiguous().numpy(), *ties, factor, offset, *arrays, N_TRIED, available())
    return torch.from_numpy(found).long()
