"""Potentials that make a symmetric kernel doubly stochastic, of all pairs of one set of points.

    q_ij = exp(f_i + f_j + log k(u_i, u_j)),      sum_j q_ij = 1

f minimises the convex function  1/2 sum_ij q_ij - sum_i f_i,  whose slopes are the row sums less one and whose second
derivatives are diag(row sums) + Q.  Sinkhorn's symmetric steps, f_i - 1/2 log(row sum), lead near it from anywhere, and
Newton's steps, by conjugate gradients, the rest of the way.  Both are products with one matrix, which is kept while it
is small and else evaluated again by blocks.
"""

from __future__ import annotations

import math

import torch
from torch.utils.checkpoint import checkpoint

from .._warnings import warn
from ..numerics.geometry import MatrixBlocks, matrix
from ._sums import push, row_sums

# Numbers of a kernel that are kept for the products of one step.
MAX_KEPT = 2**25
# From this residual on Newton's steps are good ones.
NEAR = 0.3
MAX_STEPS = 2000
# Factors beyond exp of this leave the range in which products are exact, and become part of the matrix.
LARGEST_LOG = 7.0


def potentials(q, U, exclude_self, block, start=None):
    """f of tied points, shape (n,); differentiable in U, to any use of it.

    Parameters
    ----------
    q : Learned
        Gives geometry and kernel, which has no learned parameters.
    U : Tensor of shape (n, d)
    exclude_self : bool
        Leave pairs (i, i) out.
    block : int
        Number of pairs that are evaluated at a time.
    start : Tensor of shape (n,) or None
        Potentials of similar places.
    """
    return _Potentials.apply(U, q, exclude_self, block, start)


def row_potentials(q, U, V, of_columns, block):
    """f of further rows at U, each by itself, where those of the columns at V are given; differentiable in U."""

    def of_part(part):
        return -torch.logsumexp(q.log_kernel(matrix(q.scalar, part, V)) + of_columns, 1)

    parts = U.split(max(1, block // max(len(V), 1)))
    return torch.cat(
        [checkpoint(of_part, part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    )


class _Kernel:
    """Products with the matrix exp(f_i + f_j + log k_ij)."""

    def __init__(self, q, U, f, exclude_self, block):
        self.q, self.U, self.f, self.exclude_self = q, U, f, exclude_self
        self.step = max(1, block // max(len(U), 1))
        self.kept = torch.cat([Q.clone() for _, Q in self._blocks()]) if len(U) ** 2 <= MAX_KEPT else None

    def _blocks(self):
        for part, s in MatrixBlocks(self.q.scalar, self.U, self.U, self.step):
            yield part, _scaled(self.q, s, part, self.f, self.exclude_self)

    def times(self, v):
        if self.kept is not None:
            return self.kept @ v
        return torch.cat([Q @ v for _, Q in self._blocks()])


def _scaled(q, s, part, f, exclude_self):
    log_q = q.log_kernel(s) + f[part, None] + f
    if exclude_self:
        log_q[:, part].diagonal().fill_(-torch.inf)
    return log_q.exp_()


def _solved(kernel, factor, diagonal, right, x, enough):
    """x of (diag(diagonal) + Q) x = right, with Q = factor_i K_ij factor_j, by conjugate gradients."""

    def curved(y):
        return diagonal * y + factor * kernel.times(factor * y)

    r = right - curved(x)
    d = z = r / diagonal
    size = r @ z
    least = enough**2 * (right @ (right / diagonal))
    for _ in range(MAX_STEPS):
        if not size > least:
            break
        u = curved(d)
        bend = d @ u
        if not bend > 0:
            break
        x, r = x + size / bend * d, r - size / bend * u
        z = r / diagonal
        before, size = size, r @ z
        d = z + size / before * d
    return x


def _tolerance(dtype):
    return max(1e-11, 50 * torch.finfo(dtype).eps)


@torch.no_grad()
def _found(q, U, exclude_self, block, start):
    """f, the kernel it was found with, and the factor that is missing from that."""
    f = start
    if f is None or f.shape != U.shape[:1]:
        f = -0.5 * row_sums(q, U, U, exclude_self, block)
    f = f.to(U)
    kernel, factor = _Kernel(q, U, f, exclude_self, block), torch.ones_like(f)
    tolerance, last = _tolerance(U.dtype), math.inf
    for _ in range(MAX_STEPS):
        sums = factor * kernel.times(factor)
        residual = float((sums - 1).abs().max())
        settled = residual < 1e2 * tolerance and residual > 0.5 * last
        if residual <= tolerance or settled or math.isnan(residual):
            return f + factor.log(), kernel, factor
        if math.isinf(residual) and start is not None:
            # That was of other places; begin with sums that are found in logarithms.
            return _found(q, U, exclude_self, block, None)
        if residual < NEAR:
            step = _solved(kernel, factor, sums, 1 - sums, torch.zeros_like(f), min(0.1, residual))
            factor = factor * step.clamp(-1, 1).exp()
        else:
            factor = factor * sums.clamp_min(torch.finfo(sums.dtype).tiny).rsqrt()
        last = residual
        if float(factor.log().abs().max()) > LARGEST_LOG:
            f = f + factor.log()
            kernel, factor = _Kernel(q, U, f, exclude_self, block), torch.ones_like(f)
    warn(
        f"rows of {q!r} do not sum to one by more than {residual:.2g} after {MAX_STEPS} steps; use a kernel of heavier "
        f"tails, such as Student, or normalize='joint'"
    )
    return f + factor.log(), kernel, factor


class _Potentials(torch.autograd.Function):
    """f, and its slopes by the conditions that define it: (diag(1) + Q) df = - (Q o d log k) 1."""

    @staticmethod
    def forward(ctx, U, q, exclude_self, block, start):
        f, kernel, factor = _found(q, U, exclude_self, block, start)
        ctx.setup = q, exclude_self, block, kernel, factor
        ctx.save_for_backward(U, f)
        return f

    @staticmethod
    def backward(ctx, g):
        q, exclude_self, block, kernel, factor = ctx.setup
        U, f = ctx.saved_tensors
        with torch.no_grad():
            # Half of g is the answer where g is the same for all rows, as where p is doubly stochastic too.
            b = _solved(kernel, factor, torch.ones_like(f), g, 0.5 * g, _tolerance(U.dtype))
            dU = torch.zeros_like(U)
            for part, s in MatrixBlocks(q.scalar, U, U, max(1, block // max(len(U), 1))):
                A = q.slope(s)
                A = -(b[part, None] + b) * A * _scaled(q, s, part, f, exclude_self)
                push(q.scalar, A, U[part], U, dU[part], None)
        return dU, None, None, None, None
