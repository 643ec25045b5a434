"""Estimates of information."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import digamma, logsumexp, xlogy
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from .._checks import check_choice, check_number
from .._torch_state import as_array
from ..neighbors import distance_block

# Between which factors of the spread of the scores the best temperature is looked for.
COLDEST, HOTTEST = 1e-3, 1e3

# Directions of less than this share of the largest variance are constants.
CONSTANT = 1e-10


def mutual_information(Z, y, *, n_neighbors=3) -> float:
    """I(Z; Y) between a representation and classes, in nats.

    Parameters
    ----------
    Z : array-like of shape (n,) or (n, n_components)
        One-dimensional: clusters or other discrete values, for which the counts decide.  Two-dimensional:
        places in a continuous space, for which distances to the nearest rows of the same class decide.
    y : array-like of shape (n,)
        Classes.
    n_neighbors : int, default=3
        Neighbours within the class, for places.  More vary less and are more biased.

    Returns
    -------
    float
        Not below 0.  For clusters this is the plug-in estimate, too high by about (a - 1)(b - 1) / 2n for a
        clusters and b classes.

    Notes
    -----
    For places: digamma(n) - <digamma(n_c)> + <digamma(k)> - <digamma(m)>, n_c the size of a row's class and m
    the number of rows of any class that are as near as its k-th class mate.  Class mates that are as near as the
    k-th count as well, as where places are rounded or equal.  Rows that are alone in their class are left out.

    References
    ----------
    Ross, "Mutual information between discrete and continuous data sets", PLoS ONE 2014.
    """
    Z, y = as_array(Z), column_or_1d(as_array(y))
    check_consistent_length(Z, y)
    Z = np.asarray(Z)
    classes, codes = np.unique(y, return_inverse=True)
    if Z.ndim == 1:
        return _of_counts(*np.unique(Z, return_inverse=True), classes, codes)
    Z = check_array(Z, dtype=np.float64, input_name="Z")
    k = check_number("n_neighbors", n_neighbors, low=1, integer=True)
    sizes = np.bincount(codes)[codes]
    Z, codes, sizes = Z[sizes > 1], codes[sizes > 1], sizes[sizes > 1]
    if not len(Z):
        raise ValueError(
            "every class has one row only; mutual_information needs classes of at least two rows"
        )
    n, total, step = len(Z), 0.0, max(1, 2**22 // len(Z))
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        d = distance_block(Z[rows], Z)
        d[np.arange(len(rows)), rows] = np.inf
        near = np.minimum(k, sizes[rows] - 1)
        mates = np.sort(np.where(codes[rows, None] == codes, d, np.inf), axis=1)
        radius = mates[np.arange(len(rows)), near - 1]
        m = (d <= radius[:, None]).sum(axis=1)
        # More than k class mates within the radius lie as far off as the k-th.
        near = (mates <= radius[:, None]).sum(axis=1)
        total += (digamma(near) - digamma(sizes[rows]) - digamma(m)).sum()
    return max(0.0, float(digamma(n) + total / n))


def _of_counts(clusters, other, classes, codes):
    """The plug-in estimate for two discrete values of each row."""
    joint = np.zeros((len(clusters), len(classes)))
    np.add.at(joint, (other, codes), 1.0 / len(codes))
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    return max(0.0, float(xlogy(joint, joint / np.where(joint > 0, product, 1.0)).sum()))


def information_between(U, V, method="nce", *, kernel="cosine", temperature=None, n_bins=20) -> float:
    """I(U; V) between two representations of the same things, in nats.

    Parameters
    ----------
    U, V : array-like of shape (n,), (n, d) and (n, e)
        Row i of one belongs with row i of the other.  d and e are the same with "nce".
    method : {"nce", "gaussian", "histogram"}, default="nce"
        "nce": log n - L, with L the mean cross-entropy of finding the own row among all n by a softmax of the kernel.
        It is a lower bound for any kernel, on pairs that the representation was not fitted on, and at most log n.
        "gaussian": that of Gaussian variables of the same covariances, which is exact for Gaussians and a lower bound
        where each side by itself is Gaussian; with few rows it is too high, by about d e / 2n.
        "histogram": that of the first columns in bins of equal width.  It is at most log(n_bins), whatever is shared,
        and blind to all other columns.
    kernel : {"cosine", "gaussian"}, default="cosine"
        Of "nce": cosine over the temperature, or minus the squared distance over twice the temperature.
    temperature : float or None, default=None
        Of "nce".  None takes the best one for these pairs; choosing one number adds about 1 / 2n.
    n_bins : int, default=20
        Of "histogram".

    Returns
    -------
    float
        Not below 0.

    Raises
    ------
    ValueError
        For fewer than two rows, or representations that do not go together.

    References
    ----------
    van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018; Poole et al., "On
    variational bounds of mutual information", ICML 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from iconlearn.metrics import information_between
    >>> u, noise = np.random.default_rng(0).normal(size=(2, 4000))
    >>> v = 0.8 * u + 0.6 * noise  # correlation 0.8: - log(1 - 0.64) / 2 = 0.511 nats
    >>> round(information_between(u, v, "gaussian"), 1), round(information_between(u, v, kernel="gaussian"), 1)
    (0.5, 0.5)
    """
    check_choice("method", method, ("nce", "gaussian", "histogram"))
    check_choice("kernel", kernel, ("cosine", "gaussian"))
    U, V = _columns("U", U), _columns("V", V)
    check_consistent_length(U, V)
    if method == "histogram":
        bins = check_number("n_bins", n_bins, low=2, integer=True)
        return _of_counts(*_binned(U[:, 0], bins), *_binned(V[:, 0], bins))
    if method == "gaussian":
        correlations = np.linalg.svd(_whitened(U).T @ _whitened(V), compute_uv=False)
        # A direction that one side knows for certain has no end; it is taken to be known to rounding.
        return float(-0.5 * np.log1p(-(np.minimum(correlations, 1 - 1e-12) ** 2)).sum())
    if U.shape[1] != V.shape[1]:
        raise ValueError(
            f"U has {U.shape[1]} columns and V {V.shape[1]}: a {kernel} kernel takes as many of both"
        )
    scores = _unit(U) @ _unit(V).T if kernel == "cosine" else -0.5 * distance_block(U, V) ** 2
    if temperature is not None:
        return max(0.0, contrast(scores / check_number("temperature", temperature, low=0, closed="neither")))
    spread = scores.std() or 1.0

    def found(log_t):
        return -contrast(scores / (spread * np.exp(log_t)))

    # Concave in the inverse of the temperature, so there is one maximum.
    best = minimize_scalar(found, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return max(0.0, -float(best.fun))


def contrast(scores) -> float:
    """log n - L for the scores of every row against every column, each row's own in the diagonal."""
    return float(np.log(len(scores)) + np.mean(scores.diagonal() - logsumexp(scores, axis=1)))


