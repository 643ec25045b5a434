"""Figures of merit: clustering accuracy, neighbours kept, and the t-SNE divergence of any map.

accuracy = max over matchings of clusters to classes of the share of rows that agree
recall   = mean_i |N_k(x_i) and N_k(z_i)| / k
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_consistent_length, column_or_1d

from .neighbors import knn

__all__ = ["clustering_accuracy", "joint_kl", "neighbor_recall"]


def clustering_accuracy(y_true, labels) -> float:
    """Share of rows that agree under the best one-to-one matching of clusters to classes.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Classes.
    labels : array-like of shape (n,)
        Clusters; any names, and their number may differ from that of the classes.

    Returns
    -------
    float in [0, 1]

    References
    ----------
    Kuhn, "The Hungarian method for the assignment problem", 1955.

    Examples
    --------
    >>> from iconlearn.metrics import clustering_accuracy
    >>> clustering_accuracy([0, 0, 1, 1], [1, 1, 0, 2])
    0.75
    """
    y_true, labels = column_or_1d(y_true), column_or_1d(labels)
    check_consistent_length(y_true, labels)
    classes, i = np.unique(y_true, return_inverse=True)
    clusters, j = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(clusters), len(classes)), dtype=np.int64)
    np.add.at(counts, (j, i), 1)
    rows, cols = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, cols].sum() / len(i))


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
    """
    check_consistent_length(X, Z)
    _, before = knn(X, n_neighbors, metric=metric)
    _, after = knn(np.asarray(Z, dtype=float), n_neighbors)
    kept = sum(np.intersect1d(a, b, assume_unique=True).size for a, b in zip(before, after, strict=True))
    return float(kept / before.size)


def joint_kl(P, Z) -> float:
    """KL(P || Q) of t-SNE: Q from the Cauchy kernel on Z, normalised over all pairs.

    Parameters
    ----------
    P : sparse matrix of shape (n, n)
        Joint probabilities: non-negative, symmetric, no diagonal; scaled here to sum to one.
    Z : ndarray of shape (n, n_components)

    Returns
    -------
    float
        In nats, evaluated in double precision over all pairs.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008.
    """
    P, Z = P.tocoo(), np.asarray(Z, dtype=float)
    p = P.data / P.data.sum()
    total, step = 0.0, max(1, 2**22 // len(Z))
    for start in range(0, len(Z), step):
        block = sum((Z[start : start + step, c, None] - Z[:, c]) ** 2 for c in range(Z.shape[1]))
        total += (1.0 / (1.0 + block)).sum()
    total -= len(Z)
    sqdist = ((Z[P.row] - Z[P.col]) ** 2).sum(axis=1)
    on = p > 0
    return float((p[on] * np.log(p[on] * total * (1.0 + sqdist[on]))).sum())
