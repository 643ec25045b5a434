"""Sums over all columns, by blocks of rows.

    log sum_j k(u_i, v_j),      mean_j log k(u_i, v_j)      and      sum_i mass_i sum_j f_i(log q_ij)

No block of pairs outlives its turn: the backward passes evaluate it again, so memory is one block whatever
the number of rows.
"""

from __future__ import annotations

from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from ..loss import exaggerate, positive, share
from ..numerics.geometry import MatrixBlocks, matrix
from ..numerics.threads import in_stretches, threads_of_blocks
from ._tiles import TiledSums


def row_sums(q, U, V, exclude_self: bool, block: int, reduce: str = "logsumexp"):
    """Each row's kernels reduced to one number, shape (rows,); differentiable in U and V.

    Parameters
    ----------
    q : Learned
        Gives geometry and kernel.
    U, V : Tensor
        Places of rows and columns.
    exclude_self : bool
        Leave pair (r, r) out.
    block : int
        Number of pairs that are held at a time.
    reduce : {"logsumexp", "mean"}
        log of the sum of the kernels, or the mean of their logarithms.
    """
    if kernel_is_learned(q):
        # The functions below have gradients for places alone.
        return _by_autograd(
            partial(_row_sum, reduce=reduce),
            q,
            U,
            V,
            torch.arange(len(U), device=U.device),
            exclude_self,
            block,
        )
    if U is V and q.heavy_tailed and q.geometry == "sqdist" and reduce == "logsumexp":
        return TiledSums.apply(U, q, exclude_self)
    return _RowSums.apply(U, V, q, exclude_self, block, reduce, U is V)


def logs_or_direct(sums, lost, q, U, V, exclude_self: bool, block: int):
    """log of approximate row sums; those of the rows in the mask `lost` are found over all columns instead."""
    logs = torch.log(sums.clamp_min(torch.finfo(sums.dtype).tiny))
    rows = lost.nonzero()[:, 0]
    if len(rows) == 0:
        return logs
    return logs.index_copy(0, rows, _by_autograd(_row_sum, q, U, V, rows, exclude_self, block))


def kernel_is_learned(q) -> bool:
    """Whether the kernel itself, and not only the places, depends on parameters that require a gradient."""
    # Most q have no parameters, and a probe of the kernel costs a device a wait in every step.
    if not any(isinstance(value, torch.Tensor) and value.requires_grad for value in vars(q).values()):
        return False
    with torch.enable_grad():
        return q.log_kernel(probes(q)).requires_grad


def probes(q):
    """Some scalars of pairs, where q has its numbers."""
    numbers = (value for value in vars(q).values() if isinstance(value, torch.Tensor))
    device = next((tensor.device for tensor in numbers), torch.device("cpu"))
    return torch.tensor([0.0, 0.5, 1.0, 10.0], dtype=torch.float64, device=device)


