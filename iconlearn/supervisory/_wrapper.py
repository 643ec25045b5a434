"""Base of every p that is made from another p: it fits a copy, and answers with it.

A wrapper refuses at once, in a sentence, an inner p that it cannot be made from.
"""

from __future__ import annotations

import copy

from sklearn.base import clone

from ._base import Supervisory, declared, extended, fitted_on, warn_empty


class Wrapper(Supervisory):
    """A p made from an inner p, with the inner p's declarations for its own.

    A subclass stores the parameter `p`, and calls :meth:`fitted` in ``fit``.  It has ``_around(inner)``, which makes
    the p of new rows from the inner p's, or a method ``_extend`` of its own.

    Attributes
    ----------
    p_ : Supervisory
        The fitted inner p.
    """

    takes_device = True
    # Whether the inner p has to be probabilities of rows over the same rows, each of which is one point.
    pairs_of_rows = True
    _around = None
    # Whether a uniform share of the inner p has a place in the result.
    keeps_share = True
    # Whether rows of the inner p may have lists of candidates of their own.
    takes_lists = False
    # Whether columns may be rows of other processes.
    takes_shards = False

    columns = property(lambda self: declared(self.p, "columns"))
    requires_y = property(lambda self: declared(self.p, "requires_y"))
    pairwise = property(lambda self: declared(self.p, "pairwise"))
    from_features = property(lambda self: declared(self.p, "from_features"))
    equal_rows_alike = property(lambda self: declared(self.p, "equal_rows_alike"))
    fresh = property(lambda self: declared(self.p, "fresh"))
    # The inner p may know it after its fit only.
    copies = property(lambda self: declared(vars(self).get("p_", self.p), "copies"))
    # Absent where the inner p has none.
    prepare = property(lambda self: self.p.prepare)
    rows_of = property(lambda self: self.p.rows_of)
    features = property(lambda self: self.p.features)
    guess = property(lambda self: self.p.guess)
    check_classes = property(lambda self: self.p.check_classes)
    targets_of = property(lambda self: self.p.targets_of)
    reading = property(lambda self: vars(self).get("p_", self.p).reading)
    view = property(lambda self: self.p_.view)
    moments = property(lambda self: self.p_.moments)
    columns_view = property(lambda self: self.p_.columns_view)
    neighbors_backend_ = property(lambda self: self.p_.neighbors_backend_)

    def for_outputs(self, n_outputs):
        """See :meth:`Supervisory.for_outputs`: the inner p is asked, which belongs to this one."""
        self.p = declared(self.p, "for_outputs")(n_outputs)
        return self

    def beside(self, main):
        """See :meth:`Supervisory.beside`: that of the inner p."""
        self.p = declared(self.p, "beside")(main)
        return self

    def fitted(self, p, X, y, random_state, n_jobs, device):
        """A fitted copy of an inner p.

        Raises
        ------
        TypeError
            If it is no p.
        ValueError
            If this wrapper cannot be made from it.
        """
        if isinstance(p, (str, type)) or not hasattr(p, "fit") or not hasattr(p, "extend"):
            raise TypeError(
                f"p={p!r} is no supervisory distribution: give an object such as KNN(15), not a name or a class"
            )
        inner = clone(p) if hasattr(p, "get_params") else copy.deepcopy(p)
        fitted_on(inner, X, y, random_state=random_state, n_jobs=n_jobs, device=device)
        reason = _no_pairs_of_rows(inner) if self.pairs_of_rows else None
        if inner.conditional_.listed and not self.takes_lists:
            reason = (
                f"needs one p for each row, and rows of {p!r:.200} have lists of candidates of their own; use Debias, "
                f"which takes lists too, or a p such as KNN(15)"
            )
        if inner.conditional_.sharded and not self.takes_shards:
            reason = "is made from the rows of one process; leave shards(), or use Symmetrize or the p inside"
        if reason is None and not self.keeps_share and inner.conditional_.uniform > 0:
            reason = (
                f"has no place for the share of {p!r:.200}; put Debias around {type(self).__name__} instead"
            )
        if reason is not None:
            raise ValueError(f"{type(self).__name__} {reason}")
        return inner

    def _extend(self, X_new, n_jobs, device):
        return self._around(extended(self.p_, X_new, n_jobs=n_jobs, device=device))

    def _reciprocal(self, X_new, n_jobs, device):
        if self._around is None:
            return self._extend(X_new, n_jobs, device)
        return self._around(extended(self.p_, X_new, n_jobs=n_jobs, device=device, both_sides=True))

    def warn_lost(self, what, remedy):
        """Warn of rows that have a p inside and none outside."""
        supported, before = self.conditional_.supported(), self.p_.conditional_.supported()
        if (before & ~supported).any():
            warn_empty(supported, what, f"{remedy} in {self!r:.200}")


def _no_pairs_of_rows(p):
    """Why a fitted p is no probabilities of rows over the same rows; None if it is."""
    conditional = p.conditional_
    if conditional.wide:
        return (
            f"needs probabilities, and a p in the limit of an infinite bandwidth such as {p!r:.200} has none; use a p "
            f"of finite bandwidth such as Gaussian(sigma=10)"
        )
    if declared(p, "fresh"):
        return (
            f"needs a p over the rows themselves, and {p!r:.200} sees views of them that are drawn anew at every step; "
            f"use a p such as KNN(15) or Labels(), or Debias, which takes views too"
        )
    columns = declared(p, "columns")
    if columns != "rows" or conditional.n_all != conditional.n_cols:
        return (
            f"needs a p whose columns are the rows, but {p!r:.200} has {conditional.n_rows} rows and "
            f"{conditional.n_cols} columns, which are {columns}; use a p such as KNN(15) or Labels()"
        )
    return None
