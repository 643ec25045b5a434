"""A KL loss against few columns: softmax and cross-entropy in one pass, as for classes.

    sum_i mass_i KL( p(.|i) || softmax(log k_i.) ) = const - sum_ij t_ij log softmax(log k)_ij,    t_ij = mass_i p_ij

The gradient with respect to log k is (sum_j t_ij) softmax - t: no larger than the kernels themselves, and as
cheap as their softmax.  Sums by blocks, which evaluate every block again, are for what does not fit.
"""

from __future__ import annotations

import torch

from .geometry import matrix

__all__ = ["log_kernels", "softmax_divergence", "suits"]

# Pairs that are held at once.
MAX_PAIRS = 2**25


def suits(problem, visit, pull) -> bool:
    """Whether the loss of a visit is this one, and small enough."""
    q, (rows, columns) = problem.q, (len(visit.mass), visit.n_candidates)
    return (
        visit.edges is not None
        and not problem.tied
        and not visit.exclude_self
        and problem.summand.linear_in_log_q
        and (q.reduce, q.normalize, q.debias, pull) == ("logsumexp", "row", 0, 1.0)
        and rows * columns <= MAX_PAIRS
    )


def log_kernels(q, U, V, basis=False):
    """Log kernels of all pairs, shape (rows, columns); differentiable.

    Parameters
    ----------
    q : Learned
    U, V : Tensor
        Places of rows and columns.
    basis : bool, default=False
        Whether the columns are multiples of the unit vectors.
    """
    if basis and q.geometry == "dot":
        scale = V.diagonal()
        return q.log_kernel(
            U if torch.equal(scale, torch.ones_like(scale)) and not scale.requires_grad else U * scale
        )
    if q.singular:
        # A product would lose the small distances on which such a kernel depends most.
        return q.log_kernel(torch.cdist(U, V, compute_mode="donot_use_mm_for_euclid_dist").square())
    return q.log_kernel(matrix(q.geometry, U, V))


def softmax_divergence(log_k, divergence, visit):
    """Mean divergence over the rows of a visit, from the log kernels of all its pairs."""
    value = _CrossEntropy.apply(log_k, visit) + visit.at_one
    if visit.floor > 0:
        at_floor = divergence(log_k.new_tensor(visit.floor), log_k.new_zeros(()))
        value = value + at_floor * (visit.n_candidates * visit.mass.sum() - visit.weight.sum())
    return value


class _CrossEntropy(torch.autograd.Function):
    """- sum_ij t_ij log softmax(log k)_ij; its gradient is made in the forward pass, where the softmax is."""

    @staticmethod
    def forward(ctx, log_k, visit):
        places = visit.edges.i * visit.edges.j.new_tensor(log_k.shape[1]) + visit.edges.j
        over, total = visit.pulled, visit.row_weight
        log_q = torch.log_softmax(log_k, 1)
        if visit.floor > 0:
            over = over - visit.floor * visit.weight
            total = visit.edges.row_sums(over) + visit.floor * log_k.shape[1] * visit.mass
        value = -(over * log_q.view(-1)[places]).sum()
        if visit.floor > 0:
            value = value - visit.floor * (visit.mass * log_q.sum(1)).sum()
        if ctx.needs_input_grad[0]:
            gradient = log_q.exp_().mul_(total[:, None])
            gradient.view(-1).index_add_(0, places, over, alpha=-1)
            if visit.floor > 0:
                gradient -= visit.floor * visit.mass[:, None]
            ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, g):
        (gradient,) = ctx.saved_tensors
        return gradient if g == 1 else gradient * g, None
