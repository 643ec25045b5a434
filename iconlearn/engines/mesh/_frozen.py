"""Row sums against points that do not move: the field is found once, and every new point reads it.

    S(z) = sum_j k(|z - v_j|^2)

A point costs the same however many the frozen ones are, and no point has a part in another's sum.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from .._base import Engine
from .._sums import logs_or_direct
from .._visit import visit_all_always
from ._field import convolved, fit_grid
from ._mesh import is_lost, least_share, responses_of, sums_radial_kernels

# Exact sums are quick against fewer points.
FEW_POINTS = 2000
# Finer than in a fit: it is paid once.
SPACING = 0.25
# Widest distance of nodes that will do, in widths of the kernel, for maps of 1, 2 and 3 dimensions.
COARSEST = (None, 0.5, 0.5, 1.0)
# The grid goes beyond the points by this share of their extent.
AROUND = 0.1
MAX_NODES = 2**24
# Distance of the pairs that are left to direct sums where the grid is coarser, in spacings of it.
REACH = 2.5


def frozen_field(q, V, *, compiled=False):
    """An engine for rows against the points V of shape (n, d), or None where exact sums serve better.

    Where it is read by `compiled` loops, a grid may be coarser: these sum near pairs besides.
    """
    if len(V) < FEW_POINTS or V.shape[1] > 3 or not sums_radial_kernels(q):
        return None
    responses = responses_of(q)
    low, high = V.amin(0), V.amax(0)
    margin = AROUND * (high - low) + SPACING * responses.width
    grid = fit_grid(low - margin, high + margin, SPACING * responses.width, 50, MAX_NODES)
    if grid.spacing > COARSEST[V.shape[1]] * responses.width:
        if not compiled:
            return None
        grid = replace(grid, reach=REACH * grid.spacing)
    return FrozenField(V, grid, responses("kernel", grid), grid.spacing / responses.width)


class FrozenField(Engine):
    """The field of some points on a grid; see :func:`frozen_field`.

    Rows off the grid, and those whose sum its error may have swallowed, are summed directly.  The sums are
    over all of the frozen points, whichever of them are the columns of the problem.  A grid with a reach serves
    :meth:`sums` alone.
    """

    def __init__(self, V, grid, response, coarseness):
        self.V, self.grid, self.split, self.coarseness = V, grid, response.split, coarseness
        stencil = grid.stencil(V)
        self.constant = len(V) * response.constant
        self.field = convolved(stencil.spread(), response, grid).contiguous()
        self.highest = self.constant + stencil.read(self.field)[0].max()

    def sums(self, q):
        """The same for compiled loops."""
        from ...numerics.compiled import NearPlaces, Sums

        least, split = least_share(q, self.coarseness) * float(self.highest), self.split
        parabola = np.zeros(3) if split is None else np.array([split.value, split.slope, split.bend / 2])
        near = NearPlaces.of(self.V.numpy(), self.grid.reach, parabola)
        return Sums(self.grid.low.numpy(), self.grid.spacing, self.field.numpy(), self.constant, least, near)

    def visits(self, problem, *, rng, dtype, device):
        return visit_all_always(problem, dtype=dtype, device=device)

    def log_sums(self, q, U, V, visit):
        inside = self.grid.contains(U.detach())
        # A point off the grid reads a place on it, and is summed directly afterwards.
        sums = _Read.apply(torch.where(inside[:, None], U, self.V[:1]), self.grid, self.field) + self.constant
        lost = ~inside | is_lost(q, sums.detach(), self.highest, self.coarseness)
        return logs_or_direct(sums, lost, q, U, self.V, visit.exclude_self, self.block)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx, U, grid, field):
        value, slope = grid.stencil(U).read(field)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx, g):
        (slope,) = ctx.saved_tensors
        return g[:, None] * slope, None, None
