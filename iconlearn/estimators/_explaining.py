"""Why a row got its class: the training rows that are nearest to it in the learned space.

share(j|i) = k(z_i, z_j) / sum_l k(z_i, z_l)        over the training rows that are kept
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._checks import check_number
from ..neighbors import knn
from ._inputs import searching_as_told, validated_new

__all__ = ["Explained", "Explanation", "add_places", "keep_places"]

# Training rows that are kept, an even share of every class where there are more.
MAX_KEPT = 10**5

# Pairs of rows whose kernels are held at a time.
BLOCK = 2**22


class Explanation(NamedTuple):
    """The nearest training rows of some rows, nearest first.

    Attributes
    ----------
    indices : ndarray of int of shape (n_rows, n_neighbors)
        Positions in the training set.
    distances : ndarray of shape (n_rows, n_neighbors)
        Euclidean distances in the learned space, that of ``transform``.
    labels : ndarray of shape (n_rows, n_neighbors)
        Classes of those training rows.
    shares : ndarray of shape (n_rows, n_neighbors)
        What each has of q over the training rows; a row's shares over all of them would sum to one.
    """

    indices: np.ndarray
    distances: np.ndarray
    labels: np.ndarray
    shares: np.ndarray


def keep_places(estimator, Z, codes, rng):
    """Keep the places, positions and classes of the training rows, of at most 100 000."""
    rows = np.arange(len(codes))
    if len(rows) > MAX_KEPT:
        # Every n-th row of the classes one after the other, so that each keeps its share.
        order = rng.permutation(len(rows))
        order = order[np.argsort(codes[order], kind="stable")]
        rows = np.sort(order[np.linspace(0, len(order) - 1, MAX_KEPT).astype(np.int64)])
    estimator._kept_rows, estimator._kept_codes, estimator._n_seen = rows, codes[rows], len(codes)
    estimator._kept_places = Z[torch.as_tensor(rows)].clone()


def add_places(estimator, Z, codes):
    """Keep further rows behind those that are kept, while there is room; positions go on from the last."""
    room = MAX_KEPT - len(estimator._kept_rows)
    rows = estimator._n_seen + np.arange(len(codes))
    estimator._kept_rows = np.concatenate([estimator._kept_rows, rows[:room]])
    estimator._kept_codes = np.concatenate([estimator._kept_codes, codes[:room]])
    estimator._kept_places = torch.cat([estimator._kept_places, Z[:room]])
    estimator._n_seen += len(codes)


class Explained:
    """Adds :meth:`explain` to a classifier that has kept places."""

    def explain(self, X, n_neighbors=5):
        """The training rows nearest to each row in the learned space, and their shares of q.

        Shares are those of the estimator's own kernel between rows; for the dot q, whose outputs are logits,
        those of a Gaussian of the same temperature on the logits.  Beyond 100 000 training rows an even sample
        of them stands for all.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_new, n_features)
        n_neighbors : int, default=5
            How many training rows; at most as many as there are.

        Returns
        -------
        Explanation
            (indices, distances, labels, shares), each of shape (n_new, n_neighbors).
        """
        check_is_fitted(self)
        if not self._parametric:
            raise ValueError(
                "explain reads the space of a mapper, and this fit has a table; give mapper='linear' or 'mlp', or see "
                "which training rows graph_.extend(X) gives a row for neighbours"
            )
        n_kept = len(self._kept_rows)
        if n_kept == 0:
            raise ValueError(
                "add_classes gave the logits a new column, in which the training rows have no place yet; fit again to "
                "explain predictions by them"
            )
        k = check_number("n_neighbors", n_neighbors, low=1, high=n_kept, integer=True)
        Z = self.q_.represent(self._mapped(validated_new(self, X))).double()
        known = self.q_.represent(self._kept_places).double()
        with searching_as_told(self):
            distances, at = knn(known.numpy(), k, queries=Z.numpy())
        shares = np.empty_like(distances)
        step = max(1, BLOCK // n_kept)
        for start in range(0, len(Z), step):
            part = slice(start, start + step)
            log_k = self._log_kernel_of_rows(Z[part], known)
            log_share = log_k.gather(1, torch.as_tensor(at[part])) - torch.logsumexp(log_k, 1, keepdim=True)
            shares[part] = log_share.exp().numpy()
        return Explanation(self._kept_rows[at], distances, self.classes_[self._kept_codes[at]], shares)

    def _log_kernel_of_rows(self, Z, known):
        """Log kernels of rows against kept rows, both as represented."""
        sqdist = torch.cdist(Z, known, compute_mode="donot_use_mm_for_euclid_dist").square()
        if self.q_.geometry == "sqdist":
            return self.q_.log_kernel(sqdist)
        # exp(u . v / t) is the Gaussian exp(-|u - v|^2 / 2t) but for the lengths of u and v.
        return sqdist * (-0.5 / getattr(self.q_, "temperature_", 1.0))
