"""Why a row got its class: the training rows that are nearest to it in the learned space.

share(j|i) = k(z_i, z_j) / sum_l k(z_i, z_l)        over the training rows that are kept
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..neighbors import knn
from ..numerics.geometry import matrix

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

    def __repr__(self):
        n, k = self.indices.shape
        return f"<Explanation of {n} rows by {k} training rows each; fields {', '.join(self._fields)}>"


class TrainingPlaces(NamedTuple):
    """Where training rows lie in the learned space, at most 100 000 of them.

    Attributes
    ----------
    places : Tensor of shape (n_kept, n_components)
        Outputs of the mapper.
    rows : ndarray of int of shape (n_kept,)
        Positions in the training set.
    codes : ndarray of int of shape (n_kept,)
        Their classes.
    n_seen : int
        Rows of the training set.
    """

    places: torch.Tensor
    rows: np.ndarray
    codes: np.ndarray
    n_seen: int

    @classmethod
    def sampled(cls, Z, codes, rng):
        """Of all rows, or of an even sample of every class where they are too many."""
        rows = np.arange(len(codes))
        if len(rows) > MAX_KEPT:
            # Every n-th row of the classes one after the other, so that each keeps its share.
            order = rng.permutation(len(rows))
            order = order[np.argsort(codes[order], kind="stable")]
            rows = np.sort(order[np.linspace(0, len(order) - 1, MAX_KEPT).astype(np.int64)])
        return cls(Z[torch.as_tensor(rows)].clone(), rows, codes[rows], len(codes))

    def extended(self, Z, codes):
        """With further rows behind these up to the limit; positions continue from the last."""
        room = MAX_KEPT - len(self.rows)
        rows = self.n_seen + np.arange(len(codes))
        return TrainingPlaces(
            torch.cat([self.places, Z[:room]]),
            np.concatenate([self.rows, rows[:room]]),
            np.concatenate([self.codes, codes[:room]]),
            self.n_seen + len(codes),
        )

    def explained(self, q, Z, k, classes, device=None) -> Explanation:
        """The k nearest training rows of rows whose outputs are Z."""
        Z, kept = q.represent(Z).double(), q.represent(self.places).double()
        distances, at = knn(kept.numpy(), k, queries=Z.numpy(), device=device)
        shares = np.empty_like(distances)
        step = max(1, BLOCK // len(kept))
        for start in range(0, len(Z), step):
            part = slice(start, start + step)
            log_k = _log_kernel_of_rows(q, Z[part], kept)
            log_share = log_k.gather(1, torch.as_tensor(at[part])) - torch.logsumexp(log_k, 1, keepdim=True)
            shares[part] = log_share.exp().numpy()
        return Explanation(self.rows[at], distances, classes[self.codes[at]], shares)


def _log_kernel_of_rows(q, Z, kept):
    """Log kernels of rows against kept rows, both as represented."""
    if q.geometry == "hyperbolic":
        return q.log_kernel(matrix(q.scalar, q.place(q.outputs(Z)), q.place(q.outputs(kept))))
    sqdist = torch.cdist(Z, kept, compute_mode="donot_use_mm_for_euclid_dist").square()
    if q.geometry == "sqdist":
        return q.log_kernel(sqdist)
    # exp(u . v / t) is the Gaussian exp(-|u - v|^2 / 2t) but for the lengths of u and v.
    return sqdist * (-0.5 / getattr(q, "temperature_", 1.0))
