"""The heart: the one loss that every method here minimises.

    L = sum_i mass_i * D( p(.|i) || q(.|i) ),      log q(j|i) = log k(u_i, v_j) - log N_i

A divergence is summed over the support of p; what lies off the support costs f(0) per unit of q, or, with
a uniform share on p, is summed by the engine over all candidates.
"""

from __future__ import annotations

import math

import torch

from .attraction import attraction, exaggerate
from .geometry import pairs
from .softmax import log_kernels, softmax_divergence, suits

__all__ = ["log_normalizer", "loss", "positive", "share"]


def loss(problem, engine, visit, pull=1.0):
    """Mean divergence over the rows of one visit, differentiable.

    Parameters
    ----------
    problem : Problem
        What is fitted.
    engine : Engine
        Finds the row sums and the sums over all candidates.
    visit : Visit
        Which rows and columns are seen.
    pull : float, default=1.0
        Exaggeration: the gradient of every supported pair's kernel is multiplied by it.  The value of the
        loss is the true one whatever the pull.

    Returns
    -------
    Tensor
        A scalar, in the precision of the mapper.
    """
    q, divergence = problem.q, problem.summand
    Z = problem.rows.at(visit.rows)
    U = q.place(Z, mass=visit.column_weights)
    if problem.tied:
        V = U if q.same_places else q.place(Z, columns=True, mass=visit.column_weights)
    else:
        V = q.place(problem.columns.at(visit.cols), columns=True)
    if engine.exact and suits(problem, visit, pull):
        # Outputs are the logits only where no unit vector is missing.
        basis = problem.columns.basis and len(V) == problem.columns.size
        return softmax_divergence(log_kernels(q, U, V, basis), divergence, visit)
    log_norm = log_normalizer(q, engine, U, V, visit)

    if visit.edges is None:
        value = _all_pairs(problem, engine, U, V, log_norm, visit, visit.block, pull)
        return value / visit.n_candidates if problem.p.wide else value
    if divergence.linear_in_log_q and q.debias == 0 and visit.floor == 0:
        # Linear in the normaliser too: one number a row instead of one an edge.
        return visit.at_one - attraction(q, U, V, visit, pull) + (visit.row_weight * log_norm).sum()
    log_k = exaggerate(q.log_kernel(pairs(q.geometry, U, V, visit.edges)), pull)
    log_q = share(q, log_k - log_norm.index_select(0, visit.edges.i), log_norm, visit)
    value = (visit.weight * divergence(visit.p, log_q)).sum()
    if visit.floor > 0:
        floor = log_k.new_tensor(visit.floor)
        value = value - (visit.weight * divergence(floor, log_q)).sum()
        return value + _floor_everywhere(problem, engine, U, V, log_norm, visit, floor)
    if divergence.at_zero != 0:
        value = value + divergence.at_zero * (1.0 - (visit.weight * log_q.exp()).sum())
    return value


def _all_pairs(problem, engine, U, V, log_norm, visit, p_of, pull=1.0):
    """Mean divergence with p given for every candidate by ``p_of(slice of rows)``."""
    return engine.full_sum(
        problem.q, U, V, log_norm, visit, lambda log_q, rows: problem.summand(p_of(rows), log_q), pull
    )


def _floor_everywhere(problem, engine, U, V, log_norm, visit, floor):
    """Mean divergence as if p were the uniform share on every candidate."""
    q = problem.q
    if not (problem.summand.linear_in_log_q and q.debias == 0):
        return _all_pairs(problem, engine, U, V, log_norm, visit, lambda rows: floor)
    mean_log_q = engine.mean_log_kernels(q, U, V, visit) - log_norm
    return visit.n_candidates * (visit.mass * problem.summand(floor, mean_log_q)).sum()


def log_normalizer(q, engine, U, V, visit):
    """log N_i for every visited row.

    A joint normaliser is the sum over all pairs; the row's mass is taken off as well, so that the weighted
    sum of row divergences is the divergence of the joint distributions.
    """
    if q.normalize == "self":
        return U.new_zeros(len(U))
    if q.reduce == "mean":
        return engine.mean_log_kernels(q, U, V, visit)
    if q.reduce == "min":
        return engine.nearest(q, U, V, visit)
    if q.normalize == "row":
        return engine.log_sums(q, U, V, visit)
    return engine.log_total(q, U, V, visit) + torch.log(positive(visit.mass))


def positive(mass):
    """Masses that a joint q can be divided by: q of a row without mass is paid for all the same."""
    return mass.clamp_min(torch.finfo(mass.dtype).tiny)


def share(q, log_q, log_norm, visit, rows=None):
    """Mix the uniform share of q in: (1 - a) q + a / m."""
    if q.debias == 0:
        return log_q
    log_floor = math.log(q.debias / visit.n_candidates)
    if q.normalize == "joint":
        log_floor = log_floor - torch.log(positive(visit.mass)) - math.log(len(visit.mass))
        log_floor = log_floor[visit.edges.i] if log_q.ndim == 1 else log_floor[rows][:, None]
    else:
        log_floor = log_q.new_tensor(log_floor)
    return torch.logaddexp(math.log1p(-q.debias) + log_q, log_floor)
