"""Divergences between p and q, one pair at a time.

    D(p || q) = sum_j q_j f(p_j / q_j) = sum over the support of p + f(0) * (q-mass off the support)

Each class gives the summand ``q f(p / q)`` from p and log q, and ``at_zero`` = f(0).  Only the support and
the normaliser are ever needed where f(0) is finite; with a uniform share the engines sum the rest.
"""

from __future__ import annotations

import math

import torch
from sklearn.base import BaseEstimator

from ._checks import check_number

__all__ = ["KL", "Divergence", "FDivergence", "Hellinger", "JensenShannon", "ReverseKL", "TotalVariation"]


class Divergence(BaseEstimator):
    """Base of all divergences: ``at_zero`` and ``__call__(p, log_q)``.

    Attributes
    ----------
    at_zero : float
        f(0), the cost of a unit of q where p is zero; infinite where p must have full support.
    linear_in_log_q : bool
        Whether the summand is its value at log q = 0 minus p log q, so that a sum over columns needs only
        the mean of log q.
    reverse : bool
        Whether it is the mean under q of a cost, - log p, with a bonus for the entropy of q.
    entropy : float
        The weight of that bonus.
    """

    at_zero = 0.0
    linear_in_log_q = False
    reverse = False
    entropy = 1.0

    def __call__(self, p, log_q):
        """The summand q f(p / q) of each pair, elementwise."""
        raise TypeError(f"{type(self).__name__} must define __call__(p, log_q)")

    # What the divergence becomes where q alone has an infinite or vanishing bandwidth, and where p has it
    # too; None where it has no such limit.
    limit = None
    wide_limit = None


def _log(p):
    return torch.log(p.clamp_min(torch.finfo(p.dtype).tiny))


class KL(Divergence):
    """Kullback-Leibler divergence, sum p log(p / q); in [0, inf)."""

    at_zero = 0.0
    linear_in_log_q = True

    def __call__(self, p, log_q):
        return torch.where(p > 0, p * (_log(p) - log_q), 0.0)

    @property
    def limit(self):
        return _CrossEntropy()

    @property
    def wide_limit(self):
        return _HalfSquare()


class _CrossEntropy(Divergence):
    """- sum p log q: what is left of KL once its scale outgrows the entropy of p."""

    linear_in_log_q = True

    def __call__(self, p, log_q):
        return -p * log_q


class _HalfSquare(Divergence):
    """(a - b)^2 / 2 for p = (1 + a t) / m and q = (1 + b t) / m: m KL(p || q) / t^2 as t goes to zero."""

    def __call__(self, p, log_q):
        return 0.5 * (p - log_q).square()


class ReverseKL(Divergence):
    """Kullback-Leibler divergence the other way, sum q log(q / p); infinite where q > 0 = p.

    It needs a p with full support: debias it, or use a kernel over all columns.  Between shared clusters and
    a Gaussian of the data it is k-means with a bonus for the entropy of q.

    Parameters
    ----------
    entropy : float, default=1.0
        Weight w of that bonus, in [0, 1]: the summand is ``w q log q - q log p``.  At 0 the bonus is gone,
        and what is left is k-means itself (plus a constant).
    """

    at_zero = math.inf
    reverse = True

    def __init__(self, *, entropy=1.0):
        self.entropy = entropy

    def __call__(self, p, log_q):
        # Infinity is filled in, not computed: a pair that is masked out later needs a finite gradient.
        q = torch.exp(log_q)
        weight = check_number("entropy", self.entropy, low=0, high=1)
        return torch.where((p > 0) | (q == 0), q * (weight * log_q - _log(p)), math.inf)


class JensenShannon(Divergence):
    """Jensen-Shannon divergence, KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2; in [0, log 2]."""

    at_zero = 0.5 * math.log(2.0)

    def __call__(self, p, log_q):
        log_p = _log(p)
        log_m = torch.logaddexp(log_p, log_q) - math.log(2.0)
        of_p = torch.where(p > 0, p * (log_p - log_m), 0.0)
        return 0.5 * (of_p + torch.exp(log_q) * (log_q - log_m))


class Hellinger(Divergence):
    """Squared Hellinger distance, 1 - sum sqrt(p q); in [0, 1]."""

    at_zero = 0.5

    def __call__(self, p, log_q):
        # (sqrt p - sqrt q)^2 / 2, written out so that the gradient is finite at p = 0.
        root = torch.where(p > 0, torch.exp(0.5 * (_log(p) + log_q)), 0.0)
        return 0.5 * (p + torch.exp(log_q)) - root


class TotalVariation(Divergence):
    """Total variation distance, ``sum |p - q| / 2``; in [0, 1].

    Its gradient vanishes where the supports are far apart; start it from a good place.
    """

    at_zero = 0.5

    def __call__(self, p, log_q):
        return 0.5 * torch.abs(p - torch.exp(log_q))


class FDivergence(Divergence):
    """sum q f(p / q) for any convex f with f(1) = 0, given as a function.

    Parameters
    ----------
    function : callable
        ``function(t)`` gives f, by torch operations, elementwise; f(0) must be defined (it may be infinite).

    References
    ----------
    Csiszar, "Information-type measures of difference of probability distributions", 1967.

    Examples
    --------
    >>> import torch
    >>> chi_square = FDivergence(lambda t: (t - 1) ** 2)
    >>> chi_square.at_zero
    1.0
    """

    def __init__(self, function):
        self.function = function

    @property
    def at_zero(self):
        return float(self.function(torch.zeros((), dtype=torch.float64)))

    def __call__(self, p, log_q):
        # q f(t) for t below one, else p f(t) / t, so that neither q nor 1 / t leaves the range; t is kept within it;
        # f(0) by itself, since its slope there may be infinite.
        q, at_zero = torch.exp(log_q), self.at_zero
        longest = 0.4 * math.log(torch.finfo(log_q.dtype).max)
        t = torch.exp(torch.where(p > 0, _log(p) - log_q, 0.0).clamp_max(longest))
        off = at_zero * q if math.isfinite(at_zero) else torch.full_like(q, math.inf)
        f = self.function(t)
        return torch.where(p > 0, torch.where(t < 1, q * f, p * f / t.clamp_min(1)), off)
