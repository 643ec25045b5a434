"""Scalars of pairs: squared distances, dot products and hyperbolic distances, as matrices and along edges.

    sqdist(u, v) = |u - v|^2,        dot(u, v) = u . v
    hyperbolic(u, v) = sinh^2(rho / 2) = sinh^2((r_u - r_v) / 2) + sinh r_u sinh r_v |n_u - n_v|^2 / 4

where rho is the distance of two points of the hyperbolic space that lie in the directions n_u and n_v, of unit length,
at the distances r_u and r_v from the origin; a point is a row (n, r, sinh r).

Squared distances of more than a few dimensions come from a product, whose rounding is that of |u|^2 + |v|^2; as
"differences" they are sums of squared differences, at several times the cost and exact however small.

The edge forms carry their own backward pass: the gradient of a sum over edges is a sparse matrix product,
many times faster than scattering the pairs one by one.  On a device sums over edges are taken in the order of the
edges, segment by segment: neither atomic additions nor products with sparse matrices have a fixed order there.
"""

from __future__ import annotations

import warnings
from functools import cache, cached_property

import numpy as np
import torch
from scipy.sparse import csr_array

__all__ = ["Edges", "MatrixBlocks", "gaps_between", "matrix", "pairs", "rows_at"]

# Below this width differences are formed coordinate by coordinate: exact, and as fast as a product.
DIRECT_WIDTH = 3
# Numbers at the ends of edges that are held together on the CPU.
BLOCK = 2**22


def matrix(geometry: str, U, V):
    """Scalars of all pairs, shape (len(U), len(V)); differentiable."""
    if geometry == "dot":
        return U @ V.T
    if geometry == "hyperbolic":
        apart = matrix("differences", U[:, :-2], V[:, :-2])
        return _haversine(apart, U[:, None, -2] - V[:, -2], U[:, None, -1] * V[:, -1])
    if geometry == "differences" and U.shape[1] > DIRECT_WIDTH:
        return _by_differences(U, V)
    if U.shape[1] <= DIRECT_WIDTH:
        return sum((u[:, None] - v).square() for u, v in zip(U.unbind(1), V.unbind(1), strict=True))
    s = torch.addmm((V * V).sum(1)[None, :], U, V.T, alpha=-2.0) + (U * U).sum(1)[:, None]
    return s.clamp_min(0.0)


def _haversine(apart, further, widths):
    """sinh^2(rho / 2) by the law of haversines, all of whose terms are positive: nothing cancels, however far out."""
    return torch.sinh(0.5 * further).square() + 0.25 * widths * apart


def _by_differences(U, V):
    return torch.cdist(U, V, compute_mode="donot_use_mm_for_euclid_dist").square()


class MatrixBlocks:
    """:func:`matrix` for one block of rows after the other, without gradients and in the same memory.

    Fresh pages cost more than the arithmetic, so the blocks share two buffers: a block is overwritten by
    the next.

    Parameters
    ----------
    geometry : {"sqdist", "differences", "dot", "hyperbolic"}
    U, V : Tensor
        Places of all rows and columns.
    step : int
        Rows of a block.
    first, every : int, default=0, 1
        Only the blocks first, first + every, ...
    """

    def __init__(self, geometry, U, V, step, first=0, every=1):
        self.geometry, self.U, self.V, self.n = geometry, U, V, len(U)
        self.step, self.starts = step, range(first * step, len(U), every * step)
        self.direct = geometry in ("sqdist", "differences") and U.shape[1] <= DIRECT_WIDTH
        rows = min(step, self.n)
        self.buffer = U.new_empty(rows, len(V))
        self.spare = U.new_empty(rows, len(V)) if self.direct else None
        if self.direct:
            # Contiguous coordinates are read five times faster than strided ones.
            self.U_columns, self.V_columns = U.T.contiguous(), V.T.contiguous()
        elif geometry == "sqdist":
            self.U_norms, self.V_norms = (U * U).sum(1), (V * V).sum(1)

    def __iter__(self):
        """Yield (slice of rows, block); the block may be written to."""
        for start in self.starts:
            part = slice(start, min(start + self.step, self.n))
            yield part, self._block(part)

    def _block(self, part):
        if self.geometry == "hyperbolic":
            with torch.no_grad():
                return matrix("hyperbolic", self.U[part], self.V)
        size = part.stop - part.start
        s = self.buffer[:size]
        if self.direct:
            spare = self.spare[:size]
            torch.sub(self.U_columns[0, part, None], self.V_columns[0], out=s).square_()
            for u, v in zip(self.U_columns[1:, part], self.V_columns[1:], strict=True):
                gap = torch.sub(u[:, None], v, out=spare)
                s.addcmul_(gap, gap)
        elif self.geometry == "dot":
            torch.mm(self.U[part], self.V.T, out=s)
        elif self.geometry == "differences":
            return _by_differences(self.U[part], self.V)
        else:
            torch.addmm(self.V_norms[None, :], self.U[part], self.V.T, alpha=-2.0, out=s)
            s.add_(self.U_norms[part, None]).clamp_min_(0.0)
        return s


