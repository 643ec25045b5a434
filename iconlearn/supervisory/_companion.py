"""p read off companions of the rows: other features of the same things, which the mapper does not see.

X = [features | companions],     p(j|i) = inner p of the companions
"""

from __future__ import annotations

from sklearn.preprocessing import normalize

from .._checks import check_number
from ._base import declared, search_options, warn_empty
from ._composition import reweighted
from ._wrapper import Wrapper


class Companion(Wrapper):
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

    # X is features, and p is fitted on the companions only; see _check_companions.
    from_features = pairwise = fresh = False
    copies, prepare = 1, None
    pairs_of_rows = property(lambda self: self.transpose)

    def features(self, n_features):
        """The columns that the mapper reads, as rows and as columns of p."""
        split = check_number("split", self.split, low=1, high=n_features - 1, integer=True)
        return slice(0, split), slice(0, split)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Fit the inner p to the companions; see :meth:`Supervisory.fit`."""
        self.features(X.shape[1])
        for name in ("unit", "transpose"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r} must be True or False")
        self._check_companions()
        self.p_ = self.fitted(self.p, self._companions(X), y, random_state, n_jobs, device)
        self.conditional_ = self.p_.conditional_
        if self.transpose:
            self.conditional_ = reweighted(self.p_.conditional_, None, "transpose")
            warn_empty(
                self.conditional_.supported(),
                "any row that it is near to",
                f"use more neighbours in {self!r:.200}",
            )
        return self

    def _extend(self, X_new, n_jobs, device):
        if self.transpose:
            raise ValueError("a transposed Companion has no p for new rows; map them instead")
        return self.p_.extend(self._companions(X_new), **search_options(self.p_, n_jobs, device))

    def _check_companions(self):
        reads = {
            "X as a square matrix": declared(self.p, "pairwise"),
            "views that a mapper has to see": declared(self.p, "fresh"),
            "two groups of features": declared(self.p, "columns") == "features",
        }
        for what, does in reads.items():
            if does:
                raise ValueError(
                    f"Companion needs a p of the companions' features, and {self.p!r:.200} reads {what}; use a p such "
                    f"as KNN(15), or give a graph of the rows beside the features as Graph(adjacency)"
                )

    def _companions(self, X):
        part = X[:, self.split :]
        return normalize(part) if self.unit else part
