"""What a coarse grid leaves out of a radial function: sums over near pairs.

    f = smooth + rest,      smooth(s) = f(a) + f'(a) (s - a) + f''(a) (s - a)^2 / 2  for s < a,  else f(s)

with s the squared distance and a that of the reach.  The smooth part changes over no less than the reach,
so a grid of a few nodes for every reach carries it; the rest is zero from the reach on, and is summed over
the pairs that are nearer.

References
----------
Hockney and Eastwood, "Computer simulation using particles", 1988 (particle-particle particle-mesh);
Hardy et al., "Multilevel summation method for electrostatic force evaluation", Journal of Chemical Theory
and Computation 2015 (the smooth part).
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch

from ...numerics.threads import available, compiled_pays

# Candidates for near pairs that are held at a time.
BLOCK = 2**22
# The first of one part.
WHOLE = 0, 1


class Split:
    """A radial function of the squared distance, split in two.

    Parameters
    ----------
    function : callable
    reach : float
        Distance from which the smooth part is all of it.
    unit : float
        Squared width of the function.
    """

    def __init__(self, function, reach, unit):
        self.function, self.reach, self.unit = function, reach, unit
        with torch.enable_grad():
            at = torch.tensor(reach**2, dtype=torch.float64, requires_grad=True)
            value = function(at)
            (slope,) = torch.autograd.grad(value, at, create_graph=True)
            bend = torch.autograd.grad(slope, at)[0] if slope.requires_grad else torch.zeros(())
        self.at, self.value, self.slope, self.bend = (float(t.detach()) for t in (at, value, slope, bend))

    def smooth(self, s):
        gap = s - self.at
        return torch.where(gap < 0, self._parabola(gap), self.function(s))

    def rest(self, s):
        gap = s - self.at
        return torch.where(gap < 0, self.function(s) - self._parabola(gap), 0.0)

    def rest_slope(self, s):
        """Derivative of the rest."""
        with torch.enable_grad():
            s = s.detach().requires_grad_()
            return torch.autograd.grad(self.rest(s).sum(), s)[0]

    def _parabola(self, gap):
        return self.value + gap * (self.slope + 0.5 * self.bend * gap)

    @cached_property
    def compiled(self):
        """The rest and its slope for the compiled loops: tables or a parabola, and the unit that goes with them."""
        unit = self._half_length()
        if unit is None:
            return self._table(self.rest), self._table(self.rest_slope), self.unit
        parabola = np.array([self.value, self.slope, 0.5 * self.bend], np.float32)
        return parabola, parabola, unit

    def _half_length(self):
        """The u of a function that is 1 / (1 + s / u); None for others."""
        s = torch.logspace(-2, 2, 9, dtype=torch.float64) * self.unit
        units = s / (1.0 / self.function(s) - 1.0)
        alike = float(self.function(s.new_zeros(()))) == 1.0 and torch.allclose(
            units, units[4], rtol=1e-9, atol=0.0
        )
        return float(units[4]) if alike else None

    def _table(self, function):
        from ...numerics.compiled import ENTRIES

        doublings = math.ceil(math.log2(1.0 + self.at / self.unit)) + 1
        k = torch.arange(doublings * ENTRIES + 1)
        t = 2.0 ** (k // ENTRIES).double() * (1.0 + (k % ENTRIES) / ENTRIES)
        values = function((t - 1.0) * self.unit).numpy()
        return np.stack([values[:-1], np.diff(values)]).astype(np.float32)


def near_pairs(points, reach):
    """The quicker of the two kinds; see :class:`NearPairs`."""
    return (CompiledPairs if compiled_pays(points) else NearPairs)(points, reach)


def near_pairs_of_all(points, reach, group):
    """Near pairs of the points of all processes; see :class:`NearPairs`."""
    return near_pairs(points, reach) if group.size == 1 else PairsOfAll(points, reach, group)


class PairsOfAll:
    """Near pairs of the points of all processes: each knows all places, and sums a part of the pairs."""

    def __init__(self, points, reach, group):
        self.group, first = group, group.starts(len(points))
        self.own = slice(first, first + len(points))
        self.pairs = near_pairs(group.gathered(points.detach()), reach)
        self.part = group.rank, group.size

    def crowd(self):
        return self.pairs.crowd()

    def sums(self, split):
        return self.group.total(self.pairs.sums(split, self.part))[self.own]

    def pulls(self, split, charges):
        return self.group.total(self.pairs.pulls(split, self.group.gathered(charges), self.part))[self.own]


class NearPairs:
    """The pairs of points that are nearer to each other than `reach`.

    Parameters
    ----------
    points : Tensor of shape (n, d)
    reach : float
    """

    def __init__(self, points, reach):
        self.points, self.reach = points.detach(), reach
        x = ((self.points - self.points.amin(0)) / reach).long()
        self.cells = x.amax(0) + 1
        strides = torch.cat([self.cells.flip(0)[:-1].cumprod(0).flip(0), self.cells.new_ones(1)])
        of = (x * strides).sum(1)
        self.order = torch.argsort(of, stable=True)
        bounds = torch.arange(int(self.cells.prod()) + 1, device=x.device)
        self.starts = torch.searchsorted(of[self.order], bounds)
        self.first, self.counts = self._rows_of_cells(x, strides)

    def crowd(self):
        """Pairs of points that share a cell of half the reach, each counted from both ends; about."""
        return int(self.starts.diff().square().sum()) // 2 ** self.points.shape[1]

    def sums(self, split, part=WHOLE):
        """Sum of the split's rest over each point's pairs, shape (n,).

        A `part` (k, m) is the k-th of m parts of the pairs.
        """
        return self._over_blocks(lambda i, j, gaps: split.rest(gaps.square().sum(1)), part)

    def pulls(self, split, charges, part=WHOLE):
        """Gradient of sum_i c_i S_i with S those sums, shape (n, d)."""

        def pull(i, j, gaps):
            f = split.rest_slope(gaps.square().sum(1)) * (charges[i] + charges[j])
            return 2.0 * f[:, None] * gaps

        return self._over_blocks(pull, part, self.points.shape[1])

    def _rows_of_cells(self, x, strides):
        """Where the three cells around each point begin in every row of cells beside it, and their counts."""
        axes = [torch.arange(-1, 2, device=x.device)] * (x.shape[1] - 1)
        shifts = torch.cartesian_prod(*axes).reshape(-1, len(axes)) if axes else x.new_zeros(1, 0)
        rows = x[:, None, :-1] + shifts
        exists = ((rows >= 0) & (rows < self.cells[:-1])).all(2)
        base, last = (rows * strides[:-1]).sum(2), x[:, -1:]
        base = torch.where(exists, base, 0)
        first = self.starts[base + (last - 1).clamp_min(0)]
        end = self.starts[base + torch.minimum(last + 2, self.cells[-1])]
        return first, torch.where(exists, end - first, 0)

    def _over_blocks(self, summand, part, *width):
        """Sums over j of ``summand(i, j, u_i - u_j)``, of shape (n, *width)."""
        out = self.points.new_zeros(len(self.points), *width)
        begin, end = (len(self.points) * k // part[1] for k in (part[0], part[0] + 1))
        per_point = self.counts[begin:end].sum(1)
        block = (per_point.cumsum(0) - per_point) // BLOCK
        for size in torch.unique_consecutive(block, return_counts=True)[1].tolist():
            i, j = self._candidates(begin, begin + size)
            gaps = self.points[i] - self.points[j]
            near = (gaps.square().sum(1) < self.reach**2) & (i != j)
            i, j, gaps = i[near], j[near], gaps[near]
            lengths = torch.bincount(i - begin, minlength=size)
            # One sum after the other: the same bits every time, on any device.
            out[begin : begin + size] = torch.segment_reduce(
                summand(i, j, gaps), "sum", lengths=lengths, axis=0, unsafe=True, initial=0
            )
            begin += size
        return out

    def _candidates(self, begin, end):
        first, counts = self.first[begin:end].reshape(-1), self.counts[begin:end].reshape(-1)
        ends = counts.cumsum(0)
        places = torch.arange(int(ends[-1]), device=ends.device)
        j = self.order[places + (first - ends + counts).repeat_interleave(counts)]
        i = torch.arange(begin, end, device=ends.device).repeat_interleave(self.counts[begin:end].sum(1))
        return i, j


class CompiledPairs:
    """The same in compiled loops, for many points in single precision on the CPU."""

    def __init__(self, points, reach):
        from ...numerics.compiled import SortedPoints

        self.d, self.points = points.shape[1], SortedPoints(points.detach().numpy(), reach)

    def crowd(self):
        return self.points.crowd()

    def sums(self, split, part=WHOLE):
        from ...numerics.compiled import near_sums

        rest, _, unit = split.compiled
        return torch.from_numpy(near_sums(self.points, rest, unit, available(), part))

    def pulls(self, split, charges, part=WHOLE):
        from ...numerics.compiled import near_pulls

        charges = charges.contiguous().numpy()
        _, slope, unit = split.compiled
        pulls = near_pulls(self.points, slope, unit, charges, available(), part)
        return torch.from_numpy(np.ascontiguousarray(pulls[:, 3 - self.d :]))