class Edges:
    """Pairs (i, j) sorted by i, ready for products with sparse matrices of their pattern.

    Parameters
    ----------
    i, j : Tensor of int64 of shape (n_edges,)
        Row and column of each pair.
    shape : tuple of int
        Number of rows and columns.
    """

    def __init__(self, i, j, shape):
        self.i, self.j, self.shape = i, j, shape
        self._row_ptr = _pointers(i, shape[0])

    @cached_property
    def _by_column(self):
        """The edges sorted by column: their order, the columns' pointers, and their rows."""
        order = torch.argsort(self.j, stable=True)
        return order, _pointers(self.j[order], self.shape[1]), self.i[order]

    @cached_property
    def arrays(self):
        """Pointers of the rows (int64) and columns of the edges (uint32), on the CPU."""
        return self._row_ptr.cpu().numpy(), self.j.cpu().numpy().astype(np.uint32)

    def __len__(self):
        return len(self.i)

    def product(self, values, V):
        """sum_j values_ij V_j for every row i."""
        return _csr(self._row_ptr, self.j, values, self.shape) @ V

    def transposed_product(self, values, U):
        """sum_i values_ij U_i for every column j."""
        order, pointers, rows = self._by_column
        return _csr(pointers, rows, values.index_select(0, order), self.shape[::-1]) @ U

    def of_columns(self, columns):
        """Rows and columns of the edges that end in some columns (all different)."""
        _, pointers, rows = self._by_column
        counts = pointers[columns + 1] - pointers[columns]
        ends = counts.cumsum(0)
        at = torch.arange(int(ends[-1]), device=ends.device) - (
            ends - counts - pointers[columns]
        ).repeat_interleave(counts)
        return rows[at], columns.repeat_interleave(counts)

    def of_some(self, rows):
        """Edges of some rows (row numbers, in any order), and the columns that they end in.

        Returns
        -------
        Edges of shape (len(rows), n_found)
            Their columns are positions in `found`.
        found : Tensor of int64 of shape (n_found,)
        """
        counts = self._row_ptr.diff()[rows]
        ends = counts.cumsum(0)
        at = torch.arange(int(counts.sum()), device=ends.device)
        at = at + (self._row_ptr[rows] - ends + counts).repeat_interleave(counts)
        found, j = torch.unique(self.j[at], return_inverse=True)
        i = torch.arange(len(rows), device=ends.device).repeat_interleave(counts)
        return Edges(i, j, (len(rows), len(found))), found

    def repeated(self, times):
        """The edges of so many copies of every row, one after the other, and which edge each of them copies."""
        counts = self._row_ptr.diff().repeat_interleave(times)
        ends = counts.cumsum(0)
        first = self._row_ptr[:-1].repeat_interleave(times)
        at = torch.arange(int(ends[-1]), device=ends.device) + (first - ends + counts).repeat_interleave(
            counts
        )
        rows = torch.arange(len(counts), device=ends.device).repeat_interleave(counts)
        return Edges(rows, self.j[at], (len(counts), self.shape[1])), at

    def symmetric(self, values):
        """values + values^T as pointers (int64), columns (int32) and values: the arrays of a CSR matrix."""
        # scipy makes columns as wide as pointers are.
        small = np.int32 if 2 * len(self) <= np.iinfo(np.int32).max else np.int64
        pointers, columns = self._row_ptr.cpu().numpy().astype(small), self.j.cpu().numpy().astype(np.int32)
        one_way = csr_array((values.cpu().numpy(), columns, pointers), shape=self.shape)
        both = one_way + one_way.T.tocsr()
        return both.indptr.astype(np.int64), both.indices, both.data

    def of_rows(self, values):
        """values_i for every edge, values of shape (n_rows,); differentiable."""
        return _OfRows.apply(values, self)

    def row_sums(self, values):
        """sum_j values_ij for every row i, values of shape (n_edges, ...); differentiable."""
        if values.is_cuda:
            return _segment_sums(values, self._row_ptr)
        sums = torch.zeros(self.shape[0], *values.shape[1:], dtype=values.dtype, device=values.device)
        return sums.index_add_(0, self.i, values)

    def column_sums(self, values):
        """sum_i values_ij for every column j, values of shape (n_edges, ...); differentiable."""
        order, pointers, _ = self._by_column
        return _segment_sums(values.index_select(0, order), pointers)

    @cached_property
    def by_end(self):
        """Both ends of the edges of a set of points, in order: the point, the other end, the edge; and pointers."""
        points, order = torch.cat([self.i, self.j]).sort(stable=True)
        others = torch.cat([self.j, self.i])[order]
        return points, others, order % len(self), _pointers(points, self.shape[0])


class _OfRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, edges):
        ctx.edges = edges
        return values.index_select(0, edges.i)

    @staticmethod
    def backward(ctx, g):
        return ctx.edges.row_sums(g), None


class _OfColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, edges):
        ctx.edges = edges
        return values.index_select(0, edges.j)

    @staticmethod
    def backward(ctx, g):
        return ctx.edges.column_sums(g), None