def noise_information(X, scale) -> float:
    """What a view by Gaussian noise shares at most with anything else that is made of the same rows, in nats.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        The rows, without noise.
    scale : float or array-like of shape (n_features,)
        Standard deviation of the noise; ``Views("noise", strength=s)`` has s times that of each feature.

    Returns
    -------
    float
        The smaller of log n and log det(I + C / scale^2) / 2, C the covariance of X.

    Raises
    ------
    ValueError
        If the scale is not above 0.

    Notes
    -----
    Whatever is made of a row, such as another view, tells no more of the noisy view than the row itself.  Of n rows
    drawn alike that is at most their entropy log n; and of all distributions of one covariance the Gaussian one tells
    most.

    References
    ----------
    Cover and Thomas, "Elements of information theory", 2006, chapters 2 and 9.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn.metrics import noise_information
    >>> X = load_iris().data
    >>> round(noise_information(X, 1.0), 2), round(noise_information(X, 0.01), 2)
    (0.98, 5.01)
    """
    X = check_array(as_array(X), dtype=np.float64, ensure_min_samples=2, input_name="X")
    scale = np.array(scale, dtype=float)
    if scale.shape not in ((), (X.shape[1],)) or not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(
            f"scale={scale!r} must be one number above 0, or one for each of {X.shape[1]} features; leave out features "
            f"without noise"
        )
    C = np.atleast_2d(np.cov((X / scale).T, bias=True))
    return min(float(np.log(len(X))), 0.5 * float(np.linalg.slogdet(np.eye(len(C)) + C)[1]))


def _columns(name, rows):
    rows = np.asarray(rows)
    rows = rows[:, None] if rows.ndim == 1 else rows
    return check_array(as_array(rows), dtype=np.float64, ensure_min_samples=2, input_name=name)


def _binned(column, bins):
    """Numbers in bins of equal width, as ``numpy.unique`` gives values."""
    edges = np.histogram_bin_edges(column, bins)
    return np.unique(np.digitize(column, edges[1:-1]), return_inverse=True)


def _whitened(Z):
    """An orthonormal basis of the centred columns."""
    left, sizes, _ = np.linalg.svd(Z - Z.mean(axis=0), full_matrices=False)
    return left[:, sizes**2 > CONSTANT * sizes[0] ** 2]


def _unit(Z):
    return Z / np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), np.finfo(float).tiny)
