"""Kernels on an embedding: Gaussian, Student, inverse power, dot product and cosine.

k(u, v) = exp(-|u - v|^2 / (2 sigma^2)),  (1 + |u - v|^2 / dof)^(-(dof + 1) / 2),  |u - v|^(-power),
          exp(u . v / temperature)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import gammaln, hyp0f1, ive

from .._checks import check_choice, check_number
from ._base import Learned


class Gaussian(Learned):
    """``k(u, v) = exp(-|u - v|^2 / (2 sigma^2))``, as in SNE.

    Parameters
    ----------
    sigma : float, default=1.0
        Width of the kernel in units of the embedding.  SNE's ``exp(-|u - v|^2)`` is ``sigma=0.5**0.5``.
    learnable : bool, default=False
        Whether the width is learned together with the mapper, from `sigma` on (kept above a hundredth of it).
    normalize : {"row", "joint", "doubly", "space"}, default="row"
        Divide by the row's sum, by the sum over all pairs, by a factor for each of the two rows, so that all rows and
        all columns sum to one (Sinkhorn's projection; the dense engine alone), or by the kernel's integral over the
        whole space.  The last is a likelihood and no contrast: the loss is ``|u - v|^2 / (2 sigma^2)`` and a constant,
        and nothing is pushed away.
    debias : float, default=0.0
        Share of q, in [0, 1), that is spread evenly over the candidates; 0 with ``normalize="space"``.

    References
    ----------
    Hinton and Roweis, "Stochastic neighbor embedding", NeurIPS 2002; Van Assel et al., "SNEkhorn: dimension
    reduction with symmetric entropic affinities", NeurIPS 2023 (doubly stochastic).
    """

    normalizers = ("row", "joint", "doubly", "space")

    # For what was stored before there was such a parameter.
    learnable = False

    def __init__(self, sigma=1.0, *, learnable=False, normalize="row", debias=0.0):
        self.sigma = sigma
        self.learnable = learnable
        self.normalize = normalize
        self.debias = debias

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("sigma", self.sigma, low=0, closed="neither")
        fixed = super().begin(dtype=dtype, device=device)
        if not self.learnable:
            return fixed
        self.log_precision_ = torch.nn.Parameter(
            torch.tensor(-math.log(self.sigma), dtype=dtype, device=device)
        )
        return [*fixed, self.log_precision_]

    def __getstate__(self):
        # A parameter that came later is part of a state where it is set, so that states stay what they were.
        return {name: v for name, v in super().__getstate__().items() if name != "learnable" or v}

    @property
    def sigma_(self) -> float:
        """The width in use, learned or not."""
        return float(torch.exp(-self._log_precision().detach().double())) if self.learnable else self.sigma

    def _log_precision(self):
        return _AtMost.apply(self.log_precision_, math.log(_MAX_SCALE / self.sigma))

    @property
    def _factor(self):
        # A learned width is folded into the places, as learned temperatures are.
        return -0.5 if self.learnable else -0.5 / self.sigma**2

    def place(self, Z, columns=False, mass=None):
        return Z * torch.exp(self._log_precision()).to(Z.dtype) if self.learnable else Z

    def log_kernel(self, s):
        return s * self._factor

    def log_volume(self, n_dims):
        # Squares are taken between places that are divided by a learned width already, and the density is one of Z.
        log_sigma = -self._log_precision() if self.learnable else math.log(self.sigma)
        return n_dims * (0.5 * math.log(2 * math.pi) + log_sigma)

    def slope(self, s):
        return torch.full_like(s, self._factor)

    @property
    def edge_form(self):
        return self._factor, math.inf


class Student(Learned):
    """``k(u, v) = (1 + |u - v|^2 / dof)^(-(dof + 1) / 2)``; ``dof=1`` is t-SNE's kernel.

    Parameters
    ----------
    dof : float, default=1.0
        Degrees of freedom; small values have heavier tails, large ones approach a Gaussian.
    normalize, debias
        As for :class:`Gaussian`.  In a space of d dimensions the kernel has an integral for ``dof > d - 1``: it is then
        the multivariate t density of ``dof + 1 - d`` degrees of freedom, which far observations move little.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008; Kobak et al., "Heavy-tailed
    kernels reveal a finer cluster structure in t-SNE visualisations", ECML 2019.
    """

    normalizers = ("row", "joint", "doubly", "space")

    def __init__(self, dof=1.0, *, normalize="row", debias=0.0):
        self.dof = dof
        self.normalize = normalize
        self.debias = debias

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("dof", self.dof, low=0, closed="neither")
        return super().begin(dtype=dtype, device=device)

    def log_kernel(self, s):
        return torch.log1p(s / self.dof) * (-0.5 * (self.dof + 1))

    def log_volume(self, n_dims):
        tail = self.dof + 1 - n_dims
        if tail <= 0:
            raise ValueError(
                f"dof={self.dof!r} of Student with normalize='space': over {n_dims} dimensions the kernel has an "
                f"integral only for dof > {n_dims - 1}; use for example dof={n_dims}"
            )
        return float(
            0.5 * n_dims * math.log(math.pi * self.dof) + gammaln(0.5 * tail) - gammaln(0.5 * (self.dof + 1))
        )

    def slope(self, s):
        return (-0.5 * (self.dof + 1)) / (s + self.dof)

    @property
    def edge_form(self):
        return -0.5 * (self.dof + 1), self.dof

    @property
    def heavy_tailed(self):
        return self.dof <= 3

    def kernel(self, s):
        """The kernel itself; may overwrite `s`."""
        if self.dof == 1:
            return s.add_(1).reciprocal_()
        return s.div_(self.dof).add_(1).pow_(-0.5 * (self.dof + 1))

    def slope_of_kernel(self, k):
        """Derivative of the kernel with respect to s, from the kernel itself, as (tensor, factor).

        The tensor may overwrite `k`; the derivative is their product.
        """
        factor = -0.5 * (self.dof + 1) / self.dof
        if self.dof == 1:
            return k.square_(), factor
        return k.pow_((self.dof + 3) / (self.dof + 1)), factor


class InversePower(Learned):
    """``k(u, v) = |u - v|^(-power)``, the kernel of the harmonic loss.

    Parameters
    ----------
    power : float, default=2.0
        Exponent on the distance (not on its square).
    eps : float, default=1e-12
        Added to the squared distance, so that coinciding points keep a finite loss.
    normalize, debias
        As for :class:`Gaussian`.

    References
    ----------
    Baek et al., "Harmonic loss trains interpretable AI models", 2025.
    """

    singular = True
    # The kernel has no width of its own, so neither has a start.
    start_scale = 1.0

    def __init__(self, power=2.0, *, eps=1e-12, normalize="row", debias=0.0):
        self.power = power
        self.eps = eps
        self.normalize = normalize
        self.debias = debias

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("power", self.power, low=0, closed="neither")
        check_number("eps", self.eps, low=0, closed="neither")
        return super().begin(dtype=dtype, device=device)

    def log_kernel(self, s):
        return torch.log(s + self.eps) * (-0.5 * self.power)

    def slope(self, s):
        return (-0.5 * self.power) / (s + self.eps)


# 1 / temperature is folded into the places (its root into each side), so that a learned temperature gets
# its gradient through them and the kernel stays one line without parameters.
_MAX_SCALE = 100.0


class _AtMost(torch.autograd.Function):
    """The smaller of x and a bound; beyond it the gradient leads back, and never further out.

    A plain clamp has no gradient there, and what a step has once carried over the bound stays outside.
    """

    @staticmethod
    def forward(ctx, x, bound):
        ctx.outside = x > bound
        return x.clamp(max=bound)

    @staticmethod
    def backward(ctx, g):
        return torch.where(ctx.outside & (g < 0), 0.0, g), None


class _Tempered(Learned):
    """What kernels of inner products share: a temperature that is given, learned, or lowered during a fit."""

    geometry = "dot"

    def __init__(
        self, temperature=1.0, *, learnable=False, final_temperature=None, normalize="row", debias=0.0
    ):
        self.temperature = temperature
        self.learnable = learnable
        self.final_temperature = final_temperature
        self.normalize = normalize
        self.debias = debias

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("temperature", self.temperature, low=0, closed="neither")
        if self.final_temperature is not None:
            check_number(
                "final_temperature", self.final_temperature, low=0, high=self.temperature, closed="right"
            )
            if self.learnable:
                raise ValueError(
                    f"final_temperature={self.final_temperature!r} with learnable=True: a temperature is learned or "
                    f"lowered by plan, not both; leave one of them out"
                )
        value = torch.tensor(-math.log(self.temperature), dtype=dtype, device=device)
        self.log_scale_ = torch.nn.Parameter(value, requires_grad=bool(self.learnable))
        return super().begin(dtype=dtype, device=device) + ([self.log_scale_] if self.learnable else [])

    @property
    def cools(self):
        return self.final_temperature is not None

    def cool(self, share):
        """Evenly on a scale of logarithms, so that every phase sharpens q alike."""
        if self.cools:
            first, last = math.log(self.temperature), math.log(self.final_temperature)
            with torch.no_grad():
                self.log_scale_.fill_(-first - share * (last - first))

    @property
    def temperature_(self) -> float:
        """The temperature in use, learned or not."""
        return float(torch.exp(-self._log_scale().detach().double()))  # infinite rather than an OverflowError

    def _log_scale(self):
        # A learned scale stays below 100, beyond which a softmax is an arg max in single precision.
        most = max(math.log(_MAX_SCALE), -math.log(self.temperature))
        return _AtMost.apply(self.log_scale_, most) if self.learnable else self.log_scale_

    def _scaled(self, Z):
        if self.temperature == 1 and not self.learnable and not self.cools:
            return Z
        return Z * torch.exp(0.5 * self._log_scale()).to(Z.dtype)

    def log_kernel(self, s):
        return s

    def slope(self, s):
        return torch.ones_like(s)


class Dot(_Tempered):
    """k(u, v) = exp(u . v / temperature): the softmax of inner products, as in cross-entropy.

    Parameters
    ----------
    temperature : float, default=1.0
        Divides the inner products.
    learnable : bool, default=False
        Whether the temperature is learned together with the mapper (kept above 0.01).
    final_temperature : float or None, default=None
        Where the temperature goes in the phases of a fit, each with the start that the last one found; the
        loss that is kept is that of the last temperature.  None leaves it as it is.
    normalize, debias
        As for :class:`Gaussian`.

    References
    ----------
    Rose, "Deterministic annealing for clustering, compression, classification, regression, and related
    optimization problems", Proceedings of the IEEE 1998.
    """

    free_dot = True

    def place(self, Z, columns=False, mass=None):
        return self._scaled(Z)


class Cosine(_Tempered):
    """k(u, v) = exp(cos(u, v) / temperature): a Gaussian on the unit sphere, as in InfoNCE and CLIP.

    With ``|u| = |v| = 1`` this is :class:`Gaussian` with sigma^2 = temperature.

    Parameters
    ----------
    temperature : float, default=0.1
        Small values sharpen q.
    learnable, final_temperature
        As for :class:`Dot`.
    normalize, debias
        As for :class:`Gaussian`.  The whole space is the unit sphere, and q the density of von Mises and Fisher: the
        loss is ``-cos(u, v) / temperature`` and a constant, so at temperature 1 half of ``|u - v|^2``.

    References
    ----------
    van den Oord et al., "Representation learning with contrastive predictive coding", 2018; Radford et
    al., "Learning transferable visual models from natural language supervision", ICML 2021.
    """

    def __init__(
        self, temperature=0.1, *, learnable=False, final_temperature=None, normalize="row", debias=0.0
    ):
        options = {"learnable": learnable, "final_temperature": final_temperature}
        super().__init__(temperature, **options, normalize=normalize, debias=debias)

    # Only directions count: the nearer to zero, the more any step turns them.
    start_scale = 1.0

    normalizers = ("row", "joint", "doubly", "space")

    def log_volume(self, n_dims):
        return _LogIntegralOverSphere.apply(torch.exp(self._log_scale()), n_dims)

    def place(self, Z, columns=False, mass=None):
        return self._scaled(torch.nn.functional.normalize(Z, dim=1))

    def represent(self, Z):
        return torch.nn.functional.normalize(Z, dim=1)


class _LogIntegralOverSphere(torch.autograd.Function):
    """log of the integral of exp(scale * cos) over the unit sphere of n dimensions, with its slope in the scale.

    (2 pi)^(n/2) I_v(scale) / scale^v with v = n / 2 - 1; the slope of its logarithm is I_(v + 1) / I_v.
    """

    @staticmethod
    def forward(ctx, scale, n_dims):
        order = 0.5 * n_dims - 1
        value = scale.detach().double().cpu().numpy()
        # What grows as exp(scale) is kept out of the Bessel functions; where these vanish the series is short.
        log_bessel, log_next = (_log_bessel_over_power(order + k, value) for k in (0, 1))
        ctx.slope = float(value * np.exp(log_next - log_bessel))
        return scale.new_tensor(0.5 * n_dims * math.log(2 * math.pi) + log_bessel)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.slope, None


def _log_bessel_over_power(order, x):
    """log( I_order(x) / x^order )."""
    scaled = ive(order, x)
    if scaled > np.finfo(float).tiny:
        return np.log(scaled) + x - order * np.log(x)
    return np.log(hyp0f1(order + 1, 0.25 * x**2)) - order * math.log(2) - gammaln(order + 1)


class Custom(Learned):
    """A radial kernel given as a function.

    Parameters
    ----------
    function : callable
        ``function(s)`` gives the logarithm of the similarity from a tensor of scalars of pairs, by torch
        operations, elementwise.
    geometry : {"sqdist", "dot"}, default="sqdist"
        Which scalar of a pair it reads.
    normalize, debias
        As for :class:`Gaussian`.
    """

    def __init__(self, function, *, geometry="sqdist", normalize="row", debias=0.0):
        self.function = function
        self.geometry = geometry
        self.normalize = normalize
        self.debias = debias

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_choice("geometry", self.geometry, ("sqdist", "dot"))
        return super().begin(dtype=dtype, device=device)

    def log_kernel(self, s):
        return self.function(s)
