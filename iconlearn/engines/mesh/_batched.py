"""Sums over all pairs of points on a grid in few and large operations, for devices, where each of them is a launch.

    sums_i = sum_a B(x_i - a) field[a]  -  sum_ab B(x_i - a) B(x_i - b) near[a - b]

``_splines.py`` finds the same by one tap and axis after the other.  With t in [0, 1) the place of a point between its
nodes, the weights of the nodes are cubic polynomials of t.  What a point reads of itself is made of sums of products of
weights that lie 0 to 3 nodes apart; these are the same for 1 - t, and cubic polynomials of v = t (1 - t).  So all of
them come from one Horner scheme, and what a point reads of the others and of itself from one contraction.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ._splines import TAPS

# v is negative off the cell by more than rounding.
OFF = -1e-4

# Coefficients of the weights of the four nodes by powers of t.
WEIGHTS = np.array([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6


def _overlaps():
    """Coefficients by powers of v of the sums of products of weights that lie 0 to 3 nodes apart, both ways."""
    t = np.array([0.0, 0.1, 0.3, 0.5])
    w = WEIGHTS @ t ** np.arange(4)[:, None]
    sums = [(1 if gap == 0 else 2) * (w[: TAPS - gap] * w[gap:]).sum(0) for gap in range(TAPS)]
    return np.linalg.solve((t * (1 - t))[:, None] ** np.arange(4), np.transpose(sums)).T


def _derivative(coefficients):
    return np.pad(coefficients[:, 1:] * np.arange(1, coefficients.shape[1]), ((0, 0), (0, 1)))


class Tables:
    """What all steps on grids of one shape and spacing have in common.

    Parameters
    ----------
    grid : Grid
    response : Response
    alike : bool
        Whether all sums have the same weight in what is differentiated.
    """

    def __init__(self, grid, response, alike):
        like = {"device": grid.low.device, "dtype": grid.low.dtype}
        self.grid_shape, self.spacing, self.alike = grid.padded, grid.spacing, alike
        self.transform, self.minus_near = response.transform, -response.near[..., None]
        # A point's own place moves both ends of the pair with itself; where weights differ, the other end is in the
        # field of the charges already.
        own = _overlaps(), _derivative(_overlaps()) * (0.5 if alike else 1.0) / grid.spacing
        read = WEIGHTS, _derivative(WEIGHTS) / grid.spacing
        powers = np.transpose([np.concatenate(read), np.concatenate(own)], (2, 0, 1))
        self.powers = torch.tensor(powers[..., None, None], **like).unbind(0)
        strides = [math.prod(grid.padded[k + 1 :]) for k in range(len(grid.padded))]
        taps = sum(np.ix_(*(np.arange(TAPS) * stride for stride in strides)))
        self.strides, self.taps = strides, torch.tensor(taps[..., None], device=like["device"])
        self.last = torch.tensor(grid.shape, device=like["device"])[:, None] - TAPS
        self.first = torch.zeros_like(self.last)


class BatchedSums(torch.autograd.Function):
    """Sums over all pairs of points on a grid; those of points off the grid are not numbers.

    Its arguments are the points, shape (n, d), the negative place of the first node in units of the spacing, shape
    (d, 1), and the :class:`Tables`.
    """

    @staticmethod
    def forward(ctx, U, offset, tables):
        x = torch.add(offset, U.T, alpha=1.0 / tables.spacing)
        cell = torch.clamp(x.long(), tables.first, tables.last)
        t = x - cell
        v = torch.threshold(torch.addcmul(t, t, t, value=-1.0), OFF, math.nan)
        at = torch.stack([t, v])[:, None]
        constant, *powers = tables.powers
        basis = torch.addcmul(powers[1], powers[2], at)
        basis = torch.addcmul(powers[0], basis, at)
        basis = torch.addcmul(constant, basis, at)
        basis[1, TAPS:].mul_(torch.rsub(t, 1.0, alpha=2.0))
        # By (nodes and the point itself; value and derivative; tap; axis; point).
        basis = basis.view(2, 2, TAPS, *t.shape)
        node = cell[-1]
        for part, stride in zip(cell[:-1], tables.strides, strict=False):
            node = torch.add(node, part, alpha=stride)
        nodes = node + tables.taps
        weights = basis[0, 0, :, 0]
        for axis in basis[0, 0].unbind(1)[1:]:
            weights = weights[..., None, :] * axis
        taken = _field(weights, nodes, tables)
        both = torch.stack([taken, tables.minus_near.expand_as(taken)])
        sums = _contracted(basis, both)
        ctx.tables, ctx.n_axes = tables, len(t)
        ctx.save_for_backward(sums, *(() if tables.alike else (basis, nodes, weights)))
        return sums[0]

    @staticmethod
    def backward(ctx, g):
        sums, *rest = ctx.saved_tensors
        slope = _slopes(sums, ctx.n_axes)
        if ctx.tables.alike:
            return (slope * (2.0 * g[:1])).T, None, None
        basis, nodes, weights = rest
        taken = _field(weights * g, nodes, ctx.tables)
        pulled = _slopes(_contracted(basis[:1], taken[None]), ctx.n_axes)
        return torch.addcmul(pulled, slope, g).T, None, None


def _field(weights, nodes, tables):
    """What the nodes of the points have of the field of charges that are spread with these weights."""
    density = weights.new_zeros(tables.grid_shape)
    # The only accumulation on CUDA that sorts, and so gives the same bits every time.
    density.view(-1).index_put_((nodes.view(-1),), weights.reshape(-1), accumulate=True)
    field = torch.fft.irfftn(torch.fft.rfftn(density).mul_(tables.transform), s=tables.grid_shape)
    return field.view(-1).index_select(0, nodes.view(-1)).view(nodes.shape)


def _contracted(basis, taken):
    """Sums over all taps, with the value or the derivative along each axis: row 2^k has that along axis k alone."""
    *axes, last = basis.unbind(3)
    # Rows that are done lie between those of this axis and the taps that are left.
    taken = taken[:, None]
    for axis in axes:
        left = taken.ndim - 4
        shape = axis.shape[:2] + (1,) + axis.shape[2:3] + (1,) * left + axis.shape[3:]
        taken = (axis.reshape(shape) * taken[:, None]).sum(3)
        taken = taken.flatten(1, 2)
    return (last[:, :, None] * taken[:, None]).sum((0, 3)).flatten(0, 1)


def _slopes(sums, n_axes):
    """Derivatives along the axes, shape (d, n)."""
    return torch.stack([sums[1], sums[2], sums[4]]) if n_axes == 3 else sums[1 : 1 + n_axes]
