"""The ridge penalty, and the shape of a classifier's loss around a linear mapper.

    penalty = |W|^2 / (2 C sum of weights),      hessian ~ M / K + ridge,      M = sum_i mass_i (x_i, 1) (x_i, 1)^T

A softmax over K classes with equal probabilities has the curvature 1 / K in every logit, so the second moments
of the rows, which cost less than two evaluations of the loss, give most of the Hessian of the weights.
"""

from __future__ import annotations

import torch

from ..distributed import ALONE
from ..mappers import declares

# Features for which a matrix of all pairs of them is inverted.
MAX_FEATURES = 2048

# On its way a softmax grows sure of most rows, and its curvature falls to about this share.
CONFIDENT = 0.3

# Rows that are weighed at a time.
BLOCK = 2**16


class Ridge:
    """``scale`` times the sum of the squares of some matrices; intercepts are not among them."""

    def __init__(self, matrices, scale):
        self.matrices, self.scale = matrices, scale

    def __call__(self):
        return self.scale * sum(w.square().sum() for w in self.matrices)


def preconditioner(objective, group=ALONE):
    """What is known of the inverse Hessian, for L-BFGS; None where the main mapper is not linear.

    Parameters
    ----------
    objective : Objective
    group : Group or Alone, default=ALONE
        The processes that its rows lie on.

    Returns
    -------
    callable or None
        Multiplies a list of tensors, shaped like the objective's parameters, by a positive definite matrix.
    """
    problem = objective.problems[0]
    inputs, mapper = problem.rows.inputs, problem.rows.mapper
    linear = declares(mapper, "linear") and not declares(mapper, "orthonormal")
    dense = isinstance(inputs, torch.Tensor)
    if problem.tied or problem.fresh or not (linear and dense) or inputs.shape[1] > MAX_FEATURES:
        return None
    weight, bias = mapper.weight, getattr(mapper, "bias", None)
    places = {id(t): k for k, t in enumerate(objective.parameters)}
    if id(weight) not in places:
        return None
    curvature = CONFIDENT * problem.weight / problem.p.n_cols
    ridge = 0.0 if objective.penalty is None else 2.0 * objective.penalty.scale
    inverse = _inverse_hessian(inputs, problem.own_mass, bias is not None, curvature, ridge, group)
    if inverse is None:
        return None
    inverse = inverse.to(weight.dtype)
    at, at_bias = places[id(weight)], places.get(id(bias))

    def precondition(gradients):
        out = [g / (curvature + ridge) for g in gradients]
        if at_bias is None:
            out[at] = gradients[at] @ inverse
            return out
        both = torch.cat([gradients[at], gradients[at_bias][:, None]], 1) @ inverse
        out[at], out[at_bias] = both[:, :-1], both[:, -1]
        return out

    return precondition


def _inverse_hessian(X, mass, with_bias, curvature, ridge, group):
    mass = torch.as_tensor(mass).to(device=X.device, dtype=X.dtype)
    d = X.shape[1]
    hessian = torch.zeros(d + with_bias, d + with_bias, dtype=torch.float64, device=X.device)
    for part, share in zip(X.split(BLOCK), mass.split(BLOCK), strict=True):
        weighed = part * share[:, None]
        hessian[:d, :d] += part.T @ weighed
        if with_bias:
            hessian[:d, d] += weighed.sum(0)
    if with_bias:
        hessian[d, :d], hessian[d, d] = hessian[:d, d], mass.sum()
    hessian = group.total(hessian)
    hessian *= curvature
    hessian.diagonal()[:d] += ridge
    if not torch.isfinite(hessian).all():
        return None
    # Features that are constant or copies of others leave no curvature of their own.
    hessian.diagonal().add_(1e-6 * hessian.diagonal().mean())
    return torch.linalg.inv(hessian)
