"""Rows that a mapper of features maps, a block at a time."""

from __future__ import annotations

import copy

import numpy as np
import torch
from scipy import sparse

from .._device import has_cuda
from .._transfer import sent
from ..mappers import declares

# Numbers of a block of rows.
BLOCK = 2**24
# Rows times parameters of a network from which a device is quicker, copies to it and back included.
LARGE = 2**27


class MappedRows:
    """Places of rows by a mapper.

    Parameters
    ----------
    q : Learned
    module : torch.nn.Module
    features : slice or None, default=None
        Those that the module reads; None for all.
    device : str or torch.device, default="auto"
        As in :func:`answering`.
    """

    def __init__(self, q, module, features=None, device="auto"):
        self.q, self.module, self.features, self.device = q, module, features, device

    def outputs(self, X):
        """What the module's outputs for the rows of X mean to a user; their code where it has one."""
        module = answering(self.module, X.shape[0], self.device)
        if declares(module, "encodes"):
            return mapped(module, X, self.features, module.read).numpy()
        return self.q.represent(mapped(module, X, self.features)).numpy()


def answering(module, n_rows, device):
    """The module, or a copy of it on a CUDA device where many rows are to pass a network.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU, where it stays.
    n_rows : int
    device : str or torch.device
        "cpu" leaves all rows to the CPU, "auto" means the current CUDA device.  A model that was fitted on a device
        that this machine does not have answers all the same.
    """
    work = n_rows * sum(weights.numel() for weights in module.parameters())
    if str(device) == "cpu" or declares(module, "linear") or work < LARGE or not has_cuda():
        return module
    there = torch.device("cuda" if str(device) == "auto" else device)
    if (there.index or 0) >= torch.cuda.device_count():
        there = torch.device("cuda")
    return copy.deepcopy(module).to(there)


def mapped(module, X, features=None, call=None):
    """Outputs of a module for rows of X, as a tensor on the CPU; of its method `call`, where one is given.

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
            parts.append((call or module)(*sent([(part, like.dtype)], like.device)))
    Z = torch.cat(parts).cpu()
    if not torch.isfinite(Z).all():
        raise ValueError(
            "the mapper returned NaN or infinity for a row of X; check its weights, and that X is scaled "
            "as in training"
        )
    return Z
