"""The exact engine: every row against every column, by blocks; the reference for all others."""

from __future__ import annotations

import math

from .._checks import check_number
from ._base import Engine
from ._potentials import potentials, row_potentials
from ._visit import visit_all_always


class Dense(Engine):
    """All rows and columns in every step, exactly, in blocks of bounded memory.

    Parameters
    ----------
    max_pairs : int or None, default=None
        Refuse problems with more pairs than this; None refuses none.
    block : int, default=1048576
        Number of pairs that are held at a time.
    """

    exact = True
    takes_lists = True
    over_processes = True
    balances = True
    own_loops = True
    repeats = True

    def __init__(self, max_pairs=None, *, block=2**20):
        self.max_pairs = max_pairs
        self.block = block

    def refuses(self, problem):
        check_number("block", self.block, low=1, integer=True)
        most = math.inf if self.max_pairs is None else self.max_pairs
        if problem.n_pairs > most:
            return (
                f"the dense engine was limited to max_pairs={most:g}, and this problem has "
                f"{_size(problem.p)} pairs; raise max_pairs or use engine='minibatch'"
            )
        return super().refuses(problem)

    def visits(self, problem, *, rng, dtype, device):
        return visit_all_always(problem, dtype=dtype, device=device)

    def potentials(self, q, U, V, visit):
        """f of rows and of columns, log q_ij = f_i + f_j + log k_ij; those of columns that are no rows are q's."""
        if U is not V:
            of_columns = q.potentials_.to(V)
            return row_potentials(q, U, V, of_columns, self.block), of_columns
        f = potentials(q, U, visit.exclude_self, self.block, q.potentials_)
        q.potentials_ = f.detach()
        return f, f


def _size(p):
    return f"{p.n_pairs}" if p.listed else f"{p.n_rows} x {p.n_cols}"
