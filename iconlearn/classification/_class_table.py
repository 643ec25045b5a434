"""Classes of rows that were found together: those of the rows of a fit, and of others by how near these are.

t = arg max  sum_j p(j|x) log sum_c t_c r_jc / s_c^b        of a row x near rows j of assignments r
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from ..clusters import assign
from ..neighbors import KnownRows
from ..out_of_sample._placed import blocks_of_rows
from ..out_of_sample._seen import SeenRows, mean_of_equal_rows

# No probability is less, so that logarithms are finite.
SMALLEST = 1e-12


@dataclass(eq=False)
class ClassTable:
    """Probabilities of the classes of the rows of a fit.

    Parameters
    ----------
    rows : KnownRows
    table : ndarray of shape (n, n_classes)
    reached : ndarray of bool of shape (n,)
        Rows that edges connect to a label.
    weight : ndarray of shape (n,) or None
        Weights of the rows: one that weighs twice is a neighbour as two would be.
    prior : ndarray of shape (n_classes,)
        What a row has that nothing connects to a label.
    pairwise : bool
        Whether rows are those of a given graph, of which one without entries does not determine even which it is.
    balance : float, default=1.0
        b, the power of the sizes under which the classes were found.
    """

    rows: KnownRows
    table: np.ndarray
    reached: np.ndarray
    weight: np.ndarray | None
    prior: np.ndarray
    pairwise: bool
    balance: float = 1.0

    def __getstate__(self):
        # The logarithms are made anew where they are needed.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _seen(self):
        # Some of the rows, without the others, are identified by their entries alone.
        return SeenRows(self.rows, _log(mean_of_equal_rows(self.rows, self.table, by_features=True)))

    def log_q(self, X, others):
        """Log probabilities of the rows of X, each on its own; float64 of shape (m, n_classes).

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (m, n_features)
        others : callable
            ``others(rows)`` gives those of rows that equal no row of the table.
        """
        if self.rows.same_as(X):
            return _log(self.table)
        if not self.pairwise:
            return self._seen.outputs(X, others)
        lone = np.asarray((X != 0).sum(axis=1)).ravel() == 0
        out = np.tile(_log(self.prior), (X.shape[0], 1))
        if not lone.all():
            out[~lone] = self._seen.outputs(X[~lone], others)
        return out

    def log_q_near(self, p):
        """Log probabilities of rows by their p over the rows of the table; where it has no support, the prior."""
        return _log(np.concatenate([self._assigned(part) for _, part in blocks_of_rows(p, p.n_cols)]))

    def _assigned(self, p):
        # Rows without a label near or far say nothing of classes.
        edges = sparse.csr_array(p.sparse()[:, self.reached])
        if self.weight is not None:
            edges = sparse.csr_array(edges @ sparse.diags(self.weight[self.reached]))
            edges.eliminate_zeros()
        p = replace(p, edges=edges)
        r = assign(p, self.table[self.reached], balance=self.balance)
        r[~p.supported()] = self.prior
        return r


def _log(r):
    return np.log(np.maximum(r, SMALLEST))
