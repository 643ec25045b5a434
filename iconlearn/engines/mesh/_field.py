"""Fields of radial kernels on a grid: sums over all points in time proportional to their number.

    field(x) = sum_j c_j k(|x - u_j|^2)

The charges are spread onto the grid, multiplied by the kernel's transform in Fourier space (divided by the
squared transform of the spline, once for spreading and once for reading), and read off again.  The grid is
twice as wide as the points, so that nothing wraps around.  A grid that is coarse beside the kernel's width
carries the smooth part of it only; see ``_near.py``.

References
----------
Hockney and Eastwood, "Computer simulation using particles", 1988; Essmann et al., "A smooth particle mesh
Ewald method", Journal of Chemical Physics 1995; Linderman et al., "Fast interpolation-based t-SNE for
improved visualization of single-cell RNA-seq data", Nature Methods 2019.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property

import torch
from scipy import fft

from ...numerics.threads import available
from ._batched import Tables
from ._near import Split
from ._splines import TAPS, own_coefficients, stencil

# Nodes beyond the cells that points lie in: the stencils' reach, and one for rounding.
MARGIN = TAPS + 1
# Up to so many nodes a grid with slack is wider than it has to be, by this share of the sides.
FEW_NODES, MOST_SLACK = 2**17, 3.0
# Transforms that are kept: a map that grows needs a new one now and then, and uses each for many steps.
KEPT = 3


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid over some points.

    Attributes
    ----------
    low : Tensor of shape (d,)
        Place of the first node.
    spacing : float
        Distance of neighbouring nodes.
    shape : tuple of int
        Nodes along each axis that points may touch.
    padded : tuple of int
        Nodes of the transform along each axis, at least twice as many.
    reach : float
        Distance of the pairs for which the grid is too coarse; zero where there are none.
    """

    low: torch.Tensor
    spacing: float
    shape: tuple
    padded: tuple
    reach: float = 0.0

    @cached_property
    def offset(self):
        """The negative place of the first node in units of the spacing, shape (d, 1)."""
        return (self.low / -self.spacing)[:, None]

    def stencil(self, points):
        return stencil(points, self.low, self.spacing, self.shape)

    def contains(self, points):
        """Mask of the points whose stencils fit on the grid."""
        x = (points - self.low) / self.spacing
        upper = torch.tensor(self.shape, dtype=x.dtype, device=x.device) - TAPS
        return ((x >= 0) & (x <= upper)).all(1)


