"""Graphs whose nodes join in groups."""

from __future__ import annotations

import numba
import numpy as np


def best_partners(pointers, columns, weights, factor, size, largest):
    """The column of largest w_ij f_i f_j for each row, and that weight.

    Parameters
    ----------
    pointers, columns, weights : ndarray
        In CSR form.
    factor, size : ndarray of float64 of shape (n,)
    largest : float
        Rows and columns whose sizes sum to more do not join.

    Returns
    -------
    partner : ndarray of int64 of shape (n,)
        The first of equal columns; -1 where all would be too large together.
    score : ndarray of float64 of shape (n,)
        -inf there.
    """
    partner, score = np.full(len(factor), -1), np.full(len(factor), -np.inf)
    _find_partners(*_typed(pointers, columns, weights), factor, size, float(largest), partner, score)
    return partner, score


def contracted(pointers, columns, weights, group, n_groups, *, loops):
    """The graph between groups of nodes: the sums of the weights between them.

    Parameters
    ----------
    pointers, columns, weights : ndarray
        In CSR form.
    group : ndarray of int of shape (n,)
        Numbered from zero without gaps.
    n_groups : int
    loops : bool
        Whether weights inside groups are kept; without them weights that are not positive go as well.

    Returns
    -------
    pointers, columns, weights : ndarray
    """
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=n_groups))
    new = np.zeros(n_groups + 1, np.int64), np.empty(len(weights), np.int32), np.empty(len(weights))
    used = _contract(
        *_typed(pointers, columns, weights), group.astype(np.int32), order, ends.astype(np.int64), loops, *new
    )
    return new[0], new[1][:used].copy(), new[2][:used].copy()


def _typed(pointers, columns, weights):
    return pointers.astype(np.int64, copy=False), columns.astype(np.int32, copy=False), weights


@numba.njit(nogil=True, cache=True)
def _find_partners(pointers, columns, weights, factor, size, largest, partner, score):
    for i in range(len(factor)):
        for e in range(pointers[i], pointers[i + 1]):
            j = columns[e]
            if size[i] + size[j] <= largest:
                found = weights[e] * (factor[i] * factor[j])
                if found > score[i]:
                    partner[i], score[i] = j, found


@numba.njit(nogil=True, cache=True)
def _contract(pointers, columns, weights, group, order, ends, loops, new_pointers, new_columns, new_weights):
    used, start = 0, 0
    at = np.full(len(ends), -1)  # where the present row has which column
    for g in range(len(ends)):
        first = used
        for k in range(start, ends[g]):
            i = order[k]
            for e in range(pointers[i], pointers[i + 1]):
                c = group[columns[e]]
                if not loops and (c == g or weights[e] <= 0.0):
                    continue
                if at[c] < first:
                    at[c] = used
                    new_columns[used] = c
                    new_weights[used] = weights[e]
                    used += 1
                else:
                    new_weights[at[c]] += weights[e]
        start = ends[g]
        new_pointers[g + 1] = used
    return used
