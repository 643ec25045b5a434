"""Sums over all pairs of points on a grid in few and large operations, for devices, where each of them is a launch.

    sums_i = sum_a B(x_i - a) taken_i[a],      taken_i[a] = field[a] - sum_b near[a - b] B(x_i - b)

``_splines.py`` finds the same by one tap and axis after the other.  With t in [0, 1) the place of a point between its
nodes and v = t (1 - t), the weights of the nodes are cubic polynomials of t, so of the form (a + b t) + (c + d t) v.
What a point reads at its nodes is the field without its own share, of which the derivative along an axis is that of
the sum where only the other ends of the pairs stay where they are.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from ..._kernels import either, fuses
from ..._transfer import sent
from ...numerics.geometry import gaps_between
from ._splines import TAPS

# v is negative off the cell by more than rounding.
OFF = -1e-4

# Coefficients of the weights of the four nodes by powers of t.
WEIGHTS = np.array([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6


def _derivative(coefficients):
    return np.pad(coefficients[:, 1:] * np.arange(1, coefficients.shape[1]), ((0, 0), (0, 1)))


class Tables:
    """What all steps on grids of one shape and spacing have in common.

    Parameters
    ----------
    grid : Grid
    response : Response
    constant : float
        Added to all sums.
    """

    def __init__(self, grid, response, constant):
        d, near = len(grid.padded), response.near
        self.grid_shape, self.spacing, self.transform = grid.padded, grid.spacing, response.transform
        # By (axis; value and derivative along each axis; tap; power): of axis k the derivative is in row 1 + k.
        rows = np.tile(WEIGHTS, (d, 1 + d, 1, 1))
        for axis in range(d):
            rows[axis, 1 + axis] = _derivative(WEIGHTS) / grid.spacing
        c0, c1, c2, c3 = np.moveaxis(rows, -1, 0)[..., None]
        self.strides = [math.prod(grid.padded[k + 1 :]) for k in range(d)]
        taps = np.array(list(itertools.product(range(TAPS), repeat=d)))
        apart = np.abs(taps[:, None] - taps) @ [TAPS ** (d - 1 - k) for k in range(d)]
        # The constant is added at the first tap of the value.
        added = np.zeros((1 + d, len(taps), 1))
        added[0, 0] = constant
        numbers = [np.stack([c0, -c2 - c3]), np.stack([c1 + c2 + c3, -c3]), added, np.zeros(()), np.ones(())]
        last = np.array(grid.shape)[:, None] - TAPS
        indices = [(taps @ self.strides)[:, None], np.zeros_like(last), last, apart.ravel()]
        arrays = [(x, near.dtype) for x in numbers] + [(x, torch.int64) for x in indices]
        self.intercepts, self.slopes, self.constant, self.zero, self.one, *indices = sent(arrays, near.device)
        self.taps, self.first, self.last, apart = indices
        # The same for kernels, as numbers where they take numbers.
        ends = [nodes - TAPS for nodes in grid.shape]
        self.grid = grid.padded, ends, grid.spacing, response.transform, near, constant
        self.near = near.reshape(-1).index_select(0, apart).view(len(taps), len(taps))


class BatchedSums(torch.autograd.Function):
    """Sums over all pairs of points on a grid; those of points off the grid are not numbers.

    Its arguments are the points, shape (n, d), the negative place of the first node in units of the spacing, shape
    (d, 1), the :class:`Tables`, and whether all sums have the same weight in what is differentiated.
    """

    @staticmethod
    def forward(ctx, U, offset, tables, alike):
        weights, nodes = _stencil(U, offset, tables)
        taken = _taken(weights.new_zeros(tables.grid_shape), weights[0], nodes, tables)
        sums = torch.addcmul(tables.constant, weights, taken).sum(1)
        ctx.tables, ctx.alike = tables, alike
        ctx.save_for_backward(sums, *(() if alike else (weights, nodes)))
        return sums[0]

    @staticmethod
    def backward(ctx, g):
        sums, *rest = ctx.saved_tensors
        if ctx.alike:
            return (sums[1:] * (2.0 * g[:1])).T, None, None, None
        weights, nodes = rest
        density = weights.new_zeros(ctx.tables.grid_shape)
        taken = _taken(density, weights[0] * g, nodes, ctx.tables)
        gradient = torch.empty_like(sums[1:].T, memory_format=torch.contiguous_format)
        torch.addcmul((weights[1:] * taken).sum(1), sums[1:], g, out=gradient.T)
        return gradient, None, None, None


class Joined:
    """What the steps of one visit need to find its loss at once: edges and points in one array.

        loss = weights . log numbers,     numbers = (1, 1, 1, e; 1 + s_e / width; sums_i)

    so that one operation serves for all logarithms, and one for all quotients of their gradient.

    Parameters
    ----------
    q : Learned
        With an `edge_form`.
    U : Tensor of shape (n, d)
        The points.
    visit : Visit
        Of all of them, by edges.
    """

    # Numbers before those of the edges, which then begin where several are read at once.
    FIRST = 4

    def __init__(self, q, U, visit):
        self.pointers, columns, weights, self.ends = visit.both_ways
        factor, self.width = q.edge_form
        constant = torch.zeros_like(weights[:1]).expand(self.FIRST - 1), visit.at_one.reshape(1)
        # Each pair is met from both of its ends.
        self.weights = torch.cat([*constant, -0.5 * factor * weights, visit.row_weight])
        (n, d), n_edges = U.shape, len(weights)
        self.numbers = U.new_full((len(self.weights) + d * n,), 1.0)
        self.numbers[self.FIRST - 1] = math.e
        self.terms, self.of_points = self.numbers[: -d * n], self.numbers[-(1 + d) * n :].view(1 + d, n)
        self.of_edges, self.charges = slice(self.FIRST, self.FIRST + n_edges), slice(-n, None)
        if fuses(U):
            edges = self.pointers, columns, self.weights[self.of_edges], self.width
            charges = visit.row_weight, float(visit.row_weight.sum())
            self.kernels = edges, charges, visit.at_one.reshape(1)

    def find(self, U, *args):
        """The loss and its gradient.

        Parameters
        ----------
        U, offset, tables
            As of :class:`BatchedSums`.
        least : Tensor
            What all row sums should be above, else the loss is not a number.
        pull : float
            By what the gradient at edges is multiplied.
        """
        return either(
            f"steps of a mesh in {U.shape[1]}-D",
            (U,),
            lambda U: self._fused(U, *args),
            lambda U: self._plain(U, *args),
        )

    def _fused(self, U, offset, tables, least, pull):
        from ...numerics.fused import mesh_loss

        return mesh_loss(U, offset, tables.grid, *self.kernels, least, pull)

    def _plain(self, U, offset, tables, least, pull):
        terms, of_points = self.terms, self.of_points
        gaps = gaps_between(U, self.ends)
        length = torch.linalg.vector_norm(gaps, dim=1)
        torch.addcmul(tables.one, length, length, value=1.0 / self.width, out=terms[self.of_edges])
        weights, nodes = _stencil(U, offset, tables)
        densities = U.new_zeros(2, *tables.grid_shape)
        taken = _taken(densities[0], weights[0], nodes, tables)
        torch.sum(torch.addcmul(tables.constant, weights, taken), 1, out=of_points)
        torch.threshold_(of_points[0], least, math.nan)
        quotients = torch.log(terms)
        value = self.weights.dot(quotients)
        torch.div(self.weights, terms, out=quotients)
        slopes, charges = quotients[self.of_edges, None], quotients[self.charges]
        # The derivatives are sums over taps, of which each adds its part of what is no sum over them.
        part = 1.0 / len(nodes)
        pulls = torch.addcmul(tables.zero, gaps, slopes, value=4.0 * pull / self.width * part)
        pulls = torch.segment_reduce(pulls, "sum", offsets=self.pointers, axis=0, unsafe=True, initial=0)
        others = torch.addcmul(pulls.T, of_points[1:], charges, value=part)
        taken = _taken(densities[1], weights[0] * charges, nodes, tables)
        gradient = torch.empty_like(pulls)
        torch.sum(torch.addcmul(others[:, None], weights[1:], taken), 1, out=gradient.T)
        return value, gradient


def _stencil(U, offset, tables):
    """Weights of the nodes of each point, (value and derivatives; tap; point), and the nodes, (tap; point)."""
    x = torch.add(offset, U.T, alpha=1.0 / tables.spacing)
    cell = torch.clamp(x.long(), tables.first, tables.last)
    t = x - cell
    v = torch.threshold(torch.addcmul(t, t, t, value=-1.0), OFF, math.nan)
    parts = torch.addcmul(tables.intercepts, tables.slopes, t[:, None, None])
    weights, *axes = torch.addcmul(parts[0], parts[1], v[:, None, None]).unbind(0)
    for axis in axes:
        weights = (weights[:, :, None] * axis[:, None]).flatten(1, 2)
    node = cell[-1]
    for part, stride in zip(cell[:-1], tables.strides, strict=False):
        node = torch.add(node, part, alpha=stride)
    return weights, node + tables.taps


def _taken(density, weights, nodes, tables):
    """What the nodes of each point have of the field of charges that are spread with these weights, but for its own.

    `density` is all zeros, and written to.
    """
    # The only accumulation on CUDA that sorts, and so gives the same bits every time.
    density.view(-1).index_put_((nodes.view(-1),), weights.reshape(-1), accumulate=True)
    field = torch.fft.irfftn(torch.fft.rfftn(density).mul_(tables.transform), s=tables.grid_shape)
    taken = field.view(-1).index_select(0, nodes.view(-1)).view(nodes.shape)
    return taken.addmm_(tables.near, weights, alpha=-1.0)
