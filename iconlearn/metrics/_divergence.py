"""Divergences of arrays, and the entropies that they are made of.

    D(P || Q) = sum_j P_j log(P_j / Q_j) = H(P, Q) - H(P)
    H(P) = - sum_j P_j log P_j,        H(P, Q) = - sum_j P_j log Q_j

With logarithms to the base two these are bits: H(P, Q) is the mean length of the words of a code that was made for Q
where P is true, H(P) the shortest possible mean length, and D what the wrong code costs.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import entr, rel_entr, xlogy

from .._checks import check_choice, check_number

# How far from one a distribution may add up.
MAX_OFF_ONE = 1e-6


def entropy(P, base=None):
    """H(P) = - sum P log P of a distribution, or of each of several.

    Parameters
    ----------
    P : array-like of shape (..., n)
        Probabilities; the last axis sums to one.
    base : float or None, default=None
        Of the logarithm: None gives nats, 2 bits.

    Returns
    -------
    float or ndarray of shape (...)
        From 0, for certainty, to log n.

    Raises
    ------
    ValueError
        If P holds negative numbers or does not sum to one, or the base is not above one.

    References
    ----------
    Shannon, "A mathematical theory of communication", 1948.

    Examples
    --------
    >>> from iconlearn.metrics import entropy
    >>> entropy([0.5, 0.25, 0.25], base=2)
    1.5
    """
    P, unit = _distributions("P", P), _unit(base)
    return _number(entr(P).sum(axis=-1) / unit)


def cross_entropy(P, Q, base=None):
    """H(P, Q) = - sum P log Q: the mean surprise, - log Q, of draws from P under Q.

    Parameters
    ----------
    P, Q : array-like of shape (..., n)
        Probabilities; their last axis sums to one.  One may be a single distribution beside many.
    base : float or None, default=None
        Of the logarithm: None gives nats, 2 bits.

    Returns
    -------
    float or ndarray of shape (...)
        H(P) + KL(P || Q); infinite where P draws what is impossible under Q.

    Raises
    ------
    ValueError
        If P or Q holds negative numbers or does not sum to one, or they are not over the same outcomes.

    Examples
    --------
    >>> from iconlearn.metrics import cross_entropy
    >>> cross_entropy([0.5, 0.25, 0.25], [0.25, 0.25, 0.5], base=2)
    1.75
    """
    P, Q = _beside(P, Q)
    return _number(0.0 - xlogy(P, Q).sum(axis=-1) / _unit(base))


def divergence(P, Q, kind="kl", base=None):
    """How far a distribution Q is from P, or each of several.

    Parameters
    ----------
    P, Q : array-like of shape (..., n)
        Probabilities; their last axis sums to one.  One may be a single distribution beside many.
    kind : {"kl", "reverse_kl", "jensen_shannon", "hellinger", "total_variation"}, default="kl"
        "kl" is sum P log(P / Q) and "reverse_kl" sum Q log(Q / P), both without a highest value; "jensen_shannon" is
        the mean of KL(P || M) and KL(Q || M), M = (P + Q) / 2, at most log 2; "hellinger" is the squared distance
        1 - sum sqrt(P Q) and "total_variation" ``sum |P - Q| / 2``, both at most 1.  They are those of
        :mod:`iconlearn.divergences`.
    base : float or None, default=None
        Of the logarithm: None gives nats, 2 bits.  "hellinger" and "total_variation" have none.

    Returns
    -------
    float or ndarray of shape (...)
        0 where Q is P.  KL is infinite where P draws what is impossible under Q.

    Raises
    ------
    ValueError
        If P or Q holds negative numbers or does not sum to one, they are not over the same outcomes, or a base is
        given for what has no logarithm.

    Notes
    -----
    KL is no metric: KL(P || Q) is not KL(Q || P), and a way round may be shorter than the straight one.

    References
    ----------
    Kullback and Leibler, "On information and sufficiency", 1951; Lin, "Divergence measures based on the Shannon
    entropy", 1991.

    Examples
    --------
    >>> from iconlearn.metrics import divergence
    >>> divergence([0.5, 0.25, 0.25], [0.25, 0.25, 0.5], base=2)
    0.25
    """
    P, Q = _beside(P, Q)
    check_choice("kind", kind, KINDS)
    formula, has_logarithm = KINDS[kind]
    if base is not None and not has_logarithm:
        raise ValueError(
            f"base={base!r} is without meaning for kind={kind!r}, which has no logarithm; leave it out"
        )
    return _number(formula(P, Q) / _unit(base))


def _jensen_shannon(P, Q):
    M = 0.5 * (P + Q)
    return 0.5 * (rel_entr(P, M) + rel_entr(Q, M)).sum(axis=-1)


# Formula, and whether it has a logarithm.
KINDS = {
    "kl": (lambda P, Q: rel_entr(P, Q).sum(axis=-1), True),
    "reverse_kl": (lambda P, Q: rel_entr(Q, P).sum(axis=-1), True),
    "jensen_shannon": (_jensen_shannon, True),
    "hellinger": (lambda P, Q: 0.5 * np.square(np.sqrt(P) - np.sqrt(Q)).sum(axis=-1), False),
    "total_variation": (lambda P, Q: 0.5 * np.abs(P - Q).sum(axis=-1), False),
}


def gaussian_kl(mean0, cov0, mean1, cov1, base=None) -> float:
    """KL(N(mean0, cov0) || N(mean1, cov1)) between two Gaussian densities.

    Parameters
    ----------
    mean0 : float or array-like of shape (d,)
    cov0 : float or array-like of shape (d,) or (d, d)
        Covariance; a number or a vector holds the variances of independent coordinates.
    mean1, cov1
        As `mean0` and `cov0`.
    base : float or None, default=None
        Of the logarithm: None gives nats, 2 bits.

    Returns
    -------
    float
        At least 0.

    Raises
    ------
    ValueError
        If the dimensions differ, or a covariance is not symmetric and positive definite.

    Notes
    -----
    (tr(S1^-1 S0) + (m1 - m0)' S1^-1 (m1 - m0) - d + log det S1 - log det S0) / 2.

    Examples
    --------
    >>> from iconlearn.metrics import gaussian_kl
    >>> gaussian_kl(0, 1, 2, 1)
    2.0
    """
    m0, m1 = _mean("mean0", mean0), _mean("mean1", mean1)
    if m0.shape != m1.shape:
        raise ValueError(f"mean0 has {len(m0)} dimensions and mean1 {len(m1)}: they must be as many")
    L0, L1 = _root("cov0", cov0, len(m0)), _root("cov1", cov1, len(m0))
    spread = np.square(solve_triangular(L1, L0, lower=True)).sum()
    shift = np.square(solve_triangular(L1, m1 - m0, lower=True)).sum()
    volumes = 2 * (np.log(L1.diagonal()) - np.log(L0.diagonal())).sum()
    # Rounding alone takes it below 0.
    return max(0.0, float(0.5 * (spread + shift - len(m0) + volumes) / _unit(base)))


def _mean(name, mean):
    mean = np.atleast_1d(_finite(name, mean))
    if mean.ndim != 1:
        raise ValueError(f"{name} has shape {mean.shape}: it must be a number or a vector")
    return mean


def _root(name, cov, d):
    """The lower Cholesky factor of a covariance of d coordinates."""
    cov = _finite(name, cov)
    if cov.ndim < 2:
        if cov.ndim == 1 and len(cov) != d:
            raise ValueError(f"{name} has {len(cov)} variances for {d} dimensions")
        cov = np.diag(np.broadcast_to(cov, d))
    if cov.shape != (d, d):
        raise ValueError(
            f"{name} has shape {cov.shape}: it must be {(d, d)}, as the mean has {d} coordinates"
        )
    if np.abs(cov - cov.T).max() > 1e-8 * np.abs(cov).max():
        raise ValueError(f"{name} is not symmetric, as a covariance is; give (S + S.T) / 2")
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"{name} is not positive definite, so that its Gaussian has no density; add a small number to its diagonal"
        ) from error


def _finite(name, values):
    values = np.array(values, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity; give finite numbers")
    return values


def _distributions(name, P):
    P = _finite(name, P)
    if P.ndim == 0 or P.shape[-1] == 0:
        raise ValueError(
            f"{name} has shape {P.shape}: it must hold the probabilities of at least one outcome"
        )
    if P.min(initial=0.0) < 0:
        raise ValueError(f"{name} holds {P.min():g}: probabilities are at least 0")
    off = np.abs(P.sum(axis=-1) - 1).max(initial=0.0)
    if off > MAX_OFF_ONE:
        raise ValueError(
            f"{name} is off one by {off:.3g} in sum: probabilities sum to one along the last axis; divide by the sum"
        )
    return P


def _beside(P, Q):
    P, Q = _distributions("P", P), _distributions("Q", Q)
    try:
        if P.shape[-1] == Q.shape[-1]:
            return np.broadcast_arrays(P, Q)
    except ValueError:
        pass
    raise ValueError(
        f"P has shape {P.shape} and Q {Q.shape}: they must be over the same outcomes, one distribution or as many"
    )


def _unit(base):
    """A unit of information in nats."""
    if base is None:
        return 1.0
    return math.log(check_number("base", base, low=1, closed="neither", hint="2 gives bits, None nats"))


def _number(value):
    return float(value) if np.ndim(value) == 0 else value
