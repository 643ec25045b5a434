"""The attracting half of a KL loss: the weighted mean of log kernels over the edges.

    sum_e w_e log k(u_i, v_j)

Plain torch does it for every kernel, in any width and on any device.  Many edges of a map on the CPU go
through one compiled pass instead, where the log kernel is a multiple of s or of log(1 + s / offset).
"""

from __future__ import annotations

import torch

from .geometry import pairs
from .loops import available, compiled_pays

__all__ = ["attraction", "exaggerate"]


def attraction(q, U, V, visit, pull=1.0):
    """sum_e w_e log k(u_i, v_j) over the edges of a visit, a scalar; differentiable.

    Parameters
    ----------
    q : Learned
    U, V : Tensor of shape (n_rows, d) and (n_cols, d)
        Places; the same object where the columns are the rows.
    visit : Visit
        Gives the edges and their weights.
    pull : float, default=1.0
        The gradient is multiplied by it, the value is not.
    """
    if U is V and q.edge_form is not None and compiled_pays(U):
        factor, offset = q.edge_form
        return _Compiled.apply(U, visit.both_ways, factor, offset, pull)
    return (visit.pulled * exaggerate(q.log_kernel(pairs(q.geometry, U, V, visit.edges)), pull)).sum()


def exaggerate(log_k, pull):
    """The same values with the gradient multiplied by `pull`."""
    return log_k if pull == 1.0 else pull * log_k - (pull - 1.0) * log_k.detach()


class _Compiled(torch.autograd.Function):
    """Points against themselves: each pair is met from both of its ends, and counts half from each."""

    @staticmethod
    def forward(ctx, U, both_ways, factor, offset, pull):
        from .compiled import edge_terms

        places = U.detach().contiguous().numpy()
        total, gradient = edge_terms(places, places, *both_ways, offset, available())
        ctx.save_for_backward(torch.from_numpy(gradient))
        ctx.scale = factor * pull
        return U.new_tensor(0.5 * factor * total)

    @staticmethod
    def backward(ctx, g):
        (gradient,) = ctx.saved_tensors
        return (g * ctx.scale) * gradient, None, None, None, None
