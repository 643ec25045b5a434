"""A weight vector for a class that a linear softmax has not seen, from the mean of a few rows.

    w = w_mean + g S^-1 (m - m_mean)

Linear discriminant analysis gives every class such weights, S being the covariance within classes.  The
factor g is what fits the learned weights best, and the intercept makes the new class as sure of its own mean
as the others are of theirs.

Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 1936; Qi, Brown and
Lowe, "Low-shot learning with imprinted weights", CVPR 2018 (weights from means, for cosines).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..distributed import ALONE

# Rows at a time.
BLOCK = 2**16

# Share of the covariance that is replaced by its mean variance; few rows do not know all directions.
SHRINKAGE = 0.1


@dataclass
class Moments:
    """Means of the classes and covariance within them.

    Attributes
    ----------
    means : ndarray of shape (n_classes, n_features)
    covariance : ndarray of shape (n_features, n_features)
    """

    means: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, X, share, group=ALONE):
        """From dense rows and the share of each in its class's mean, shape (n_rows, n_classes), of all in the group."""
        sizes = group.total(share.sum(0))
        means = group.total(share.T @ X) / sizes[:, None]
        weight = (share / sizes).sum(1) / len(sizes)
        second = np.zeros((X.shape[1], X.shape[1]))
        for start in range(0, len(X), BLOCK):
            part = X[start : start + BLOCK]
            second += part.T @ (part * weight[start : start + BLOCK, None])
        return cls(means, group.total(second) - means.T @ means / len(means))

    def weights_for(self, new_means, coef, intercept):
        """Weights and intercepts of classes with these means, beside those of the known classes."""
        d = len(self.covariance)
        variance = np.trace(self.covariance) / d
        S = (1.0 - SHRINKAGE) * self.covariance + (SHRINKAGE * variance + 1e-12) * np.eye(d)
        middle, mean_coef = self.means.mean(0), coef.mean(0)
        directions = np.linalg.solve(S, (self.means - middle).T).T
        scale = ((coef - mean_coef) * directions).sum() / (directions**2).sum()
        new = mean_coef + scale * np.linalg.solve(S, (new_means - middle).T).T
        scores = self.means @ coef.T + intercept
        lead = (np.diag(scores) - scores.mean(1)).mean()
        others = (new_means @ coef.T + intercept).mean(1)
        return new, lead + others - (new * new_means).sum(1)

    def joined(self, new_means, order):
        """With further classes, in another order."""
        return Moments(np.concatenate([self.means, new_means])[order], self.covariance)


def widened(layer, moments, new_means, order):
    """A linear layer with outputs for further classes, all in the given order.

    Parameters
    ----------
    layer : torch.nn.Linear
    moments : Moments
        Of its classes.
    new_means : ndarray of shape (n_new, n_features)
    order : ndarray of int of shape (n_classes + n_new,)
        Positions among the classes of the layer and the new ones behind them.
    """
    bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
    coef, intercept = (t.detach().double().numpy() for t in (layer.weight, bias))
    new, new_intercept = moments.weights_for(new_means, coef, intercept)
    wider = torch.nn.utils.skip_init(
        torch.nn.Linear, coef.shape[1], len(coef) + len(new), dtype=layer.weight.dtype
    )
    with torch.no_grad():
        wider.weight.copy_(torch.as_tensor(np.concatenate([coef, new])[order]))
        wider.bias.copy_(torch.as_tensor(np.concatenate([intercept, new_intercept])[order]))
    return wider.eval()
