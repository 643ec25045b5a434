"""The nearest so far of every row, and neighbours of neighbours; ``neighbors/_cell_probes.py`` is the plain twin."""

from __future__ import annotations

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_rows

# Entries of a block whose least is compared with the farthest that is kept, before each of them is.
_GROUP = 16


def descended(columns, halves, indices, order, n_near, n_threads):
    """Neighbours chosen anew, with those of their neighbours and of the rows whose neighbour each row is.

    Parameters
    ----------
    columns : ndarray of shape (n, n_dims + 1)
        Places of the rows, and a last column that is not read.
    halves : ndarray of shape (n, k)
        Half the squared distance to each neighbour less half the squared length of the row, ascending.
    indices : ndarray of int32 of shape (n, k)
        Neighbours; -1 where there is none.
    order : ndarray of int64 of shape (n,)
        Name of every row.
    n_near : int
        So many of a row's neighbours, and of those whose neighbour it is, are followed, and to as many rows each.
    n_threads : int

    Returns
    -------
    ndarray of int64 of shape (n, k)
        Names of the neighbours, in the order of names.

    References
    ----------
    Dong, Moses and Li, "Efficient k-nearest neighbor graph construction for generic similarity measures", WWW 2011.
    """
    found, cuts = np.empty(indices.shape, np.int64), cuts_of_rows(len(columns), n_threads)
    n_near = min(n_near, indices.shape[1])
    pointers, followers = _reversed(indices, n_near)

    def stretch(t):
        seen = np.full(len(columns), -1, np.int32)
        near = np.empty_like(indices[0]), np.empty_like(halves[0])
        _descend(
            columns,
            halves,
            indices,
            pointers,
            followers,
            n_near,
            cuts[t],
            cuts[t + 1],
            seen,
            *near,
            order,
            found,
        )

    in_stretches(stretch, n_threads)
    return found


@numba.njit(nogil=True, fastmath=True, cache=True)
def keep_nearest(block, rows, own, names, halves, indices):
    """Keep the least entries of a block, beside those that are kept already, in place.

    Parameters
    ----------
    block : ndarray of shape (m, w)
    rows : ndarray of int64 of shape (m,)
        Which row of `halves` and of `indices` is that of each row of the block.
    own : ndarray of int64 of shape (m,)
        The name that each row leaves out.
    names : ndarray of int32 of shape (w,)
    halves : ndarray of shape (n, k)
        Entries that are kept, ascending; infinite where there is none.
    indices : ndarray of int32 of shape (n, k)
        Their names.
    """
    width, k = block.shape[1], indices.shape[1]
    for i in range(len(block)):
        entries, kept, name = block[i], halves[rows[i]], indices[rows[i]]
        for first in range(0, width, _GROUP):
            last = min(first + _GROUP, width)
            least = entries[first]
            for t in range(first + 1, last):
                least = min(least, entries[t])
            if least >= kept[k - 1]:
                continue
            for t in range(first, last):
                if entries[t] < kept[k - 1] and names[t] != own[i]:
                    _insert(kept, name, entries[t], names[t])


@numba.njit(nogil=True, cache=True)
def rows_by_cell(cells, n_cells):
    """Which rows look at each cell: pointers into a list, as in CSR form, and the list.

    Parameters
    ----------
    cells : ndarray of int32 of shape (m, n_looked_at)
    n_cells : int
    """
    pointers = np.zeros(n_cells + 1, np.int64)
    for i in range(len(cells)):
        for c in cells[i]:
            pointers[c + 1] += 1
    for c in range(n_cells):
        pointers[c + 1] += pointers[c]
    at, rows = pointers[:-1].copy(), np.empty(pointers[-1], np.int64)
    for i in range(len(cells)):
        for c in cells[i]:
            rows[at[c]] = i
            at[c] += 1
    return pointers, rows


@numba.njit(nogil=True, cache=True)
def _reversed(indices, most):
    """For every row at most `most` of those that have it among their `most` first, the nearer of them first."""
    n, counts = len(indices), np.zeros(len(indices), np.int64)
    for a in range(most):
        for i in range(n):
            j = indices[i, a]
            if j >= 0 and counts[j] < most:
                counts[j] += 1
    pointers = np.zeros(n + 1, np.int64)
    for j in range(n):
        pointers[j + 1] = pointers[j] + counts[j]
        counts[j] = pointers[j]
    rows = np.empty(pointers[n], np.int32)
    for a in range(most):
        for i in range(n):
            j = indices[i, a]
            if j >= 0 and counts[j] < pointers[j + 1]:
                rows[counts[j]] = i
                counts[j] += 1
    return pointers, rows


@numba.njit(nogil=True, cache=True)
def _insert(kept, names, entry, name):
    """Put an entry among ascending ones in place of the last."""
    t = len(kept) - 1
    while t > 0 and kept[t - 1] > entry:
        kept[t], names[t] = kept[t - 1], names[t - 1]
        t -= 1
    kept[t], names[t] = entry, name


@numba.njit(nogil=True, fastmath=True, cache=True)
def _descend(
    columns, halves, indices, pointers, followers, n_near, start, stop, seen, names, kept, order, found
):
    k, d = indices.shape[1], columns.shape[1] - 1
    for i in range(start, stop):
        names[:], kept[:], seen[i] = indices[i], halves[i], i
        length = columns.dtype.type(0)
        for c in range(d):
            length += columns[i, c] * columns[i, c]
        for a in range(k):
            if names[a] >= 0:
                seen[names[a]] = i
        first, n_followers = pointers[i], pointers[i + 1] - pointers[i]
        for a in range(n_near + n_followers):
            j = indices[i, a] if a < n_near else followers[first + a - n_near]
            if j < 0:
                continue
            # The row between them is itself a candidate, where it is not a neighbour.
            for b in range(-1, n_near):
                other = j if b < 0 else indices[j, b]
                if other < 0 or seen[other] == i:
                    continue
                seen[other] = i
                s = -length
                for c in range(d):
                    s += (columns[i, c] - columns[other, c]) ** 2
                s *= columns.dtype.type(0.5)
                if s < kept[k - 1]:
                    _insert(kept, names, s, other)
        for a in range(k):
            found[order[i], a] = order[names[a]] if names[a] >= 0 else -1
