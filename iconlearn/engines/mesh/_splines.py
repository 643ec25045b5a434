"""Points and a regular grid: cubic B-splines carry charges onto it and read fields off it.

    density[a] = sum_i c_i B(x_i / h - a),        field(x) = sum_a B(x / h - a) field[a]

A point touches four nodes an axis; B has two continuous derivatives, so the gradient of a field is read off
the same nodes with the derivative of B.
"""

from __future__ import annotations

import numpy as np
import torch

from ...numerics.threads import available, compiled_pays

TAPS = 4

# Sums of products of the weights of a point at nodes 0 to 3 apart, both ways, by powers 0, 2 and 3 of v = t (1 - t) for
# its offset t; there is no linear term.
OVERLAPS = np.array([[18, -18, -20], [16, 24, 30], [2, -6, -12], [0, 0, 2]]) / 36


def own_coefficients(near):
    """Of what a point reads of its own unit charge, by powers 0, 2 and 3 of t (1 - t) along each axis.

    Parameters
    ----------
    near : Tensor of shape (4,) * d
        Field of a charge on a single node, at displacements of 0 to 3 nodes along each axis.

    Returns
    -------
    Tensor of shape (3,) * d
    """
    by_powers = torch.as_tensor(OVERLAPS)
    found = near.double()
    for _ in range(near.ndim):
        found = torch.tensordot(found, by_powers, dims=([0], [0]))
    return found.to(near.dtype)


def stencil(points, low, spacing, shape):
    """The quicker of the two stencils; see :class:`Stencil`."""
    return (CompiledStencil if compiled_pays(points) else Stencil)(points, low, spacing, shape)


class Stencil:
    """The nodes and weights of some points on a grid.

    Parameters
    ----------
    points : Tensor of shape (n, d)
        Inside the grid, three nodes short of its upper edge (see ``Grid.contains``).
    low : Tensor of shape (d,)
        Place of the first node.
    spacing : float
        Distance of neighbouring nodes.
    shape : tuple of int
        Nodes along each axis.
    """

    def __init__(self, points, low, spacing, shape):
        self.spacing, self.shape = spacing, shape
        x = ((points - low) / spacing).T.contiguous()
        first = x.floor()
        self.weights, self.slopes = _cubic(x - first)
        strides = [1]
        for size in reversed(shape[1:]):
            strides.insert(0, strides[0] * size)
        taps = torch.arange(TAPS, device=points.device)
        self.nodes = _outer(
            [(i.long() + taps[:, None]) * stride for i, stride in zip(first, strides, strict=True)], torch.add
        )

    def spread(self, charges=None):
        """Density of the points' charges (all one by default), of the grid's shape."""
        weights = _outer(self.weights, torch.mul)
        if charges is not None:
            weights = weights * charges
        grid = weights.new_zeros(self.shape)
        if grid.is_cuda:
            # The only accumulation on CUDA that sorts, and so gives the same bits every time.
            grid.view(-1).index_put_((self.nodes.reshape(-1),), weights.reshape(-1), accumulate=True)
        else:
            grid.view(-1).scatter_add_(0, self.nodes.reshape(-1), weights.reshape(-1))
        return grid

    def read(self, field):
        """Values of a field at the points, shape (n,), and its gradient, shape (n, d)."""
        taken = field.reshape(-1).index_select(0, self.nodes.reshape(-1)).view(self.nodes.shape)
        return self._contract(taken)

    def _contract(self, taken):
        # From the last axis to the first: one sum for the value, one for every derivative begun so far.
        value, slopes = taken, []
        for weight, slope in zip(reversed(self.weights), reversed(self.slopes), strict=True):
            slopes = [(weight * part).sum(-2) for part in slopes]
            slopes.insert(0, (slope * value).sum(-2))
            value = (weight * value).sum(-2)
        return value, torch.stack(slopes, 1) / self.spacing

    def read_others(self, field, response, charges=None):
        """The same of the field of charges (all one by default), less what every point reads of its own.

        Parameters
        ----------
        field : Tensor
        response : Response
            Its `near` and `own` say what points read of themselves.
        charges : Tensor of shape (n,) or None, default=None
        """
        value, slope = self.read(field)
        own, own_slope = self.own(response.near)
        if charges is not None:
            own, own_slope = charges * own, charges[:, None] * own_slope
        return value - own, slope - own_slope

    def own(self, response):
        """What every point reads of its own unit charge, and its gradient.

        Parameters
        ----------
        response : Tensor of shape (4,) * d
            Field of a charge on a single node, at displacements of 0 to 3 nodes along each axis.
        """
        value, slopes = response[..., None], []
        for weight, slope in zip(reversed(self.weights), reversed(self.slopes), strict=True):
            both, d_both = _overlaps(weight, slope)
            slopes = [(both * part).sum(-2) for part in slopes]
            slopes.insert(0, (d_both * value).sum(-2))
            value = (both * value).sum(-2)
        # By symmetry the slope of the field is half of that of the value along the point's own way.
        return value, torch.stack(slopes, 1) / (2.0 * self.spacing)


class CompiledStencil:
    """The same in compiled loops, for many points in single precision on the CPU."""

    def __init__(self, points, low, spacing, shape):
        self.place = points.detach().contiguous().numpy(), low.numpy(), 1.0 / spacing
        self.shape = shape

    def spread(self, charges=None):
        from ...numerics.compiled import spread_points

        charges = np.empty(0, np.float32) if charges is None else charges.contiguous().numpy()
        return torch.from_numpy(spread_points(*self.place, self.shape, charges, available()))

    def read(self, field):
        from ...numerics.compiled import read_points

        return _tensors(read_points(*self.place, field.contiguous().numpy(), available()))

    def read_others(self, field, response, charges=None):
        from ...numerics.compiled import read_points

        charges = {} if charges is None else {"charges": charges.contiguous().numpy()}
        field = field.contiguous().numpy()
        return _tensors(read_points(*self.place, field, available(), response.own.numpy(), **charges))


def _tensors(arrays):
    return tuple(torch.from_numpy(array) for array in arrays)


def _cubic(t):
    """Weights of the four nodes and their derivatives for offsets t in [0, 1), a (4, n) pair for each axis."""
    s, tt = 1.0 - t, t * t
    ttt, ss = tt * t, s * s
    weights = torch.stack([ss * s, 3 * ttt - 6 * tt + 4, 3 * (t + tt - ttt) + 1, ttt], 1) / 6
    slopes = torch.stack([-ss, 3 * tt - 4 * t, 1 + 2 * t - 3 * tt, tt], 1) / 2
    return weights.unbind(0), slopes.unbind(0)


def _overlaps(weight, slope):
    """Sums of products of the weights that lie 0 to 3 nodes apart, both ways, and their derivatives."""
    both, d_both = [(weight * weight).sum(0)], [2 * (weight * slope).sum(0)]
    for gap in range(1, TAPS):
        a, b, da, db = weight[:-gap], weight[gap:], slope[:-gap], slope[gap:]
        both.append(2 * (a * b).sum(0))
        d_both.append(2 * (da * b + a * db).sum(0))
    return torch.stack(both), torch.stack(d_both)


def _outer(axes, combine):
    """Combine per-axis (4, n) tensors into one of shape (4, ..., 4, n)."""
    total = axes[0]
    for axis in axes[1:]:
        total = combine(total[..., None, :], axis)
    return total
