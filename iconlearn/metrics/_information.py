"""Estimates of information."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, xlogy
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from .._checks import check_number
from ..neighbors import distance_block

__all__ = ["mutual_information"]


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
    y = column_or_1d(y)
    check_consistent_length(Z, y)
    Z = np.asarray(Z)
    classes, codes = np.unique(y, return_inverse=True)
    if Z.ndim == 1:
        clusters, other = np.unique(Z, return_inverse=True)
        joint = np.zeros((len(clusters), len(classes)))
        np.add.at(joint, (other, codes), 1.0 / len(y))
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
        return max(0.0, float(xlogy(joint, joint / np.where(joint > 0, product, 1.0)).sum()))
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