def pairs(geometry: str, U, V, edges: Edges):
    """Scalars along the edges, shape (n_edges,); differentiable in U and V."""
    if geometry == "hyperbolic":
        near, far = _OfRows.apply(U, edges), _OfColumns.apply(V, edges)
        apart = (near[:, :-2] - far[:, :-2]).square().sum(1)
        return _haversine(apart, near[:, -2] - far[:, -2], near[:, -1] * far[:, -1])
    if geometry == "differences" and not U.is_cuda:
        # The product of the backward pass would lose the gaps of near places.
        return (U.index_select(0, edges.i) - V.index_select(0, edges.j)).square().sum(1)
    return (_PairDot if geometry == "dot" else _PairSqdist).apply(U, V, edges)


class _PairDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, U, V, edges):
        ctx.edges, ctx.tied = edges, U is V
        ctx.save_for_backward(U, V)
        step = max(1, BLOCK // U.shape[1])
        if U.device.type != "cpu" or len(edges) <= step:
            return (rows_at(U, edges.i) * rows_at(V, edges.j)).sum(1)
        # Rows at both ends of all edges would be many times as large as the rows.
        s = U.new_empty(len(edges))
        for start in range(0, len(edges), step):
            part = slice(start, start + step)
            torch.sum(rows_at(U, edges.i[part]).mul_(rows_at(V, edges.j[part])), 1, out=s[part])
        return s

    @staticmethod
    def backward(ctx, g):
        if g.is_cuda:
            return *_gradients_in_order(ctx, g, lambda near, far: far()), None
        U, V = ctx.saved_tensors
        dU = ctx.edges.product(g, V) if ctx.needs_input_grad[0] else None
        dV = ctx.edges.transposed_product(g, U) if ctx.needs_input_grad[1] else None
        return dU, dV, None


class _PairSqdist(torch.autograd.Function):
    @staticmethod
    def forward(ctx, U, V, edges):
        ctx.edges, ctx.tied = edges, U is V
        ctx.save_for_backward(U, V)
        if U.shape[1] > DIRECT_WIDTH:
            return rows_at(U, edges.i).sub_(rows_at(V, edges.j)).square_().sum(1)
        total = None
        for u, v in zip(U.T.contiguous(), V.T.contiguous(), strict=True):
            gap = u.index_select(0, edges.i).sub_(v.index_select(0, edges.j))
            total = gap.square_() if total is None else total.addcmul_(gap, gap)
        return total

    @staticmethod
    def backward(ctx, g):
        g = 2.0 * g
        if g.is_cuda:
            return *_gradients_in_order(ctx, g, lambda near, far: near().sub_(far())), None
        U, V = ctx.saved_tensors
        edges, dU, dV = ctx.edges, None, None
        if ctx.needs_input_grad[0]:
            dU = _spread(U, edges.product(g, _with_ones(V)))
        if ctx.needs_input_grad[1]:
            dV = _spread(V, edges.transposed_product(g, _with_ones(U)))
        return dU, dV, None


def _gradients_in_order(ctx, g, slope):
    """Gradients of both ends of the edges, summed in the order of the edges; of one set of points, in the first."""
    (U, V), edges = ctx.saved_tensors, ctx.edges

    def pulls(weights, near, i, far, j):
        return weights[:, None] * slope(lambda: rows_at(near, i), lambda: rows_at(far, j))

    if ctx.tied:
        points, others, edge, pointers = edges.by_end
        return _segment_sums(pulls(g.index_select(0, edge), U, points, V, others), pointers), None
    dU = edges.row_sums(pulls(g, U, edges.i, V, edges.j)) if ctx.needs_input_grad[0] else None
    dV = edges.column_sums(pulls(g, V, edges.j, U, edges.i)) if ctx.needs_input_grad[1] else None
    return dU, dV


def _with_ones(Z):
    """Z with a column of ones, so that one product gives sums of weights beside weighted sums."""
    return torch.cat([Z, Z.new_ones(len(Z), 1)], 1)


def _spread(Z, sums):
    """sum_j g_ij (z_i - v_j) from the sums of g_ij v_j and of g_ij."""
    return sums[:, -1:] * Z - sums[:, :-1]


def rows_at(U, index):
    """U[index] by the kernel that reads rows fastest."""
    return torch.nn.functional.embedding(index, U)


def gaps_between(U, ends):
    """Differences of the rows of U at the first and at the second half of `ends`."""
    first, second = rows_at(U, ends).view(2, -1, U.shape[1])
    return torch.sub(first, second)


def _pointers(sorted_rows, n):
    return torch.searchsorted(sorted_rows, torch.arange(n + 1, device=sorted_rows.device))


def _segment_sums(values, pointers):
    """Sums of stretches of the first axis, each in order; differentiable."""
    return torch.segment_reduce(values, "sum", offsets=pointers, axis=0, unsafe=True, initial=0)


def _csr(pointers, indices, values, shape):
    _announce_csr()
    return torch.sparse_csr_tensor(pointers, indices, values, shape)


@cache
def _announce_csr():
    """torch warns once per process that its CSR tensors are in beta; it is caught here, not in a user's fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty = torch.zeros(2, dtype=torch.int64)
        torch.sparse_csr_tensor(empty, empty[:0], torch.zeros(0), (1, 1))
