"""Maps beside the data that they show.

recall = mean_i |N_k(x_i) and N_k(z_i)| / k
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.spatial.distance import cdist
from sklearn.utils import check_array, check_consistent_length

from .._checks import check_number
from .._torch_state import as_array
from ..neighbors import knn


def hyperbolic_distances(Y, Z=None):
    """Distances of points of the Poincare ball, whose curvature is -1.

    ``cosh(rho) = 1 + 2 |y - z|^2 / ((1 - |y|^2) (1 - |z|^2))``, computed by sinh(rho / 2), which keeps the digits of
    small distances.

    Parameters
    ----------
    Y : array-like of shape (n, d)
        Rows of length below 1, such as the ``embedding_`` of :func:`iconlearn.recipes.cosne`.
    Z : array-like of shape (m, d) or None, default=None
        None takes Y.

    Returns
    -------
    ndarray of shape (n, m)

    Raises
    ------
    ValueError
        If a row is not inside the ball.

    Examples
    --------
    >>> from iconlearn.metrics import hyperbolic_distances
    >>> hyperbolic_distances([[0.0, 0.0]], [[0.5, 0.0]]).round(4)
    array([[1.0986]])
    """
    rows = [_in_ball(Y, "Y")]
    rows.append(rows[0] if Z is None else _in_ball(Z, "Z"))
    room = [1 - np.square(points).sum(axis=1) for points in rows]
    return 2 * np.arcsinh(cdist(*rows) / np.sqrt(np.outer(*room)))


def _in_ball(points, name):
    points = _checked_rows(points, name, accept_sparse=False)
    length = np.linalg.norm(points, axis=1)
    if length.max() >= 1:
        raise ValueError(
            f"row {length.argmax()} of {name} has length {length.max():.6g}, and points of the Poincare ball are "
            f"shorter than 1; scale {name}, or use Euclidean distances"
        )
    return points


def neighbor_recall(X, Z, n_neighbors=15, *, metric="euclidean") -> float:
    """Mean share of each row's `n_neighbors` nearest rows in X that are among its nearest in Z.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)
    Z : ndarray of shape (n, n_components)
    n_neighbors : int, default=15
    metric : str, default="euclidean"
        Metric in X; Z is always Euclidean.

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ValueError
        If X or Z holds NaN or infinity, or has too few rows for so many neighbours.
    """
    X, Z = _checked_rows(X, "X"), _checked_rows(Z, "Z", accept_sparse=False)
    check_consistent_length(X, Z)
    check_number("n_neighbors", n_neighbors, low=1, integer=True)
    if n_neighbors > X.shape[0] - 1:
        raise ValueError(
            f"n_neighbors={n_neighbors} is more than the {X.shape[0] - 1} other rows; give at most as many"
        )
    _, before = knn(X, n_neighbors, metric=metric)
    _, after = knn(Z, n_neighbors)
    kept = sum(np.intersect1d(a, b, assume_unique=True).size for a, b in zip(before, after, strict=True))
    return float(kept / before.size)


def _checked_rows(rows, name, accept_sparse="csr"):
    """Places or features, of which one number a row may come as a vector."""
    rows = as_array(rows)
    if not hasattr(rows, "ndim"):
        rows = np.asarray(rows)
    rows = rows[:, None] if rows.ndim == 1 and accept_sparse is False else rows
    dtype = np.float64 if accept_sparse is False else [np.float64, np.float32]
    return check_array(rows, accept_sparse=accept_sparse, dtype=dtype, input_name=name)


def joint_kl(P, Z) -> float:
    """KL(P || Q) of t-SNE: Q from the Cauchy kernel on Z, normalised over all pairs.

    Parameters
    ----------
    P : ndarray or sparse matrix of shape (n, n)
        Joint probabilities: non-negative, symmetric, no diagonal; scaled here to sum to one.
    Z : ndarray of shape (n, n_components)

    Returns
    -------
    float
        In nats, evaluated in double precision over all pairs.

    Raises
    ------
    ValueError
        If P is none such, or Z holds NaN or infinity.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008.
    """
    P, Z = _checked_joint(P), _checked_rows(Z, "Z", accept_sparse=False)
    if P.shape[0] != len(Z):
        raise ValueError(f"P has {P.shape[0]} rows and Z has {len(Z)}: they must be as many")
    p = P.data / P.data.sum()
    total, step = 0.0, max(1, 2**22 // len(Z))
    for start in range(0, len(Z), step):
        block = sum((Z[start : start + step, c, None] - Z[:, c]) ** 2 for c in range(Z.shape[1]))
        total += (1.0 / (1.0 + block)).sum()
    total -= len(Z)
    sqdist = ((Z[P.row] - Z[P.col]) ** 2).sum(axis=1)
    on = p > 0
    return float((p[on] * np.log(p[on] * total * (1.0 + sqdist[on]))).sum())


def _checked_joint(P):
    P = coo_array(check_array(as_array(P), accept_sparse=True, dtype=np.float64, input_name="P"))
    if P.shape[0] != P.shape[1]:
        raise ValueError(f"P has shape {P.shape}: it must be square, one row and one column per place")
    largest = P.data.max(initial=0.0)
    if P.data.min(initial=0.0) < 0 or largest <= 0:
        raise ValueError(
            "P must be at least 0, and above 0 for some pairs: joint probabilities of pairs of rows"
        )
    if abs(P - P.T).max() > 1e-6 * largest:
        raise ValueError("P is not symmetric, as joint probabilities of pairs are; give (P + P.T) / 2")
    if P.diagonal().max() > 0:
        raise ValueError("P has entries on its diagonal, and a row is no pair with itself; set them to 0")
    return P
