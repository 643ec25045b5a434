"""The nearest columns by blocks of one matrix product.

    |x - y|^2 / 2 = |x|^2 / 2 + (|y|^2 / 2 - x.y)

Only the bracket ranks the columns of a row, and it is one ``addmm``.
"""

from __future__ import annotations

import math
from contextlib import suppress

import torch

from ..numerics.threads import Scratch, available, share

# Numbers in one block: 16 MiB of float32 for each thread, more where the product runs on a GPU.
BLOCK_SIZE = 2**22
BLOCK_SIZE_CUDA = 2**28
# Columns of one block; beyond, blocks would have too few rows for the product to be efficient.
MAX_WIDTH = 2**16

# Unit roundoff of float32 products by torch's setting, which a user may have lowered.
ROUNDOFF = {
    **dict.fromkeys(("highest", "ieee", "none"), 2.0**-24),
    **dict.fromkeys(("high", "tf32"), 2.0**-11),
    **dict.fromkeys(("medium", "bf16"), 2.0**-8),
}


def nearest(columns, rows, k, *, own=None, halves=None):
    """The k nearest columns of every row, up to the rounding error of the products.

    Parameters
    ----------
    columns : Tensor of shape (n, n_dims)
    rows : Tensor of shape (m, n_dims)
    k : int
        At most n, or n - 1 where a row has a column of its own.
    own : Tensor of int64 of shape (m,) or None
        The column that is the row itself, and is left out.
    halves : Tensor of shape (n,) or None
        Half the squared length of every column, where it is known.

    Returns
    -------
    indices : Tensor of int64 of shape (m, k)
        In no order.
    reach : Tensor of shape (m,)
        Largest squared distance among them: columns left out are not nearer than that.
    """
    n, m = len(columns), len(rows)
    width = min(n, MAX_WIDTH)
    if columns.device.type == "cpu":
        # Small searches are one block for each thread.
        step = max(1, min(BLOCK_SIZE // width, -(-m // available())))
    else:
        step = max(1, BLOCK_SIZE_CUDA // width)
    half = half_lengths(columns) if halves is None else halves
    indices = torch.empty((m, k), dtype=torch.int64, device=columns.device)
    reach = torch.empty(m, dtype=columns.dtype, device=columns.device)
    scratch = Scratch()

    def search(start):
        some = rows[start : start + step]
        values, places = [], []
        for left in range(0, n, width):
            right = min(left + width, n)
            block = scratch(len(some), right - left, columns)
            torch.addmm(half[left:right], some, columns[left:right].T, alpha=-1, out=block)
            if own is not None:
                leave_out(block, own[start : start + step] - left)
            value, place = smallest(block, min(k, right - left))
            values.append(value)
            places.append(place + left)
        value, place = torch.cat(values, 1), torch.cat(places, 1)
        if len(values) > 1:
            value, chosen = value.topk(k, largest=False, sorted=False)
            place = place.gather(1, chosen)
        indices[start : start + step] = place
        reach[start : start + step] = 2 * value.amax(1) + some.square().sum(1)

    share(search, range(0, m, step), columns.device)
    return indices, reach


def leave_out(block, own):
    """Make the entry of every row's own column infinite, in place; there is none where `own` is not among them.

    Without asking which rows have one, for which a GPU would be waited for.
    """
    at = own.clamp(0, block.shape[1] - 1)[:, None]
    block.scatter_(1, at, torch.where(at == own[:, None], math.inf, block.gather(1, at)))


def half_lengths(points):
    """Half the squared length of every point, in the precision of the points."""
    # A GPU would wait for the start of every block.
    step = len(points) if points.device.type != "cpu" else BLOCK_SIZE // max(points.shape[1], 1)
    return torch.cat([part.square().sum(1) / 2 for part in points.split(max(step, 1))])


def smallest(block, k):
    """Values and positions of the k least entries of every row, in no order.

    The columns are folded into groups whose minima are found at the speed of memory; the k least
    entries lie in the k groups of least minimum, so that only those are looked at one by one.
    """
    if k == 1:
        return block.min(1, keepdim=True)
    n = block.shape[1]
    fold = int(0.6 * math.sqrt(n / k))
    if fold < 2:
        return block.topk(k, largest=False, sorted=False)
    width = n // fold
    minima = block[:, : fold * width].unflatten(1, (fold, width)).amin(1)
    groups = minima.topk(k, largest=False, sorted=False).indices
    members = torch.arange(0, fold * width, width, device=block.device)
    places = (groups[:, None, :] + members[:, None]).flatten(1)
    rest = torch.arange(fold * width, n, device=block.device).expand(len(block), -1)
    places = torch.cat([places, rest], 1)
    values, chosen = block.gather(1, places).topk(k, largest=False, sorted=False)
    return values, places.gather(1, chosen)


def product_error(sqnorms, largest, n_dims, dtype, device="cpu"):
    """Bound on the error of squared distances by :func:`nearest`.

    Rounding errors of a product of n_dims terms add up as those of a random walk; the constant leaves
    room for the rounding of the points themselves.

    Parameters
    ----------
    sqnorms : ndarray or Tensor of float64 of shape (m,)
        Squared lengths of the rows.
    largest : float or array that goes with `sqnorms`
        Squared length of the longest column.
    n_dims : int
    dtype : torch.dtype
        Of the product.
    device : torch.device or str, default="cpu"
        Where it is computed.
    """
    roundoff = _single_roundoff(torch.device(device).type) if dtype == torch.float32 else 2.0**-53
    return (8 + math.sqrt(n_dims)) * roundoff * (sqnorms + largest)


def _single_roundoff(device):
    """Unit roundoff of float32 products on this kind of device.

    Torch has two settings, one for all devices and (from 2.9 on) one for each; the first cannot be read once the
    second has been changed.
    """
    backend = torch.backends.cuda if device == "cuda" else torch.backends.mkldnn
    settings = [getattr(getattr(backend, "matmul", None), "fp32_precision", "none")]
    with suppress(RuntimeError):
        settings.append(torch.get_float32_matmul_precision())
    return max(ROUNDOFF[setting] for setting in settings)
