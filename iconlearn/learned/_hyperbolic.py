"""A kernel of hyperbolic distances: maps in the Poincare ball, which has room for trees.

    k(u, v) = (1 + rho(u, v)^2 / gamma^2)^-1,     sinh^2(rho / 2) = |y_u - y_v|^2 / ((1 - |y_u|^2) (1 - |y_v|^2))

The mapper's outputs are steps from the origin: their length is the hyperbolic distance from it, so that nothing keeps
them within bounds and no step leads out of the ball.  The scalar of a pair is sinh^2(rho / 2), by directions and
lengths: in the ball itself digits are lost near the boundary.
"""

from __future__ import annotations

import math

import torch

from .._checks import check_number
from ._base import Learned

# Added to a squared length, whose root has no slope at zero.
SMALLEST_SQUARE = 1e-30


class Hyperbolic(Learned):
    """``k(u, v) = 1 / (1 + rho(u, v)^2 / gamma^2)`` of the hyperbolic distance rho, as in CO-SNE.

    Space grows with the distance from the origin as fast as a tree with its depth, so branches of a tree do not crowd.
    Places are shown as points of the Poincare ball, with lengths below 1.

    Parameters
    ----------
    gamma : float, default=1.0
        Width of the kernel, in units in which the curvature is -1: the smaller, the further out the map, and the more
        curved it is.
    normalize : {"row", "joint", "doubly"}, default="row"
        Divide by the row's sum, by the sum over all pairs, or by a factor for each of the two rows, so that all rows
        and all columns sum to one.
    debias : float, default=0.0
        Share of q, in [0, 1), that is spread evenly over the candidates.

    Notes
    -----
    Moving the whole map along the ball, the centre included, changes no distance and so no loss: the centre of a map
    is where its start was, unless a term holds the distances from it (:class:`BallRadius`).

    References
    ----------
    Guo, Guo and Yu, "CO-SNE: dimensionality reduction and visualization for hyperbolic data", CVPR 2022.
    """

    geometry = "hyperbolic"
    heavy_tailed = True

    def __init__(self, gamma=1.0, *, normalize="row", debias=0.0):
        self.gamma = gamma
        self.normalize = normalize
        self.debias = debias

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("gamma", self.gamma, low=0, closed="neither")
        return super().begin(dtype=dtype, device=device)

    def place(self, Z, columns=False, mass=None):
        """Direction, length and sinh(length) of every row, shape (n, d + 2)."""
        length = (Z.square().sum(1, keepdim=True) + SMALLEST_SQUARE).sqrt()
        return torch.cat([Z / length, length, torch.sinh(length)], 1)

    def represent(self, Z):
        length = Z.norm(dim=1, keepdim=True)
        return Z * (torch.tanh(0.5 * length) / length.clamp_min(SMALLEST_SQUARE**0.5))

    def outputs(self, places):
        length = places.norm(dim=1, keepdim=True)
        # What was rounded to the boundary is as far out as its precision knows.
        inside = length.clamp(SMALLEST_SQUARE**0.5, 1 - 0.5 * torch.finfo(places.dtype).eps)
        return places * (2 * torch.atanh(inside) / inside)

    def _squares(self, s):
        return 4 * torch.asinh(s.sqrt()).square() / self.gamma**2

    def log_kernel(self, s):
        return _LogKernel.apply(s, self)

    def slope(self, s):
        half = torch.asinh(s.sqrt())
        # d rho^2 / ds is 4 at zero.
        of_square = torch.where(s > 0, 4 * half / (s * (1 + s)).sqrt().clamp_min(SMALLEST_SQUARE), 4.0)
        return -of_square / (self.gamma**2 + 4 * half.square())

    def kernel(self, s):
        """The kernel itself."""
        return (1 + self._squares(s)).reciprocal()

    def slope_of_kernel(self, k):
        """Derivative of the kernel with respect to s, from the kernel itself, as (tensor, factor)."""
        rho = self.gamma * ((1 - k) / k).clamp_min(0.0).sqrt()
        ratio = torch.where(rho > 0, rho / torch.sinh(rho.clamp_min(SMALLEST_SQUARE)), 1.0)
        return k.square() * ratio, -4.0 / self.gamma**2


class BallRadius(Learned):
    """A Gaussian around the squared length of a place in the ball: how far from the centre a row belongs.

    For a term beside :class:`Hyperbolic`, with the lengths that rows are to have as targets
    (``Restore("squared_length")``).  Its loss is ``(|y|^2 - |x|^2)^2 / (2 sigma^2)`` and a constant, a density over all
    lengths and no contrast.

    Parameters
    ----------
    sigma : float, default=0.5**0.5
        Deviation of a squared length that costs half a nat; the default makes the loss a plain square.

    References
    ----------
    Guo, Guo and Yu, "CO-SNE: dimensionality reduction and visualization for hyperbolic data", CVPR 2022.
    """

    normalizers = ("space",)
    normalize = "space"
    debias = 0.0
    same_places = False
    longest_target = 1.0

    def __init__(self, sigma=0.5**0.5):
        self.sigma = sigma

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("sigma", self.sigma, low=0, closed="neither")
        return super().begin(dtype=dtype, device=device)

    def place(self, Z, columns=False, mass=None):
        if columns:
            return Z
        length = (Z.square().sum(1, keepdim=True) + SMALLEST_SQUARE).sqrt()
        return torch.tanh(0.5 * length).square()

    def log_kernel(self, s):
        return s * (-0.5 / self.sigma**2)

    def log_volume(self, n_dims):
        return n_dims * (0.5 * math.log(2 * math.pi) + math.log(self.sigma))


class _LogKernel(torch.autograd.Function):
    """The root in it has no slope at zero, where the kernel has one."""

    @staticmethod
    def forward(ctx, s, q):
        ctx.q = q
        ctx.save_for_backward(s)
        return -torch.log1p(q._squares(s))

    @staticmethod
    def backward(ctx, g):
        (s,) = ctx.saved_tensors
        return g * ctx.q.slope(s), None
