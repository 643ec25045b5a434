"""A further term of an objective: another p (and q) for the same mapper."""

from __future__ import annotations

from sklearn.base import BaseEstimator


class Term(BaseEstimator):
    """weight * mean_i D( p(.|i) || q(.|i) ), added to an estimator's own divergence.

    Parameters
    ----------
    p : str, object or matrix
        As the estimator's `p`; its rows are the estimator's rows.
    q : str, object or None, default=None
        As the estimator's `q`; None takes the estimator's own.
    divergence : str, object or None, default=None
        None takes the estimator's own.
    weight : float, default=1.0
        Positive factor.

    Examples
    --------
    >>> from iconlearn import Term
    >>> Term("labels", weight=0.5)
    Term(p='labels', weight=0.5)
    """

    def __init__(self, p, q=None, divergence=None, weight=1.0):
        self.p = p
        self.q = q
        self.divergence = divergence
        self.weight = weight
