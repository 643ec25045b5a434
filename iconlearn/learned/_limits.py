"""The two ends of a Gaussian's bandwidth, as losses of their own.

With k(u, v) = exp(-d(u, v) / sigma^2), d the squared distance, and m candidates to a row,

    sigma -> infinity     sigma^2 (H(p, q) - log m)  ->  sum_j p(j|i) d_ij - mean_k d_ik
    sigma -> 0            sigma^2  H(p, q)           ->  sum_j p(j|i) d_ij - min_k  d_ik

So the log of the row's sum gives way to a mean or a minimum.  Only KL has such a limit.
"""

from __future__ import annotations

import torch

from .._checks import check_choice, check_number
from ._base import Learned
from ._kernels import Cosine, Gaussian

DISTANCES = ("sqeuclidean", "euclidean", "cosine")
# Added under the root of a distance, so that coinciding points have a slope.
SMALLEST_SQUARE = 1e-12


class _Limit(Learned):
    """What both limits share: the places, and the squared distance with its sign turned for a kernel."""

    normalizers = ("row",)
    # A limit has no bandwidth to compare a share or a normaliser with.
    normalize = "row"
    debias = 0.0
    start_scale = 1.0

    @property
    def geometry(self):
        return "dot" if self.sphere else "sqdist"

    def begin(self, *, dtype=torch.float32, device="cpu"):
        if not isinstance(self.sphere, bool):
            raise TypeError(f"sphere={self.sphere!r} of {type(self).__name__} must be True or False")
        return super().begin(dtype=dtype, device=device)

    def place(self, Z, columns=False, mass=None):
        return torch.nn.functional.normalize(Z, dim=1) if self.sphere else Z

    def represent(self, Z):
        return self.place(Z)

    def finite(self):
        return Cosine(0.5) if self.sphere else Gaussian(0.5**0.5)

    def log_kernel(self, s):
        # On the unit sphere |u - v|^2 = 2 - 2 u . v.
        return 2.0 * s - 2.0 if self.sphere else -s

    def slope(self, s):
        return torch.full_like(s, 2.0 if self.sphere else -1.0)


class WideGaussian(_Limit):
    """sigma -> infinity: attraction to p's neighbours against the spread of all rows.

    The loss of a row is ``sum_j p(j|i) d_ij - mean_k d_ik``, d the squared distance and k over all
    candidates.  With p = identity this is minus twice the variance (PCA), with positive pairs it is VICReg
    without covariance, with classes or another modality an average margin.

    Parameters
    ----------
    sphere : bool, default=True
        Whether places are the directions of the mapper's outputs.  Otherwise the mapper must be bounded by
        itself (``mappers.Linear(orthonormal=True)``, or a module with ``bounded = True``), since the spread
        has no end; or p must be in the same limit, :class:`iconlearn.supervisory.WideGaussian`.

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025, theorems 2 and
    4; Bardes, Ponce and LeCun, "VICReg", ICLR 2022.
    """

    reduce = "mean"

    def __init__(self, *, sphere=True):
        self.sphere = sphere

    @property
    def needs_bound(self):
        return not self.sphere


class NarrowGaussian(_Limit):
    """sigma -> 0: p's neighbours against the nearest of all rows.

    The loss of a row is ``sum_j p(j|i) d_ij - min_k (d_ik - margin * [k without support])``, d the squared
    distance and k over all candidates.  With one positive it is ``max(0, d_positive - d_nearest + margin)``,
    the triplet loss with the hardest negative; over :class:`~iconlearn.supervisory.Triplets` the negative is the
    given one.

    Parameters
    ----------
    margin : float, default=0.0
        How much further than the positives the negatives have to be, in units of d.  Without one, a single point for
        all rows costs nothing.
    sphere : bool, default=True
        Whether places are the directions of the mapper's outputs.  Otherwise there must be a margin, or a
        mapper that is bounded and cannot collapse, as ``mappers.Linear(orthonormal=True)``.
    distance : {"sqeuclidean", "euclidean", "cosine"}, default="sqeuclidean"
        d: the squared distance, which is what the limit of a Gaussian has; the distance itself, the limit of
        ``exp(-|u - v| / sigma)``; or ``1 - cos(u, v)``, whatever `sphere`, half the squared distance on the sphere.

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025, theorem 5;
    Schroff, Kalenichenko and Philbin, "FaceNet", CVPR 2015; Hermans, Beyer and Leibe, "In defense of the
    triplet loss", 2017.
    """

    reduce = "min"

    # For what was stored before there was such a parameter.
    distance = "sqeuclidean"

    def __init__(self, margin=0.0, *, sphere=True, distance="sqeuclidean"):
        self.margin = margin
        self.sphere = sphere
        self.distance = distance

    @property
    def needs_bound(self):
        return not self._directions and self.margin == 0

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("margin", self.margin, low=0, hint="in units of the distance")
        check_choice("distance", self.distance, DISTANCES)
        return super().begin(dtype=dtype, device=device)

    @property
    def geometry(self):
        # The root of a squared distance needs its small values, which 2 - 2 u . v has not.
        return "dot" if self._directions and self.distance != "euclidean" else "sqdist"

    @property
    def singular(self):
        # A distance has the same slope everywhere, however near the pair.
        return self.distance == "euclidean"

    @property
    def _directions(self):
        return self.sphere or self.distance == "cosine"

    def place(self, Z, columns=False, mass=None):
        return torch.nn.functional.normalize(Z, dim=1) if self._directions else Z

    def finite(self):
        return Cosine(0.5) if self._directions else Gaussian(0.5**0.5)

    def log_kernel(self, s):
        if self.distance == "euclidean":
            return -torch.sqrt(s + SMALLEST_SQUARE)
        return s - 1.0 if self.distance == "cosine" else super().log_kernel(s)

    def slope(self, s):
        if self.distance == "euclidean":
            return -0.5 / torch.sqrt(s + SMALLEST_SQUARE)
        return torch.ones_like(s) if self.distance == "cosine" else super().slope(s)