def fit_grid(low, high, spacing, min_cells, max_nodes, slack=0.0):
    """A grid over the box from `low` to `high` (tensors of shape (d,)).

    Parameters
    ----------
    spacing : float
        Widest distance of nodes.
    min_cells : int
        Cells across the longer side at least; a small box gets a finer grid.
    max_nodes : int
        Most nodes of the padded grid; a box too wide for it gets a coarser one.
    slack : float, default=0.0
        The grid is wider than the box by at least this share of its sides, and by up to three times of them as long as
        it has few nodes.
    """
    sides = (high - low).tolist()
    extent = max(max(sides), torch.finfo(low.dtype).tiny * min_cells)
    # Steps of a root of two, so that a growing map keeps its transform for a while.
    halvings = max(math.ceil(2 * math.log2(spacing * min_cells / extent)), 0)
    spacing *= 2.0 ** (-halvings / 2)
    if slack:
        cells = math.prod(2 * (side / spacing + MARGIN) for side in sides)
        slack = max(slack, min((FEW_NODES / cells) ** (1 / len(sides)) - 1, MOST_SLACK))
        sides = [side * (1 + slack) for side in sides]
        low = low - (high - low) * (slack / 2)
    while True:
        shape = tuple(math.ceil(side / spacing) + MARGIN for side in sides)
        padded = tuple(_fast_size(2 * nodes - 1) for nodes in shape)
        if math.prod(padded) <= max_nodes:
            break
        spacing *= 2.0**0.25
    shape = tuple((size + 1) // 2 for size in padded)
    slack = [(nodes - MARGIN) * spacing - side for nodes, side in zip(shape, sides, strict=True)]
    shift = torch.tensor(slack, dtype=low.dtype, device=low.device) / 2 + spacing / 2
    return Grid(low - shift, spacing, shape, padded)


def _fast_size(least):
    """The smallest even number of at least `least` in a coarse ladder of products of 2, 3 and 5."""
    sizes = (10, 12, 16, 18, 20, 24, 30, 32)
    octave = 1
    while sizes[-1] * octave < least:
        octave *= 2
    return min(size * o for size in sizes for o in (octave // 2, octave) if o and size * o >= least)


@dataclass(frozen=True, eq=False)
class Response:
    """A radial function on a grid, less a constant.

    Attributes
    ----------
    transform : Tensor
        Fourier transform, divided by that of the splines of both ends.
    near : Tensor of shape (4,) * d
        Field of one node at displacements of 0 to 3 nodes.
    at_zero : float
        The function at distance zero, the constant included.
    constant : float
        The function at the far corner of the grid.  Without it a map much smaller than the kernel has an
        all but constant field, whose gradient is lost in single precision.
    split : Split or None
        What the grid carries of the function and what it leaves to near pairs; None where it carries all.
    """

    transform: torch.Tensor
    near: torch.Tensor
    at_zero: float
    constant: float
    split: Split | None
    _tables: dict = field(default_factory=dict)

    @cached_property
    def own(self):
        """What a point reads of its own unit charge, as coefficients for compiled loops."""
        return own_coefficients(self.near)

    def tables(self, grid, constant):
        """The :class:`Tables` of the grids that this response is for, by what is added to all sums."""
        if constant not in self._tables:
            self._tables[constant] = Tables(grid, self, constant)
        return self._tables[constant]


class Responses:
    """Responses of radial functions, the last few kept.

    Parameters
    ----------
    width : float
        Distance over which the narrowest of them changes.
    **functions
        Radial functions of the squared distance, by name.
    """

    def __init__(self, width, **functions):
        self.width, self.functions, self.kept = width, functions, OrderedDict()

    def __call__(self, name, grid):
        """The response of the function called `name` on `grid`."""
        like = grid.low
        key = name, grid.spacing, grid.padded, grid.reach, like.dtype, like.device
        if key not in self.kept:
            function = self.functions[name]
            split = Split(function, grid.reach, self.width**2) if grid.reach else None
            self.kept[key] = _respond(function, split, grid)
            while len(self.kept) > KEPT * len(self.functions):
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]


def _respond(function, split, grid):
    # In double precision: the division by the splines amplifies what is lost at the highest frequencies.
    like = {"dtype": torch.float64, "device": grid.low.device}
    axes = [torch.arange(size // 2 + 1, **like) * grid.spacing for size in grid.padded]
    sqdist = axes[0] ** 2
    for axis in axes[1:]:
        sqdist = sqdist[..., None] + axis**2
    kernel = function(sqdist) if split is None else split.smooth(sqdist)
    at_zero, constant = kernel.reshape(-1)[[0, -1]].tolist()
    if split is not None:
        at_zero += float(split.rest(torch.zeros((), **like)))
    # Even along every axis, the kernel and its transform: one part of them has all numbers of the others.
    kernel, on_host = kernel - constant, grid.low.device.type == "cpu"
    if on_host:
        transform = torch.from_numpy(fft.dctn(kernel.numpy(), type=1, workers=available()))
    else:
        transform = torch.fft.rfftn(_mirrored(kernel, grid.padded)).real
    for dim, size in enumerate(grid.padded):
        f = torch.arange(transform.shape[dim], **like) / size
        spline = (2 + torch.cos(2 * math.pi * f)) / 3
        transform = transform / (spline**2).reshape([-1 if k == dim else 1 for k in range(transform.ndim)])
    if on_host:
        near = _near(transform, grid.padded)
        transform = _mirrored(transform.to(grid.low.dtype), grid.padded[:-1])
    else:
        near = torch.fft.irfftn(transform, s=grid.padded)
        for dim in range(near.ndim):
            near = near.narrow(dim, 0, TAPS)
        transform = transform.to(grid.low.dtype)
    return Response(transform, near.to(grid.low.dtype).contiguous(), at_zero, constant, split)


def _mirrored(part, sizes):
    """All numbers along the first axes of an even array, from its first half and the one in the middle."""
    for dim, size in enumerate(sizes):
        mirror = torch.arange(size, device=part.device)
        part = part.index_select(dim, torch.minimum(mirror, size - mirror))
    return part


def _near(part, padded):
    """The nodes nearest to the first of what has this transform, which is even along every axis."""
    for size in padded:
        f = torch.arange(size // 2 + 1, dtype=part.dtype)
        share = torch.where((f > 0) & (f < size // 2), 2.0, 1.0) / size
        waves = share * torch.cos(2 * math.pi / size * torch.outer(torch.arange(TAPS).to(f), f))
        part = torch.tensordot(part, waves, dims=([0], [1]))
    return part


def convolved(density, response, grid):
    """The field of a density on the grid's own nodes."""
    if density.is_cuda:
        field = torch.fft.rfftn(density, s=grid.padded)
        field = torch.fft.irfftn(field.mul_(response.transform), s=grid.padded)
        return field[tuple(slice(nodes) for nodes in grid.shape)]
    return torch.from_numpy(_convolved(density.numpy(), response.transform.numpy(), grid))


def _convolved(density, transform, grid):
    """By scipy: as fast as torch on an idle machine, and several times faster on a busy one.

    Axis by axis, so that neither the padding's lines of zeros nor lines that are not read are transformed.
    """
    workers, last = available(), density.ndim - 1
    field = fft.rfft(density, n=grid.padded[last], axis=last, workers=workers)
    for axis in reversed(range(last)):
        field = fft.fft(field, n=grid.padded[axis], axis=axis, workers=workers, overwrite_x=True)
    field *= transform
    for axis in range(last):
        field = fft.ifft(field, axis=axis, workers=workers, overwrite_x=True)
        field = field[(slice(None),) * axis + (slice(grid.shape[axis]),)]
    return fft.irfft(field, n=grid.padded[last], axis=last, workers=workers)[..., : grid.shape[last]]
