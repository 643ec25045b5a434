"""Where stretches of rows, one for each thread, begin and end."""

from __future__ import annotations

import numpy as np


def cuts_of_rows(n, n_threads):
    """Where stretches of equal numbers of rows begin and end."""
    return [k * n // n_threads for k in range(n_threads + 1)]


def cuts_of_edges(pointers, n_threads):
    """Where stretches of rows with about equal numbers of edges begin and end; `pointers` as in CSR form."""
    if n_threads == 1:
        return [0, len(pointers) - 1]
    cuts = np.searchsorted(pointers, np.linspace(0, pointers[-1], n_threads + 1))
    cuts[0], cuts[-1] = 0, len(pointers) - 1
    return cuts
