"""Rows against prototypes: log similarities, and class means.

log k(u_i, v_c),        v_c = sum_{y_i = c} w_i z_i / sum_{y_i = c} w_i
"""

from __future__ import annotations

import numpy as np
import torch

from ..distributed import ALONE
from ..numerics.geometry import matrix


def log_similarities(q, Z, columns):
    """Log kernels of rows against few prototypes, row by row, shape (n_rows, n_prototypes)."""
    U, V = q.place(Z), q.place(columns.to(Z.dtype))
    if q.geometry == "dot":
        return q.log_kernel(U @ V.T)
    if q.geometry == "hyperbolic":
        return q.log_kernel(matrix(q.scalar, U, V))
    # Differences, without the cancellation of a matrix product.
    return q.log_kernel(torch.stack([(U - v).square().sum(1) for v in V], 1))


def averaged(q, Z):
    """Outputs as class means are taken of them: directions on a sphere, steps from the centre of a ball."""
    return q.outputs(q.represent(Z))


def class_weights(codes, weight, n_classes, group=ALONE):
    """Share of each row in its class's mean, up to a factor, shape (n_rows, n_classes).

    Rows of a class of which no row has any weight, here or in another process of the group, count alike.
    """
    member = torch.nn.functional.one_hot(torch.as_tensor(codes), n_classes).double()
    share = member if weight is None else member * torch.as_tensor(weight).double()[:, None]
    return torch.where(group.total(share.sum(0)) > 0, share, member)


def class_means(Z, codes, weight, n_classes, group=ALONE):
    """Weighted mean of each class, over the rows of all processes of the group."""
    share = class_weights(codes, weight, n_classes, group).to(Z)
    return group.total(share.T @ Z) / group.total(share.sum(0))[:, None]


def moved_means(means, class_mass, Z, codes, weight, group=ALONE):
    """Means of the classes, and what these weigh, after further rows.

    Parameters
    ----------
    means : Tensor of shape (n_classes, n_components)
    class_mass : ndarray of shape (n_classes,)
        What the rows of each class have weighed so far.
    Z : Tensor of shape (n_rows, n_components)
    codes : ndarray of int of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None
    group : Group or Alone, default=ALONE
        The processes that the rows lie on.

    Returns
    -------
    means : Tensor
    class_mass : ndarray
    """
    mass = group.total(np.bincount(codes, weights=weight, minlength=len(class_mass)).astype(float))
    if not mass.any():
        return means, class_mass
    new = class_means(Z, codes, weight, len(class_mass), group).nan_to_num()
    part = torch.as_tensor(mass / np.maximum(class_mass + mass, np.finfo(float).tiny))
    return torch.lerp(means, new, part.to(new.dtype)[:, None]), class_mass + mass
