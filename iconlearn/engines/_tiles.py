"""Row sums of a heavy-tailed kernel over points against themselves, every pair once.

    S_i = sum_{j != i} k(|u_i - u_j|^2)

The kernel is symmetric, so a square tile of pairs (I, J) serves the rows of I and those of J: half the work
of going row by row.  Tiles are small enough for the cache and share their memory.  Each thread takes strips of
tiles of its own and has sums of its own, since a tile adds to those of its columns too.
"""

from __future__ import annotations

import torch

from ..numerics.geometry import MatrixBlocks
from ..numerics.threads import in_stretches, threads_of_blocks

TILE = 512


class TiledSums(torch.autograd.Function):
    """log S_i for all rows; the backward pass evaluates the tiles again."""

    @staticmethod
    def forward(ctx, U, q, exclude_self):
        n_threads = _threads(U)

        @torch.no_grad()
        def of_strips(first):
            sums = torch.zeros(len(U), dtype=U.dtype, device=U.device)
            for rows, cols, s in _tiles(U, q.scalar, first, n_threads):
                k = _without_self(q.kernel(s), rows, cols, exclude_self)
                sums[rows] += k.sum(1)
                if rows != cols:
                    sums[cols] += k.sum(0)
            return sums

        sums = sum(in_stretches(of_strips, n_threads))
        ctx.q, ctx.exclude_self = q, exclude_self
        ctx.save_for_backward(U, sums)
        return sums.log()

    @staticmethod
    def backward(ctx, g):
        U, sums = ctx.saved_tensors
        # Row i pulls with weight h_i on its own sum and h_j on that of j; both sides of
        # sum_j (h_i + h_j) k'_ij (u_i - u_j) come from one product of k' with these columns.
        # They lie as rows: a product is fastest when the narrow side comes first.
        by_row, h = U.T, g / sums
        ends = torch.cat([torch.ones_like(h)[None], by_row, h[None], h * by_row])
        n_threads = _threads(U)

        @torch.no_grad()
        def of_strips(first):
            pulled, factor = torch.zeros_like(ends), 1.0
            for rows, cols, s in _tiles(U, ctx.q.scalar, first, n_threads):
                slope, factor = ctx.q.slope_of_kernel(ctx.q.kernel(s))
                slope = _without_self(slope, rows, cols, ctx.exclude_self)
                pulled[:, rows] += ends[:, cols] @ slope.T
                if rows != cols:
                    pulled[:, cols] += ends[:, rows] @ slope
            return pulled, factor

        pulled, factors = zip(*in_stretches(of_strips, n_threads), strict=True)
        pulled, factor, d = sum(pulled), factors[0], U.shape[1]
        plain, places, weight, weighted = pulled.split([1, d, 1, d])
        dU = h * (plain * by_row - places) + weight * by_row - weighted
        return (2.0 * factor * dU).T, None, None


def _threads(U):
    return threads_of_blocks(-(-len(U) // TILE), U.device)


def _tiles(U, geometry, first=0, every=1):
    """Yield (rows, cols, squared distances) of the tiles on and above the diagonal: of all strips, or every n-th."""
    n = len(U)
    for start in range(first * TILE, n, every * TILE):
        rows = slice(start, min(start + TILE, n))
        # One block of columns after the other against these rows, transposed so that each is contiguous.
        for part, s in MatrixBlocks(geometry, U[start:], U[rows], TILE):
            yield slice(start + part.start, start + part.stop), rows, s


def _without_self(k, rows, cols, exclude_self):
    if exclude_self and rows == cols:
        k.diagonal().fill_(0.0)
    return k