def _by_autograd(row_sum, q, U, V, rows, exclude_self, block):
    """Sums of some rows, by blocks that the backward pass evaluates again."""
    parts = [
        checkpoint(row_sum, q, U, V, part, exclude_self, use_reentrant=False, preserve_rng_state=False)
        for part in rows.split(max(1, block // max(len(V), 1)))
    ]
    return torch.cat(parts)


def _row_sum(q, U, V, rows, exclude_self, reduce="logsumexp"):
    log_k = q.log_kernel(matrix(q.scalar, U[rows], V))
    if exclude_self:
        log_k = log_k.masked_fill(own_pairs(rows, len(V)), -torch.inf if reduce == "logsumexp" else 0.0)
    return (
        torch.logsumexp(log_k, 1) if reduce == "logsumexp" else log_k.sum(1) / max(len(V) - exclude_self, 1)
    )


def full_sum(q, U, V, log_norm, visit, summand, block: int, pull: float = 1.0, of_columns=None):
    """sum_i mass_i sum_j summand(log q_ij, rows) over all candidates; differentiable.

    log q_ij is the log kernel less `log_norm` of row i, and less `of_columns` of column j where it is given.
    """
    step = max(1, block // max(len(V), 1))
    total = U.new_zeros(())
    for part in _parts(len(U), step):
        total = total + checkpoint(
            _block_sum, q, U[part], V, log_norm[part], visit, summand, part, pull, of_columns,
            use_reentrant=False, preserve_rng_state=False,
        )  # fmt: skip
    return total


def _block_sum(q, U, V, log_norm, visit, summand, part, pull, of_columns):
    log_k = exaggerate(q.log_kernel(matrix(q.scalar, U, V)), pull)
    if of_columns is not None:
        log_k = log_k - of_columns
    log_q = share(q, log_k - log_norm[:, None], log_norm, visit, part)
    if visit.exclude_self:
        # What is no candidate may be out of range, and zero times infinity is no gradient.
        own = own_pairs(torch.arange(part.start, part.stop, device=V.device), len(V))
        values = summand(log_q.masked_fill(own, 0.0), part).masked_fill(own, 0.0)
    else:
        values = summand(log_q, part)
    mass = positive(visit.mass) if q.normalize == "joint" else visit.mass
    return (mass[part] * (values.sum(1) if visit.copies is None else values @ visit.copies)).sum()


class _RowSums(torch.autograd.Function):
    """Row sums whose backward pass evaluates each block again."""

    @staticmethod
    def forward(ctx, U, V, q, exclude_self, block, reduce, tied):
        step = max(1, block // max(len(V), 1))
        candidates = max(len(V) - bool(exclude_self), 1)
        out = torch.empty(len(U), dtype=U.dtype, device=U.device)
        n_threads = threads_of_blocks(-(-len(U) // step), U.device)

        @torch.no_grad()
        def of_blocks(first):
            for part, s in MatrixBlocks(q.scalar, U, V, step, first, n_threads):
                own = part if exclude_self else None
                if reduce == "mean":
                    out[part] = _fill(q.log_kernel(s), own, 0.0).sum(1) / candidates
                elif q.heavy_tailed:
                    out[part] = _fill(q.kernel(s), own, 0.0).sum(1).log_()
                else:
                    out[part] = torch.logsumexp(_fill(q.log_kernel(s), own, -torch.inf), 1)

        in_stretches(of_blocks, n_threads)
        ctx.setup = q, exclude_self, step, reduce, tied, candidates
        ctx.save_for_backward(U, V, out)
        return out

    @staticmethod
    def backward(ctx, g):
        U, V, out = ctx.saved_tensors
        q, exclude_self, step, reduce, tied, candidates = ctx.setup
        # Symmetric kernels of tied points need one product a block: pair (i, j) is seen from both ends.
        dU = torch.zeros_like(U)
        ends = (out, g / candidates if reduce == "mean" else g)
        # Tied points of a heavy tail in the plane go by tiles.
        by_kernels = q.heavy_tailed and not tied
        slopes = _mean_slopes if reduce == "mean" else _kernel_slopes if by_kernels else _log_slopes
        n_threads = threads_of_blocks(-(-len(U) // step), U.device)

        @torch.no_grad()
        def of_blocks(first):
            dV = None if tied else torch.zeros_like(V)
            for part, s in MatrixBlocks(q.scalar, U, V, step, first, n_threads):
                rows = tuple(end[part] for end in ends)
                A = slopes(q, s, rows, ends if tied else None)
                push(q.scalar, _fill(A, part if exclude_self else None, 0.0), U[part], V, dU[part], dV)
            return dV

        of_columns = in_stretches(of_blocks, n_threads)
        dV = None if tied else sum(of_columns)
        return dU, dV, None, None, None, None, None


# Slopes are d (sum_i g_i out_i) / d s_ij from the (out, g) of the rows; where those of the columns are
# given (tied points), that of s_ji is added.


def _kernel_slopes(q, s, rows, columns):
    k, factor = q.slope_of_kernel(q.kernel(s))
    return k.mul_((factor * rows[1] * torch.exp(-rows[0]))[:, None])


def _log_slopes(q, s, rows, columns):
    log_k = q.log_kernel(s)
    weight = rows[1][:, None] * torch.exp(log_k - rows[0][:, None])
    if columns is not None:
        weight = weight + columns[1] * torch.exp(log_k - columns[0])
    return weight * q.slope(s)


def _mean_slopes(q, s, rows, columns):
    weight = rows[1][:, None] if columns is None else rows[1][:, None] + columns[1]
    return weight * q.slope(s)


def _parts(n, step):
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _fill(block, own, value):
    """Write `value` where a block of the rows `own` meets its own columns."""
    if own is not None:
        block[:, own].diagonal().fill_(value)
    return block


def push(geometry, A, U, V, dU, dV):
    """Chain the slopes of the pairs to their two ends, adding to dU and dV in place."""
    if geometry == "hyperbolic":
        with torch.enable_grad():
            ends = [U.detach().requires_grad_(), V.detach().requires_grad_(dV is not None)]
            slopes = torch.autograd.grad(matrix(geometry, *ends), ends[: 1 + (dV is not None)], A)
        for total, slope in zip((dU, dV), slopes, strict=False):
            total += slope
        return
    if geometry == "dot":
        dU += _product(A, V)
        if dV is not None:
            dV += _product(A.T, U)
        return
    if geometry == "differences":
        for k in range(U.shape[1]):
            pull = (U[:, k, None] - V[:, k]).mul_(A)
            dU[:, k] += 2.0 * pull.sum(1)
            if dV is not None:
                dV[:, k] -= 2.0 * pull.sum(0)
        return
    dU += 2.0 * (A.sum(1)[:, None] * U - _product(A, V))
    if dV is not None:
        dV += 2.0 * (A.sum(0)[:, None] * V - _product(A.T, U))


def _product(A, V):
    """A @ V; for a V of few columns several times faster with the narrow side first."""
    return (V.T.contiguous() @ A.T).T


def own_pairs(rows, n_cols):
    """Mask of the pairs (r, r) among some rows (a tensor of positions) and all columns."""
    return rows[:, None] == torch.arange(n_cols, device=rows.device)
