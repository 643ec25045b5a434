"""What the limits of the bandwidth ask of an engine: the nearest candidate, and a loss that has a minimum.

reduce = "min":    max_k [ log k(u_i, v_k) + margin * (pair without support) ]
"""

from __future__ import annotations

import torch

from ..numerics.geometry import Edges, MatrixBlocks, pairs


def nearest(q, U, V, visit, block):
    """Largest log kernel of every row, negatives lifted by the margin; differentiable in U and V.

    The winner of a row is found block by block without gradients; the gradient runs through that pair alone.
    """
    step = max(1, block // max(len(V), 1))
    winner = torch.empty(len(U), dtype=torch.int64, device=U.device)
    lift = torch.zeros(len(U), dtype=U.dtype, device=U.device)
    with torch.no_grad():
        for part, s in MatrixBlocks(q.scalar, U, V, step):
            log_k = q.log_kernel(s)
            if q.margin > 0:
                lifted = q.margin * (~visit.support(part)).to(log_k.dtype)
                log_k = log_k + lifted
            if visit.exclude_self:
                log_k[:, part].diagonal().fill_(-torch.inf)
            winner[part] = log_k.argmax(1)
            if q.margin > 0:
                lift[part] = lifted.gather(1, winner[part, None])[:, 0]
    rows = torch.arange(len(U), device=U.device)
    return q.log_kernel(pairs(q.scalar, U, V, Edges(rows, winner, (len(U), len(V))))) + lift


def refuses_limit(problem) -> str | None:
    """Why a q (or a p) in the limit of its bandwidth cannot be fitted, or None."""
    q, p = problem.q, problem.p
    if p.wide and q.reduce != "mean":
        return (
            "this p is in the limit of an infinite bandwidth, and only a q in the same limit can answer it; "
            "use q='wide_gaussian'"
        )
    if q.reduce == "logsumexp":
        return None
    if (problem.divergence.wide_limit if p.wide else problem.divergence.limit) is None:
        return (
            f"{type(problem.divergence).__name__} has no limit of its own where q's bandwidth goes to zero or "
            f"infinity; use divergence='kl'"
        )
    if q.needs_bound and not p.wide and not (problem.rows.bounded and problem.columns.bounded):
        return (
            f"{type(q).__name__}(sphere=False) has no useful minimum over a mapper without bounds: places "
            f"would run away or fall together; use sphere=True, or mappers.Linear(orthonormal=True), or give "
            f"a module of your own the attribute bounded = True"
        )
    return None
