"""Labels that walk along a graph: where learning from few of them starts.

    F <- keep * W F + (1 - keep) * Y,        w_ij the symmetric weights, rows of W summing to one

F_ic is the chance, up to a factor, that a walk from row i, which stops with probability 1 - keep after every
step, stops at a label of class c.  Columns are divided by their sums at the end, so that a class whose labels
lie in a dense part of the graph gets no more rows for it.

Zhou et al., "Learning with local and global consistency", NIPS 2003; Zhu, Ghahramani and Lafferty,
"Semi-supervised learning using Gaussian fields and harmonic functions", ICML 2003 (class mass normalisation).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

__all__ = ["propagated"]


def propagated(edges, targets, keep, size=None):
    """Class scores of every row; rows sum to one, and are zero where no label reaches them.

    Parameters
    ----------
    edges : csr_array of shape (n, n)
        Symmetric weights.
    targets : ndarray of shape (n, n_classes)
        Y, rows of the unlabelled zero.
    keep : float in (0, 1)
        Chance that the walk goes on; it takes 1 / (1 - keep) steps on average.
    size : ndarray of shape (n,) or None
        How many rows each of these stands for; None is one.

    Returns
    -------
    scores : ndarray of shape (n, n_classes)
    """
    degree = np.asarray(edges.sum(axis=1)).ravel()
    walk = sparse.diags(1.0 / np.where(degree > 0, degree, 1.0)) @ edges
    scores = targets
    # After so many steps all but a hundredth of the walks have stopped.
    for _ in range(int(np.ceil(np.log(0.01) / np.log(keep)))):
        scores = keep * (walk @ scores) + (1.0 - keep) * targets
    size = np.ones(len(scores)) if size is None else size
    scores = scores / np.maximum(size @ scores, 1e-300)
    total = scores.sum(axis=1, keepdims=True)
    return np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)
