"""Rows that a mapper of features maps, a block at a time."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from ..mappers import declares

__all__ = ["MappedRows", "mapped"]

# Numbers of a block of rows.
BLOCK = 2**24


class MappedRows:
    """Places of rows by a mapper.

    Parameters
    ----------
    q : Learned
    module : torch.nn.Module
    features : slice or None, default=None
        Those that the module reads; None for all.
    """

    def __init__(self, q, module, features=None):
        self.q, self.module, self.features = q, module, features

    def outputs(self, X):
        """What the module's outputs for the rows of X mean to a user; their code where it has one."""
        if declares(self.module, "encodes"):
            return mapped(self.module, X, self.features, self.module.read).numpy()
        return self.q.represent(mapped(self.module, X, self.features)).numpy()


def mapped(module, X, features=None, call=None):
    """Outputs of a module for rows of X, as a tensor; of its method `call`, where one is given.

    Raises
    ------
    ValueError
        If they are not finite.
    """
    X = X if features is None else X[:, features]
    like = next(iter(module.parameters()), torch.zeros(0))
    step = max(1, BLOCK // max(X.shape[1], 1))
    parts = []
    with torch.no_grad():
        for start in range(0, X.shape[0], step):
            part = X[start : start + step]
            part = part.toarray() if sparse.issparse(part) else np.array(part)
            parts.append((call or module)(torch.from_numpy(part).to(like.dtype)))
    Z = torch.cat(parts)
    if not torch.isfinite(Z).all():
        raise ValueError(
            "the mapper returned NaN or infinity for a row of X; check its weights, and that X is scaled "
            "as in training"
        )
    return Z
