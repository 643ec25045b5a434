"""Loss and gradient of points whose pairs repel by a field on a grid and attract along edges, in three kernels.

    loss = sum_i c_i log S_i + sum_e w_e log(1 + s_e / width),       S_i = sum_{j != i} k(|u_i - u_j|^2)

The first spreads unit charges onto a grid, the second reads S off their field and spreads the charges c_i / S_i, and
the third reads the field of these and adds up the edges of each point.  Between them are the transforms of torch.
Weights, what a point reads of itself, and what is no number are as in ``iconlearn.engines.mesh``.

Charges are spread as multiples of a small unit, in whole numbers of 64 bits: their sum is the same in every order, so
that points need not be sorted.  The unit is such that all charges on one node fit.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from ._launch import kernel, launch

# Points of a program, and its warps; for edges, points and the edges of each that are read at once.
POINTS, WARPS = 128, 4
ROWS, EDGES = 32, 8
# Whole numbers that a node's charges may reach.
BITS = 62
# A place is off its cell by more than rounding where t (1 - t) is below this.
OFF: tl.constexpr = tl.constexpr(-1e-4)


def mesh_loss(U, offset, grid, edges, charges, first, least, pull):
    """The loss of some points, and its gradient.

    Parameters
    ----------
    U : Tensor of float32 of shape (n, d)
        The points, contiguous; d is at most 3.
    offset : Tensor of shape (d, 1)
        The negative place of the first node in units of the spacing.
    grid : tuple
        Nodes along each axis, the last node before which a point may lie on each axis, spacing, transform of the
        kernel, field of a charge on a single node at displacements of 0 to 3 nodes an axis, and what is added to all
        sums.
    edges : tuple
        Pointers, columns and weights of a CSR matrix with both ends of every pair, and the width.
    charges : tuple
        c of each point, and at most the sum of these.
    first : Tensor of shape (1,)
        Added to the loss.
    least : float
        Sums below it are not numbers, and neither is the loss then.
    pull : float
        By what the gradient of edges is multiplied.

    Returns
    -------
    loss : Tensor of shape ()
    gradient : Tensor of shape (n, d)
    """
    (n, d), (shape, last, spacing, transform, near, added) = U.shape, grid
    pointers, columns, weights, width = edges
    charge, total = charges
    # Of one unit charge a point, and of charges that are at most c / least.
    units = _unit(n), _unit(total / least)
    densities = torch.zeros(2, *shape, dtype=torch.int64, device=U.device)
    strides = [math.prod(shape[k + 1 :]) for k in range(d)]
    place = U, offset, 1.0 / spacing, n, *_three(last), *_three(strides)
    n_blocks, n_stretches = triton.cdiv(n, POINTS), triton.cdiv(n, ROWS)
    parts, gradient = U.new_empty(n_blocks + n_stretches), torch.empty_like(U)
    of_points = {"D": d, "POINTS": POINTS, "num_warps": WARPS}

    launch(_spread_ones, n_blocks, *place, densities[0], 1.0 / units[0], **of_points)
    field = _field(densities[0], transform)
    launch(
        _repel, n_blocks, *place, field, units[0], near, added, least, charge, first, densities[1], 1.0 / units[1],
        gradient, parts, **of_points,
    )  # fmt: skip
    field = _field(densities[1], transform)
    launch(
        _attract, n_stretches, *place, field, units[1], pointers, columns, weights, 1.0 / width, 4.0 * pull / width,
        gradient, parts[n_blocks:], D=d, ROWS=ROWS, EDGES=EDGES, num_warps=1,
    )  # fmt: skip
    return parts.sum(), gradient


def _unit(most):
    """A power of two of which `most` is at most 2^BITS."""
    return 2.0 ** (math.frexp(most)[1] - BITS)


def _three(numbers):
    return (*numbers, *[0] * (3 - len(numbers)))


def _field(density, transform):
    spectrum = torch.fft.rfftn(density.to(transform.dtype))
    return torch.fft.irfftn(spectrum.mul_(transform), s=density.shape).contiguous()


# -- kernels; an axis that there is not has one node of weight one ----------------------------------------------


@triton.jit
def _weight(t, tap: tl.constexpr, there: tl.constexpr):
    """Weight of one of the four nodes of a point, by its place t between the middle ones."""
    s = 1.0 - t
    if not there:
        w = s
    elif tap == 0:
        w = s * s * s / 6.0
    elif tap == 1:
        w = (4.0 - 3.0 * t * t * (2.0 - t)) / 6.0
    elif tap == 2:
        w = (4.0 - 3.0 * s * s * (2.0 - s)) / 6.0
    else:
        w = t * t * t / 6.0
    return w


@triton.jit
def _slope(t, tap: tl.constexpr, there: tl.constexpr):
    """Derivative of the weight."""
    s = 1.0 - t
    if not there:
        w = t
    elif tap == 0:
        w = -s * s / 2.0
    elif tap == 1:
        w = t * (3.0 * t - 4.0) / 2.0
    elif tap == 2:
        w = s * (4.0 - 3.0 * s) / 2.0
    else:
        w = t * t / 2.0
    return w


@triton.jit
def _overlap(t, gap: tl.constexpr, there: tl.constexpr):
    """Sum over pairs of nodes that lie `gap` apart, both ways, of the product of their weights."""
    total = t * 0.0
    for a in tl.static_range(4 - gap if there else 1):
        total += _weight(t, a, there) * _weight(t, a + gap, there)
    return total if gap == 0 else 2.0 * total


@triton.jit
def _half_slope(t, gap: tl.constexpr, there: tl.constexpr):
    """Half of the derivative of the overlap: that by one of the two points."""
    total = t * 0.0
    for a in tl.static_range(4 - gap if there else 1):
        total += _slope(t, a, there) * _weight(t, a + gap, there)
        if gap > 0:
            total += _weight(t, a, there) * _slope(t, a + gap, there)
    return total


@triton.jit
def _cell(U, offset, inverse, last, i, on, axis: tl.constexpr, D: tl.constexpr):
    """The node before each point on an axis, and its place t in [0, 1) behind that; not a number off the grid."""
    if axis < D:
        x = tl.load(offset + axis) + tl.load(U + i * D + axis, mask=on, other=0.0) * inverse
        cell = tl.minimum(tl.maximum(x.to(tl.int32), 0), last)
        t = x - cell.to(tl.float32)
        t = tl.where(t * (1.0 - t) >= OFF, t, float("nan"))
    else:
        cell = i * 0
        t = cell.to(tl.float32)
    return cell, t


@triton.jit
def _cells(U, offset, inverse, last0, last1, last2, stride0, stride1, stride2, i, on, D: tl.constexpr):
    a, t0 = _cell(U, offset, inverse, last0, i, on, 0, D)
    b, t1 = _cell(U, offset, inverse, last1, i, on, 1, D)
    c, t2 = _cell(U, offset, inverse, last2, i, on, 2, D)
    return a * stride0 + b * stride1 + c * stride2, t0, t1, t2


@triton.jit
def _spread(density, node, t0, t1, t2, charge, stride0, stride1, stride2, on, D: tl.constexpr):
    """Add charges, in units of the density, to the nodes of their points."""
    for a in tl.static_range(4):
        wa = charge * _weight(t0, a, True)
        for b in tl.static_range(4 if D > 1 else 1):
            wb = wa * _weight(t1, b, D > 1)
            for c in tl.static_range(4 if D > 2 else 1):
                w = wb * _weight(t2, c, D > 2)
                whole = tl.where(w == w, w, 0.0).to(tl.int64)
                at = density + node + (a * stride0 + b * stride1 + c * stride2)
                tl.atomic_add(at, whole, mask=on, sem="relaxed")


@triton.jit
def _read(field, node, t0, t1, t2, stride0, stride1, stride2, on, D: tl.constexpr):
    """What points read of a field, and its derivative along each axis in units of the spacing."""
    value, slope0, slope1, slope2 = t0 * 0.0, t0 * 0.0, t0 * 0.0, t0 * 0.0
    for a in tl.static_range(4):
        va, s1, s2 = t0 * 0.0, t0 * 0.0, t0 * 0.0
        for b in tl.static_range(4 if D > 1 else 1):
            vb, sb = t0 * 0.0, t0 * 0.0
            for c in tl.static_range(4 if D > 2 else 1):
                f = tl.load(field + node + (a * stride0 + b * stride1 + c * stride2), mask=on, other=0.0)
                vb += _weight(t2, c, D > 2) * f
                sb += _slope(t2, c, D > 2) * f
            va += _weight(t1, b, D > 1) * vb
            s1 += _slope(t1, b, D > 1) * vb
            s2 += _weight(t1, b, D > 1) * sb
        value += _weight(t0, a, True) * va
        slope0 += _slope(t0, a, True) * va
        slope1 += _weight(t0, a, True) * s1
        slope2 += _weight(t0, a, True) * s2
    return value, slope0, slope1, slope2


@triton.jit
def _own(near, t0, t1, t2, D: tl.constexpr):
    """What points read of their own unit charge, and its derivative by the place of the reader."""
    value, slope0, slope1, slope2 = t0 * 0.0, t0 * 0.0, t0 * 0.0, t0 * 0.0
    for a in tl.static_range(4):
        va, s1, s2 = t0 * 0.0, t0 * 0.0, t0 * 0.0
        for b in tl.static_range(4 if D > 1 else 1):
            vb, sb = t0 * 0.0, t0 * 0.0
            for c in tl.static_range(4 if D > 2 else 1):
                f = tl.load(near + (a * (4 if D > 1 else 1) + b) * (4 if D > 2 else 1) + c)
                vb += _overlap(t2, c, D > 2) * f
                sb += _half_slope(t2, c, D > 2) * f
            va += _overlap(t1, b, D > 1) * vb
            s1 += _half_slope(t1, b, D > 1) * vb
            s2 += _overlap(t1, b, D > 1) * sb
        value += _overlap(t0, a, True) * va
        slope0 += _half_slope(t0, a, True) * va
        slope1 += _overlap(t0, a, True) * s1
        slope2 += _overlap(t0, a, True) * s2
    return value, slope0, slope1, slope2


@kernel
def _spread_ones(
    U, offset, inverse, n, last0, last1, last2, stride0, stride1, stride2, density, scale,
    D: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * POINTS + tl.arange(0, POINTS)
    on = i < n
    node, t0, t1, t2 = _cells(U, offset, inverse, last0, last1, last2, stride0, stride1, stride2, i, on, D)
    _spread(density, node, t0, t1, t2, scale, stride0, stride1, stride2, on, D)


@kernel
def _repel(
    U, offset, inverse, n, last0, last1, last2, stride0, stride1, stride2, field, unit, near, added, least, charges,
    first, density, scale, gradient, parts, D: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    i = program * POINTS + tl.arange(0, POINTS)
    on = i < n
    node, t0, t1, t2 = _cells(U, offset, inverse, last0, last1, last2, stride0, stride1, stride2, i, on, D)
    value, slope0, slope1, slope2 = _read(field, node, t0, t1, t2, stride0, stride1, stride2, on, D)
    own, own0, own1, own2 = _own(near, t0, t1, t2, D)
    sums = value * unit - own + added
    sums = tl.where(sums > least, sums, float("nan"))
    weight = tl.load(charges + i, mask=on, other=0.0)
    charge = weight / sums
    _spread(density, node, t0, t1, t2, charge * scale, stride0, stride1, stride2, on, D)
    # What a point reads of its own charge is in both fields, and its own share of the other is taken off here as well.
    charge = charge * inverse
    tl.store(gradient + i * D, charge * (slope0 * unit - 2.0 * own0), mask=on)
    if D > 1:
        tl.store(gradient + i * D + 1, charge * (slope1 * unit - 2.0 * own1), mask=on)
    if D > 2:
        tl.store(gradient + i * D + 2, charge * (slope2 * unit - 2.0 * own2), mask=on)
    part = tl.sum(tl.where(on, weight * tl.log(sums), 0.0), 0)
    part += tl.where(program == 0, tl.load(first), 0.0)
    tl.store(parts + program, part)


@kernel
def _attract(
    U, offset, inverse, n, last0, last1, last2, stride0, stride1, stride2, field, unit, pointers, columns, weights,
    per_width, pull, gradient, parts, D: tl.constexpr, ROWS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    i = program * ROWS + tl.arange(0, ROWS)
    on = i < n
    begin = tl.load(pointers + i, mask=on, other=0)
    end = tl.load(pointers + i + 1, mask=on, other=0)
    u0 = tl.load(U + i * D, mask=on, other=0.0)[:, None]
    u1 = tl.load(U + i * D + (1 if D > 1 else 0), mask=on, other=0.0)[:, None]
    u2 = tl.load(U + i * D + (2 if D > 2 else 0), mask=on, other=0.0)[:, None]
    lanes = tl.arange(0, EDGES)
    total = tl.zeros((ROWS, EDGES), tl.float32)
    pull0, pull1, pull2 = total, total, total
    for k in range(0, tl.max(end - begin, 0).to(tl.int32), EDGES):
        e = begin[:, None] + (k + lanes)[None, :]
        here = e < end[:, None]
        j = tl.load(columns + e, mask=here, other=0) * D
        weight = tl.load(weights + e, mask=here, other=0.0)
        gap0 = u0 - tl.load(U + j, mask=here, other=0.0)
        s = gap0 * gap0
        if D > 1:
            gap1 = u1 - tl.load(U + j + 1, mask=here, other=0.0)
            s += gap1 * gap1
        if D > 2:
            gap2 = u2 - tl.load(U + j + 2, mask=here, other=0.0)
            s += gap2 * gap2
        term = 1.0 + s * per_width
        total += weight * tl.log(term)
        slope = weight / term
        pull0 += slope * gap0
        if D > 1:
            pull1 += slope * gap1
        if D > 2:
            pull2 += slope * gap2
    tl.store(parts + program, tl.sum(tl.sum(total, 1), 0))
    node, t0, t1, t2 = _cells(U, offset, inverse, last0, last1, last2, stride0, stride1, stride2, i, on, D)
    _, slope0, slope1, slope2 = _read(field, node, t0, t1, t2, stride0, stride1, stride2, on, D)
    scale = unit * inverse
    at = gradient + i * D
    tl.store(at, tl.load(at, mask=on) + slope0 * scale + pull * tl.sum(pull0, 1), mask=on)
    if D > 1:
        tl.store(at + 1, tl.load(at + 1, mask=on) + slope1 * scale + pull * tl.sum(pull1, 1), mask=on)
    if D > 2:
        tl.store(at + 2, tl.load(at + 2, mask=on) + slope2 * scale + pull * tl.sum(pull2, 1), mask=on)
