"""p read off companions of the rows: other features of the same things, which the mapper does not see.

X = [features | companions],     p(j|i) = inner p of the companions
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array
from sklearn.preprocessing import normalize

from .._checks import check_number
from ..conditional import normalize_rows
from ._base import Supervisory, warn_empty
from ._wrappers import demand_square, fit_inner

__all__ = ["Companion"]


class Companion(Supervisory):
    """An inner p over the companions, the columns of X from `split` on; the mapper reads the others.

    Parameters
    ----------
    p : Supervisory
        Fitted to the companions, for example the features of captions.
    split : int
        Number of columns that are features.
    unit : bool, default=False
        Whether companions are scaled to unit length first: ``Gaussian(sigma=t**0.5)`` is then exp(g_i . g_j / t).
    transpose : bool, default=False
        Whether j is near i where i is a neighbour of j, instead of the other way round.

    Attributes
    ----------
    p_ : Supervisory
        The fitted inner p.
    conditional_ : Conditional or BlockConditional

    References
    ----------
    Sobal et al., "X-Sample contrastive loss", ICLR 2025; Banani, Desai and Johnson, "Learning visual
    representations via language-guided sampling", CVPR 2023.
    """

    def __init__(self, p, split, *, unit=False, transpose=False):
        self.p = p
        self.split = split
        self.unit = unit
        self.transpose = transpose

    requires_y = property(lambda self: getattr(self.p, "requires_y", False))

    def features(self, n_features):
        """The columns that the mapper reads, as rows and as columns of p."""
        split = check_number("split", self.split, low=1, high=n_features - 1, integer=True)
        return slice(0, split), slice(0, split)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Fit the inner p to the companions; see :meth:`Supervisory.fit`."""
        self.features(X.shape[1])
        for name in ("unit", "transpose"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r} must be True or False")
        self.p_ = fit_inner(self.p, self._companions(X), y, random_state, n_jobs)
        self.conditional_ = self.p_.conditional_
        if self.transpose:
            demand_square(self.conditional_, "Companion")
            edges = normalize_rows(csr_array(self.conditional_.sparse().T))
            warn_empty(np.diff(edges.indptr) > 0, "any row that it is near to", "use more neighbours")
            self.conditional_ = replace(self.conditional_, edges=edges)
        return self

    def _extend(self, X_new, n_jobs):
        if self.transpose:
            raise ValueError("a transposed Companion has no p for new rows; map them instead")
        return self.p_.extend(self._companions(X_new), n_jobs=n_jobs)

    def _companions(self, X):
        part = X[:, self.split :]
        return normalize(part) if self.unit else part
