"""Compiled loops on plain threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

__all__ = ["cuts_of_edges", "cuts_of_rows", "in_stretches"]


def in_stretches(work, n_threads):
    """``[work(0), ..., work(n_threads - 1)]``, at the same time."""
    if n_threads == 1:
        return [work(0)]
    return list(_pool(os.getpid(), n_threads).map(work, range(n_threads)))


def cuts_of_rows(n, n_threads):
    """Where stretches of equal numbers of rows begin and end."""
    return [k * n // n_threads for k in range(n_threads + 1)]


def cuts_of_edges(pointers, n_threads):
    """Where stretches of rows with about equal numbers of edges begin and end; `pointers` as in CSR form."""
    cuts = np.searchsorted(pointers, np.linspace(0, pointers[-1], n_threads + 1))
    cuts[0], cuts[-1] = 0, len(pointers) - 1
    return cuts


@cache
def _pool(pid, n_threads):
    # One for each process, because threads do not survive a fork.
    return ThreadPoolExecutor(n_threads)
