"""Scalars of pairs, as matrices, in blocks and along edges, against the direct formula."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from iconlearn.numerics import geometry
from iconlearn.numerics.geometry import Edges, MatrixBlocks, matrix, pairs

DIRECT = {
    "sqdist": lambda U, V: ((U[:, None] - V[None]) ** 2).sum(dim=2),
    "dot": lambda U, V: (U[:, None] * V[None]).sum(dim=2),
}
WIDTHS = [1, 2, 3, 4, 5]


def points(n, width, seed=0, dtype=torch.float64):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=(n, width))).to(dtype).requires_grad_()


def some_edges(n_rows, n_cols):
    """Sorted by row; row 1 and column 0 have none, and one pair is there twice."""
    i = torch.tensor([0, 0, 0, 2, 3, 3, 3])
    j = torch.tensor([1, n_cols - 1, 2, 2, 1, 1, 3])
    return Edges(i, j, (n_rows, n_cols))


def test_repeated_edges():
    i, j = torch.tensor([0, 0, 2, 3]), torch.tensor([1, 2, 0, 2])
    edges, copied = Edges(i, j, (4, 3)).repeated(2)
    assert edges.shape == (8, 3)
    assert edges.i.tolist() == [0, 0, 1, 1, 4, 5, 6, 7]
    assert edges.j.tolist() == [1, 2, 1, 2, 0, 0, 2, 2] and copied.tolist() == [0, 1, 0, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("geometry", DIRECT)
class TestBothGeometries:
    def test_matrix(self, geometry, width):
        U, V = points(4, width), points(6, width, 1)
        torch.testing.assert_close(matrix(geometry, U, V), DIRECT[geometry](U, V), atol=1e-12, rtol=1e-12)
        assert torch.autograd.gradcheck(lambda U, V: matrix(geometry, U, V), (U, V))

    def test_pairs(self, geometry, width):
        U, V = points(4, width), points(6, width, 1)
        edges = some_edges(4, 6)
        found = pairs(geometry, U, V, edges)
        torch.testing.assert_close(found, DIRECT[geometry](U, V)[edges.i, edges.j], atol=1e-12, rtol=1e-12)
        assert torch.autograd.gradcheck(lambda U, V: pairs(geometry, U, V, edges), (U, V))
        assert torch.autograd.gradcheck(lambda V: pairs(geometry, U.detach(), V, edges), (V,))
        assert torch.autograd.gradcheck(lambda U: pairs(geometry, U, V.detach(), edges), (U,))

    def test_pairs_of_one_set_collect_both_ends(self, geometry, width):
        U, edges = points(5, width), some_edges(5, 5)
        assert torch.autograd.gradcheck(lambda U: pairs(geometry, U, U, edges), (U,))

    @pytest.mark.parametrize("step", [1, 3, 7, 50])
    def test_blocks(self, geometry, width, step):
        U, V = points(7, width).detach(), points(6, width, 1).detach()
        whole, seen = DIRECT[geometry](U, V), []
        for part, block in MatrixBlocks(geometry, U, V, step):
            torch.testing.assert_close(block, whole[part], atol=1e-12, rtol=1e-12)
            block.fill_(torch.nan)  # a block may be written to, and the next does not care
            seen += range(7)[part]
        assert seen == list(range(7))

    def test_single_precision(self, geometry, width):
        U, V = points(4, width, dtype=torch.float32), points(6, width, 1, dtype=torch.float32)
        edges = some_edges(4, 6)
        assert matrix(geometry, U, V).dtype == pairs(geometry, U, V, edges).dtype == torch.float32
        torch.testing.assert_close(
            pairs(geometry, U, V, edges), matrix(geometry, U, V)[edges.i, edges.j], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("width", WIDTHS)
def test_distances_are_never_negative(width):
    U = points(5, width).detach() + 1e4
    assert (matrix("sqdist", U, U) >= 0).all()
    assert all((block >= 0).all() for _, block in MatrixBlocks("sqdist", U, U, 2))


def test_products_along_edges():
    edges, V, U = some_edges(4, 6), points(6, 3).detach(), points(4, 3, 1).detach()
    values = torch.arange(1.0, 8.0, dtype=torch.float64)
    dense = torch.zeros(4, 6, dtype=torch.float64)
    dense.index_put_((edges.i, edges.j), values, accumulate=True)
    torch.testing.assert_close(edges.product(values, V), dense @ V)
    torch.testing.assert_close(edges.transposed_product(values, U), dense.T @ U)
    torch.testing.assert_close(edges.row_sums(values), dense.sum(1))
    assert len(edges) == 7


def test_no_edges_at_all():
    none = torch.zeros(0, dtype=torch.int64)
    U = points(3, 2)
    found = pairs("sqdist", U, U, Edges(none, none, (3, 3)))
    assert found.shape == (0,)
    np.testing.assert_array_equal(torch.autograd.grad(found.sum(), U)[0], 0)


def test_dots_of_many_edges_are_taken_in_blocks(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    U, V = (torch.rand(n, 7, generator=rng, dtype=torch.float64).requires_grad_() for n in (30, 20))
    i = torch.arange(30).repeat_interleave(5)
    edges = Edges(i, (i * 7 + torch.arange(150) % 5) % 20, (30, 20))
    whole = pairs("dot", U, V, edges)
    gradients = torch.autograd.grad(whole.square().sum(), (U, V))
    held, embedding = [], torch.nn.functional.embedding
    monkeypatch.setattr(geometry, "BLOCK", 70)
    monkeypatch.setattr(
        torch.nn.functional, "embedding", lambda index, U: held.append(len(index)) or embedding(index, U)
    )
    blocks = pairs("dot", U, V, edges)
    assert max(held) == 10 and len(held) == 30
    torch.testing.assert_close(blocks, whole, rtol=1e-14, atol=0)
    torch.testing.assert_close(torch.autograd.grad(blocks.square().sum(), (U, V)), gradients)


def test_edges_of_both_directions_and_their_memory():
    n, k = 20_000, 15
    j = np.sort(np.random.default_rng(0).integers(n, size=(n, k)), axis=1).ravel()
    edges, values = (
        Edges(torch.arange(n).repeat_interleave(k), torch.from_numpy(j), (n, n)),
        torch.rand(n * k),
    )
    tracemalloc.start()
    pointers, columns, sums = edges.symmetric(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one_way = csr_array((values.numpy(), (edges.i.numpy(), j)), shape=(n, n))
    assert abs(csr_array((sums, columns, pointers), shape=(n, n)) - one_way - one_way.T).max() < 1e-6
    # The answer has sixteen bytes for each edge, and a copy of the edges the other way eight.
    assert columns.dtype == np.int32 and peak < 32 * n * k
