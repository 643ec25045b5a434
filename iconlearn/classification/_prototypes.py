"""Rows against prototypes: log similarities, and class means.

log k(u_i, v_c),        v_c = sum_{y_i = c} w_i z_i / sum_{y_i = c} w_i
"""

from __future__ import annotations

import torch

__all__ = ["class_means", "class_weights", "log_similarities"]


def log_similarities(q, Z, columns):
    """Log kernels of rows against few prototypes, row by row, shape (n_rows, n_prototypes)."""
    U, V = q.place(Z), q.place(columns.to(Z.dtype))
    if q.geometry == "dot":
        return q.log_kernel(U @ V.T)
    # Differences, without the cancellation of a matrix product.
    return q.log_kernel(torch.stack([(U - v).square().sum(1) for v in V], 1))


def class_weights(codes, weight, n_classes):
    """Share of each row in its class's mean, up to a factor, shape (n_rows, n_classes).

    Rows of a class of which no row has any weight count alike.
    """
    member = torch.nn.functional.one_hot(torch.as_tensor(codes), n_classes).double()
    share = member if weight is None else member * torch.as_tensor(weight).double()[:, None]
    return torch.where(share.sum(0) > 0, share, member)


def class_means(Z, codes, weight, n_classes):
    """Weighted mean of each class."""
    share = class_weights(codes, weight, n_classes).to(Z)
    return (share.T @ Z) / share.sum(0)[:, None]
