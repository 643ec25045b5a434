"""Graphs whose nodes join in groups."""

from __future__ import annotations

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_edges


def best_partners(pointers, columns, weights, factor, size, largest, n_threads):
    """The column of largest w_ij f_i f_j for each row, and that weight.

    Parameters
    ----------
    pointers, columns, weights : ndarray
        In CSR form.
    factor, size : ndarray of float64 of shape (n,)
    largest : float
        Rows and columns whose sizes sum to more do not join.
    n_threads : int

    Returns
    -------
    partner : ndarray of int64 of shape (n,)
        The first of equal columns; -1 where all would be too large together.
    score : ndarray of float64 of shape (n,)
        -inf there.
    """
    partner, score = np.full(len(factor), -1), np.full(len(factor), -np.inf)
    edges, cuts = _typed(pointers, columns, weights), cuts_of_edges(pointers, n_threads)

    def stretch(k):
        _find_partners(*edges, factor, size, float(largest), cuts[k], cuts[k + 1], partner, score)

    in_stretches(stretch, n_threads)
    return partner, score


def contracted(pointers, columns, weights, group, n_groups, n_threads, *, loops):
    """The graph between groups of nodes: the sums of the weights between them.

    Parameters
    ----------
    pointers, columns, weights : ndarray
        In CSR form.
    group : ndarray of int of shape (n,)
        Numbered from zero without gaps.
    n_groups : int
    n_threads : int
    loops : bool
        Whether weights inside groups are kept; without them weights that are not positive go as well.

    Returns
    -------
    pointers, columns, weights : ndarray
    """
    edges, order = _typed(pointers, columns, weights), np.argsort(group, kind="stable")
    ends = np.zeros(n_groups + 1, np.int64)
    np.cumsum(np.bincount(group, minlength=n_groups), out=ends[1:])
    # Every thread writes from where it would if no edges came together.
    before = np.zeros(len(group) + 1, np.int64)
    np.cumsum(np.diff(edges[0])[order], out=before[1:])
    before = before[ends]
    cuts, group = cuts_of_edges(before, n_threads), group.astype(np.int32, copy=False)
    new = np.zeros(n_groups + 1, np.int64), np.empty(len(weights), np.int32), np.empty(len(weights))

    def stretch(k):
        return _contract(*edges, group, order, ends, loops, cuts[k], cuts[k + 1], before[cuts[k]], *new)

    used = 0
    for k, n_new in enumerate(in_stretches(stretch, n_threads)):
        start, first = before[cuts[k]], cuts[k]
        if start > used:
            for part in new[1:]:
                part[used : used + n_new] = part[start : start + n_new]
        new[0][first + 1 : cuts[k + 1] + 1] += used
        used += n_new
    # Beside pointers of eight bytes a matrix would have columns of eight bytes.
    pointers = new[0].astype(np.int32 if used <= np.iinfo(np.int32).max else np.int64, copy=False)
    # The rest of these arrays has never been written, and so takes no memory.
    return pointers, new[1][:used], new[2][:used]


def _typed(pointers, columns, weights):
    return pointers.astype(np.int64, copy=False), columns.astype(np.int32, copy=False), weights


@numba.njit(nogil=True, cache=True)
def _find_partners(pointers, columns, weights, factor, size, largest, first, last, partner, score):
    for i in range(first, last):
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e]
            if size[i] + size[j] <= largest:
                found = weights[e] * (factor[i] * factor[j])
                if found > score[i]:
                    partner[i], score[i] = j, found


@numba.njit(nogil=True, cache=True)
def _contract(
    pointers, columns, weights, group, order, ends, loops, first, last, start, new_pointers, new_columns, new_weights
):  # fmt: skip
    """The rows of these groups, written from `start` on, where pointers count from; returns their number of edges."""
    used, at = start, np.full(len(ends), -1)  # where the present row has which column
    for g in range(first, last):
        begun = used
        for k in range(ends[g], ends[g + 1]):
            i = order[k]
            for e in range(pointers[i], pointers[i + 1]):
                c = group[columns[e]]
                if not loops and (c == g or weights[e] <= 0.0):
                    continue
                if at[c] < begun:
                    at[c] = used
                    new_columns[used] = c
                    new_weights[used] = weights[e]
                    used += 1
                else:
                    new_weights[at[c]] += weights[e]
        new_pointers[g + 1] = used - start
    return used - start
