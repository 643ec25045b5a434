"""Compiled loops on plain threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

__all__ = ["in_stretches"]


def in_stretches(work, n_threads):
    """``[work(0), ..., work(n_threads - 1)]``, at the same time."""
    if n_threads == 1:
        return [work(0)]
    return list(_pool(os.getpid(), n_threads).map(work, range(n_threads)))


@cache
def _pool(pid, n_threads):
    # One for each process, because threads do not survive a fork.
    return ThreadPoolExecutor(n_threads)
