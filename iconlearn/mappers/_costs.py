"""What a code costs, besides what is lost by it: divergences and norms that an autoencoder adds to its loss.

Sparse        sum_k KL( Bernoulli(rho) || Bernoulli(mean activation of code k) )
L1            mean_i sum_k |z_ik|, minus the logarithm of a Laplace prior up to a constant
Prior         mean_i KL( N(m_i, diag s_i^2) || N(0, I) )
Contractive   mean_i |d z_i / d x_i|^2, squares of all entries of the Jacobian
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.base import BaseEstimator

from .._checks import check_number


@dataclass(frozen=True, eq=False)
class Code:
    """The codes of one forward pass.

    Parameters
    ----------
    inputs : Tensor of shape (n, n_features)
        The rows; leaves of the graph where a cost needs the slopes of the codes.
    values : Tensor of shape (n, n_codes)
        The codes, or the means of their distributions.
    log_variances : Tensor of shape (n, n_codes) or None
        Of those distributions, where codes have any.
    training : bool
        Whether a cost may be estimated from a draw; otherwise it is exact.
    """

    inputs: torch.Tensor
    values: torch.Tensor
    log_variances: torch.Tensor | None
    training: bool


class Cost(BaseEstimator):
    """Base of the costs: a weight, and a call that gives a scalar of a :class:`Code`.

    Attributes
    ----------
    needs : str or None
        The one kind of code that it can be asked of; None for any.
    slopes : bool
        Whether it is about the slopes of the codes in the inputs.
    """

    needs: str | None = None
    slopes = False

    def check(self):
        """Raise where a parameter makes no sense."""
        check_number("weight", self.weight, low=0, closed="neither")

    def of(self, code):
        """The cost of a :class:`Code` by itself, a scalar tensor."""
        raise TypeError(f"{type(self).__name__} must define of(code)")

    def __call__(self, code):
        """The weighted cost of a :class:`Code`, a scalar tensor."""
        return self.weight * self.of(code)


class Sparse(Cost):
    """KL( Bernoulli(rho) || Bernoulli(mean activation) ), summed over the codes.

    Parameters
    ----------
    rho : float in (0, 1), default=0.05
        The share of rows for which a code is to be active.
    weight : float, default=1.0
        Factor.

    References
    ----------
    Ng, "Sparse autoencoder", CS294A lecture notes 2011.
    """

    needs = "sigmoid"

    def __init__(self, rho=0.05, *, weight=1.0):
        self.rho = rho
        self.weight = weight

    def check(self):
        super().check()
        check_number("rho", self.rho, low=0, high=1, closed="neither")

    def of(self, code):
        # Within the range of single precision, where a code that is always off has an infinite divergence.
        mean = code.values.mean(0).clamp(1e-7, 1 - 1e-7)
        rho = mean.new_tensor(self.rho)
        return (rho * torch.log(rho / mean) + (1 - rho) * torch.log((1 - rho) / (1 - mean))).sum()


class L1(Cost):
    """Sum of the absolute codes of a row: minus the log density of a Laplace prior, up to a constant.

    Parameters
    ----------
    weight : float, default=0.1
        Factor, one over the scale of the prior.
    """

    def __init__(self, weight=0.1):
        self.weight = weight

    def of(self, code):
        return code.values.abs().sum(1).mean()


class Prior(Cost):
    """KL( q(z|x) || N(0, I) ) of codes that are Gaussian distributions: the second half of a variational bound.

    Parameters
    ----------
    weight : float, default=1.0
        Factor, the beta of a beta-VAE; at 1 the loss is minus the evidence lower bound.

    References
    ----------
    Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014; Higgins et al., "beta-VAE: learning basic visual
    concepts with a constrained variational framework", ICLR 2017.
    """

    needs = "gaussian"

    def __init__(self, weight=1.0):
        self.weight = weight

    def of(self, code):
        mean, log_variance = code.values, code.log_variances
        return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()


class Contractive(Cost):
    """Squares of all slopes of the codes in the features: what small noise on a row would move its code by.

    For noise of variance s^2 on the features, E|z(x + noise) - z(x)|^2 is s^2 times this, as s goes to zero.  In
    training it is estimated without bias by one random combination of the codes; where a loss is evaluated, exact.

    Parameters
    ----------
    weight : float, default=0.05
        Factor.

    References
    ----------
    Rifai et al., "Contractive auto-encoders: explicit invariance during feature extraction", ICML 2011.
    """

    slopes = True

    def __init__(self, weight=0.05):
        self.weight = weight

    def of(self, code):
        X, Z = code.inputs, code.values
        if code.training:
            # E of (J^T s)^2 over signs s is the sum of squares of J.
            signs = torch.randint_like(Z, 2) * 2 - 1
            return torch.autograd.grad((Z * signs).sum(), X, create_graph=True)[0].square().sum(1).mean()
        parts = (
            torch.autograd.grad(Z[:, k].sum(), X, retain_graph=True)[0].square().sum()
            for k in range(Z.shape[1])
        )
        return sum(parts) / len(X)
