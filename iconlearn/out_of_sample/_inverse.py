"""From the map back to features: the rows whose places are near, weighted by inverse squared distance.

    x(z) = sum_j w_j x_j / sum_j w_j,      w_j = 1 / |z - u_j|^2 over the k nearest places

At the place of a training row it is that row (or the mean of the rows that share the place).

References
----------
Shepard, "A two-dimensional interpolation function for irregularly-spaced data", ACM National Conference 1968.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ..neighbors import knn

N_NEAREST = 10


class InterpolatedRows:
    """Rows of features between the training rows.

    Parameters
    ----------
    places : ndarray of shape (n, d)
        Of the training rows.
    X : ndarray or sparse matrix of shape (n, n_features)
    """

    def __init__(self, places, X):
        self.places, self.X = places, X

    def outputs(self, Z):
        """Features for places of shape (m, d); sparse where X is."""
        n = len(self.places)
        distances, indices = knn(self.places, min(N_NEAREST, n), queries=Z)
        # Relative to the nearest, so that no square overflows; places that coincide with it share the weight.
        nearest = distances[:, :1]
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = np.where(nearest > 0, (nearest / distances) ** 2, distances == 0)
        weights /= weights.sum(axis=1, keepdims=True)
        pointers = np.arange(0, weights.size + 1, weights.shape[1])
        return csr_array((weights.ravel(), indices.ravel(), pointers), shape=(len(Z), n)) @ self.X
